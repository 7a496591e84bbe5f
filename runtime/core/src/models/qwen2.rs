//! Qwen 2 and 2.5: Llama's block with biases on query, key and value.
//!
//! Yang et al., arXiv 2407.10671; Qwen team, arXiv 2412.15115.

use super::blocks::Bias;
use super::net::Net;
use super::rope::Rope;
use super::sizes::{Pairs, Sizes};
use super::{Architecture, Common, ConfigError, Definition, Hyper, TensorTable};
use crate::graph::Value;
use tern_abi::ops::activation;

pub const ARCHITECTURE: Architecture =
    Architecture { name: "Qwen 2 and 2.5", gguf: &["qwen2"], hf: &["Qwen2ForCausalLM"], read };

struct Qwen2 {
    sizes: Sizes,
    rope: Rope,
}

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let sizes = Sizes::read(h, Pairs::Halves)?;
    h.one_of("hidden_act", &["silu"])?;
    // A window for upper layers, which no published model uses and GGUF has no key for.
    h.switch("use_sliding_window", false)?;
    let rope = Rope::read(h, sizes.attention.n_rot.into(), "")?;
    Ok(Box::new(Qwen2 { sizes, rope }))
}

impl Definition for Qwen2 {
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
            t.qkv(s, Bias::Always);
            t.attention_output(s, Bias::Never);
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
            let a = net.self_attention(h, Some(rope), &s.attention);
            x = net.add_attention(i, s, x, a);
            x = net.add_feed_forward(x, s, activation::SILU);
        }
        net.logits(x, s)
    }
}
