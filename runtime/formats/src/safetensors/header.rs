//! Reading and validating the header of one file.

use super::METADATA_KEY;
use crate::json::{self, Pairs};
use crate::layout::{check_extents, tensor_bytes};
use crate::limits::{MAX_NAME_BYTES, MAX_SAFETENSORS_DIMS, MAX_SAFETENSORS_HEADER, MAX_TENSORS};
use crate::names::NameIndex;
use crate::{Checkpoint, DType, FormatError, Problem, Source, TensorInfo};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::fmt;
use std::sync::Arc;

/// A header, validated.
#[derive(Clone, Debug)]
pub struct Header {
    /// The strings under `__metadata__`, in the order of the file.
    pub metadata: Vec<(String, String)>,
    /// Tensors in the order of the header; [`TensorInfo::file`] is 0.
    pub tensors: Vec<TensorInfo>,
    /// Where the data begins, in bytes from the start of the file.
    pub data_start: u64,
}

/// A safetensors file, opened.
#[derive(Debug)]
pub struct Safetensors {
    /// The strings under `__metadata__`, in the order of the file.
    pub metadata: Vec<(String, String)>,
    /// Tensors and their data.
    pub checkpoint: Checkpoint,
}

/// Opens a single file: [`Header::read`], and the tensors made readable.
///
/// # Errors
/// As [`Header::read`].
pub fn open(source: Arc<dyn Source>) -> Result<Safetensors, FormatError> {
    let header = Header::read(&*source)?;
    let checkpoint = Checkpoint::new(header.tensors, vec![source])?;
    Ok(Safetensors { metadata: header.metadata, checkpoint })
}

impl Header {
    /// Reads a header and checks all of it: names are unique, sizes are those of the shapes, and the
    /// tensors fill the data section without overlap, gap or remainder.
    ///
    /// # Errors
    /// A [`Problem`] that names the tensor or the offset.
    pub fn read(source: &dyn Source) -> Result<Self, FormatError> {
        read(source).map_err(|problem| FormatError::new(source.name(), problem))
    }
}

fn read(source: &dyn Source) -> Result<Header, Problem> {
    let text = read_json(source)?;
    let raw: RawHeader = serde_json::from_str(&text).map_err(|e| json::problem("the header", &e))?;
    let data_start = 8 + text.len() as u64;
    drop(text);

    let metadata = raw.metadata.unwrap_or_default();
    if let Err(i) = NameIndex::build(&metadata, |e| &e.0) {
        return Err(Problem::Duplicate { what: "metadata key", name: metadata[i].0.clone() });
    }
    if let Err(i) = NameIndex::build(&raw.tensors, |e| &e.0) {
        return Err(Problem::Duplicate { what: "tensor", name: raw.tensors[i].0.clone() });
    }
    let found = raw.tensors.len() as u64;
    if found > MAX_TENSORS {
        return Err(Problem::TooMany { what: "tensors", found, limit: MAX_TENSORS });
    }
    let file_len = source.len();
    let tensors = raw.tensors.into_iter().map(|(name, t)| tensor(name, t, data_start, file_len));
    let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
    // Alignment 1: not a single byte may belong to no tensor, or files could hide others in themselves.
    let end = check_extents(&tensors, data_start, 1)?;
    if end != file_len {
        return Err(Problem::TrailingBytes { offset: end, found: file_len - end, limit: 0 });
    }
    Ok(Header { metadata, tensors, data_start })
}

