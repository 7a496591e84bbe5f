//! OLMoE: Llama's block with norms on whole queries and keys, and a mixture of experts.
//!
//! Muennighoff et al., arXiv 2409.02060.

use super::moe::{MLP, Moe};
use super::pre_norm::{PreNorm, QueryNorms};
use super::sizes::Pairs;
use super::{Architecture, ConfigError, Definition, Hyper};

pub const ARCHITECTURE: Architecture =
    Architecture { name: "OLMoE", gguf: &["olmoe"], hf: &["OlmoeForCausalLM"], read };

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let model = PreNorm { query_norms: QueryNorms::Whole, ..PreNorm::read(h, Pairs::Halves)? };
    // Bounds on queries, keys and values, which the published model does without.
    h.absent("clip_qkv")?;
    h.gguf_absent("attention.clamp_kqv")?;
    let mut moe = Moe::read(h, &model.sizes, Some(model.sizes.ffn), MLP)?;
    moe.read_normalize(h, false)?;
    Ok(Box::new(PreNorm { moe: Some(moe), ..model }))
}
