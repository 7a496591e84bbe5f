//! The binary files (`imatrix.dat`) that llama.cpp wrote before GGUF ones, little-endian:
//!
//! ```text
//! entries i32
//! entries x  name length i32, name, calls i32, values i32, values f32
//! chunks i32, length i32, name of the text          (absent in the oldest)
//! ```
//!
//! A value is a mean of squares times the number of calls. Nothing tells such a file from another but that all lengths fit.

use super::{Entry, Imatrix, check};
use crate::error::ConvertError;
use std::collections::BTreeMap;
use tern_formats::Source;
use tern_formats::limits::{MAX_NAME_BYTES, MAX_TENSORS};

/// Longest name of a text.
const MAX_DATASET: u64 = 64 << 10;

struct Cursor<'a> {
    source: &'a dyn Source,
    at: u64,
}

impl Cursor<'_> {
    fn wrong(&self, what: impl std::fmt::Display) -> ConvertError {
        ConvertError::Imatrix {
            file: self.source.name().to_owned(),
            what: format!("at byte {}: {what}; this is no importance matrix, or a broken one", self.at),
        }
    }

    fn rest(&self) -> u64 {
        self.source.len().saturating_sub(self.at)
    }

    fn bytes(&mut self, len: u64, what: &str) -> Result<Vec<u8>, ConvertError> {
        // Compared with what is there before anything is allocated.
        if len > self.rest() {
            return Err(self.wrong(format_args!("{what} takes {len} bytes, but {} are left", self.rest())));
        }
        let none = |_| ConvertError::OutOfMemory { what: what.to_owned(), bytes: len };
        let n = usize::try_from(len).map_err(|_| ConvertError::OutOfMemory { what: what.to_owned(), bytes: len })?;
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(n).map_err(none)?;
        buffer.resize(n, 0);
        self.source.read_at(self.at, &mut buffer).map_err(|e| self.wrong(e))?;
        self.at = self.at.saturating_add(len);
        Ok(buffer)
    }

    /// A number in `1..=limit`.
    fn count(&mut self, what: &str, limit: u64) -> Result<u64, ConvertError> {
        let n = self.i32(what)?;
        match u64::try_from(n) {
            Ok(count) if (1..=limit).contains(&count) => Ok(count),
            _ => Err(self.wrong(format_args!("{what} is {n}, expected 1 to {limit}"))),
        }
    }

    fn i32(&mut self, what: &str) -> Result<i32, ConvertError> {
        let bytes = self.bytes(4, what)?;
        bytes.first_chunk().map(|b| i32::from_le_bytes(*b)).ok_or_else(|| self.wrong(what))
    }

    fn text(&mut self, len: u64, what: &str) -> Result<String, ConvertError> {
        let bytes = self.bytes(len, what)?;
        String::from_utf8(bytes).map_err(|_| self.wrong(format_args!("{what} is not UTF-8")))
    }
}

pub fn read(source: &dyn Source) -> Result<Imatrix, ConvertError> {
    let mut c = Cursor { source, at: 0 };
    let count = c.count("the number of entries", MAX_TENSORS)?;
    let mut entries = BTreeMap::new();
    for _ in 0..count {
        let len = c.count("the length of a name", MAX_NAME_BYTES)?;
        let name = c.text(len, "a name")?;
        let calls = c.count("the number of calls", i32::MAX as u64)?;
        let values = c.count("the number of values", i32::MAX as u64)?;
        let bytes = c.bytes(values.saturating_mul(4), "the values")?;
        let sums: Vec<f32> = bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        check(source.name(), &name, &sums)?;
        if entries.insert(name.clone(), Entry { sums, counts: vec![calls as f32] }).is_some() {
            return Err(c.wrong(format_args!("{name} is there twice")));
        }
    }
    let (mut chunks, mut datasets) = (0, Vec::new());
    if c.rest() > 0 {
        chunks = u32::try_from(c.i32("the number of chunks")?).map_err(|_| c.wrong("the number of chunks"))?;
        let len = c.count("the length of the text's name", MAX_DATASET)?;
        datasets.push(c.text(len, "the text's name")?);
    }
    if c.rest() > 0 {
        return Err(c.wrong(format_args!("{} bytes after the end", c.rest())));
    }
    Ok(Imatrix { entries, datasets, chunks, chunk_size: 0 })
}
