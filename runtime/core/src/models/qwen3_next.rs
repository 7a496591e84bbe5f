//! Qwen 3 Next: fast weights, a gated attention in every fourth layer, and a mixture of many experts with one that all tokens take.
//!
//! Qwen team, "Qwen3-Next", 2025.

use super::gated_delta::Form;
use super::hybrid::Hybrid;
use super::moe::{MLP, Moe};
use super::sizes::Names;
use super::{Architecture, ConfigError, Definition, Hyper};

pub const ARCHITECTURE: Architecture =
    Architecture { name: "Qwen 3 Next", gguf: &["qwen3next"], hf: &["Qwen3NextForCausalLM"], read };

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    // Older GGUF files have the form of folders.
    let form = if h.is_gguf() { Form::Joined } else { Form::Grouped };
    let model = Hybrid::read(h, &Names::default(), form, false)?;
    if model.sizes.attention.n_rot == model.sizes.attention.head_dim && !h.is_gguf() {
        // What a configuration that says nothing means has changed from program to program.
        return Err(ConfigError::Missing { key: "partial_rotary_factor below 1".to_owned() });
    }
    let mut moe = Moe::read(h, &model.sizes, None, MLP)?;
    moe.read_normalize(h, true)?;
    moe.read_layers(h)?;
    moe.shared = h.int("expert_shared_feed_forward_length", &["shared_expert_intermediate_size"], 1..=1 << 20, None)?;
    Ok(Box::new(Hybrid { moe: Some(moe), ..model }))
}
