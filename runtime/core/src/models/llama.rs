//! Llama (1 to 3), SmolLM2, Mistral: pre-norm, rotary positions, grouped queries, gated MLP.
//!
//! Touvron et al., arXiv 2302.13971; Grattafiori et al., arXiv 2407.21783; Jiang et al., arXiv 2310.06825.

use super::pre_norm::PreNorm;
use super::sizes::Pairs;
use super::{Architecture, ConfigError, Definition, Hyper};

pub const ARCHITECTURE: Architecture = Architecture {
    name: "Llama 1 to 3, SmolLM 1 and 2, Mistral",
    gguf: &["llama"],
    hf: &["LlamaForCausalLM", "MistralForCausalLM"],
    read,
};

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let mut model = PreNorm::read(h, Pairs::Adjacent)?;
    model.read_window(h)?;
    Ok(Box::new(model))
}
