//! Qwen 2 and 2.5: Llama's block with biases on query, key and value.
//!
//! Yang et al., arXiv 2407.10671; Qwen team, arXiv 2412.15115.

use super::blocks::Bias;
use super::pre_norm::PreNorm;
use super::sizes::Pairs;
use super::{Architecture, ConfigError, Definition, Hyper};

pub const ARCHITECTURE: Architecture =
    Architecture { name: "Qwen 2 and 2.5", gguf: &["qwen2"], hf: &["Qwen2ForCausalLM"], read };

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    // A window for upper layers, which no published model uses and GGUF has no key for.
    h.switch("use_sliding_window", false)?;
    let biases = [Bias::Always, Bias::Never, Bias::Never];
    Ok(Box::new(PreNorm { biases, ..PreNorm::read(h, Pairs::Halves)? }))
}
