//! Writing the converted model: tensor by tensor, in pieces of bounded size.

use crate::encode::Recode;
use crate::error::ConvertError;
use crate::input::{Input, Tensor};
use crate::place;
use crate::policy::{Assignment, Plan, Wish, is_ternary};
use std::path::Path;
use tern::CancelFlag;
use tern_formats::gguf::{Value, Writer};
use tern_formats::{AtomicFile, TensorStream};

/// How to write.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// Replace a file that is there?
    pub force: bool,
    /// Threads; 0 for as many as there are processors.
    pub threads: usize,
    /// The importance matrix's name, for the file's keys.
    pub imatrix_name: String,
    /// Ends the work; nothing is left behind.
    pub cancel: CancelFlag,
}

/// How far it is, in elements.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The tensor under way.
    pub tensor: &'a str,
    /// Its place, from 1.
    pub number: usize,
    /// How many tensors there are.
    pub tensors: usize,
    /// Elements done.
    pub done: u64,
    /// Elements of all tensors.
    pub total: u64,
}

/// Elements of a piece: what bounds memory, whatever the size of a tensor (but a row is always whole).
const PIECE: u64 = 1 << 22;

/// The version of the block formats that quantized files state.
const QUANTIZATION_VERSION: u32 = 2;

/// Writes `input` as a GGUF file with the types of `plan`.
///
/// # Errors
/// [`ConvertError`]; no file is left behind then.
pub fn write(
    input: &Input,
    plan: &Plan,
    wish: &Wish,
    path: &Path,
    options: &WriteOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), ConvertError> {
    let file = place::create(path, &input.files(), options.force)?;
    let mut writer = Writer::new(path.display().to_string());
    for (key, value) in keys(input, plan, wish, options) {
        writer.key(key, value)?;
    }
    for (t, a) in input.tensors.iter().zip(&plan.assignments) {
        writer.tensor(&t.name, a.to, &*t.shape)?;
    }
    let mut body = writer.begin(file)?;
    let total = plan.assignments.iter().map(|a| a.elements).sum();
    let mut done = 0;
    for (i, (tensor, assignment)) in input.tensors.iter().zip(&plan.assignments).enumerate() {
        recode(input, tensor, assignment, wish, options, &mut body, &mut |elements| {
            let (number, tensors) = (i + 1, input.tensors.len());
            progress(Progress { tensor: &tensor.name, number, tensors, done: done + elements, total });
        })?;
        done += assignment.elements;
    }
    body.finish()?.commit().map_err(|error| place::failed(path, error))
}

/// One tensor, piece by piece.
pub(crate) fn recode(
    input: &Input,
    tensor: &Tensor,
    assignment: &Assignment,
    wish: &Wish,
    options: &WriteOptions,
    body: &mut TensorStream<AtomicFile>,
    progress: &mut dyn FnMut(u64),
) -> Result<(), ConvertError> {
    let entry = wish.imatrix.as_ref().filter(|_| assignment.weighted).and_then(|m| m.get(&tensor.name));
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    let job = Recode {
        tensor,
        to: assignment.to,
        weights: entry.map(|e| e.means()),
        threads: if options.threads == 0 { processors() } else { options.threads },
        tail: input.tail(tensor)?,
        requantize: wish.allow_requantize,
        cancel: &options.cancel,
    };
    let (from, to) = (tensor.row_bytes(tensor.dtype)?, tensor.row_bytes(assignment.to)?);
    // A type with one scale for all needs all at once.
    let ternary = is_ternary(tensor.dtype) && is_ternary(assignment.to);
    let whole = assignment.to != tensor.dtype && (ternary || assignment.to.tail_bytes() > 0);
    let piece = if whole { u64::MAX } else { PIECE };
    let per_piece = (piece / tensor.row_len().max(1)).clamp(1, tensor.row_count().max(1));
    let mut stored = buffer(&tensor.name, from, per_piece)?;
    let mut encoded = if assignment.to == tensor.dtype { Vec::new() } else { buffer(&tensor.name, to, per_piece)? };
    let mut first = 0;
    while first < tensor.row_count() {
        if options.cancel.is_cancelled() {
            return Err(ConvertError::Cancelled);
        }
        let rows = per_piece.min(tensor.row_count() - first) as usize;
        let stored = stored.get_mut(..rows * from).unwrap_or_default();
        input.read_rows(tensor, first, stored)?;
        if assignment.to == tensor.dtype {
            body.write(stored)?;
        } else if whole {
            encoded.resize(encoded.len() + assignment.to.tail_bytes(), 0);
            job.whole(stored, &mut encoded)?;
            body.write(&encoded)?;
        } else {
            let encoded = encoded.get_mut(..rows * to).unwrap_or_default();
            job.rows(first, stored, encoded)?;
            body.write(encoded)?;
        }
        first += rows as u64;
        progress(first.saturating_mul(tensor.row_len()));
    }
    // A copy is one to the end.
    if assignment.to == tensor.dtype {
        body.write(&job.tail)?;
    }
    Ok(())
}

/// Room for so many rows. Sizes come from a file: a failed allocation must not end the program.
fn buffer(tensor: &str, row_bytes: usize, rows: u64) -> Result<Vec<u8>, ConvertError> {
    let bytes = (row_bytes as u64).saturating_mul(rows);
    let none = || ConvertError::OutOfMemory { what: tensor.to_owned(), bytes };
    let len = usize::try_from(bytes).map_err(|_| none())?;
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(len).map_err(|_| none())?;
    buffer.resize(len, 0);
    Ok(buffer)
}

/// The input's keys in their order, and those that tell what was done.
fn keys<'i>(input: &'i Input, plan: &Plan, wish: &Wish, options: &WriteOptions) -> Vec<(String, Value<'i>)> {
    // What is written is one file, and no other reader should look for more.
    let kept = input.metadata.entries().filter(|(key, _)| !key.starts_with("split."));
    let mut keys: Vec<_> = kept.map(|(key, value)| (key.to_owned(), value)).collect();
    let mut set = |key: &str, value| match keys.iter_mut().find(|(k, _)| k == key) {
        Some(entry) => entry.1 = value,
        None => keys.push((key.to_owned(), value)),
    };
    if let Some(mix) = wish.mix {
        set("general.file_type", Value::U32(mix.file_type));
    }
    if plan.assignments.iter().any(|a| a.to.is_quantized()) {
        set("general.quantization_version", Value::U32(QUANTIZATION_VERSION));
    }
    if let Some(imatrix) = &wish.imatrix {
        set("quantize.imatrix.file", options.imatrix_name.clone().into());
        if let Some(dataset) = imatrix.datasets.first() {
            set("quantize.imatrix.dataset", dataset.clone().into());
        }
        set("quantize.imatrix.entries_count", Value::U32(imatrix.entries.len() as u32));
        if imatrix.chunks > 0 {
            set("quantize.imatrix.chunks_count", Value::U32(imatrix.chunks));
        }
    }
    keys
}
