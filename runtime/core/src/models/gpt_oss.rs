//! gpt-oss: attention with sinks, a window in every other layer, biases everywhere, and a mixture of experts with a bounded gate.
//!
//! OpenAI, "gpt-oss-120b & gpt-oss-20b Model Card", arXiv 2508.10925; sinks: Xiao et al., arXiv 2309.17453, as one learned
//! score per head.

use super::blocks::Bias;
use super::moe::{Folder, MLP, Moe};
use super::net::{AttentionShape, Net};
use super::rope::Rope;
use super::sizes::{Names, Pairs, Sizes, full_every};
use super::{Architecture, Change, Common, ConfigError, Definition, Hyper, StackForm, TensorTable};
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
    /// Are names in the folder those of OpenAI's own code?
    own: bool,
}

/// Hugging Face's names, and OpenAI's for the same.
const OWN: [(&str, &str); 14] = [
    ("model.embed_tokens.", "embedding."),
    ("lm_head.", "unembedding."),
    ("model.norm.weight", "norm.scale"),
    ("model.layers.", "block."),
    ("input_layernorm.weight", "attn.norm.scale"),
    ("post_attention_layernorm.weight", "mlp.norm.scale"),
    ("self_attn.sinks", "attn.sinks"),
    ("self_attn.o_proj.", "attn.out."),
    ("mlp.router.", "mlp.gate."),
    ("experts.gate_up_proj_bias", "mlp1_bias"),
    ("experts.down_proj_bias", "mlp2_bias"),
    ("experts.gate_up_proj_{}", "mlp1_weight.{}"),
    ("experts.down_proj_{}", "mlp2_weight.{}"),
    ("self_attn.", "attn."),
];

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let own = h.has_tensor("", "embedding.weight");
    let names = Names { embedding: "embedding.weight", head: "unembedding.weight", ..Names::default() };
    let mut sizes = Sizes::read_as(h, Pairs::Halves, &if own { names } else { Names::default() })?;
    h.one_of("hidden_act", &["silu"])?;
    h.switch("attention_bias", true)?;
    sizes.attention.window = h.int("attention.sliding_window", &["sliding_window"], 1..=1 << 30, None)? as u32;
    let rope = Rope::read_exact(h, sizes.attention.n_rot.into())?;
    let packed = own || h.has_tensor("", "model.layers.0.mlp.experts.gate_up_proj_blocks");
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
    Ok(Box::new(GptOss { sizes, rope, moe, full_every, own }))
}

impl GptOss {
    /// The table with OpenAI's names, which has queries, keys and values in one.
    fn renamed(&self, mut t: TensorTable) -> TensorTable {
        let (q, kv) = self.sizes.attention.rows();
        for spec in &mut t.specs {
            for (other, own) in OWN {
                spec.hf = spec.hf.replace(other, own);
            }
            for (name, first) in [("q_proj", 0), ("k_proj", q), ("v_proj", q + kv)] {
                if spec.hf.contains(name) {
                    spec.hf = spec.hf.replace(name, "qkv");
                    spec.change = Change::Within { first, of: q + 2 * kv };
                }
            }
        }
        t
    }
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
        if self.own { self.renamed(t) } else { t }
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