/// The header's text.
fn read_json(source: &dyn Source) -> Result<String, Problem> {
    let len = source.len();
    let available = match len.checked_sub(8) {
        _ if len == 0 => return Err(Problem::Empty),
        None => return Err(Problem::Truncated { what: "the header length", offset: 0, needed: 8, available: len }),
        Some(rest) => rest,
    };
    let mut prefix = [0; 8];
    source.read_at(0, &mut prefix).map_err(|error| Problem::Io { offset: 0, len: 8, error })?;
    let found = u64::from_le_bytes(prefix);
    // Read as text, eight characters are an enormous length: say what they are instead.
    let [a, b, c, d, ..] = prefix;
    let wrong = |hint| Problem::WrongMagic { found: [a, b, c, d], expected: "a safetensors file", hint };
    match &[a, b, c, d] {
        b"GGUF" => return Err(wrong("a GGUF file; open it as one")),
        b"PK\x03\x04" => return Err(wrong("a ZIP archive, perhaps a PyTorch checkpoint; convert it first")),
        b"vers" => return Err(wrong("a Git LFS pointer; fetch the file itself with git lfs pull")),
        _ if prefix.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) => {
            return Err(wrong("perhaps a text file; get the file again"));
        }
        _ => {}
    }
    if found > MAX_SAFETENSORS_HEADER {
        return Err(Problem::TooLong { what: "the header", offset: 0, found, limit: MAX_SAFETENSORS_HEADER });
    }
    if found > available {
        return Err(Problem::Truncated { what: "the header", offset: 8, needed: found, available });
    }
    let text = json::read_range(source, "the header", 8, found)?;
    if !text.starts_with('{') {
        let message = "does not begin with '{'; the file is damaged or no safetensors file".to_owned();
        return Err(Problem::Json { what: "the header", message });
    }
    Ok(text)
}

fn tensor(name: String, raw: RawTensor, data_start: u64, file_len: u64) -> Result<TensorInfo, Problem> {
    let found = name.len() as u64;
    if found == 0 {
        return Err(Problem::EmptyName { what: "a tensor name", offset: 8 });
    }
    if found > MAX_NAME_BYTES {
        return Err(Problem::TooLong { what: "a tensor name", offset: 8, found, limit: MAX_NAME_BYTES });
    }
    let dtype = dtype(&name, &raw.dtype)?;
    if raw.shape.len() > MAX_SAFETENSORS_DIMS {
        let found = raw.shape.len() as u64;
        return Err(Problem::DimensionCount { tensor: name, found, expected: "0 to 8" });
    }
    // Zero is a legal dimension here, unlike in GGUF.
    let bytes = tensor_bytes(&name, dtype, &raw.shape, 0)?;
    let (begin, end) = raw.data_offsets;
    if end.checked_sub(begin) != Some(bytes) {
        return Err(Problem::ByteCount { tensor: name, begin, end, expected: bytes });
    }
    match (data_start.checked_add(begin), data_start.checked_add(end)) {
        (Some(offset), Some(end)) if end <= file_len => {
            Ok(TensorInfo { name, dtype, shape: raw.shape, file: 0, offset, bytes })
        }
        _ => Err(Problem::OutOfFile { tensor: name, offset: begin, bytes, file_len }),
    }
}

/// The names of our plain dtypes are those of safetensors.
fn dtype(tensor: &str, name: &str) -> Result<DType, Problem> {
    let plain = || DType::ALL.iter().copied().filter(|d| !d.is_quantized());
    if let Some(dtype) = plain().find(|d| d.name() == name) {
        return Ok(dtype);
    }
    let (tensor, found) = (tensor.to_owned(), name.to_owned());
    match name {
        "F8_E4M3" | "F8_E5M2" | "F8_E8M0" | "F6_E2M3" | "F6_E3M2" | "F4" | "C64" => {
            let supported: Vec<&str> = plain().map(DType::name).collect();
            Err(Problem::UnsupportedDtype { tensor, found, supported: supported.join(" ") })
        }
        _ => Err(Problem::UnknownDtype { tensor, found }),
    }
}

/// One tensor as the JSON has it. Derived code refuses unknown, missing and repeated fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

#[derive(Default)]
struct RawHeader {
    metadata: Option<Vec<(String, String)>>,
    tensors: Vec<(String, RawTensor)>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;

        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut header = RawHeader::default();
                while let Some(name) = map.next_key::<String>()? {
                    if name != METADATA_KEY {
                        header.tensors.push((name, map.next_value()?));
                    } else if header.metadata.is_some() {
                        return Err(serde::de::Error::duplicate_field(METADATA_KEY));
                    } else {
                        let Pairs(pairs) = map.next_value()?;
                        header.metadata = Some(pairs);
                    }
                }
                Ok(header)
            }
        }

        deserializer.deserialize_map(HeaderVisitor)
    }
}
