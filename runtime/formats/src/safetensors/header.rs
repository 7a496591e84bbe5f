//! Reading and validating the header of one file.

use super::METADATA_KEY;
use crate::json;
use crate::layout::{check_extents, tensor_bytes};
use crate::limits::{MAX_NAME_BYTES, MAX_SAFETENSORS_DIMS, MAX_SAFETENSORS_HEADER, MAX_TENSORS};
use crate::names::NameIndex;
use crate::{Checkpoint, DType, FormatError, Problem, Source, StringPairs, TensorInfo, room, strings};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A header, validated.
#[derive(Clone, Debug)]
pub struct Header {
    /// The strings under `__metadata__`, in the order of the file.
    pub metadata: StringPairs,
    /// Tensors in the order of the header; [`TensorInfo::file`] is 0.
    pub tensors: Vec<TensorInfo>,
    /// Where the data begins, in bytes from the start of the file.
    pub data_start: u64,
}

/// A safetensors file, opened.
#[derive(Debug)]
pub struct Safetensors {
    /// The strings under `__metadata__`, in the order of the file.
    pub metadata: StringPairs,
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
        let mut tensors = Vec::new();
        let (metadata, data_start) = read_onto(&mut tensors, source)?;
        tensors.shrink_to_fit();
        Ok(Self { metadata, tensors, data_start })
    }
}

/// Reads a header, as [`Header::read`], and puts its tensors behind those of other files: a list of each file's and one of
/// all would be twice as much memory. Gives the strings, and where the data begins.
pub(super) fn read_onto(list: &mut Vec<TensorInfo>, source: &dyn Source) -> Result<(StringPairs, u64), FormatError> {
    read(list, source).map_err(|problem| FormatError::new(source.name(), problem))
}

fn read(list: &mut Vec<TensorInfo>, source: &dyn Source) -> Result<(StringPairs, u64), Problem> {
    let json = json_range(source)?;
    let (data_start, file_len) = (json.end, source.len());
    let (mut metadata, mut problem, before) = (None, None, list.len());
    let members = Members { list, metadata: &mut metadata, problem: &mut problem, data_start, file_len };
    let read = json::read_streamed(source, "the header", json, members);
    problem.map_or(read, Err)?;

    let metadata = metadata.unwrap_or_default();
    metadata.index("metadata key")?;
    let tensors = list.get(before..).unwrap_or_default();
    if let Err(i) = NameIndex::build(tensors, |t| &*t.name) {
        return Err(Problem::Duplicate { what: "tensor", name: tensors[i].name.to_string() });
    }
    // Alignment 1: not a single byte may belong to no tensor, or files could hide others in themselves.
    let end = check_extents(tensors, data_start, 1)?;
    if end != file_len {
        return Err(Problem::TrailingBytes { offset: end, found: file_len - end, limit: 0 });
    }
    Ok((metadata, data_start))
}

/// Where the header's JSON is.
fn json_range(source: &dyn Source) -> Result<Range<u64>, Problem> {
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
    let mut first = [0];
    if found > 0 {
        source.read_at(8, &mut first).map_err(|error| Problem::Io { offset: 8, len: 1, error })?;
    }
    if first != *b"{" {
        let message = "does not begin with '{'; the file is damaged or no safetensors file".to_owned();
        return Err(Problem::Json { what: "the header", message });
    }
    Ok(8..8 + found)
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
            Ok(TensorInfo { name: name.into(), dtype, shape: raw.shape.into(), file: 0, offset, bytes })
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

/// The members of the header, read one by one into what they become.
struct Members<'a> {
    list: &'a mut Vec<TensorInfo>,
    metadata: &'a mut Option<StringPairs>,
    /// Why reading ended, where the reason is not the JSON: serde's errors are no more than text.
    problem: &'a mut Option<Problem>,
    data_start: u64,
    file_len: u64,
}

impl Members<'_> {
    fn tensor(&mut self, found: u64, name: String, raw: RawTensor) -> Result<(), Problem> {
        if found > MAX_TENSORS {
            return Err(Problem::TooMany { what: "tensors", found, limit: MAX_TENSORS });
        }
        room::reserve(self.list, 1, "the tensors of the header")?;
        self.list.push(tensor(name, raw, self.data_start, self.file_len)?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut tensors = 0;
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA_KEY {
                if self.metadata.is_some() {
                    return Err(A::Error::duplicate_field(METADATA_KEY));
                }
                map.next_value_seed(strings::Members(self.metadata.insert(StringPairs::default())))?;
                continue;
            }
            tensors += 1;
            let raw = map.next_value()?;
            if let Err(problem) = self.tensor(tensors, name, raw) {
                *self.problem = Some(problem);
                return Err(A::Error::custom("a tensor is refused"));
            }
        }
        Ok(())
    }
}
