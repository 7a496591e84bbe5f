//! Phi 3 and Phi 4 mini: Llama's block whose files have matrices with the same input as one.
//!
//! Abdin et al., arXiv 2404.14219; Microsoft, arXiv 2503.01743.

use super::blocks::Bias;
use super::net::Net;
use super::rope::Rope;
use super::sizes::{Pairs, Sizes};
use super::{Architecture, Change, Common, ConfigError, Definition, Hyper, TensorTable};
use crate::graph::Value;
use tern_abi::ops::activation;

pub const ARCHITECTURE: Architecture =
    Architecture { name: "Phi 3, Phi 4 mini", gguf: &["phi3"], hf: &["Phi3ForCausalLM"], read };

struct Phi3 {
    sizes: Sizes,
    rope: Rope,
}

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let mut sizes = Sizes::read(h, Pairs::Halves)?;
    h.one_of("hidden_act", &["silu"])?;
    sizes.attention.window = h.int("attention.sliding_window", &["sliding_window"], 0..=1 << 30, Some(0))? as u32;
    let rope = Rope::read(h, sizes.attention.n_rot.into(), "")?;
    Ok(Box::new(Phi3 { sizes, rope }))
}

impl Definition for Phi3 {
    fn common(&self) -> Common {
        self.sizes.common.clone()
    }

    fn rope(&self) -> Option<&Rope> {
        Some(&self.rope)
    }

    fn tensors(&self) -> TensorTable {
        let (s, d, ffn, mut t) = (&self.sizes, self.sizes.common.width, self.sizes.ffn, TensorTable::default());
        let (q, kv) = s.attention.rows();
        t.embedding(s);
        for i in 0..s.common.layers {
            t.layer(i);
            t.pre_norms(s);
            let parts = [("attn_q.weight", q), ("attn_k.weight", kv), ("attn_v.weight", kv)];
            t.fused("attn_qkv.weight", "self_attn.qkv_proj.weight", &parts, Some(d), Change::None);
            t.attention_output(s, Bias::Never);
            let parts = [("ffn_gate.weight", ffn), ("ffn_up.weight", ffn)];
            t.fused("ffn_up.weight", "mlp.gate_up_proj.weight", &parts, Some(d), Change::None);
            t.matrix("ffn_down.weight", "mlp.down_proj.weight", d, ffn);
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
