//! Qwen 2 and 3 with a mixture of experts: their dense siblings' attention, and many small experts.
//!
//! Qwen team, "Qwen1.5-MoE", 2024 (besides, an expert that all tokens take); arXiv 2505.09388.

use super::blocks::Bias;
use super::moe::{MLP, Moe};
use super::pre_norm::{PreNorm, QueryNorms};
use super::sizes::Pairs;
use super::{Architecture, ConfigError, Definition, Hyper};

pub const QWEN2: Architecture =
    Architecture { name: "Qwen 2 MoE", gguf: &["qwen2moe"], hf: &["Qwen2MoeForCausalLM"], read: read2 };
pub const QWEN3: Architecture =
    Architecture { name: "Qwen 3 MoE", gguf: &["qwen3moe"], hf: &["Qwen3MoeForCausalLM"], read: read3 };

fn read2(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let (mut model, mut moe) = read(h, false)?;
    if let Some(config) = h.folder() {
        let stated = config.bool("qkv_bias")?.unwrap_or(true);
        model.biases = [if stated { Bias::Always } else { Bias::Never }, Bias::Never, Bias::Never];
    }
    moe.shared = h.int("expert_shared_feed_forward_length", &["shared_expert_intermediate_size"], 1..=1 << 20, None)?;
    Ok(Box::new(PreNorm { moe: Some(moe), ..model }))
}

fn read3(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let (model, moe) = read(h, true)?;
    Ok(Box::new(PreNorm { moe: Some(moe), query_norms: QueryNorms::Heads, ..model }))
}

/// What both have. `normalize`: what GGUF files mean that do not say whether weights are divided by their sum.
fn read(h: &Hyper<'_>, normalize: bool) -> Result<(PreNorm, Moe), ConfigError> {
    // A window for upper layers, which no published model uses and GGUF has no key for.
    h.switch("use_sliding_window", false)?;
    let model = PreNorm { biases: [Bias::Maybe, Bias::Maybe, Bias::Never], ..PreNorm::read(h, Pairs::Halves)? };
    let mut moe = Moe::read(h, &model.sizes, None, MLP)?;
    moe.read_normalize(h, normalize)?;
    moe.read_layers(h)?;
    Ok((model, moe))
}
