//! The tensors of a file as a graph takes them: found by the architecture's table, checked, taken apart, turned round.

use super::ModelFile;
use super::stack::StackSource;
use super::ternary::{self, Codes};
use crate::error::Error;
use crate::models::{BitLinear, Change, ConfigError, Stack, StackForm, TensorSpec, TensorTable};
use std::collections::{HashMap, HashSet};
use tern_formats::{Checkpoint, DType, TensorInfo};

/// The tensors of a file that an architecture knows, by GGUF name.
pub struct Resolved {
    /// Element type codes.
    pub dtypes: HashMap<String, u32>,
    pub(super) stored: HashMap<String, Stored>,
}

/// A tensor as the graph takes it, and what is in the file.
pub(super) struct Stored {
    /// Of a tensor that files have otherwise, its own rows and final shape.
    pub info: TensorInfo,
    /// To be made of the file's before it is used.
    change: Change,
    /// What its bytes are made of, where they do not lie together in the file.
    made: Option<Made>,
}

/// What the bytes of a tensor are made of.
enum Made {
    /// Columns of a transposed tensor, from this one on.
    Columns(TensorInfo, u64),
    /// Experts' matrices.
    Stack(StackSource),
    /// Numbers of these, see [`TensorSpec::derived`].
    Derived(TensorSpec, Vec<TensorInfo>),
    /// A matrix of weights -1, 0 and 1, which is read into another type.
    Ternary(Ternary),
}

struct Ternary {
    how: BitLinear,
    whole: TensorInfo,
    /// A number that counts for all of it.
    factor: Option<TensorInfo>,
}

impl Resolved {
    /// The tensor with this GGUF name.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        Some(&self.stored.get(name)?.info)
    }

    /// Bytes that are in memory while a tensor with this name is handed over, besides what the device makes of it.
    pub fn source_bytes(&self, name: &str) -> u64 {
        self.stored.get(name).map_or(0, Stored::source_bytes)
    }

    /// Do its bytes lie in the file as they are used?
    pub fn is_as_in_file(&self, name: &str) -> bool {
        self.stored.get(name).is_some_and(Stored::is_as_in_file)
    }

    /// Can a device use its bytes where the file is mapped?
    ///
    /// # Errors
    /// [`Error::Format`].
    pub fn lasting(&self, file: &ModelFile, name: &str) -> Result<bool, Error> {
        match self.stored.get(name) {
            Some(stored) if stored.is_as_in_file() => Ok(file.checkpoint.share(&stored.info)?.is_some()),
            _ => Ok(false),
        }
    }
}

/// Matches a file's tensors with `table`: names, shapes, nothing missing, nothing unknown.
///
/// # Errors
/// [`Error::MissingTensor`], [`Error::ExtraTensor`], [`Error::TensorShape`]; [`Error::Config`] for a type that cannot be taken apart
/// where a file has several tensors as one.
pub fn resolve(file: &ModelFile, table: &TensorTable) -> Result<Resolved, Error> {
    let gguf = file.format == "gguf";
    let mut resolved = Resolved { dtypes: HashMap::new(), stored: HashMap::new() };
    let mut known = HashSet::new();
    for spec in &table.specs {
        let Some(found) = find_tensors(&file.checkpoint, spec, gguf, &file.path)? else { continue };
        known.extend(found.iter().map(|t| &*t.name));
        let name = spec.name_in(gguf);
        let factor = spec.bit_linear.and_then(|b| b.factor_name(name)).and_then(|n| file.checkpoint.get(&n));
        known.extend(factor.map(|t| &*t.name));
        if let Some(stored) = spec.bit_linear.and_then(|how| as_ternary(how, found.first()?, factor, spec)) {
            if matches!(spec.bit_linear, Some(BitLinear::Packed(_))) && factor.is_none_or(|f| f.elements() != 1) {
                let tensor = name.replace(".weight", ".weight_scale");
                return Err(Error::MissingTensor { file: file.path.clone(), tensor });
            }
            resolved.dtypes.insert(spec.gguf.clone(), stored.info.dtype.code());
            resolved.stored.insert(spec.gguf.clone(), stored);
            continue;
        }
        let stored = stored(&found, spec, gguf).ok_or_else(|| ConfigError::Unsupported {
            key: format!("type of {name}"),
            found: found.first().map_or("", |t| t.dtype.name()).to_owned(),
            supported: "types whose rows can be taken apart".to_owned(),
        })?;
        resolved.dtypes.insert(spec.gguf.clone(), stored.info.dtype.code());
        resolved.stored.insert(spec.gguf.clone(), stored);
    }
    let mut tensors = file.checkpoint.tensors().iter();
    match tensors.find(|t| !known.contains(&*t.name) && !table.ignores(&t.name)) {
        Some(t) => Err(Error::ExtraTensor { file: file.path.clone(), tensor: t.name.to_string() }),
        None => Ok(resolved),
    }
}

