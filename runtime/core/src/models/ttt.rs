//! TTT-Linear and TTT-MLP: the place of attention has a model per head, linear or of two layers, that learns along the text.
//!
//! Sun et al., "Learning to (Learn at Test Time)", arXiv 2407.04620; names of folders are those of its PyTorch code. Those of
//! GGUF are ours, see docs/ttt.md.

use super::blocks::Bias;
use super::hyper::unsupported;
use super::net::Net;
use super::rope::{Rope, Scaling};
use super::sizes::{Pairs, Sizes};
use super::{Architecture, Change, Common, ConfigError, Definition, Hyper, TensorTable};
use crate::graph::Value;
use tern_abi::ops::{FastWeightParams, ShortConvParams, activation, rope_layout};

pub const ARCHITECTURE: Architecture =
    Architecture { name: "TTT", gguf: &["ttt", "ttt-linear"], hf: &["TTTForCausalLM"], read };

/// Added in the norm inside of the inner model, and in the one after it.
const EPS: f32 = 1e-6;

struct Ttt {
    sizes: Sizes,
    rope: Rope,
    /// Tokens of a mini-batch.
    chunk: u64,
    /// Factor on learned rates.
    rate: f32,
    gated: bool,
    /// Dimensions between the inner model's two layers; 0 for a linear one.
    hidden: u64,
    /// Rows that convolutions see.
    width: u64,
    /// Is there a convolution before the block?
    pre_conv: bool,
    /// Are queries and keys convolutions of one product?
    share_qk: bool,
}

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let mut sizes = Sizes::read(h, Pairs::Halves)?;
    h.one_of("hidden_act", &["silu"])?;
    let hidden = match h.text_or("ttt.layer_type", &["ttt_layer_type"], "linear")?.as_str() {
        "linear" => 0,
        "mlp" => 4 * u64::from(sizes.attention.head_dim),
        other => return Err(unsupported("ttt_layer_type", other, "linear, mlp")),
    };
    let pre_conv = h.flag("ttt.pre_conv", &["pre_conv"], false)?;
    let share_qk = h.flag("ttt.share_qk", &["share_qk"], false)?;
    let width = h.int("ttt.conv_kernel", &["conv_kernel"], 1..=16, Some(4))?;
    h.absent("rope_scaling")?;
    let chunk = h.int("ttt.mini_batch_size", &["mini_batch_size"], 1..=1 << 10, Some(16))?;
    let rate = h.float("ttt.base_lr", &["ttt_base_lr"], 0.0..=1e3, Some(1.0))? as f32;
    let base = h.float("rope.freq_base", &["rope_theta"], 1.0..=1e12, Some(10000.0))?;
    let a = &mut sizes.attention;
    if a.kv_heads != a.heads || a.rows().0 != sizes.common.width {
        return Err(unsupported(
            "heads",
            &format!("{} of {}", a.heads, a.head_dim),
            "as many keys, and the model's width",
        ));
    }
    a.rope_layout = rope_layout::ADJACENT;
    let rope = Rope { base, n_rot: a.n_rot.into(), scaling: Scaling::None };
    sizes.common.kv_elements = 0;
    let gated = match h.draft() {
        Some(config) => config.bool("use_gate")?.unwrap_or(false),
        None => h.has_tensor("blk.0.attn_gate.weight", "model.layers.0.seq_modeling_block.g_proj.weight"),
    };
    h.switch("use_gate", gated)?;
    Ok(Box::new(Ttt { sizes, rope, chunk, rate, gated, hidden, width, pre_conv, share_qk }))
}

impl Ttt {
    fn block_tensors(&self, t: &mut TensorTable) {
        let s = &self.sizes;
        let (d, heads, f) = (s.common.width, s.attention.heads.into(), s.attention.head_dim.into());
        let block = |name: &str| format!("seq_modeling_block.{name}");
        if self.pre_conv {
            t.vector("ttt_conv_norm.weight", "conv.norm.weight", d);
            self.convolution(t, "ttt_conv", "conv.conv");
        }
        t.vector("attn_norm.weight", "seq_norm.weight", d);
        for (name, hf) in [("q", "q"), ("k", "k"), ("v", "v"), ("output", "o"), ("gate", "g")] {
            if (name != "gate" || self.gated) && (name != "k" || !self.share_qk) {
                t.matrix(&format!("attn_{name}.weight"), &block(&format!("{hf}_proj.weight")), d, d);
            }
        }
        for name in ["conv_q", "conv_k"].into_iter().filter(|_| self.share_qk) {
            self.convolution(t, &format!("ttt_{name}"), &block(name));
        }
        let first = if self.hidden > 0 { self.hidden } else { f };
        t.numbers("ttt_w1", &block("W1"), &[heads, f, first]);
        t.numbers("ttt_b1", &block("b1"), &[heads, first]).changed(Change::Squeezed);
        if self.hidden > 0 {
            t.numbers("ttt_w2", &block("W2"), &[heads, first, f]);
            t.numbers("ttt_b2", &block("b2"), &[heads, f]).changed(Change::Squeezed);
        }
        t.numbers("ttt_norm.weight", &block("ttt_norm_weight"), &[heads, f]);
        t.numbers("ttt_norm.bias", &block("ttt_norm_bias"), &[heads, f]);
        t.matrix("ttt_lr.weight", &block("learnable_ttt_lr_weight"), heads, d).changed(Change::Squeezed);
        t.vector("ttt_lr.bias", &block("learnable_ttt_lr_bias"), heads).changed(Change::Squeezed);
        t.vector("ttt_token_idx", &block("learnable_token_idx"), self.chunk);
        t.vector("post_attention_norm.weight", &block("post_norm.weight"), d);
        t.vector("post_attention_norm.bias", &block("post_norm.bias"), d);
        t.vector("ffn_norm.weight", "ffn_norm.weight", d);
        t.gated_mlp(s, Bias::Never);
    }

