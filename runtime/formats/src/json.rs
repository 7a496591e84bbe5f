//! Reading capped text files, and JSON objects whose keys must be unique.

use crate::tensor::zeroed;
use crate::{FormatError, Problem, Source};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// A JSON object as a list, in the order of the file. Keys may repeat: serde's maps would silently
/// keep the last, so whoever uses this checks them with [`NameIndex`](crate::names::NameIndex).
pub(crate) struct Pairs<V>(pub(crate) Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for PairsVisitor<V> {
            type Value = Pairs<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<V>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}

/// Describes a JSON error in one line.
pub(crate) fn problem(what: &'static str, error: &serde_json::Error) -> Problem {
    Problem::Json { what, message: error.to_string() }
}

/// Reads a whole source as text, refusing one that is longer than `limit`.
pub(crate) fn read_text(source: &dyn Source, what: &'static str, limit: u64) -> Result<String, FormatError> {
    let fail = |problem| FormatError::new(source.name(), problem);
    let len = source.len();
    if len > limit {
        return Err(fail(Problem::TooLong { what, offset: 0, found: len, limit }));
    }
    read_range(source, what, 0, len).map_err(fail)
}

/// Reads a range as text.
pub(crate) fn read_range(source: &dyn Source, what: &'static str, offset: u64, len: u64) -> Result<String, Problem> {
    let mut bytes = zeroed(what, len)?;
    source.read_at(offset, &mut bytes).map_err(|error| Problem::Io { offset, len, error })?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to() as u64;
        Problem::NotUtf8 { what: what.to_owned(), offset: offset.saturating_add(at) }
    })
}
