//! Reading and validating a header.

use super::cursor::Cursor;
use super::entries::Entries;
use super::metadata::Metadata;
use super::parse;
use super::readings;
use super::split::Split;
use super::types::{GgmlType, ggml_type, supported};
use super::value::Value;
use super::{ALIGNMENT_KEY, MAGIC};
use crate::layout::{check_extents, tensor_bytes};
use crate::limits::{
    ALIGNMENT_RANGE, DEFAULT_ALIGNMENT, MAX_GGUF_DIMS, MAX_KEY_BYTES, MAX_KEYS, MAX_NAME_BYTES, MAX_TENSORS,
};
use crate::names::NameIndex;
use crate::{Checkpoint, DType, FormatError, Problem, Source, TensorInfo, room};
use std::sync::Arc;
use tern_quant::collisions::Project;
use tern_quant::i2_s::Order;

/// Bytes of the shortest key: length, one character, type, one byte of value.
const MIN_KEY_RECORD: u64 = 8 + 1 + 4 + 1;

/// Bytes of the shortest tensor info: length, one character, dimension count, one dimension, type, offset.
const MIN_TENSOR_RECORD: u64 = 8 + 1 + 4 + 8 + 4 + 8;

/// What to allow beyond the defaults.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOptions {
    /// Accept data after the last tensor. By default only padding, fewer bytes than the alignment, is.
    pub allow_trailing: bool,
    /// The block order of I2_S tensors, which files do not state. Without it, files whose shapes do not decide are refused.
    pub i2_s_order: Option<Order>,
    /// Whose meaning of type ids that collide counts. Without it, sizes decide, or the file is refused.
    pub ids_of: Option<Project>,
}

/// Everything before the data section, validated.
#[derive(Clone, Debug)]
pub struct Header {
    /// Format version, 2 or 3.
    pub version: u32,
    /// Alignment of tensor data in bytes.
    pub alignment: u64,
    /// Keys and values.
    pub metadata: Metadata,
    /// Tensors in the order of the file; [`TensorInfo::file`] is 0.
    pub tensors: Vec<TensorInfo>,
    /// Where the data section begins, in bytes from the start of the file.
    pub data_start: u64,
}

/// A GGUF file, opened, or all parts of a split one: its keys and its tensors.
#[derive(Debug)]
pub struct Gguf {
    /// Format version, 2 or 3; of the first part.
    pub version: u32,
    /// Alignment of tensor data in bytes; of the first part.
    pub alignment: u64,
    /// Keys and values; those of the first part, without the ones that say how it was split.
    pub metadata: Metadata,
    /// Tensors and their data.
    pub checkpoint: Checkpoint,
}

/// Opens a GGUF file: [`Header::read`], and the tensors made readable.
///
/// # Errors
/// As [`Header::read`]; [`Problem::LonePart`] for a part of a split model, which [`open_split`](super::open_split) opens.
pub fn open(source: Arc<dyn Source>) -> Result<Gguf, FormatError> {
    open_with(source, ReadOptions::default())
}

/// As [`open`], with options.
///
/// # Errors
/// As [`open`].
pub fn open_with(source: Arc<dyn Source>, options: ReadOptions) -> Result<Gguf, FormatError> {
    let header = Header::read_with(&*source, options)?;
    match Split::of(&header.metadata, header.tensors.len())? {
        Some(Split { no, count, .. }) => {
            Err(FormatError::new(source.name(), Problem::LonePart { part: no + 1, count }))
        }
        None => header.open(source),
    }
}

impl Header {
    /// Reads a header and checks all of it: framing, every key, every tensor's shape, dtype and
    /// extent. Memory is bounded by the size of the header, time by its size times the logarithm of
    /// the number of names.
    ///
    /// # Errors
    /// A [`Problem`] that names the key, the tensor or the offset.
    pub fn read(source: &dyn Source) -> Result<Self, FormatError> {
        Self::read_with(source, ReadOptions::default())
    }

    /// As [`Header::read`], with options.
    ///
    /// # Errors
    /// As [`Header::read`].
    pub fn read_with(source: &dyn Source, options: ReadOptions) -> Result<Self, FormatError> {
        let mut tensors = Vec::new();
        let Head { version, alignment, metadata, data_start } = read_onto(&mut tensors, source, options)?;
        tensors.shrink_to_fit();
        Ok(Self { version, alignment, metadata, tensors, data_start })
    }

