//! Pairs of strings, packed.

use crate::names::NameIndex;
use crate::{Problem, room};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use std::fmt;

/// Pairs of strings in the order of a file, such as the members of a JSON object: in no more than twice the bytes that they
/// have there, where two strings of their own would take 48 to say where they are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StringPairs {
    /// Of each pair the first string, then the second.
    bytes: Vec<u8>,
    /// Where they begin.
    begins: Vec<[u32; 2]>,
}

impl StringPairs {
    /// Adds a pair.
    pub(crate) fn push(&mut self, first: &str, second: &str) -> Result<(), Problem> {
        const WHAT: &str = "the strings of the header";
        room::reserve(&mut self.begins, 1, WHAT)?;
        room::reserve(&mut self.bytes, first.len() + second.len(), WHAT)?;
        // Whatever they are from is capped far below what a u32 counts.
        let begin = self.bytes.len() as u32;
        self.begins.push([begin, begin + first.len() as u32]);
        self.bytes.extend(first.as_bytes());
        self.bytes.extend(second.as_bytes());
        Ok(())
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.begins.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.begins.is_empty()
    }

    /// Pair `i`.
    pub fn get(&self, i: usize) -> Option<(&str, &str)> {
        let &[first, second] = self.begins.get(i)?;
        let end = self.begins.get(i + 1).map_or(self.bytes.len(), |next| next[0] as usize);
        let text = |range| self.bytes.get(range).and_then(|bytes| std::str::from_utf8(bytes).ok());
        Some((text(first as usize..second as usize)?, text(second as usize..end)?))
    }

    /// All pairs in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        (0..self.len()).map(|i| self.get(i).unwrap_or_default())
    }

    /// The index of the first strings; an error, where one of them occurs twice, that calls them `what`.
    pub(crate) fn index(&self, what: &'static str) -> Result<NameIndex, Problem> {
        NameIndex::build(&self.begins, |b| self.first(b)).map_err(|i| {
            let name = self.get(i).map_or_else(String::new, |(first, _)| first.to_owned());
            Problem::Duplicate { what, name }
        })
    }

    /// The place of the pair with this first string.
    pub(crate) fn find(&self, index: &NameIndex, first: &str) -> Option<usize> {
        index.find(&self.begins, |b| self.first(b), first.as_bytes())
    }

    fn first(&self, &[begin, end]: &[u32; 2]) -> &[u8] {
        self.bytes.get(begin as usize..end as usize).unwrap_or_default()
    }
}

impl fmt::Debug for StringPairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Reads the members of a JSON object of strings into a list. Keys may repeat: serde's maps would silently keep the last,
/// so whoever uses this checks them with [`StringPairs::index`].
pub(crate) struct Members<'a>(pub(crate) &'a mut StringPairs);

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((first, second)) = map.next_entry::<String, String>()? {
            self.0.push(&first, &second).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}
