//! BitNet b1.58: BitLinears, norms before the output and down matrices, a squared ReLU.
//!
//! Ma et al., arXiv 2402.17764; "BitNet b1.58 2B4T Technical Report", arXiv 2504.12285. That matrices are ternary, and how they
//! are stored, is `bit_linear.rs`'s.

use super::blocks::Bias;
use super::hyper::unsupported;
use super::net::Net;
use super::rope::Rope;
use super::sizes::{Pairs, Sizes};
use super::{Architecture, Common, ConfigError, Definition, Hyper, TensorTable};
use crate::graph::Value;
use tern_abi::ops::activation;

pub const ARCHITECTURE: Architecture = Architecture {
    name: "BitNet b1.58",
    gguf: &["bitnet-b1.58", "bitnet-25", "bitnet"],
    hf: &["BitNetForCausalLM"],
    read,
};

struct BitNet {
    sizes: Sizes,
    rope: Rope,
    activation: u32,
}

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let sizes = Sizes::read(h, Pairs::Halves)?;
    h.switch("attention_bias", false)?;
    h.switch("mlp_bias", false)?;
    let rope = Rope::read(h, sizes.attention.n_rot.into(), "")?;
    // Programs that write the name `bitnet` for models with SiLU, the first of the kind, say that positions are scaled by 1; the
    // squared ReLU came with later ones.
    let first = h.is_gguf() && h.text_or("rope.scaling.type", &[], "none")? == "linear";
    let stated = h.text_or("hidden_activation", &["hidden_act"], if first { "silu" } else { "relu2" })?;
    let activation = match stated.as_str() {
        "relu2" => activation::RELU_SQUARED,
        "silu" => activation::SILU,
        other => return Err(unsupported("hidden_act", other, "relu2, silu")),
    };
    Ok(Box::new(BitNet { sizes, rope, activation }))
}

impl Definition for BitNet {
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
            t.qkv(s, Bias::Never);
            t.vector("attn_sub_norm.weight", "self_attn.attn_sub_norm.weight", s.attention.rows().0);
            t.attention_output(s, Bias::Never);
            t.gated_mlp(s, Bias::Never);
            t.vector("ffn_sub_norm.weight", "mlp.ffn_sub_norm.weight", s.ffn);
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
            let (r, a) = net.wanted_rows(i, s, x, a);
            let a = net.rms_norm(a, "attn_sub_norm", s.eps);
            x = net.add_linear(r, a, "attn_output");
            let h = net.rms_norm(x, "ffn_norm", s.eps);
            let m = net.gated(h, self.activation);
            let m = net.rms_norm(m, "ffn_sub_norm", s.eps);
            x = net.add_linear(x, m, "ffn_down");
        }
        net.logits(x, s)
    }
}
