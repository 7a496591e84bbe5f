//! Granite 3: Llama's block with factors on embedding, scores, residuals and logits.
//!
//! Granite team, "Granite 3.0 Language Models", 2024.

use super::blocks::Bias;
use super::net::Net;
use super::rope::Rope;
use super::sizes::{Pairs, Sizes};
use super::{Architecture, Common, ConfigError, Definition, Hyper, TensorTable};
use crate::graph::Value;
use tern_abi::ops::activation;

pub const ARCHITECTURE: Architecture =
    Architecture { name: "Granite 3", gguf: &["granite"], hf: &["GraniteForCausalLM"], read };

struct Granite {
    sizes: Sizes,
    rope: Rope,
    /// Factor on the embedding, in a residual stream that is divided by `residual`.
    embedding: f32,
    /// Divisor of logits.
    logits: f32,
}

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let mut sizes = Sizes::read(h, Pairs::Adjacent)?;
    h.one_of("hidden_act", &["silu"])?;
    // Without positions at all.
    h.one_of("position_embedding_type", &["rope"])?;
    h.gguf_switch("rope.scaling.finetuned", true)?;
    let factor = |gguf: &str, hf: &str, default: f64| h.float(gguf, &[hf], 0.0..=1e6, Some(default));
    let usual = if h.is_gguf() { f64::from(sizes.attention.scale) } else { 1.0 };
    sizes.attention.scale = factor("attention.scale", "attention_multiplier", usual)? as f32;
    let embedding = factor("embedding_scale", "embedding_multiplier", 1.0)?;
    let residual = factor("residual_scale", "residual_multiplier", 1.0)?;
    let logits = h.float("logit_scale", &["logits_scaling"], 1e-6..=1e6, Some(1.0))? as f32;
    // `x + r * f(norm(x))` with x = r * z is `z + f(norm(z))`, when the norm adds eps / r² rather than eps: the factor costs
    // nothing and sums stay part of the product before them. In GGUF 0 means none.
    let r = if residual == 0.0 { 1.0 } else { residual };
    sizes.eps = (f64::from(sizes.eps) / (r * r)) as f32;
    let embedding = if embedding == 0.0 { 1.0 / r } else { embedding / r } as f32;
    let rope = Rope::read(h, sizes.attention.n_rot.into(), "")?;
    Ok(Box::new(Granite { sizes, rope, embedding, logits }))
}

impl Definition for Granite {
    fn common(&self) -> Common {
        self.sizes.common.clone()
    }

    fn rope(&self) -> Option<&Rope> {
        Some(&self.rope)
    }

    fn tensors(&self) -> TensorTable {
        let (s, mut t) = (&self.sizes, TensorTable::default());
        t.embedding(s);
        for i in 0..s.common.layers {
            t.layer(i);
            t.pre_norms(s);
            t.qkv(s, Bias::Maybe);
            t.attention_output(s, Bias::Maybe);
            t.gated_mlp(s, Bias::Maybe);
        }
        t.ending(s);
        t
    }

    fn build(&self, net: &mut Net<'_>) -> Value {
        let s = &self.sizes;
        let rope = net.rope(&self.rope);
        let x = net.embed("token_embd.weight");
        let mut x = net.g.scale(x, self.embedding);
        for i in 0..s.common.layers {
            net.layer(i);
            let h = net.rms_norm(x, "attn_norm", s.eps);
            let a = net.self_attention(h, Some(rope), &s.attention);
            x = net.add_attention(i, s, x, a);
            x = net.add_feed_forward(x, s, activation::SILU);
        }
        let logits = net.logits(x, s);
        net.g.scale(logits, 1.0 / self.logits)
    }
}
