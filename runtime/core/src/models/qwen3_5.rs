//! Qwen 3.5: Qwen 3 Next's layers with matrices of their own for what those have in one, as plain models or mixtures of experts.
//!
//! Published checkpoints see, too; what is here is their language model. Pairs of its rotation take turns among three positions (of a text,
//! of an image's rows and of its columns), which in a text are one, so it is an ordinary rotation.
//!
//! Qwen team, "Qwen3.5", 2026.

use super::gated_delta::Form;
use super::hybrid::Hybrid;
use super::hyper::unsupported;
use super::moe::{MLP, Moe};
use super::sizes::Names;
use super::{Architecture, ConfigError, Definition, Hyper};

pub const ARCHITECTURE: Architecture = Architecture {
    name: "Qwen 3.5",
    gguf: &["qwen35"],
    hf: &["Qwen3_5ForConditionalGeneration", "Qwen3_5ForCausalLM"],
    read: |h| Ok(Box::new(read(h, &Names::default())?)),
};
pub const MOE: Architecture = Architecture {
    name: "Qwen 3.5 MoE",
    gguf: &["qwen35moe"],
    hf: &["Qwen3_5MoeForConditionalGeneration", "Qwen3_5MoeForCausalLM"],
    read: read_moe,
};

const NESTED: &str = "model.language_model.embed_tokens.weight";
/// Rotated dimensions of a head, where a configuration says nothing.
const ROTATED: f64 = 0.25;

fn read(h: &Hyper<'_>, names: &Names<'_>) -> Result<Hybrid, ConfigError> {
    let nested = h.has_tensor("", NESTED);
    let embedding = if nested { NESTED } else { names.embedding };
    let names = Names { embedding, rotated: ROTATED, ..*names };
    h.switch("attn_output_gate", true)?;
    // Files of GGUF say nothing of the order: their heads are in turns.
    let model = Hybrid::read(h, &names, Form::Apart, h.is_gguf())?;
    sections(h, u64::from(model.sizes.attention.n_rot) / 2)?;
    Ok(Hybrid { nested, ..model })
}

fn read_moe(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let width = h.int("expert_feed_forward_length", &["moe_intermediate_size"], 1..=1 << 20, None)?;
    // There are no plain blocks, whose width would have to be stated.
    let model = read(h, &Names { ffn: Some(&|_| width), ..Names::default() })?;
    let mut moe = Moe::read(h, &model.sizes, None, MLP)?;
    moe.route.normalize = 1;
    moe.shared = h.int("expert_shared_feed_forward_length", &["shared_expert_intermediate_size"], 1..=1 << 20, None)?;
    Ok(Box::new(Hybrid { moe: Some(moe), ..model }))
}

/// How many of the rotated pairs each of the three positions has. A folder's may say more than these, which is for images; in a file a pair may
/// have none of them, so that it is not rotated in a text.
fn sections(h: &Hyper<'_>, pairs: u64) -> Result<(), ConfigError> {
    let mut turns: Vec<u64> = (0..3).map(|i| pairs.saturating_sub(i).div_ceil(3)).collect();
    turns.push(0);
    let stated = h.ints("rope.dimension_sections", &turns)?;
    if stated.iter().zip(&turns).any(|(stated, needed)| stated < needed) {
        return Err(unsupported("rope.dimension_sections", &format!("{stated:?}"), &format!("{turns:?} and above")));
    }
    Ok(())
}
