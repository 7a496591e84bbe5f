//! Writing a GGUF file as a stream.

use super::encode::part;
use super::entries::Entries;
use super::header::Header;
use super::split::{SPLIT_COUNT_KEY, SPLIT_NO_KEY, SPLIT_TENSORS_KEY, part_name};
use super::value::{Array, Value};
use super::{ALIGNMENT_KEY, VERSION};
use crate::layout::tensor_bytes;
use crate::limits::{
    ALIGNMENT_RANGE, DEFAULT_ALIGNMENT, MAX_GGUF_DIMS, MAX_KEY_BYTES, MAX_KEYS, MAX_NAME_BYTES, MAX_SHARDS,
    MAX_STRING_BYTES, MAX_TENSORS,
};
use crate::names::NameIndex;
use crate::stream::TensorStream;
use crate::{DType, FormatError, PartLimit, PartStream, Problem, TensorInfo};
use std::io::{self, Write};

/// Collects the header: keys first, then the tensors that will follow. [`Writer::begin`] writes it and
/// gives a [`Body`] for the data.
///
/// Refuses what the reader would refuse. Keys and tensors keep their order, so a file read and
/// written again has the same bytes.
#[derive(Debug)]
pub struct Writer {
    file: String,
    version: u32,
    alignment: u64,
    entries: Entries,
    tensors: Vec<TensorInfo>,
    /// End of the last declared tensor, padded, in the data section.
    end: u64,
}

/// The data section being written; see [`TensorStream`].
pub type Body<W> = TensorStream<W>;

impl Writer {
    /// Starts a file. `file` is the name for error messages.
    pub fn new(file: impl Into<String>) -> Self {
        let (version, alignment) = (VERSION, DEFAULT_ALIGNMENT);
        Self { file: file.into(), version, alignment, entries: Entries::default(), tensors: Vec::new(), end: 0 }
    }

    /// Starts a file with the version, keys and tensors of another: with the same data it will be the same file.
    ///
    /// # Errors
    /// None for what a reader gave; else as [`Writer::key`] and [`Writer::tensor`].
    pub fn like(file: impl Into<String>, header: &Header) -> Result<Self, FormatError> {
        let mut writer = Self::new(file);
        writer.version = header.version;
        for (key, value) in header.metadata.entries() {
            writer.key(key, value)?;
        }
        for t in &header.tensors {
            writer.tensor(&*t.name, t.dtype, &*t.shape)?;
        }
        Ok(writer)
    }

