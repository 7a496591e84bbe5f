//! Phi 3 and Phi 4 mini: Llama's block whose files have matrices with the same input as one.
//!
//! Abdin et al., arXiv 2404.14219; Microsoft, arXiv 2503.01743.

use super::blocks::Bias;
use super::pre_norm::PreNorm;
use super::sizes::Pairs;
use super::{Architecture, ConfigError, Definition, Hyper};

pub const ARCHITECTURE: Architecture =
    Architecture { name: "Phi 3, Phi 4 mini", gguf: &["phi3"], hf: &["Phi3ForCausalLM"], read };

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let mut model = PreNorm { biases: [Bias::Never; 3], fused: true, ..PreNorm::read(h, Pairs::Halves)? };
    model.read_window(h)?;
    Ok(Box::new(model))
}
