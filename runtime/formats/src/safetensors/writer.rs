//! Writing a file as a stream.

use super::METADATA_KEY;
use super::header::Header;
use crate::layout::tensor_bytes;
use crate::limits::{MAX_NAME_BYTES, MAX_SAFETENSORS_DIMS, MAX_SAFETENSORS_HEADER, MAX_SHARDS, MAX_TENSORS};
use crate::names::NameIndex;
use crate::parts::Part;
use crate::stream::TensorStream;
use crate::{DType, FormatError, PartLimit, PartStream, Problem, StringPairs, TensorInfo};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Collects the header; [`Writer::begin`] writes it and gives a [`Body`] for the data.
///
/// Refuses what the reader would refuse. Order is kept, so a file read and written again has the
/// same bytes. To keep data aligned, declare tensors with wide elements first.
#[derive(Debug)]
pub struct Writer {
    file: String,
    metadata: StringPairs,
    tensors: Vec<TensorInfo>,
    end: u64,
}

/// The data section being written; see [`TensorStream`].
pub type Body<W> = TensorStream<W>;

impl Writer {
    /// Starts a file. `file` is the name for error messages.
    pub fn new(file: impl Into<String>) -> Self {
        Self { file: file.into(), metadata: StringPairs::default(), tensors: Vec::new(), end: 0 }
    }

    /// Adds a string under `__metadata__`.
    ///
    /// # Errors
    /// [`Problem::OutOfMemory`].
    pub fn metadata(&mut self, key: &str, value: &str) -> Result<&mut Self, FormatError> {
        self.metadata.push(key, value).map_err(|p| FormatError::new(&self.file, p))?;
        Ok(self)
    }

    /// Declares the next tensor. `shape` is row-major, outermost first, 0 to 8 dimensions.
    ///
    /// # Errors
    /// As the reader's for names and dimensions; [`Problem::UnsupportedDtype`] for a quantized dtype.
    pub fn tensor(
        &mut self,
        name: impl Into<String>,
        dtype: DType,
        shape: impl Into<Vec<u64>>,
    ) -> Result<&mut Self, FormatError> {
        let tensor = self.checked(name.into(), dtype, shape.into()).map_err(|p| FormatError::new(&self.file, p))?;
        self.tensors.push(tensor);
        Ok(self)
    }

    /// Starts a file with the strings and tensors of another: with the same data it will be the same file, if the other
    /// has its tensors in the order of its header, as Hugging Face's library and this one write it.
    ///
    /// # Errors
    /// None for what a reader gave; else as [`Writer::tensor`].
    pub fn like(file: impl Into<String>, header: &Header) -> Result<Self, FormatError> {
        let mut writer = Self::new(file);
        writer.metadata.clone_from(&header.metadata);
        for t in &header.tensors {
            writer.tensor(&*t.name, t.dtype, &*t.shape)?;
        }
        Ok(writer)
    }

    /// Writes the header. The tensors' data follows through the [`Body`], in the order they were declared.
    ///
    /// # Errors
    /// [`Problem::Duplicate`] for a key or name given twice, [`Problem::Write`] where `out` fails.
    pub fn begin<W: Write>(self, out: W) -> Result<Body<W>, FormatError> {
        self.check_names().map_err(|p| FormatError::new(&self.file, p))?;
        let part = part(self.file, &self.metadata, self.tensors)?;
        let mut body = TensorStream::new(out, part.name, 1, part.tensors);
        body.raw(&part.header)?;
        Ok(body)
    }

    /// Writes the model as shards `<prefix>-00001-of-00003.safetensors`, made by `create` as the data comes. Also gives
    /// the text of their [index](super::INDEX_FILE), which belongs beside them once they are complete.
    ///
    /// # Errors
    /// [`Problem::Duplicate`] for a key or name given twice, [`Problem::TooMany`] shards.
    pub fn begin_shards<W: Write, C: FnMut(&str) -> io::Result<W>>(
        self,
        prefix: &str,
        limit: PartLimit,
        create: C,
    ) -> Result<(PartStream<W, C>, String), FormatError> {
        self.check_names().map_err(|p| FormatError::new(&self.file, p))?;
        let files = limit.divide(self.tensors);
        let (count, most) = (files.len(), MAX_SHARDS as u64);
        if count > MAX_SHARDS {
            let problem = Problem::TooMany { what: "shards", found: count as u64, limit: most };
            return Err(FormatError::new(self.file, problem));
        }
        let (mut parts, mut places, mut total) = (Vec::new(), BTreeMap::new(), 0u64);
        for (no, mut tensors) in files.into_iter().enumerate() {
            let name = format!("{prefix}-{:05}-of-{count:05}.safetensors", no + 1);
            let begin = tensors.first().map_or(0, |t| t.offset);
            for t in &mut tensors {
                t.offset = t.offset.saturating_sub(begin);
                total = total.saturating_add(t.bytes);
                places.insert(t.name.to_string(), name.clone());
            }
            parts.push(part(name, &self.metadata, tensors)?);
        }
        let index = json!({"metadata": {"total_size": total}, "weight_map": places});
        Ok((PartStream::new(parts, create), format!("{index:#}\n")))
    }

