//! Adapters as llama.cpp's converter writes them.
//!
//! `general.type` is `adapter`, `adapter.type` is `lora`. The factors of a base tensor `x` are `x.lora_a` and `x.lora_b`. Source:
//! `src/llama-adapter.cpp` and `convert_lora_to_gguf.py` of llama.cpp.

use super::Adapter;
use super::pair::{Half, Side, pairs};
use crate::gguf::{self, ARCHITECTURE_KEY};
use crate::{FormatError, Problem, Source, TensorInfo};
use std::sync::Arc;

pub(super) const TYPE_KEY: &str = "general.type";
pub(super) const ADAPTER_TYPE_KEY: &str = "adapter.type";
pub(super) const ALPHA_KEY: &str = "adapter.lora.alpha";
const INVOCATION_KEY: &str = "adapter.alora.invocation_tokens";
/// The table whose rows are chosen by tokens.
pub(super) const EMBEDDING: &str = "token_embd.weight";

/// Opens an adapter in GGUF.
///
/// An alpha of 0 means that none was given, as for llama.cpp: the scale is 1 then.
///
/// # Errors
/// As [`gguf::open`]; [`Problem::Setting`] for a file that is no LoRA adapter, [`Problem::MissingKey`], [`Problem::OutOfRange`]
/// for an alpha that is not finite, [`Problem::UnknownSuffix`], [`Problem::Unpaired`], [`Problem::FactorMismatch`],
/// [`Problem::DimensionCount`], [`Problem::UnsupportedDtype`].
pub fn open_gguf(source: Arc<dyn Source>) -> Result<Adapter, FormatError> {
    let file = gguf::open(source)?;
    let m = &file.metadata;
    for (key, expected) in [(TYPE_KEY, "adapter"), (ADAPTER_TYPE_KEY, "lora")] {
        let found = m.require_str(key)?;
        if found != expected {
            let (key, found, expected) = (key.to_owned(), found.to_owned(), expected.to_owned());
            return Err(FormatError::new(m.file(), Problem::Setting { key, found, expected }));
        }
    }
    let architecture = m.require_str(ARCHITECTURE_KEY)?.to_owned();
    let alpha = m.require_f32(ALPHA_KEY)?;
    if !alpha.is_finite() {
        let (key, found) = (ALPHA_KEY.to_owned(), alpha.to_string());
        return Err(FormatError::new(m.file(), Problem::OutOfRange { key, expected: "finite number", found }));
    }
    let mut pairs = pairs(&file.checkpoint, true, half)?;
    for pair in &mut pairs {
        pair.alpha = alpha;
        pair.scale = if alpha == 0.0 { 1.0 } else { alpha / pair.rank as f32 };
    }
    let skipped = file.checkpoint.tensors().iter().filter(|t| is_norm(t)).map(|t| t.name.to_string()).collect();
    Ok(Adapter {
        architecture: Some(architecture),
        base_model: m.str("general.base_model.0.name")?.map(str::to_owned),
        pairs,
        skipped,
        invocation_tokens: m.array_u32(INVOCATION_KEY)?.map(|v| v.into_owned()).unwrap_or_default(),
        checkpoint: file.checkpoint,
    })
}

fn half(t: &TensorInfo) -> Result<Option<Half>, Problem> {
    let side = |suffix, side| t.name.strip_suffix(suffix).filter(|base| !base.is_empty()).map(|base| (base, side));
    match side(".lora_a", Side::A).or_else(|| side(".lora_b", Side::B)) {
        Some((base, side)) => Ok(Some(Half { base: base.to_owned(), side, embedding: base == EMBEDDING })),
        None if is_norm(t) => Ok(None),
        None => Err(Problem::UnknownSuffix { tensor: t.name.to_string(), expected: ".lora_a or .lora_b" }),
    }
}

fn is_norm(t: &TensorInfo) -> bool {
    t.name.ends_with("_norm.weight")
}
