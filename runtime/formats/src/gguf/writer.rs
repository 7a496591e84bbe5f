//! Writing a GGUF file as a stream.

use super::value::{Array, Value};
use super::{ALIGNMENT_KEY, MAGIC, VERSION};
use crate::layout::tensor_bytes;
use crate::limits::{
    ALIGNMENT_RANGE, DEFAULT_ALIGNMENT, MAX_GGUF_DIMS, MAX_GGUF_HEADER, MAX_KEY_BYTES, MAX_KEYS, MAX_NAME_BYTES,
    MAX_STRING_BYTES, MAX_TENSORS,
};
use crate::names::NameIndex;
use crate::stream::TensorStream;
use crate::{DType, FormatError, Problem, TensorInfo};
use std::io::Write;

/// Collects the header: keys first, then the tensors that will follow. [`Writer::begin`] writes it and
/// gives a [`Body`] for the data.
///
/// Refuses what the reader would refuse. Keys and tensors keep their order, so a file read and
/// written again has the same bytes.
#[derive(Debug)]
pub struct Writer {
    file: String,
    alignment: u64,
    entries: Vec<(String, Value)>,
    tensors: Vec<TensorInfo>,
    /// End of the last declared tensor, padded, in the data section.
    end: u64,
}

/// The data section being written; see [`TensorStream`].
pub type Body<W> = TensorStream<W>;

impl Writer {
    /// Starts a file. `file` is the name for error messages.
    pub fn new(file: impl Into<String>) -> Self {
        Self { file: file.into(), alignment: DEFAULT_ALIGNMENT, entries: Vec::new(), tensors: Vec::new(), end: 0 }
    }

    /// Adds a key. `general.alignment` takes effect for the tensors, so it comes before them.
    ///
    /// # Errors
    /// [`Problem::EmptyName`] or [`Problem::TooLong`] for the key or a string, [`Problem::BadAlignment`],
    /// [`Problem::WrongType`] for an alignment that is no u32, [`Problem::TooMany`].
    pub fn key(&mut self, key: impl Into<String>, value: Value) -> Result<&mut Self, FormatError> {
        let key = key.into();
        self.check_key(&key, &value).map_err(|p| self.error(p))?;
        if key == ALIGNMENT_KEY
            && let Value::U32(alignment) = value
        {
            self.alignment = alignment.into();
        }
        self.entries.push((key, value));
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
        let mut header = Vec::new();
        let result = self.header(&mut header);
        let Self { file, alignment, mut tensors, .. } = self;
        let start = match result {
            Ok(()) => header.len() as u64,
            Err(problem) => return Err(FormatError::new(file, problem)),
        };
        for t in &mut tensors {
            t.offset = t.offset.saturating_add(start);
        }
        let mut body = TensorStream::new(out, file, alignment, tensors);
        body.raw(&header)?;
        Ok(body)
    }

    fn error(&self, problem: Problem) -> FormatError {
        FormatError::new(&self.file, problem)
    }

    fn check_key(&self, key: &str, value: &Value) -> Result<(), Problem> {
        check_name("a key", key, MAX_KEY_BYTES)?;
        if self.entries.len() as u64 >= MAX_KEYS {
            return Err(Problem::TooMany { what: "metadata keys", found: MAX_KEYS + 1, limit: MAX_KEYS });
        }
        let longest = match value {
            Value::String(s) => s.len(),
            Value::Array(Array::String(s)) => s.iter().map(<[u8]>::len).max().unwrap_or(0),
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
        Ok(TensorInfo { name, dtype, shape, file: 0, offset, bytes })
    }

    fn header(&self, out: &mut Vec<u8>) -> Result<(), Problem> {
        if let Err(i) = NameIndex::build(&self.entries, |e| &e.0) {
            return Err(Problem::Duplicate { what: "key", name: self.entries[i].0.clone() });
        }
        if let Err(i) = NameIndex::build(&self.tensors, |t| &t.name) {
            return Err(Problem::Duplicate { what: "tensor", name: self.tensors[i].name.clone() });
        }
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.entries.len() as u64).to_le_bytes());
        for (key, value) in &self.entries {
            put_string(out, key.as_bytes());
            put_value(out, value);
        }
        for t in &self.tensors {
            put_string(out, t.name.as_bytes());
            out.extend((t.shape.len() as u32).to_le_bytes());
            for dim in t.shape.iter().rev() {
                out.extend(dim.to_le_bytes());
            }
            out.extend(t.dtype.code().to_le_bytes());
            out.extend(t.offset.to_le_bytes());
        }
        let found = out.len() as u64;
        if found > MAX_GGUF_HEADER {
            return Err(Problem::TooLong { what: "the header", offset: 0, found, limit: MAX_GGUF_HEADER });
        }
        // Also without tensors: then it is harmless, and other readers expect it.
        out.resize(out.len().next_multiple_of(self.alignment as usize), 0);
        Ok(())
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

fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    out.extend((value.value_type() as u32).to_le_bytes());
    match value {
        Value::U8(v) => out.extend(v.to_le_bytes()),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(v) => put_string(out, v.as_bytes()),
        Value::Array(v) => put_array(out, v),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    out.extend((array.element_type() as u32).to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(v) => out.extend(v.iter()),
        Array::I8(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::U16(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::I16(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::U32(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::I32(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::F32(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::U64(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::I64(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::F64(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::Bool(v) => out.extend(v.iter().map(|&x| u8::from(x))),
        Array::String(v) => v.iter().for_each(|s| put_string(out, s)),
    }
}