    fn check_names(&self) -> Result<(), Problem> {
        self.metadata.index("metadata key")?;
        match NameIndex::build(&self.tensors, |t| &*t.name) {
            Err(i) => Err(Problem::Duplicate { what: "tensor", name: self.tensors[i].name.to_string() }),
            Ok(_) => Ok(()),
        }
    }

    fn checked(&mut self, name: String, dtype: DType, shape: Vec<u64>) -> Result<TensorInfo, Problem> {
        let found = name.len() as u64;
        if found == 0 || name == METADATA_KEY {
            return Err(Problem::EmptyName { what: "a tensor name", offset: 0 });
        }
        if found > MAX_NAME_BYTES {
            return Err(Problem::TooLong { what: "a tensor name", offset: 0, found, limit: MAX_NAME_BYTES });
        }
        if self.tensors.len() as u64 >= MAX_TENSORS {
            return Err(Problem::TooMany { what: "tensors", found: MAX_TENSORS + 1, limit: MAX_TENSORS });
        }
        if shape.len() > MAX_SAFETENSORS_DIMS {
            return Err(Problem::DimensionCount { tensor: name, found: shape.len() as u64, expected: "0 to 8" });
        }
        if dtype.is_quantized() {
            let plain: Vec<&str> = DType::ALL.iter().filter(|d| !d.is_quantized()).map(|d| d.name()).collect();
            let (found, supported) = (dtype.name().to_owned(), plain.join(" "));
            return Err(Problem::UnsupportedDtype { tensor: name, found, supported });
        }
        let bytes = tensor_bytes(&name, dtype, &shape, 0)?;
        let offset = self.end;
        let Some(end) = offset.checked_add(bytes) else {
            return Err(Problem::ShapeOverflow { tensor: name, dtype, shape });
        };
        self.end = end;
        Ok(TensorInfo { name: name.into(), dtype, shape: shape.into(), file: 0, offset, bytes })
    }
}

/// A file's header; `tensors` come with offsets in the data section and leave with offsets in the file.
fn part(name: String, metadata: &StringPairs, mut tensors: Vec<TensorInfo>) -> Result<Part, FormatError> {
    // Written member by member: a JSON map would sort the names.
    let mut members = Vec::new();
    if !metadata.is_empty() {
        let pairs: Vec<String> = metadata.iter().map(|(k, v)| format!("{}:{}", json!(k), json!(v))).collect();
        members.push(format!("\"{METADATA_KEY}\":{{{}}}", pairs.join(",")));
    }
    members.extend(tensors.iter().map(|t| {
        let end = t.offset.saturating_add(t.bytes);
        let (name, dtype, shape) = (json!(t.name), json!(t.dtype.name()), json!(t.shape));
        format!("{name}:{{\"dtype\":{dtype},\"shape\":{shape},\"data_offsets\":[{},{end}]}}", t.offset)
    }));
    let mut text = format!("{{{}}}", members.join(","));
    // So that data begins at a multiple of 8.
    let padded = text.len().next_multiple_of(8);
    text.extend(std::iter::repeat_n(' ', padded - text.len()));
    let found = text.len() as u64;
    if found > MAX_SAFETENSORS_HEADER {
        let problem = Problem::TooLong { what: "the header", offset: 0, found, limit: MAX_SAFETENSORS_HEADER };
        return Err(FormatError::new(name, problem));
    }
    let mut header = found.to_le_bytes().to_vec();
    header.extend(text.into_bytes());
    for t in &mut tensors {
        t.offset = t.offset.saturating_add(header.len() as u64);
    }
    Ok(Part { name, header, alignment: 1, tensors })
}