    /// The file that this is all of.
    pub(super) fn open(self, source: Arc<dyn Source>) -> Result<Gguf, FormatError> {
        let checkpoint = Checkpoint::new(self.tensors, vec![source])?;
        Ok(Gguf { version: self.version, alignment: self.alignment, metadata: self.metadata, checkpoint })
    }
}

/// A header without its tensors.
pub(super) struct Head {
    pub version: u32,
    pub alignment: u64,
    pub metadata: Metadata,
    data_start: u64,
}

/// Reads a header, as [`Header::read_with`], and puts its tensors behind those of other files: a list of each file's and one of
/// all would be twice as much memory.
pub(super) fn read_onto(
    list: &mut Vec<TensorInfo>,
    source: &dyn Source,
    options: ReadOptions,
) -> Result<Head, FormatError> {
    let fail = |problem| FormatError::new(source.name(), problem);
    let mut c = Cursor::new(source);
    let (version, tensor_count, key_count) = framing(&mut c).map_err(fail)?;
    let mut entries = Entries::default();
    for _ in 0..key_count {
        entry(&mut c, &mut entries).map_err(fail)?;
    }
    let metadata = Metadata::of(source.name(), entries)?;
    let alignment = alignment(&metadata).map_err(fail)?;
    let before = list.len();
    for _ in 0..tensor_count {
        room::reserve(list, 1, "the tensors of the header").map_err(fail)?;
        list.push(tensor(&mut c).map_err(fail)?);
    }
    let tensors = list.get_mut(before..).unwrap_or_default();
    if let Err(i) = NameIndex::build(tensors, |t| &*t.name) {
        return Err(fail(Problem::Duplicate { what: "tensor", name: tensors[i].name.to_string() }));
    }
    // The header is capped, so this cannot overflow; where it did, no tensor would fit.
    let data_start = c.position().checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
    let data_len = source.len().saturating_sub(data_start);
    readings::resolve(tensors, &metadata, (data_len, alignment), options).map_err(fail)?;
    place(tensors, data_start, source.len(), alignment).map_err(fail)?;
    let end =
        if tensors.is_empty() { c.position() } else { check_extents(tensors, data_start, alignment).map_err(fail)? };
    let trailing = source.len().saturating_sub(end);
    if trailing >= alignment && !options.allow_trailing {
        return Err(fail(Problem::TrailingBytes { offset: end, found: trailing, limit: alignment - 1 }));
    }
    Ok(Head { version, alignment, metadata, data_start })
}

/// Magic, version and counts.
fn framing(c: &mut Cursor<'_>) -> Result<(u32, u64, u64), Problem> {
    if c.remaining() == 0 {
        return Err(Problem::Empty);
    }
    let found: [u8; 4] = c.array("the magic")?;
    if found != MAGIC {
        return Err(Problem::WrongMagic { found, expected: "a GGUF file", hint: hint(found) });
    }
    let version = c.u32("the version")?;
    if !matches!(version, 2 | 3) {
        let hint = match (version, version.swap_bytes()) {
            (1, _) => "convert the model again with a current converter",
            (_, 1..=3) => "the file is big-endian; get or convert the little-endian one",
            (0, _) => "the file is damaged; get it again",
            _ => "the file is damaged or newer than this program",
        };
        return Err(Problem::UnsupportedVersion { found: version, expected: "2 or 3", hint });
    }
    let tensors = c.u64("the tensor count")?;
    let keys = c.u64("the key count")?;
    for (what, found, limit) in [("tensors", tensors, MAX_TENSORS), ("metadata keys", keys, MAX_KEYS)] {
        if found > limit {
            return Err(Problem::TooMany { what, found, limit });
        }
    }
    // Both are capped now, so neither product nor sum can overflow.
    c.need("the records that the header announces", tensors * MIN_TENSOR_RECORD + keys * MIN_KEY_RECORD, 1)?;
    Ok((version, tensors, keys))
}

/// What a file that is no GGUF probably is.
fn hint(found: [u8; 4]) -> &'static str {
    match &found {
        b"FUGG" => "the bytes are swapped; get or convert the little-endian file",
        b"ggml" | b"lmgg" | b"tjgg" | b"fmgg" | b"ggjt" | b"ggmf" => {
            "a file from before GGUF; convert the model again with a current converter"
        }
        b"PK\x03\x04" => "a ZIP archive, perhaps a PyTorch checkpoint; convert it first",
        b"vers" => "a Git LFS pointer; fetch the file itself with git lfs pull",
        b"<htm" | b"<!DO" | b"<!do" | b"<HTM" => "a web page; the download failed, get the file again",
        [_, _, _, _] if found.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) => {
            "perhaps a text file; give the path of a .gguf file"
        }
        // The other way a model file begins: eight bytes of header length, whose upper ones are zero.
        [_, _, _, 0] => "perhaps a safetensors file; open the folder it is in",
        _ => "give the path of a .gguf file",
    }
}