/// The tensors of a file (called `path` in errors) that `spec` is in; `None` for an optional one that is not there.
///
/// # Errors
/// [`Error::MissingTensor`], [`Error::TensorShape`].
pub fn find_tensors<'a>(
    checkpoint: &'a Checkpoint,
    spec: &TensorSpec,
    gguf: bool,
    path: &str,
) -> Result<Option<Vec<&'a TensorInfo>>, Error> {
    let mut found = Vec::new();
    for (tensor, expected) in spec.sources(gguf) {
        let file = path.to_owned();
        match checkpoint.get(&tensor) {
            None if spec.optional && found.is_empty() => return Ok(None),
            None => return Err(Error::MissingTensor { file, tensor }),
            // Some GGUF files have a single row as a matrix all the same.
            Some(t) if *t.shape != *expected && !(spec.change == Change::Row && *t.shape == *spec.shape) => {
                return Err(Error::TensorShape { file, tensor, found: t.shape.to_vec(), expected });
            }
            Some(t) => found.push(t),
        }
    }
    Ok(Some(found))
}

/// A matrix that a device gets in another type than the file's; `None` where it takes the file's.
fn as_ternary(how: BitLinear, whole: &TensorInfo, factor: Option<&TensorInfo>, spec: &TensorSpec) -> Option<Stored> {
    if how == BitLinear::Stored && factor.is_none() {
        return None;
    }
    let dtype = ternary::dtype(*spec.shape.last()?);
    let elements = spec.shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d))?;
    let bytes = dtype.tensor_bytes(elements)?;
    let info = TensorInfo { dtype, shape: spec.shape.as_slice().into(), bytes, ..whole.clone() };
    let made = Some(Made::Ternary(Ternary { how, whole: whole.clone(), factor: factor.cloned() }));
    Some(Stored { info, change: Change::None, made })
}

/// What `spec` is in the tensors of its file; `None` where elements of their type cannot be taken apart that way.
fn stored(found: &[&TensorInfo], spec: &TensorSpec, gguf: bool) -> Option<Stored> {
    let change = match (gguf, spec.change, &spec.part) {
        (false, change, _) => change,
        (true, Change::Stack(_), Some(part)) => {
            Change::Stack(Stack { form: StackForm::Whole, first: part.first, step: 1, of: part.of })
        }
        (true, ..) => Change::None,
    };
    let whole = *found.first()?;
    if matches!(change, Change::Column { .. } | Change::LowRank { .. }) {
        let elements = spec.shape.iter().try_fold(4u64, |n, &d| n.checked_mul(d))?;
        let (name, shape) = (spec.gguf.as_str().into(), spec.shape.as_slice().into());
        let info = TensorInfo { name, dtype: DType::F32, shape, bytes: elements, ..whole.clone() };
        let parts = found.iter().map(|&t| t.clone()).collect();
        return Some(Stored { info, change, made: Some(Made::Derived(spec.clone(), parts)) });
    }
    if let Change::Stack(stack) = change {
        let source = StackSource::new(spec, stack, found.iter().map(|&t| t.clone()).collect())?;
        let rows =
            spec.shape.iter().rev().skip(usize::from(spec.shape.len() > 2)).try_fold(1u64, |n, &d| n.checked_mul(d))?;
        let info = TensorInfo {
            name: spec.gguf.as_str().into(),
            dtype: source.dtype(),
            shape: spec.shape.as_slice().into(),
            bytes: rows.checked_mul(source.row_bytes()? as u64)?,
            ..whole.clone()
        };
        return Some(Stored { info, change, made: Some(Made::Stack(source)) });
    }
    let first = match change {
        Change::Within { first, .. } => first,
        _ => spec.part.as_ref().map_or(0, |part| part.first),
    };
    let (rows, columns) = match spec.shape[..] {
        [rows] => (rows, 1),
        [rows, columns] => (rows, columns),
        // A stack is never a part.
        _ => return Some(Stored { info: whole.clone(), change, made: None }),
    };
    if change == Change::Squeezed && spec.part.is_none() {
        let info = TensorInfo { shape: spec.shape.as_slice().into(), ..whole.clone() };
        return Some(Stored { info, change, made: None });
    }
    let whole_is_it = spec.part.is_none() && !matches!(change, Change::Transposed | Change::Within { .. });
    if whole_is_it {
        let info = TensorInfo { shape: spec.shape.as_slice().into(), ..whole.clone() };
        return Some(Stored { info, change, made: None });
    }
    // Some types have something behind all rows.
    if whole.dtype.tail_bytes() != 0 || change == Change::Transposed && whole.dtype.block_len() != 1 {
        return None;
    }
    let row_bytes = whole.dtype.row_bytes(usize::try_from(columns).ok()?)? as u64;
    let at = if change == Change::Transposed { 0 } else { first.checked_mul(row_bytes)? };
    let info = TensorInfo {
        name: spec.gguf.as_str().into(),
        shape: spec.shape.as_slice().into(),
        offset: whole.offset.checked_add(at)?,
        bytes: rows.checked_mul(row_bytes)?,
        ..whole.clone()
    };
    let made = (change == Change::Transposed).then(|| Made::Columns(whole.clone(), first));
    Some(Stored { info, change, made })
}

