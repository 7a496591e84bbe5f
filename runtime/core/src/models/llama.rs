//! Llama (1 to 3), SmolLM2, Mistral: pre-norm, rotary positions, grouped queries, gated MLP; Mixtral: a mixture of them.
//!
//! Touvron et al., arXiv 2302.13971; Grattafiori et al., arXiv 2407.21783; Jiang et al., arXiv 2310.06825 and 2401.04088.

use super::moe::{Folder, MLP, Moe};
use super::pre_norm::PreNorm;
use super::sizes::Pairs;
use super::{Architecture, ConfigError, Definition, Hyper};

pub const ARCHITECTURE: Architecture = Architecture {
    name: "Llama 1 to 3, SmolLM 1 and 2, Mistral, Mixtral",
    gguf: &["llama"],
    hf: &["LlamaForCausalLM", "MistralForCausalLM", "MixtralForCausalLM"],
    read,
};

/// Mixtral's names.
const MIXTRAL: Folder = Folder { block: "block_sparse_moe", apart: ["w1", "w3", "w2"], ..MLP };

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let mut model = PreNorm::read(h, Pairs::Adjacent)?;
    model.read_window(h)?;
    // A GGUF file has the same name for both.
    if h.states("expert_count", "num_local_experts") {
        let mut moe = Moe::read(h, &model.sizes, Some(model.sizes.ffn), MIXTRAL)?;
        moe.route.normalize = 1;
        model.moe = Some(moe);
    }
    Ok(Box::new(model))
}