    /// The weight and bias of a convolution of every channel.
    fn convolution(&self, t: &mut TensorTable, gguf: &str, hf: &str) {
        let d = self.sizes.common.width;
        let (weight, bias) = (format!("{gguf}.weight"), format!("{gguf}.bias"));
        t.numbers(&weight, &format!("{hf}.weight"), &[d, self.width]).changed(Change::Squeezed);
        t.vector(&bias, &format!("{hf}.bias"), d);
    }

    /// `x` through the convolution `name`.
    fn convolved(&self, net: &mut Net<'_>, x: Value, name: &str) -> Value {
        let params = ShortConvParams { width: self.width as u32, chunk: self.chunk as u32 };
        net.short_conv(x, name, self.sizes.common.width, params)
    }

    /// Queries and keys.
    fn queries(&self, net: &mut Net<'_>, h: Value) -> [Value; 2] {
        let q = net.linear(h, "attn_q");
        if self.share_qk {
            return ["ttt_conv_q", "ttt_conv_k"].map(|name| self.convolved(net, q, name));
        }
        [q, net.linear(h, "attn_k")]
    }

    /// The block on `h`, before its output matrix.
    fn block(&self, net: &mut Net<'_>, h: Value, rope: Value) -> Value {
        let a = &self.sizes.attention;
        let [q, k] = self.queries(net, h);
        let v = net.linear(h, "attn_v");
        let (q, k) = (net.rotated(q, rope, a.heads, a), net.rotated(k, rope, a.heads, a));
        let lr = net.linear(h, "ttt_lr");
        let lr = net.g.activation(lr, activation::SIGMOID);
        let lr = net.g.scale(lr, self.rate / a.head_dim as f32);
        let shares = (1..=self.chunk).map(|i| 1.0 / i as f32).collect();
        let shares = net.constant("ttt_shares", shares);
        let learned = net.tensor("ttt_token_idx");
        let shares = net.g.add(learned, shares);
        let inner = ["ttt_w1", "ttt_b1", "ttt_norm.weight", "ttt_norm.bias"].map(|name| net.tensor(name));
        let (heads, head_dim, chunk) = (a.heads, a.head_dim, self.chunk as u32);
        let (hidden, layers) = (self.hidden as u32, u32::from(self.hidden > 0));
        let second = (layers > 0).then(|| ["ttt_w2", "ttt_b2"].map(|name| net.tensor(name)));
        let params = FastWeightParams { heads, head_dim, chunk, eps: EPS, inner: layers, hidden, ..Default::default() };
        let y = net.fast_weight([q, k, v, lr], inner, second, shares, params);
        let y = net.layer_norm(y, "post_attention_norm", EPS);
        if !self.gated {
            return y;
        }
        let gate = net.linear(h, "attn_gate");
        net.glu(gate, y, activation::GELU_TANH)
    }
}

impl Definition for Ttt {
    fn common(&self) -> Common {
        self.sizes.common.clone()
    }

    fn tensors(&self) -> TensorTable {
        let mut t = TensorTable::default();
        t.embedding(&self.sizes);
        for i in 0..self.sizes.common.layers {
            t.layer(i);
            self.block_tensors(&mut t);
        }
        t.ending(&self.sizes);
        t
    }

    fn build(&self, net: &mut Net<'_>) -> Value {
        let s = &self.sizes;
        let rope = net.rope_within(&self.rope, self.chunk as u32);
        let mut x = net.embed("token_embd.weight");
        for i in 0..s.common.layers {
            net.layer(i);
            if self.pre_conv {
                let h = net.rms_norm(x, "ttt_conv_norm", s.eps);
                let h = self.convolved(net, h, "ttt_conv");
                x = net.g.add(h, x);
            }
            let h = net.rms_norm(x, "attn_norm", s.eps);
            let y = self.block(net, h, rope);
            x = net.add_attention(i, s, x, y);
            x = net.add_feed_forward(x, s, activation::SILU);
        }
        net.logits(x, s)
    }
}
