//! A Hugging Face folder as the keys and tensors of a GGUF file.
//!
//! Names and shapes come from the architecture's table, hyper-parameters from the very calls that read them for running the
//! model, so that what is written is what the runtime understands.

mod keys;
mod tokenizer;

use crate::error::ConvertError;
use crate::input::{Input, Rows, Tensor};
pub(crate) use keys::Hypers;
use std::collections::HashSet;
use std::path::Path;
use tern::StackSource;
use tern::models::{BitLinear, Change, Rope};
use tern_formats::gguf::Metadata;
use tern_formats::hf;
use tern_formats::{Checkpoint, DType, TensorInfo};

/// Opens a folder.
///
/// # Errors
/// [`ConvertError::Format`], [`ConvertError::Model`] for an architecture, a setting or tensors that are not supported,
/// [`ConvertError::Text`].
pub fn open(path: &Path) -> Result<Input, ConvertError> {
    let folder = hf::open_dir(path)?;
    let hypers = Hypers::read(&folder.config, &folder.checkpoint)?;
    let mut entries = hypers.entries(path, &folder)?;
    tokenizer::entries(&mut entries, &folder, hypers.definition.common().vocab_rows)?;
    let tensors = tensors(&folder.checkpoint, &hypers)?;
    let file_type = keys::file_type(&tensors);
    entries.insert(1, file_type);
    let mut input = Input {
        format: "safetensors",
        path: path.to_owned(),
        metadata: Metadata::new(path.display().to_string(), entries)?,
        tensors,
        checkpoint: folder.checkpoint,
    };
    input.tensors.extend(factors(&input)?);
    Ok(input)
}

/// The factors of matrices that are written as codes alone: scales of blocks would round them to half precision.
fn factors(input: &Input) -> Result<Vec<Tensor>, ConvertError> {
    let coded = input.tensors.iter().filter(|t| matches!(t.rows, Rows::Ternary { .. }) && t.dtype != DType::F32);
    let factor = |t: &Tensor| {
        let rows = Rows::Computed(vec![input.codes(t)?.factor]);
        let name = BitLinear::Stored.factor_name(&t.name).unwrap_or_default();
        Ok(Tensor { name, dtype: DType::F32, shape: vec![1], rows })
    };
    coded.map(factor).collect()
}

fn tensors(checkpoint: &Checkpoint, hypers: &Hypers) -> Result<Vec<Tensor>, ConvertError> {
    let table = hypers.definition.tensors();
    let mut tensors = Vec::new();
    let (mut written, mut known) = (HashSet::new(), HashSet::new());
    for spec in &table.specs {
        let name = spec.name_in(true);
        // Of a tensor that several are parts of, the first one stands for all.
        if !written.insert(name) {
            continue;
        }
        let Some(found) = tern::find_tensors(checkpoint, spec, false, &hypers.file)? else { continue };
        known.extend(found.iter().map(|t| &*t.name));
        let Some(&info) = found.first() else { continue };
        let beside = spec.bit_linear.and_then(|how| how.factor_name(&info.name)).and_then(|name| checkpoint.get(&name));
        known.extend(beside.map(|t| &*t.name));
        let (dtype, rows) = match spec.change {
            _ if spec.bit_linear.is_some() && spec.order.is_some() => {
                let what = format!("{name} with weights -1, 0 and 1, whose heads would have to be moved");
                return Err(ConvertError::Unsupported { what });
            }
            change if spec.bit_linear.is_some() => {
                let beside = beside.map(|t| number(checkpoint, t)).transpose()?;
                let how = spec.bit_linear.unwrap_or(BitLinear::Master);
                let whole = spec.shape.last().is_some_and(|n| n.is_multiple_of(DType::TQ2_0.block_len() as u64));
                let rows = Rows::Ternary { info: info.clone(), how, beside, change };
                (if whole { DType::TQ2_0 } else { DType::F32 }, rows)
            }
            // In single precision, since 1 more may be too much for the type that they have.
            Change::PlusOne => (DType::F32, Rows::Computed(computed(checkpoint, info, |v| v + 1.0)?)),
            Change::NegativeExp => {
                let values = computed(checkpoint, info, |v| -v.exp())?;
                let ordered = spec.order.map(|order| order.apply(&values, 1, |i| order.in_folder(i)));
                (DType::F32, Rows::Computed(ordered.unwrap_or(values)))
            }
            Change::Stack(stack) => {
                let parts = found.iter().map(|&t| t.clone()).collect();
                let stack = StackSource::new(spec, stack, parts).ok_or_else(|| ConvertError::Unsupported {
                    what: format!("{name} made of tensors of type {}", info.dtype),
                })?;
                (stack.dtype(), Rows::Stack(stack))
            }
            Change::Column { .. } | Change::LowRank { .. } => {
                let parts = found.iter().map(|t| numbers(checkpoint, t)).collect::<Result<Vec<_>, _>>()?;
                let values = spec.derived(&parts).ok_or_else(|| ConvertError::Unsupported {
                    what: format!("{name} made of other tensors than it is made of elsewhere"),
                })?;
                (DType::F32, Rows::Computed(values))
            }
            change => match spec.order {
                Some(order) if info.dtype.block_len() == 1 => (info.dtype, Rows::Ordered { info: info.clone(), order }),
                Some(_) => {
                    let what = format!("{name} of type {}, whose heads would have to be moved", info.dtype);
                    return Err(ConvertError::Unsupported { what });
                }
                None => (info.dtype, Rows::Stored { info: info.clone(), change }),
            },
        };
        tensors.push(Tensor { name: name.to_owned(), dtype, shape: spec.shape_in(true), rows });
    }
    if let Some(extra) = checkpoint.tensors().iter().find(|t| !known.contains(&*t.name) && !table.ignores(&t.name)) {
        let (file, tensor) = (hypers.file.clone(), extra.name.to_string());
        return Err(tern::Error::ExtraTensor { file, tensor }.into());
    }
    let vectors = hypers.definition.rope().map(Rope::vectors).unwrap_or_default();
    let computed = vectors.into_iter().map(|(name, values)| Tensor {
        name: name.to_owned(),
        dtype: DType::F32,
        shape: vec![values.len() as u64],
        rows: Rows::Computed(values),
    });
    Ok(computed.chain(tensors).collect())
}

/// A tensor's numbers.
fn numbers(checkpoint: &Checkpoint, info: &TensorInfo) -> Result<Vec<f32>, ConvertError> {
    let mut values = vec![0.0; usize::try_from(info.elements()).unwrap_or(0)];
    let failed = |_| ConvertError::Unsupported { what: format!("{} of type {}", info.name, info.dtype) };
    tern_quant::dequantize(info.dtype, &checkpoint.read(info)?, &mut values).map_err(failed)?;
    Ok(values)
}

/// The one number of a tensor.
fn number(checkpoint: &Checkpoint, info: &TensorInfo) -> Result<f32, ConvertError> {
    match numbers(checkpoint, info)?[..] {
        [value] => Ok(value),
        _ => Err(ConvertError::Unsupported { what: format!("{} of shape {:?}", info.name, info.shape) }),
    }
}

/// Each number of a vector, made into another.
fn computed(checkpoint: &Checkpoint, info: &TensorInfo, of: impl Fn(f32) -> f32) -> Result<Vec<f32>, ConvertError> {
    let mut values = numbers(checkpoint, info)?;
    values.iter_mut().for_each(|v| *v = of(*v));
    Ok(values)
}