    /// Adds a key. `general.alignment` takes effect for the tensors, so it comes before them.
    ///
    /// # Errors
    /// [`Problem::EmptyName`] or [`Problem::TooLong`] for the key or a string, [`Problem::BadAlignment`],
    /// [`Problem::WrongType`] for an alignment that is no u32, [`Problem::TooMany`].
    pub fn key<'v>(&mut self, key: impl AsRef<str>, value: impl Into<Value<'v>>) -> Result<&mut Self, FormatError> {
        let (key, value) = (key.as_ref(), value.into());
        self.check_key(key, &value).map_err(|p| self.error(p))?;
        if key == ALIGNMENT_KEY
            && let Value::U32(alignment) = value
        {
            self.alignment = alignment.into();
        }
        self.entries.push(key, value).map_err(|p| self.error(p))?;
        Ok(self)
    }

    /// Declares the next tensor. `shape` is row-major, outermost first, 1 to 4 dimensions.
    ///
    /// # Errors
    /// As the reader's for names, dimensions and dtypes; [`Problem::UnsupportedDtype`] for a dtype that GGUF
    /// does not have.
    pub fn tensor(
        &mut self,
        name: impl Into<String>,
        dtype: DType,
        shape: impl Into<Vec<u64>>,
    ) -> Result<&mut Self, FormatError> {
        let tensor = self.checked_tensor(name.into(), dtype, shape.into()).map_err(|p| self.error(p))?;
        self.tensors.push(tensor);
        Ok(self)
    }

    /// Writes the header and padding. The tensors' data follows through the [`Body`], in the order they were declared.
    ///
    /// # Errors
    /// [`Problem::Duplicate`] for a key or name given twice, [`Problem::Write`] where `out` fails.
    pub fn begin<W: Write>(self, out: W) -> Result<Body<W>, FormatError> {
        self.check_names().map_err(|p| self.error(p))?;
        let Self { file, version, alignment, entries, tensors, .. } = self;
        let part = part(file, version, alignment, &entries, tensors)?;
        let mut body = TensorStream::new(out, part.name, alignment, part.tensors);
        body.raw(&part.header)?;
        Ok(body)
    }

    /// Writes the model as several files, named by [`part_name`](super::part_name) and made by `create` as the data comes.
    /// The first has all keys, as gguf-split does it.
    ///
    /// # Errors
    /// [`Problem::Duplicate`] for a key or name given twice, or a key of splitting; [`Problem::TooMany`] parts.
    pub fn begin_split<W: Write, C: FnMut(&str) -> io::Result<W>>(
        self,
        prefix: &str,
        limit: PartLimit,
        create: C,
    ) -> Result<PartStream<W, C>, FormatError> {
        self.check_names().map_err(|p| self.error(p))?;
        if let Some((key, _)) = self.entries.iter().find(|(key, _)| key.starts_with("split.")) {
            return Err(self.error(Problem::Duplicate { what: "key", name: key.to_owned() }));
        }
        let Self { file, version, alignment, entries, tensors, .. } = self;
        let total = tensors.len() as u64;
        let files = limit.divide(tensors);
        let count = files.len() as u64;
        if count > MAX_SHARDS as u64 {
            return Err(FormatError::new(
                file,
                Problem::TooMany { what: "parts", found: count, limit: MAX_SHARDS as u64 },
            ));
        }
        let mut parts = Vec::new();
        let mut keys = entries;
        for (no, mut tensors) in files.into_iter().enumerate() {
            let fail = |problem| FormatError::new(file.as_str(), problem);
            if no > 0 {
                // Of the model's keys only alignment is a file's own.
                keys = keys.retain(|key| key == ALIGNMENT_KEY).map_err(fail)?;
            }
            // The caps on parts and tensors keep these within the types that llama.cpp expects.
            keys.push(SPLIT_NO_KEY, Value::U16(no as u16)).map_err(fail)?;
            keys.push(SPLIT_COUNT_KEY, Value::U16(count as u16)).map_err(fail)?;
            keys.push(SPLIT_TENSORS_KEY, Value::I32(total as i32)).map_err(fail)?;
            let begin = tensors.first().map_or(0, |t| t.offset);
            tensors.iter_mut().for_each(|t| t.offset = t.offset.saturating_sub(begin));
            parts.push(part(part_name(prefix, no as u64, count), version, alignment, &keys, tensors)?);
        }
        Ok(PartStream::new(parts, create))
    }

    fn check_names(&self) -> Result<(), Problem> {
        self.entries.index()?;
        match NameIndex::build(&self.tensors, |t| &*t.name) {
            Err(i) => Err(Problem::Duplicate { what: "tensor", name: self.tensors[i].name.to_string() }),
            Ok(_) => Ok(()),
        }
    }

    fn error(&self, problem: Problem) -> FormatError {
        FormatError::new(&self.file, problem)
    }

    fn check_key(&self, key: &str, value: &Value<'_>) -> Result<(), Problem> {
        check_name("a key", key, MAX_KEY_BYTES)?;
        if self.entries.len() as u64 >= MAX_KEYS {
            return Err(Problem::TooMany { what: "metadata keys", found: MAX_KEYS + 1, limit: MAX_KEYS });
        }
        let longest = match value {
            Value::String(s) => s.len(),
            Value::Array(array) => match &**array {
                Array::String(s) => s.iter().map(<[u8]>::len).max().unwrap_or(0),
                _ => 0,
            },
            _ => 0,
        } as u64;
        if longest > MAX_STRING_BYTES {
            return Err(Problem::TooLong { what: "the string", offset: 0, found: longest, limit: MAX_STRING_BYTES });
        }
        if key == ALIGNMENT_KEY {
            let Value::U32(found) = *value else {
                return Err(Problem::WrongType { key: key.to_owned(), expected: "u32", found: value.describe() });
            };
            let found = u64::from(found);
            // After a tensor it would be too late: offsets have been given out.
            if !found.is_power_of_two() || !ALIGNMENT_RANGE.contains(&found) || !self.tensors.is_empty() {
                return Err(Problem::BadAlignment { found });
            }
        }
        Ok(())
    }

    fn checked_tensor(&mut self, name: String, dtype: DType, shape: Vec<u64>) -> Result<TensorInfo, Problem> {
        check_name("a tensor name", &name, MAX_NAME_BYTES)?;
        if self.tensors.len() as u64 >= MAX_TENSORS {
            return Err(Problem::TooMany { what: "tensors", found: MAX_TENSORS + 1, limit: MAX_TENSORS });
        }
        if shape.is_empty() || shape.len() > MAX_GGUF_DIMS as usize {
            return Err(Problem::DimensionCount { tensor: name, found: shape.len() as u64, expected: "1 to 4" });
        }
        if dtype.ggml_code().is_none() {
            let found = dtype.name().to_owned();
            return Err(Problem::UnsupportedDtype { tensor: name, found, supported: super::types::supported() });
        }
        let bytes = tensor_bytes(&name, dtype, &shape, 1)?;
        let offset = self.end;
        let end = offset.checked_add(bytes).and_then(|e| e.checked_next_multiple_of(self.alignment));
        let Some(end) = end else { return Err(Problem::ShapeOverflow { tensor: name, dtype, shape }) };
        self.end = end;
        Ok(TensorInfo { name: name.into(), dtype, shape: shape.into(), file: 0, offset, bytes })
    }
}

fn check_name(what: &'static str, name: &str, limit: u64) -> Result<(), Problem> {
    let found = name.len() as u64;
    match found {
        0 => Err(Problem::EmptyName { what, offset: 0 }),
        _ if found > limit => Err(Problem::TooLong { what, offset: 0, found, limit }),
        _ => Ok(()),
    }
}
