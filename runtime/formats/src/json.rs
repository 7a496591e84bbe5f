//! Reading capped files, and JSON whose keys must be unique.

use crate::tensor::zeroed;
use crate::window::Window;
use crate::{FormatError, Problem, Source};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;
use std::ops::Range;

/// Reads a range of a source as JSON, as it comes: held as text it would be as much memory again.
pub(crate) fn read_streamed<T>(
    source: &dyn Source,
    what: &'static str,
    range: Range<u64>,
    seed: T,
) -> Result<(), Problem>
where
    T: for<'de> DeserializeSeed<'de, Value = ()>,
{
    Window::new(source, range.clone()).check_utf8(what)?;
    let (offset, len) = (range.start, range.end.saturating_sub(range.start));
    let mut json = serde_json::Deserializer::from_reader(Window::new(source, range));
    seed.deserialize(&mut json).and_then(|()| json.end()).map_err(|error| match error.is_io() {
        true => Problem::Io { offset, len, error: error.into() },
        false => problem(what, &error),
    })
}

/// Describes a JSON error in one line.
pub(crate) fn problem(what: &'static str, error: &serde_json::Error) -> Problem {
    Problem::Json { what, message: error.to_string() }
}

/// Any JSON value, with a key twice in an object refused unless both values are the same: which one counts is otherwise
/// a matter of who reads it. (A key that a careless editor left twice does no harm.)
pub(crate) struct Unambiguous(pub(crate) Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Unambiguous)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(Unambiguous(value)) = seq.next_element()? {
            elements.push(value);
        }
        Ok(elements.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = serde_json::Map::new();
        while let Some((key, Unambiguous(value))) = map.next_entry::<String, _>()? {
            match members.get(&key) {
                Some(before) if *before != value => {
                    let text = |v: &Value| v.to_string().chars().take(40).collect::<String>();
                    let (before, value) = (text(before), text(&value));
                    let message = format!("key '{key}' occurs twice, as {before} and as {value}");
                    return Err(serde::de::Error::custom(message));
                }
                Some(_) => {}
                None => drop(members.insert(key, value)),
            }
        }
        Ok(members.into())
    }
}

/// Reads a whole source as text, refusing one that is longer than `limit`.
pub(crate) fn read_text(source: &dyn Source, what: &'static str, limit: u64) -> Result<String, FormatError> {
    let bytes = read_bytes(source, what, limit)?;
    utf8(bytes, what, 0).map_err(|problem| FormatError::new(source.name(), problem))
}

/// Reads a whole source, refusing one that is longer than `limit`.
pub(crate) fn read_bytes(source: &dyn Source, what: &'static str, limit: u64) -> Result<Vec<u8>, FormatError> {
    let fail = |problem| FormatError::new(source.name(), problem);
    let len = source.len();
    if len > limit {
        return Err(fail(Problem::TooLong { what, offset: 0, found: len, limit }));
    }
    let mut bytes = zeroed(what, len).map_err(fail)?;
    source.read_at(0, &mut bytes).map_err(|error| fail(Problem::Io { offset: 0, len, error }))?;
    Ok(bytes)
}

fn utf8(bytes: Vec<u8>, what: &'static str, offset: u64) -> Result<String, Problem> {
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to() as u64;
        Problem::NotUtf8 { what: what.to_owned(), offset: offset.saturating_add(at) }
    })
}