fn name(c: &mut Cursor<'_>, what: &'static str, limit: u64) -> Result<String, Problem> {
    let offset = c.position();
    let mut bytes = Vec::new();
    parse::string(c, limit, &mut bytes)?;
    if bytes.is_empty() {
        return Err(Problem::EmptyName { what, offset });
    }
    String::from_utf8(bytes).map_err(|_| Problem::NotUtf8 { what: what.to_owned(), offset })
}

fn entry(c: &mut Cursor<'_>, entries: &mut Entries) -> Result<(), Problem> {
    let key = name(c, "a key", MAX_KEY_BYTES)?;
    let kind = parse::read_type(c, &key)?;
    let value = parse::read_value(c, &key, kind)?;
    entries.push(&key, value)
}

fn alignment(metadata: &Metadata) -> Result<u64, Problem> {
    let found = match metadata.get(ALIGNMENT_KEY) {
        None => return Ok(DEFAULT_ALIGNMENT),
        Some(Value::U32(v)) => u64::from(v),
        // Unlike other integers not accepted in other widths: ggml refuses those files too.
        Some(other) => {
            return Err(Problem::WrongType { key: ALIGNMENT_KEY.into(), expected: "u32", found: other.describe() });
        }
    };
    if !found.is_power_of_two() || !ALIGNMENT_RANGE.contains(&found) {
        return Err(Problem::BadAlignment { found });
    }
    Ok(found)
}

/// A tensor info; its offset is still relative to the data section. Where its id has several readings it is left open.
fn tensor(c: &mut Cursor<'_>) -> Result<TensorInfo, Problem> {
    let name = name(c, "a tensor name", MAX_NAME_BYTES)?;
    let dims = c.u32("a dimension count")?;
    if !(1..=MAX_GGUF_DIMS).contains(&dims) {
        return Err(Problem::DimensionCount { tensor: name, found: dims.into(), expected: "1 to 4" });
    }
    let mut shape = [0; MAX_GGUF_DIMS as usize];
    let shape = shape.get_mut(..dims as usize).unwrap_or_default();
    for dim in shape.iter_mut().rev() {
        *dim = c.u64("a dimension")?;
    }
    let id = c.u32("a tensor type")?;
    let (dtype, file) = match dtype(&name, id)? {
        Some(dtype) => (dtype, 0),
        None => (readings::PLACEHOLDER, id),
    };
    let bytes = tensor_bytes(&name, dtype, shape, 1)?;
    let offset = c.u64("a tensor offset")?;
    Ok(TensorInfo { name: name.into(), dtype, shape: (&*shape).into(), file, offset, bytes })
}

/// `None` where the id has several readings.
fn dtype(tensor: &str, code: u32) -> Result<Option<DType>, Problem> {
    let tensor = || tensor.to_owned();
    match ggml_type(code) {
        GgmlType::Known(dtype) => Ok(Some(dtype)),
        GgmlType::Contested => Ok(None),
        GgmlType::Unsupported(name) => {
            Err(Problem::UnsupportedDtype { tensor: tensor(), found: name.to_owned(), supported: supported() })
        }
        GgmlType::Removed(name) => Err(Problem::RemovedDtype { tensor: tensor(), found: code, name }),
        GgmlType::Unknown => Err(Problem::UnknownDtype { tensor: tensor(), found: code.to_string() }),
    }
}

/// Makes offsets absolute, checking that each is aligned and each tensor ends within the file.
fn place(tensors: &mut [TensorInfo], data_start: u64, file_len: u64, alignment: u64) -> Result<(), Problem> {
    for t in tensors {
        let (offset, bytes) = (t.offset, t.bytes);
        if !offset.is_multiple_of(alignment) {
            return Err(Problem::Misaligned { tensor: t.name.to_string(), offset, alignment });
        }
        let begin = data_start.checked_add(offset);
        let end = begin.and_then(|b| b.checked_add(bytes));
        match (begin, end) {
            (Some(begin), Some(end)) if end <= file_len => t.offset = begin,
            _ => {
                let (tensor, offset) = (t.name.to_string(), begin.unwrap_or(offset));
                return Err(Problem::OutOfFile { tensor, offset, bytes, file_len });
            }
        }
    }
    Ok(())
}
