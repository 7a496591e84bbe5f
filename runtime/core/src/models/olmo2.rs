//! OLMo 2: norms after the blocks instead of before, and on whole queries and keys.
//!
//! OLMo team, arXiv 2501.00656.

use super::blocks::Bias;
use super::net::Net;
use super::rope::Rope;
use super::sizes::{Pairs, Sizes};
use super::{Architecture, Common, ConfigError, Definition, Hyper, TensorTable};
use crate::graph::Value;
use tern_abi::ops::activation;

pub const ARCHITECTURE: Architecture =
    Architecture { name: "OLMo 2", gguf: &["olmo2"], hf: &["Olmo2ForCausalLM"], read };

struct Olmo2 {
    sizes: Sizes,
    rope: Rope,
}

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let sizes = Sizes::read(h, Pairs::Halves)?;
    h.one_of("hidden_act", &["silu"])?;
    // OLMo 3 has windows under the same name.
    h.same("attention.sliding_window", h.int("attention.sliding_window", &[], 0..=1 << 30, Some(0))?, 0)?;
    let rope = Rope::read(h, sizes.attention.n_rot.into(), "")?;
    Ok(Box::new(Olmo2 { sizes, rope }))
}

impl Definition for Olmo2 {
    fn common(&self) -> Common {
        self.sizes.common.clone()
    }

    fn rope(&self) -> Option<&Rope> {
        Some(&self.rope)
    }

    fn tensors(&self) -> TensorTable {
        let (s, d, mut t) = (&self.sizes, self.sizes.common.width, TensorTable::default());
        let (q, kv) = s.attention.rows();
        t.embedding(s);
        for i in 0..s.common.layers {
            t.layer(i);
            t.qkv(s, Bias::Maybe);
            t.vector("attn_q_norm.weight", "self_attn.q_norm.weight", q);
            t.vector("attn_k_norm.weight", "self_attn.k_norm.weight", kv);
            t.attention_output(s, Bias::Maybe);
            t.vector("post_attention_norm.weight", "post_attention_layernorm.weight", d);
            t.gated_mlp(s, Bias::Never);
            t.vector("post_ffw_norm.weight", "post_feedforward_layernorm.weight", d);
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
            let a = net.wholly_normed_attention(x, Some(rope), &s.attention, s.eps);
            let (r, a) = net.wanted_rows(i, s, x, a);
            x = net.add_normed(r, a, "attn_output", "post_attention_norm", s.eps);
            let m = net.gated(x, activation::SILU);
            x = net.add_normed(x, m, "ffn_down", "post_ffw_norm", s.eps);
        }
        net.logits(x, s)
    }
}
