//! Qwen 3: Llama's block with a norm on each query and key head.
//!
//! Qwen team, arXiv 2505.09388.

use super::blocks::Bias;
use super::pre_norm::{PreNorm, QueryNorms};
use super::sizes::Pairs;
use super::{Architecture, ConfigError, Definition, Hyper};

pub const ARCHITECTURE: Architecture =
    Architecture { name: "Qwen 3", gguf: &["qwen3"], hf: &["Qwen3ForCausalLM"], read };

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    // A window for upper layers, which no published model uses and GGUF has no key for.
    h.switch("use_sliding_window", false)?;
    let biases = [Bias::Maybe, Bias::Maybe, Bias::Never];
    Ok(Box::new(PreNorm { biases, query_norms: QueryNorms::Heads, ..PreNorm::read(h, Pairs::Halves)? }))
}
