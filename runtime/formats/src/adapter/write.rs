//! Writing adapters. The writers get the factors' data as a stream: A, then B, of each pair in order.

use super::gguf::{ADAPTER_TYPE_KEY, ALPHA_KEY, TYPE_KEY};
use super::peft::PREFIX;
use crate::gguf::{self, ARCHITECTURE_KEY};
use crate::{DType, FormatError, Problem, safetensors};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// One pair of factors to be written; see [`super::LowRank`].
#[derive(Clone, Debug, PartialEq)]
pub struct LowRankSpec {
    /// The base tensor, by its name in the format that is written.
    pub base: String,
    /// Whether it is an embedding table: GGUF takes A as `[inputs, rank]` then. Always so for `token_embd.weight`.
    pub embedding: bool,
    /// Shared dimension.
    pub rank: u64,
    /// What A reads.
    pub inputs: u64,
    /// What B writes.
    pub outputs: u64,
    /// The scale is alpha / rank.
    pub alpha: f32,
    /// Of both factors.
    pub dtype: DType,
}

/// Declares an adapter for llama.cpp. All pairs have one alpha there, which is not 0.
///
/// # Errors
/// [`Problem::OutOfRange`] for an alpha that is not finite or 0, [`Problem::Setting`] for alphas that differ and for an embedding
/// that is not `token_embd.weight`; as the writer's.
pub fn gguf_writer(
    file: impl Into<String>,
    architecture: &str,
    pairs: &[LowRankSpec],
) -> Result<gguf::Writer, FormatError> {
    let file = file.into();
    let alpha = pairs.first().map_or(1.0, |p| p.alpha);
    for p in pairs {
        check_alpha(&file, ALPHA_KEY, p.alpha)?;
        let setting = |key: &str, found: String, expected: String| {
            Err(FormatError::new(&file, Problem::Setting { key: key.to_owned(), found, expected }))
        };
        if p.alpha != alpha {
            return setting(ALPHA_KEY, p.alpha.to_string(), alpha.to_string());
        }
        let is_table = p.base == super::gguf::EMBEDDING;
        if p.embedding != is_table {
            return setting(&p.base, format!("embedding: {}", p.embedding), format!("embedding: {is_table}"));
        }
    }
    let mut w = gguf::Writer::new(file);
    for (key, value) in [(ARCHITECTURE_KEY, architecture), (TYPE_KEY, "adapter"), (ADAPTER_TYPE_KEY, "lora")] {
        w.key(key, value)?;
    }
    w.key(ALPHA_KEY, gguf::Value::F32(alpha))?;
    for p in pairs {
        let a = if p.embedding { [p.inputs, p.rank] } else { [p.rank, p.inputs] };
        w.tensor(format!("{}.lora_a", p.base), p.dtype, a)?;
        w.tensor(format!("{}.lora_b", p.base), p.dtype, [p.outputs, p.rank])?;
    }
    Ok(w)
}

/// Declares the weights of a PEFT folder; its configuration is [`peft_config`]'s.
///
/// # Errors
/// As the writer's; [`Problem::UnknownSuffix`] for a base tensor that does not end in `.weight`.
pub fn peft_writer(file: impl Into<String>, pairs: &[LowRankSpec]) -> Result<safetensors::Writer, FormatError> {
    let file = file.into();
    let mut w = safetensors::Writer::new(file.as_str());
    // What transformers asks of a file before it reads it.
    w.metadata("format", "pt")?;
    for p in pairs {
        let module = module(&file, p)?;
        let (a, b) =
            if p.embedding { ("lora_embedding_A", "lora_embedding_B") } else { ("lora_A.weight", "lora_B.weight") };
        w.tensor(format!("{PREFIX}{module}.{a}"), p.dtype, [p.rank, p.inputs])?;
        w.tensor(format!("{PREFIX}{module}.{b}"), p.dtype, [p.outputs, p.rank])?;
    }
    Ok(w)
}

/// The text of `adapter_config.json` for pairs written by [`peft_writer`]. Ranks and alphas that are not the first pair's are
/// given by module.
///
/// # Errors
/// [`Problem::OutOfRange`] for an alpha that is not finite, [`Problem::UnknownSuffix`] as [`peft_writer`].
pub fn peft_config(base_model: &str, pairs: &[LowRankSpec]) -> Result<String, FormatError> {
    let (rank, alpha) = pairs.first().map_or((1, 1.0), |p| (p.rank, p.alpha));
    let (mut ranks, mut alphas, mut targets) = (Map::new(), Map::new(), BTreeSet::new());
    for p in pairs {
        check_alpha(super::PEFT_CONFIG, "lora_alpha", p.alpha)?;
        let module = module(super::PEFT_CONFIG, p)?;
        targets.insert(module.rsplit('.').next().unwrap_or(module));
        if p.rank != rank {
            ranks.insert(module.to_owned(), json!(p.rank));
        }
        if p.alpha != alpha {
            alphas.insert(module.to_owned(), number(p.alpha));
        }
    }
    let config = json!({
        "alpha_pattern": alphas,
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": number(alpha),
        "lora_dropout": 0.0,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": ranks,
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": false,
    });
    Ok(format!("{config:#}\n"))
}

/// Whole numbers without a point: PEFT declares alpha an integer.
fn number(alpha: f32) -> Value {
    if alpha.fract() == 0.0 && alpha.abs() < 1e9 { json!(alpha as i64) } else { json!(alpha) }
}

fn module<'a>(file: &str, p: &'a LowRankSpec) -> Result<&'a str, FormatError> {
    p.base
        .strip_suffix(".weight")
        .filter(|module| !module.is_empty())
        .ok_or_else(|| FormatError::new(file, Problem::UnknownSuffix { tensor: p.base.clone(), expected: ".weight" }))
}

fn check_alpha(file: &str, key: &str, alpha: f32) -> Result<(), FormatError> {
    // GGUF's readers take 0 for "not given"; as a wish for no effect it would be misread.
    if alpha.is_finite() && alpha != 0.0 {
        return Ok(());
    }
    let (key, found) = (key.to_owned(), alpha.to_string());
    Err(FormatError::new(file, Problem::OutOfRange { key, expected: "finite number other than 0", found }))
}
