//! Writing a file as a stream.

use super::METADATA_KEY;
use crate::layout::tensor_bytes;
use crate::limits::{MAX_NAME_BYTES, MAX_SAFETENSORS_DIMS, MAX_SAFETENSORS_HEADER, MAX_TENSORS};
use crate::names::NameIndex;
use crate::stream::TensorStream;
use crate::{DType, FormatError, Problem, TensorInfo};
use serde_json::json;
use std::io::Write;

/// Collects the header; [`Writer::begin`] writes it and gives a [`Body`] for the data.
///
/// Refuses what the reader would refuse. Order is kept, so a file read and written again has the
/// same bytes. To keep data aligned, declare tensors with wide elements first.
#[derive(Debug)]
pub struct Writer {
    file: String,
    metadata: Vec<(String, String)>,
    tensors: Vec<TensorInfo>,
    end: u64,
}

/// The data section being written; see [`TensorStream`].
pub type Body<W> = TensorStream<W>;

impl Writer {
    /// Starts a file. `file` is the name for error messages.
    pub fn new(file: impl Into<String>) -> Self {
        Self { file: file.into(), metadata: Vec::new(), tensors: Vec::new(), end: 0 }
    }

    /// Adds a string under `__metadata__`.
    pub fn metadata(&mut self, key: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.metadata.push((key.into(), value.into()));
        self
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

    /// Writes the header. The tensors' data follows through the [`Body`], in the order they were declared.
    ///
    /// # Errors
    /// [`Problem::Duplicate`] for a key or name given twice, [`Problem::Write`] where `out` fails.
    pub fn begin<W: Write>(self, out: W) -> Result<Body<W>, FormatError> {
        let header = match self.header() {
            Ok(header) => header,
            Err(problem) => return Err(FormatError::new(self.file, problem)),
        };
        let start = 8 + header.len() as u64;
        let mut tensors = self.tensors;
        for t in &mut tensors {
            t.offset = t.offset.saturating_add(start);
        }
        let mut body = TensorStream::new(out, self.file, 1, tensors);
        body.raw(&(header.len() as u64).to_le_bytes())?;
        body.raw(header.as_bytes())?;
        Ok(body)
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
        Ok(TensorInfo { name, dtype, shape, file: 0, offset, bytes })
    }

    fn header(&self) -> Result<String, Problem> {
        if let Err(i) = NameIndex::build(&self.metadata, |e| &e.0) {
            return Err(Problem::Duplicate { what: "metadata key", name: self.metadata[i].0.clone() });
        }
        if let Err(i) = NameIndex::build(&self.tensors, |t| &t.name) {
            return Err(Problem::Duplicate { what: "tensor", name: self.tensors[i].name.clone() });
        }
        // Written member by member: a JSON map would sort the names.
        let mut members = Vec::new();
        if !self.metadata.is_empty() {
            let pairs: Vec<String> = self.metadata.iter().map(|(k, v)| format!("{}:{}", json!(k), json!(v))).collect();
            members.push(format!("\"{METADATA_KEY}\":{{{}}}", pairs.join(",")));
        }
        members.extend(self.tensors.iter().map(|t| {
            let end = t.offset.saturating_add(t.bytes);
            let (name, dtype, shape) = (json!(t.name), json!(t.dtype.name()), json!(t.shape));
            format!("{name}:{{\"dtype\":{dtype},\"shape\":{shape},\"data_offsets\":[{},{end}]}}", t.offset)
        }));
        let mut header = format!("{{{}}}", members.join(","));
        // So that data begins at a multiple of 8.
        let padded = header.len().next_multiple_of(8);
        header.extend(std::iter::repeat_n(' ', padded - header.len()));
        let found = header.len() as u64;
        if found > MAX_SAFETENSORS_HEADER {
            return Err(Problem::TooLong { what: "the header", offset: 0, found, limit: MAX_SAFETENSORS_HEADER });
        }
        Ok(header)
    }
}
