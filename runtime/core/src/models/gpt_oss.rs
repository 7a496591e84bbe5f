//! gpt-oss: attention with sinks, a window in every other layer, biases everywhere, and a mixture of experts with a bounded gate.
//!
//! OpenAI, "gpt-oss-120b & gpt-oss-20b Model Card", arXiv 2508.10925; sinks: Xiao et al., arXiv 2309.17453, as one learned
//! score per head.

use super::blocks::Bias;
use super::moe::{Folder, MLP, Moe};
use super::net::{AttentionShape, Net};
use super::rope::Rope;
use super::sizes::{Pairs, Sizes, full_every};
use super::{Architecture, Common, ConfigError, Definition, Hyper, StackForm, TensorTable};
use crate::graph::Value;
use tern_abi::ops::{GluParams, activation};

pub const ARCHITECTURE: Architecture =
    Architecture { name: "gpt-oss", gguf: &["gpt-oss"], hf: &["GptOssForCausalLM"], read };

struct GptOss {
    sizes: Sizes,
    rope: Rope,
    moe: Moe,
    /// Of so many layers the last one sees all positions.
    full_every: u64,
}

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let mut sizes = Sizes::read(h, Pairs::Halves)?;
    h.one_of("hidden_act", &["silu"])?;
    h.switch("attention_bias", true)?;
    sizes.attention.window = h.int("attention.sliding_window", &["sliding_window"], 1..=1 << 30, None)? as u32;
    let rope = Rope::read_exact(h, sizes.attention.n_rot.into())?;
    let packed = h.has_tensor("", "model.layers.0.mlp.experts.gate_up_proj_blocks");
    let form = if packed { StackForm::Mxfp4 } else { StackForm::Transposed };
    let folder = Folder { router: "router", form, in_turns: true, ..MLP };
    let mut moe = Moe::read(h, &sizes, Some(sizes.ffn), folder)?;
    moe.route.softmax_after = 1;
    moe.bias = Bias::Always;
    // In GGUF these keys are ours: other programs know the published models' values only.
    let setting = |gguf: &str, hf: &str, usual: f64| h.float(gguf, &[hf], 1e-3..=1e6, Some(usual));
    moe.glu = GluParams {
        activation: activation::SILU,
        alpha: setting("swiglu_alpha", "swiglu_alpha", 1.702)? as f32,
        limit: setting("swiglu_limit", "swiglu_limit", 7.0)? as f32,
        offset: 1.0,
    };
    let full_every = full_every(h, sizes.common.layers, 2)?;
    Ok(Box::new(GptOss { sizes, rope, moe, full_every }))
}

impl Definition for GptOss {
    fn common(&self) -> Common {
        self.sizes.common.clone()
    }

    fn rope(&self) -> Option<&Rope> {
        Some(&self.rope)
    }

    fn tensors(&self) -> TensorTable {
        let (s, d, mut t) = (&self.sizes, self.sizes.common.width, TensorTable::default());
        t.embedding(s);
        for i in 0..s.common.layers {
            t.layer(i);
            t.vector("attn_norm.weight", "input_layernorm.weight", d);
            t.qkv(s, Bias::Always);
            t.vector("attn_sinks.weight", "self_attn.sinks", s.attention.heads.into());
            t.attention_output(s, Bias::Always);
            t.vector("post_attention_norm.weight", "post_attention_layernorm.weight", d);
            t.moe(s, &self.moe);
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
            let window = if (i + 1).is_multiple_of(self.full_every) { 0 } else { s.attention.window };
            let h = net.rms_norm(x, "attn_norm", s.eps);
            let a = net.self_attention(h, Some(rope), &AttentionShape { window, ..s.attention });
            x = net.add_attention(i, s, x, a);
            let h = net.rms_norm(x, "post_attention_norm", s.eps);
            x = net.add_moe(x, h, &self.moe);
        }
        net.logits(x, s)
    }
}
