//! Qwen 3: Llama's block with a norm on each query and key head.
//!
//! Qwen team, arXiv 2505.09388.

use super::blocks::Bias;
use super::net::Net;
use super::rope::Rope;
use super::sizes::{Pairs, Sizes};
use super::{Architecture, Common, ConfigError, Definition, Hyper, TensorTable};
use crate::graph::Value;
use tern_abi::ops::activation;

pub const ARCHITECTURE: Architecture =
    Architecture { name: "Qwen 3", gguf: &["qwen3"], hf: &["Qwen3ForCausalLM"], read };

struct Qwen3 {
    sizes: Sizes,
    rope: Rope,
}

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let sizes = Sizes::read(h, Pairs::Halves)?;
    h.one_of("hidden_act", &["silu"])?;
    // A window for upper layers, which no published model uses and GGUF has no key for.
    h.switch("use_sliding_window", false)?;
    let rope = Rope::read(h, sizes.attention.n_rot.into(), "")?;
    Ok(Box::new(Qwen3 { sizes, rope }))
}

impl Definition for Qwen3 {
    fn common(&self) -> Common {
        self.sizes.common.clone()
    }

    fn rope(&self) -> Option<&Rope> {
        Some(&self.rope)
    }

    fn tensors(&self) -> TensorTable {
        let (s, head_dim, mut t) = (&self.sizes, self.sizes.attention.head_dim.into(), TensorTable::default());
        t.embedding(s);
        for i in 0..s.common.layers {
            t.layer(i);
            t.pre_norms(s);
            t.qkv(s, Bias::Maybe);
            t.vector("attn_q_norm.weight", "self_attn.q_norm.weight", head_dim);
            t.vector("attn_k_norm.weight", "self_attn.k_norm.weight", head_dim);
            t.attention_output(s, Bias::Maybe);
            t.gated_mlp(s, Bias::Never);
        }
        t.ending(s);
        t
    }

    fn build(&self, net: &mut Net<'_>) -> Value {
        let s = &self.sizes;
        let rope = net.rope(&self.rope);
        let mut x = net.embed("token_embd.weight");
        for i in 0..s.common.layers {
            net.layer(i);
            let h = net.rms_norm(x, "attn_norm", s.eps);
            let a = net.normed_attention(h, Some(rope), &s.attention, s.eps);
            x = net.add_attention(i, s, x, a);
            x = net.add_feed_forward(x, s, activation::SILU);
        }
        net.logits(x, s)
    }
}
