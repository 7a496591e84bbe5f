//! A Hugging Face folder as the keys and tensors of a GGUF file.
//!
//! Names and shapes come from the architecture's table, hyper-parameters from the very calls that read them for running the
//! model, so that what is written is what the runtime understands.

mod keys;
mod tokenizer;

use crate::error::ConvertError;
use crate::input::{Input, Rows, Tensor};
pub(crate) use keys::Hypers;
use std::collections::HashMap;
use std::path::Path;
use tern::models::TensorSpec;
use tern_formats::gguf::Metadata;
use tern_formats::hf;
use tern_formats::{Checkpoint, DType};

/// Tensors that some exporters add and that hold nothing of the model.
const IGNORED: &[&str] = &["rotary_emb.inv_freq", "attn.masked_bias"];

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
    Ok(Input {
        format: "safetensors",
        path: path.to_owned(),
        metadata: Metadata::new(path.display().to_string(), entries)?,
        tensors,
        checkpoint: folder.checkpoint,
    })
}

fn tensors(checkpoint: &Checkpoint, hypers: &Hypers) -> Result<Vec<Tensor>, ConvertError> {
    let table = hypers.definition.tensors();
    let mut by_name: HashMap<&str, usize> =
        checkpoint.tensors().iter().enumerate().map(|(i, t)| (t.name.as_str(), i)).collect();
    let mut tensors = Vec::new();
    for spec in &table.specs {
        let Some(i) = by_name.remove(spec.hf.as_str()) else {
            if spec.optional {
                continue;
            }
            let (file, tensor) = (hypers.file.clone(), spec.hf.clone());
            return Err(tern::Error::MissingTensor { file, tensor }.into());
        };
        let Some(info) = checkpoint.tensors().get(i) else { continue };
        if info.shape != spec.shape {
            let (file, tensor) = (hypers.file.clone(), spec.hf.clone());
            let (found, expected) = (info.shape.clone(), spec.shape.clone());
            return Err(tern::Error::TensorShape { file, tensor, found, expected }.into());
        }
        let rows = match hypers.rotated(spec) {
            Some(head_dim) => Rows::Halves { info: info.clone(), head_dim },
            None => Rows::Stored(info.clone()),
        };
        tensors.push(Tensor { name: spec.gguf.clone(), dtype: info.dtype, shape: spec.shape.clone(), rows });
    }
    if let Some(extra) = by_name.keys().find(|n| !IGNORED.iter().any(|part| n.contains(part))) {
        let (file, tensor) = (hypers.file.clone(), (*extra).to_owned());
        return Err(tern::Error::ExtraTensor { file, tensor }.into());
    }
    if let Some(divisors) = hypers.rope_divisors() {
        let (name, shape) = ("rope_freqs.weight".to_owned(), vec![divisors.len() as u64]);
        tensors.insert(0, Tensor { name, dtype: DType::F32, shape, rows: Rows::Computed(divisors) });
    }
    Ok(tensors)
}

impl Hypers {
    /// The size of a head, for tensors whose rows are rotated: GGUF files of `llama` models have the two of a pair side by
    /// side, folders have them half a head apart.
    pub(crate) fn rotated(&self, spec: &TensorSpec) -> Option<u64> {
        let is = self.architecture == "llama" && is_rotated(spec);
        is.then_some(self.head_dim).filter(|&n| n > 1)
    }
}

/// Are its rows, or elements of a bias, those of heads that are rotated?
pub(crate) fn is_rotated(spec: &TensorSpec) -> bool {
    let rotated = ["attn_q.weight", "attn_k.weight", "attn_q.bias", "attn_k.bias"];
    rotated.iter().any(|name| spec.gguf.ends_with(name))
}
