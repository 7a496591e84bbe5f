//! Granite 3: Llama's block with factors on embedding, scores, residuals and logits.
//!
//! Granite team, "Granite 3.0 Language Models", 2024.

use super::pre_norm::PreNorm;
use super::sizes::Pairs;
use super::{Architecture, ConfigError, Definition, Hyper};

pub const ARCHITECTURE: Architecture =
    Architecture { name: "Granite 3", gguf: &["granite"], hf: &["GraniteForCausalLM"], read };

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let mut model = PreNorm::read(h, Pairs::Adjacent)?;
    // Without positions at all.
    h.one_of("position_embedding_type", &["rope"])?;
    h.gguf_switch("rope.scaling.finetuned", true)?;
    let sizes = &mut model.sizes;
    let factor = |gguf: &str, hf: &str, default: f64| h.float(gguf, &[hf], 0.0..=1e6, Some(default));
    let usual = if h.is_gguf() { f64::from(sizes.attention.scale) } else { 1.0 };
    sizes.attention.scale = factor("attention.scale", "attention_multiplier", usual)? as f32;
    let embedding = factor("embedding_scale", "embedding_multiplier", 1.0)?;
    let residual = factor("residual_scale", "residual_multiplier", 1.0)?;
    // `x + r * f(norm(x))` with x = r * z is `z + f(norm(z))`, when the norm adds eps / r² rather than eps: the factor costs
    // nothing and sums stay part of the product before them. In GGUF 0 means none.
    let r = if residual == 0.0 { 1.0 } else { residual };
    sizes.eps = (f64::from(sizes.eps) / (r * r)) as f32;
    model.embedding_scale = if embedding == 0.0 { 1.0 / r } else { embedding / r } as f32;
    model.logit_scale = 1.0 / h.float("logit_scale", &["logits_scaling"], 1e-6..=1e6, Some(1.0))? as f32;
    Ok(Box::new(model))
}