impl Stored {
    /// See [`Resolved::source_bytes`].
    pub fn source_bytes(&self) -> u64 {
        let extra = match &self.made {
            None => 0,
            Some(Made::Columns(whole, _)) => whole.bytes,
            Some(Made::Stack(stack)) => stack.extra_bytes(),
            // As in the file, and as single precision has them.
            Some(Made::Derived(_, parts)) => parts
                .iter()
                .map(|t| t.bytes.saturating_add(t.elements().saturating_mul(4)))
                .fold(0, u64::saturating_add),
            // The file's, codes of a byte each, and where it has floats those.
            Some(Made::Ternary(t)) => {
                let floats = if t.how == BitLinear::Master { 5 } else { 1 };
                t.whole.bytes.saturating_add(self.info.elements().saturating_mul(floats))
            }
        };
        self.info.bytes.saturating_add(extra)
    }

    /// Are its bytes the file's?
    pub fn is_as_in_file(&self) -> bool {
        self.made.is_none()
    }

    /// The file's tensors that it is in.
    pub fn sources(&self) -> &[TensorInfo] {
        match &self.made {
            None => std::slice::from_ref(&self.info),
            Some(Made::Columns(whole, _) | Made::Ternary(Ternary { whole, .. })) => std::slice::from_ref(whole),
            Some(Made::Stack(stack)) => stack.tensors(),
            Some(Made::Derived(_, parts)) => parts,
        }
    }

    /// The bytes, in order.
    pub fn read(&self, file: &ModelFile) -> Result<Vec<u8>, Error> {
        let (whole, first) = match &self.made {
            None => return Ok(file.checkpoint.read(&self.info)?.into_owned()),
            Some(Made::Columns(whole, first)) => (whole, first),
            Some(Made::Stack(stack)) => {
                let mut out = vec![0; self.info.bytes as usize];
                stack.read_rows(&file.checkpoint, 0, &mut out)?;
                return Ok(out);
            }
            Some(Made::Ternary(ternary)) => return ternary.read(file, &self.info),
            Some(Made::Derived(spec, parts)) => {
                let parts = parts.iter().map(|t| numbers(file, t)).collect::<Result<Vec<_>, _>>()?;
                let other = || Error::Internal { what: format!("{}: other tensors than it is made of", spec.gguf) };
                let values = spec.derived(&parts).ok_or_else(other)?;
                return Ok(values.into_iter().flat_map(f32::to_le_bytes).collect());
            }
        };
        let bytes = file.checkpoint.read(whole)?;
        // Row r of the tensor is column `first + r` of the whole.
        let unit = whole.dtype.block_bytes().max(1);
        let (columns, first) = (whole.shape.last().map_or(1, |&n| n as usize).max(1), *first as usize);
        let rows = self.info.shape.first().map_or(0, |&n| n as usize);
        let mut out = Vec::with_capacity(self.info.bytes as usize);
        for r in first..first + rows {
            for line in bytes.chunks_exact(columns * unit) {
                out.extend_from_slice(line.get(r * unit..(r + 1) * unit).unwrap_or_default());
            }
        }
        Ok(out)
    }

    /// A vector as floats.
    pub fn floats(&self, file: &ModelFile) -> Result<Vec<f32>, Error> {
        let t = &self.info;
        let mut values = vec![0.0; t.elements() as usize];
        tern_quant::dequantize(t.dtype, &self.read(file)?, &mut values)
            .map_err(|e| Error::Internal { what: format!("{}: {e}", t.name) })?;
        if self.change == Change::PlusOne {
            values.iter_mut().for_each(|v| *v += 1.0);
        }
        if self.change == Change::NegativeExp {
            values.iter_mut().for_each(|v| *v = -v.exp());
        }
        Ok(values)
    }
}

/// A tensor's numbers.
fn numbers(file: &ModelFile, t: &TensorInfo) -> Result<Vec<f32>, Error> {
    let mut values = vec![0.0; usize::try_from(t.elements()).unwrap_or(0)];
    let internal = |e: tern_quant::QuantError| Error::Internal { what: format!("{}: {e}", t.name) };
    tern_quant::dequantize(t.dtype, &file.checkpoint.read(t)?, &mut values).map_err(internal)?;
    Ok(values)
}

impl Ternary {
    fn read(&self, file: &ModelFile, to: &TensorInfo) -> Result<Vec<u8>, Error> {
        let internal = |e: tern_quant::QuantError| Error::Internal { what: format!("{}: {e}", to.name) };
        let beside = match &self.factor {
            Some(t) => {
                let mut value = [0.0];
                tern_quant::dequantize(t.dtype, &file.checkpoint.read(t)?, &mut value).map_err(internal)?;
                Some(value[0])
            }
            None => None,
        };
        let size = |i: usize| to.shape.get(i).map_or(0, |&n| n as usize);
        let bytes = file.checkpoint.read(&self.whole)?;
        let codes = Codes::read(self.how, &self.whole, &bytes, beside, (size(0), size(1)))?;
        codes.bytes(to.dtype).map_err(|error| Error::Ternary { tensor: to.name.to_string(), error })
    }
}
