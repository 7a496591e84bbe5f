//! Keys and values, packed.

use super::value::{Array, Value, ValueType};
use crate::limits::MAX_KEY_BYTES;
use crate::names::NameIndex;
use crate::{Problem, room};
use std::borrow::Cow;
use std::fmt;

/// Keys and values in the order of the file.
///
/// They take no more than twice their bytes in the file, whatever they are. The smallest key has fourteen bytes there,
/// where an entry of a list of strings and values would be some seventy.
#[derive(Clone, Default)]
pub(super) struct Entries {
    heads: Vec<Head>,
    /// Of each entry its key, and then its value as in the file; for an array its place among the arrays.
    bytes: Vec<u8>,
    arrays: Vec<Array>,
}

const WHAT: &str = "the keys of the header";

/// Where an entry lies.
#[derive(Clone, Copy)]
struct Head {
    begin: u32,
    key_len: u16,
    kind: ValueType,
}

impl Entries {
    /// Adds an entry; whether its key is new is found out by [`Entries::index`].
    pub(super) fn push(&mut self, key: &str, value: Value<'_>) -> Result<(), Problem> {
        let kind = value.value_type();
        match value {
            Value::U8(v) => self.put(kind, key, &v.to_le_bytes()),
            Value::I8(v) => self.put(kind, key, &v.to_le_bytes()),
            Value::U16(v) => self.put(kind, key, &v.to_le_bytes()),
            Value::I16(v) => self.put(kind, key, &v.to_le_bytes()),
            Value::U32(v) => self.put(kind, key, &v.to_le_bytes()),
            Value::I32(v) => self.put(kind, key, &v.to_le_bytes()),
            Value::F32(v) => self.put(kind, key, &v.to_le_bytes()),
            Value::U64(v) => self.put(kind, key, &v.to_le_bytes()),
            Value::I64(v) => self.put(kind, key, &v.to_le_bytes()),
            Value::F64(v) => self.put(kind, key, &v.to_le_bytes()),
            Value::Bool(v) => self.put(kind, key, &[v.into()]),
            Value::String(v) => self.put(kind, key, v.as_bytes()),
            Value::Array(v) => {
                room::reserve(&mut self.arrays, 1, WHAT)?;
                self.put(kind, key, &(self.arrays.len() as u32).to_le_bytes())?;
                self.arrays.push(v.into_owned());
                Ok(())
            }
        }
    }

    fn put(&mut self, kind: ValueType, key: &str, value: &[u8]) -> Result<(), Problem> {
        let found = key.len() as u64;
        let too_long = |_| Problem::TooLong { what: "a key", offset: 0, found, limit: MAX_KEY_BYTES };
        let key_len = u16::try_from(key.len()).map_err(too_long)?;
        room::reserve(&mut self.heads, 1, WHAT)?;
        room::reserve(&mut self.bytes, key.len() + value.len(), WHAT)?;
        // Headers are capped far below what a u32 counts.
        self.heads.push(Head { begin: self.bytes.len() as u32, key_len, kind });
        self.bytes.extend(key.as_bytes());
        self.bytes.extend(value);
        Ok(())
    }

    /// Gives back the room that was kept for more.
    pub(super) fn shrink(&mut self) {
        self.heads.shrink_to_fit();
        self.bytes.shrink_to_fit();
        self.arrays.shrink_to_fit();
    }

    /// The index of the keys, which occur once each.
    pub(super) fn index(&self) -> Result<NameIndex, Problem> {
        NameIndex::build(&self.heads, |h| self.key_of(h)).map_err(|i| {
            let name = self.get(i).map_or_else(String::new, |(key, _)| key.to_owned());
            Problem::Duplicate { what: "key", name }
        })
    }

    /// The place of a key.
    pub(super) fn find(&self, index: &NameIndex, key: &str) -> Option<usize> {
        index.find(&self.heads, |h| self.key_of(h), key.as_bytes())
    }

    pub(super) fn len(&self) -> usize {
        self.heads.len()
    }

    /// Entry `i`, lent.
    pub(super) fn get(&self, i: usize) -> Option<(&str, Value<'_>)> {
        fn number<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
            bytes.first_chunk().copied()
        }
        let (kind, key, v) = self.record(i)?;
        let value = match kind {
            ValueType::U8 => Value::U8(u8::from_le_bytes(number(v)?)),
            ValueType::I8 => Value::I8(i8::from_le_bytes(number(v)?)),
            ValueType::U16 => Value::U16(u16::from_le_bytes(number(v)?)),
            ValueType::I16 => Value::I16(i16::from_le_bytes(number(v)?)),
            ValueType::U32 => Value::U32(u32::from_le_bytes(number(v)?)),
            ValueType::I32 => Value::I32(i32::from_le_bytes(number(v)?)),
            ValueType::F32 => Value::F32(f32::from_le_bytes(number(v)?)),
            ValueType::U64 => Value::U64(u64::from_le_bytes(number(v)?)),
            ValueType::I64 => Value::I64(i64::from_le_bytes(number(v)?)),
            ValueType::F64 => Value::F64(f64::from_le_bytes(number(v)?)),
            ValueType::Bool => Value::Bool(number(v)? == [1]),
            ValueType::String => std::str::from_utf8(v).ok()?.into(),
            ValueType::Array => Value::Array(Cow::Borrowed(self.arrays.get(u32::from_le_bytes(number(v)?) as usize)?)),
        };
        Some((key, value))
    }

    fn record(&self, i: usize) -> Option<(ValueType, &str, &[u8])> {
        let head = self.heads.get(i)?;
        let end = self.heads.get(i + 1).map_or(self.bytes.len(), |next| next.begin as usize);
        let (key, value) = self.bytes.get(head.begin as usize..end)?.split_at_checked(head.key_len.into())?;
        Some((head.kind, std::str::from_utf8(key).ok()?, value))
    }

    /// All entries in order.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&str, Value<'_>)> + Clone {
        // What was put in is there, so nothing falls back.
        (0..self.len()).map(|i| self.get(i).unwrap_or(("", Value::U8(0))))
    }

    /// The entries whose keys `keep` wants. The arrays of the others stay in memory.
    pub(super) fn retain(mut self, keep: impl Fn(&str) -> bool) -> Result<Self, Problem> {
        let mut kept = Self { arrays: std::mem::take(&mut self.arrays), ..Self::default() };
        for (kind, key, value) in (0..self.len()).filter_map(|i| self.record(i)) {
            if keep(key) {
                kept.put(kind, key, value)?;
            }
        }
        Ok(kept)
    }

    fn key_of(&self, head: &Head) -> &[u8] {
        let begin = head.begin as usize;
        self.bytes.get(begin..begin + usize::from(head.key_len)).unwrap_or_default()
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(key, value)| (key, value.brief()))).finish()
    }
}
