//! The tensors of a file as a graph takes them: found by the architecture's table, checked, taken apart, turned round.

use super::ModelFile;
use super::ternary::{self, Codes};
use crate::error::Error;
use crate::models::{BitLinear, Change, ConfigError, TensorSpec, TensorTable};
use std::collections::{HashMap, HashSet};
use tern_formats::TensorInfo;

/// The tensors of a file that an architecture knows, by GGUF name.
pub struct Resolved {
    /// Element type codes.
    pub dtypes: HashMap<String, u32>,
    pub(super) stored: HashMap<String, Stored>,
}

/// A tensor as the graph takes it, and what is in the file.
pub(super) struct Stored {
    /// Of a tensor that files have inside of another, its own rows; of a transposed one, its final shape.
    pub info: TensorInfo,
    /// To be made of the file's before it is used.
    change: Change,
    /// The whole that it is a part of, where its rows do not lie together in the file: a transposed tensor, and first row.
    scattered: Option<(TensorInfo, u64)>,
    /// The file's tensor, where it is a matrix of weights -1, 0 and 1 that is read into another type.
    ternary: Option<Ternary>,
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
    let tensors = file.checkpoint.tensors();
    let positions: HashMap<&str, usize> = tensors.iter().enumerate().map(|(i, t)| (t.name.as_str(), i)).collect();
    let mut resolved = Resolved { dtypes: HashMap::new(), stored: HashMap::new() };
    let mut known = HashSet::new();
    for spec in &table.specs {
        let name = spec.name_in(gguf);
        let Some(&i) = positions.get(name) else {
            if spec.optional {
                continue;
            }
            return Err(Error::MissingTensor { file: file.path.clone(), tensor: name.to_owned() });
        };
        let (info, expected) = (&tensors[i], spec.shape_in(gguf));
        if info.shape != expected {
            let (tensor, found) = (name.to_owned(), info.shape.clone());
            return Err(Error::TensorShape { file: file.path.clone(), tensor, found, expected });
        }
        known.insert(i);
        let beside = spec.bit_linear.and_then(|b| b.factor_name(name)).and_then(|n| positions.get(n.as_str()).copied());
        known.extend(beside);
        let factor = beside.map(|i| &tensors[i]);
        if let Some(stored) = spec.bit_linear.and_then(|how| as_ternary(how, info, factor, spec)) {
            if matches!(spec.bit_linear, Some(BitLinear::Packed(_))) && factor.is_none_or(|f| f.elements() != 1) {
                let tensor = name.replace(".weight", ".weight_scale");
                return Err(Error::MissingTensor { file: file.path.clone(), tensor });
            }
            resolved.dtypes.insert(spec.gguf.clone(), stored.info.dtype.code());
            resolved.stored.insert(spec.gguf.clone(), stored);
            continue;
        }
        let stored = stored(info, spec, gguf).ok_or_else(|| ConfigError::Unsupported {
            key: format!("type of {name}"),
            found: info.dtype.name().to_owned(),
            supported: "types whose rows can be taken apart".to_owned(),
        })?;
        resolved.dtypes.insert(spec.gguf.clone(), stored.info.dtype.code());
        resolved.stored.insert(spec.gguf.clone(), stored);
    }
    match tensors.iter().enumerate().find(|(i, t)| !known.contains(i) && !table.ignores(&t.name)) {
        Some((_, t)) => Err(Error::ExtraTensor { file: file.path.clone(), tensor: t.name.clone() }),
        None => Ok(resolved),
    }
}

/// A matrix that a device gets in another type than the file's; `None` where it takes the file's.
fn as_ternary(how: BitLinear, whole: &TensorInfo, factor: Option<&TensorInfo>, spec: &TensorSpec) -> Option<Stored> {
    if how == BitLinear::Stored && factor.is_none() {
        return None;
    }
    let dtype = ternary::dtype(*spec.shape.last()?);
    let elements = spec.shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d))?;
    let bytes = dtype.tensor_bytes(elements)?;
    let info = TensorInfo { dtype, shape: spec.shape.clone(), bytes, ..whole.clone() };
    let ternary = Some(Ternary { how, whole: whole.clone(), factor: factor.cloned() });
    Some(Stored { info, change: Change::None, scattered: None, ternary })
}

/// What `spec` is in the tensor `whole` of its file; `None` where elements of its type cannot be taken apart that way.
fn stored(whole: &TensorInfo, spec: &TensorSpec, gguf: bool) -> Option<Stored> {
    let change = if gguf { Change::None } else { spec.change };
    let first = spec.part.as_ref().map_or(0, |part| part.first);
    let (rows, columns) = match spec.shape[..] {
        [rows] => (rows, 1),
        [rows, columns] => (rows, columns),
        // A stack is never a part.
        _ => return Some(Stored { info: whole.clone(), change, scattered: None, ternary: None }),
    };
    if change == Change::Squeezed {
        let info = TensorInfo { shape: spec.shape.clone(), ..whole.clone() };
        return Some(Stored { info, change, scattered: None, ternary: None });
    }
    let whole_is_it = spec.part.is_none() && change != Change::Transposed;
    if whole_is_it {
        return Some(Stored { info: whole.clone(), change, scattered: None, ternary: None });
    }
    // Some types have something behind all rows.
    if whole.dtype.tail_bytes() != 0 || change == Change::Transposed && whole.dtype.block_len() != 1 {
        return None;
    }
    let row_bytes = whole.dtype.row_bytes(usize::try_from(columns).ok()?)? as u64;
    let at = if change == Change::Transposed { 0 } else { first.checked_mul(row_bytes)? };
    let info = TensorInfo {
        name: spec.gguf.clone(),
        shape: spec.shape.clone(),
        offset: whole.offset.checked_add(at)?,
        bytes: rows.checked_mul(row_bytes)?,
        ..whole.clone()
    };
    let scattered = (change == Change::Transposed).then(|| (whole.clone(), first));
    Some(Stored { info, change, scattered, ternary: None })
}

impl Stored {
    /// See [`Resolved::source_bytes`].
    pub fn source_bytes(&self) -> u64 {
        let other = self.scattered.as_ref().map_or(0, |(whole, _)| whole.bytes);
        // The file's, codes of a byte each, and where it has floats those.
        let codes = self.ternary.as_ref().map_or(0, |t| {
            let floats = if t.how == BitLinear::Master { 5 } else { 1 };
            t.whole.bytes.saturating_add(self.info.elements().saturating_mul(floats))
        });
        self.info.bytes.saturating_add(other).saturating_add(codes)
    }

    /// Are its bytes the file's?
    pub fn is_as_in_file(&self) -> bool {
        self.scattered.is_none() && self.ternary.is_none()
    }

    /// The tensor of the file that it is read from.
    pub fn source(&self) -> &TensorInfo {
        self.ternary.as_ref().map_or(&self.info, |t| &t.whole)
    }

    /// The bytes, in order.
    pub fn read(&self, file: &ModelFile) -> Result<Vec<u8>, Error> {
        if let Some(ternary) = &self.ternary {
            return ternary.read(file, &self.info);
        }
        let Some((whole, first)) = &self.scattered else { return Ok(file.checkpoint.read(&self.info)?.into_owned()) };
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
        Ok(values)
    }
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
        codes.bytes(to.dtype).map_err(|error| Error::Ternary { tensor: to.name.clone(), error })
    }
}
