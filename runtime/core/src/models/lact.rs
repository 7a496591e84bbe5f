//! LaCT: attention over a window, and beside it, on the same queries, keys and values, a gated inner model per head that learns from large
//! chunks of the text.
//!
//! Zhang et al., "Test-Time Training Done Right", arXiv 2505.23884; names of folders are those of its code. Those of GGUF are ours, see
//! docs/ttt.md.

use super::blocks::Bias;
use super::hyper::unsupported;
use super::net::Net;
use super::rope::{Rope, Scaling};
use super::sizes::{Names, Pairs, Sizes};
use super::{Architecture, Change, Common, ConfigError, Definition, Hyper, Stack, StackForm, TensorTable};
use crate::graph::Value;
use tern_abi::ops::{FastWeightParams, activation, fast_weight_rule};

pub const ARCHITECTURE: Architecture = Architecture { name: "LaCT", gguf: &["lact"], hf: &["LaCTForCausalLM"], read };

/// Added to lengths of queries, keys and columns of fast weights, and in norms of queries, keys and the inner model's output.
const EPS: f32 = 1e-5;
/// What rates are where the network says nothing.
const RATE: f64 = 1e-3;

struct Lact {
    sizes: Sizes,
    rope: Rope,
    /// Of the inner model.
    fast: FastWeightParams,
    /// Of the factors that a folder has of the inner model's first matrices; 0 where it has these.
    rank: u64,
    qkv_bias: bool,
    /// Are queries and keys normed as a whole?
    qk_norm: bool,
    /// Do queries and keys of the inner model go through SiLU, and values?
    silu: [bool; 2],
    /// Are queries and keys of the inner model rotated?
    rotated: bool,
    momentum: bool,
    /// Is there a factor on each head's output?
    scaled: bool,
}

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let ratio = h.folder_float(&["hidden_ratio".to_owned()])?.unwrap_or(4.0);
    let ffn = |d: u64| ((d as f64 * ratio * 2.0 / 3.0) as u64).div_ceil(256).saturating_mul(256);
    let eps = ("attention.layer_norm_rms_epsilon", "norm_eps");
    let names = Names { embedding: "model.embeddings.weight", eps, ffn: Some(&ffn), ..Names::default() };
    let mut sizes = Sizes::read_as(h, Pairs::Halves, &names)?;
    for (key, supported) in
        [("hidden_act", "swish"), ("lr_parameterization", "mamba"), ("ttt_loss_type", "dot_product")]
    {
        h.one_of(key, &[supported])?;
    }
    h.switch("ttt_prenorm", false)?;
    let (width, a) = (sizes.common.width, &mut sizes.attention);
    if a.kv_heads != a.heads || a.rows().0 != width {
        let found = format!("{} of {}", a.heads, a.head_dim);
        return Err(unsupported("heads", &found, "as many keys, and the model's width"));
    }
    let heads = h.int("ttt.head_count", &["num_lact_heads"], 1..=1024, Some(4))?;
    // Each is normed on its own after rotation here, before it there: the same where no pair is of two heads.
    h.divides("ttt.head_count", heads, "attention.head_count", a.heads.into())?;
    h.same("lr_dim", h.folder().map(|c| c.u64("lr_dim")).transpose()?.flatten().unwrap_or(1), 1)?;
    let times = h.folder_float(&["inter_multi".to_owned()])?.unwrap_or(1.0);
    let inner = (width / heads) as f64 * times;
    let hidden = h.int("ttt.inner_length", &[], 1..=1 << 12, Some(inner as u64))?;
    let chunk = h.int("ttt.chunk_size", &["lact_chunk_size"], 1..=1 << 14, Some(2048))?;
    // A folder says by null that there is none; the default is for one that says nothing.
    let none = h.folder().is_none_or(|c| c.value().get("window_size").is_some());
    let default = if none { 0 } else { 2048 };
    a.window = h.int("attention.sliding_window", &["window_size"], 0..=1 << 30, Some(default))? as u32;
    let base = h.float("rope.freq_base", &["rope_theta"], 1.0..=1e12, Some(10000.0))?;
    let (silu, plain) = (h.flag("ttt.silu", &["qkv_silu"], true)?, h.flag("ttt.no_value_silu", &["no_v_silu"], false)?);
    let fast = FastWeightParams {
        heads: heads as u32,
        head_dim: (width / heads) as u32,
        chunk: chunk as u32,
        eps: EPS,
        inner: 2,
        rule: fast_weight_rule::INNER_PRODUCT,
        hidden: hidden as u32,
        muon: h.flag("ttt.muon", &["use_muon"], false)?.into(),
        ..Default::default()
    };
    let rank = h.folder_float(&["w0_w2_low_rank".to_owned()])?.unwrap_or(-1.0);
    Ok(Box::new(Lact {
        rope: Rope { base, n_rot: sizes.attention.n_rot.into(), scaling: Scaling::None },
        sizes,
        fast,
        rank: rank.clamp(0.0, 4096.0) as u64,
        qkv_bias: h.flag("ttt.qkv_bias", &["qkv_bias"], false)?,
        qk_norm: h.flag("ttt.qk_norm", &["attn_qk_norm"], false)?,
        silu: [silu, silu && !plain],
        rotated: !h.flag("ttt.no_rope", &["ttt_nope"], false)?,
        momentum: h.flag("ttt.momentum", &["use_momentum"], true)?,
        scaled: h.flag("ttt.output_scale", &["learnable_ttt_scale"], true)?,
    }))
}

impl Lact {
    fn block_tensors(&self, t: &mut TensorTable) {
        let (d, heads, f, m) = (self.sizes.common.width, self.fast.heads.into(), self.fast.head_dim, self.fast.hidden);
        let (f, m) = (u64::from(f), u64::from(m));
        t.vector("attn_norm.weight", "attn_norm.weight", d);
        let parts = ["attn_q", "attn_k", "attn_v"];
        for (end, inner) in
            [("weight", Some(d)), ("bias", None)].into_iter().filter(|p| p.0 == "weight" || self.qkv_bias)
        {
            let parts = parts.map(|name| format!("{name}.{end}"));
            let parts = parts.each_ref().map(|name| (&**name, d));
            t.fused(&format!("attn_qkv.{end}"), &format!("attn.qkv.{end}"), &parts, inner, Change::None);
        }
        for (i, name) in ["q", "k"].into_iter().enumerate() {
            if self.qk_norm {
                t.vector(&format!("attn_{name}_norm.weight"), &format!("attn.{name}_norm.weight"), d);
            }
            for of in ["scale", "offset"] {
                let change = Change::Column { at: i as u64, of: 2 };
                t.vector(&format!("ttt_{name}_{of}"), &format!("attn.qk_{of}"), d).changed(change);
            }
        }
        for (name, rows, columns) in [("w0", f, m), ("w1", m, f), ("w2", f, m)] {
            let stack = Stack { form: StackForm::Transposed, first: 0, step: 1, of: rows };
            let factors = self.rank > 0 && name != "w1";
            let change = if factors { Change::LowRank { rank: self.rank } } else { Change::Stack(stack) };
            let hf = format!("attn.{name}{}", if factors { ".{}" } else { "" });
            t.numbers(&format!("ttt_{name}"), &hf, &[heads, rows, columns]).changed(change);
        }
        let own = [("lr", "lr_proj", 3, true), ("momentum", "momentum_proj.0", 1, self.momentum)];
        for (name, hf, each, there) in own.into_iter().chain([("scale", "ttt_scale_proj", 1, self.scaled)]) {
            if there {
                t.matrix(&format!("ttt_{name}.weight"), &format!("attn.{hf}.weight"), each * heads, d);
                t.vector(&format!("ttt_{name}.bias"), &format!("attn.{hf}.bias"), each * heads);
            }
        }
        t.vector("ttt_norm.weight", "attn.ttt_norm.weight", f);
        t.matrix("attn_output.weight", "attn.o_proj.weight", d, d);
        t.vector("ffn_norm.weight", "mlp_norm.weight", d);
        t.gated_mlp(&self.sizes, Bias::Never);
    }

    /// What the inner model says, from the layer's input `h` and what attention has of it.
    fn inner(&self, net: &mut Net<'_>, h: Value, [q, k, v]: [Value; 3], rope: Value) -> Value {
        let (a, p) = (&self.sizes.attention, self.fast);
        let silu = |net: &mut Net<'_>, x, yes| if yes { net.g.activation(x, activation::SILU) } else { x };
        let [q, k] = [(q, "q"), (k, "k")].map(|(x, name)| {
            let (scale, offset) = (net.tensor(&format!("ttt_{name}_scale")), net.tensor(&format!("ttt_{name}_offset")));
            let x = net.g.mul(x, scale);
            let x = net.g.add(x, offset);
            let x = silu(net, x, self.silu[0]);
            if self.rotated { net.rotated(x, rope, a.heads, a) } else { x }
        });
        let v = silu(net, v, self.silu[1]);
        let lr = net.linear(h, "ttt_lr");
        let base = net.constant("ttt_base_lr", vec![RATE.exp_m1().ln() as f32; 3 * p.heads as usize]);
        let lr = net.g.add(lr, base);
        let lr = net.g.activation(lr, activation::SOFTPLUS);
        let momentum = self.momentum.then(|| {
            let share = net.linear(h, "ttt_momentum");
            net.g.activation(share, activation::SIGMOID)
        });
        let first = ["ttt_w0", "ttt_w1", "ttt_w2"].map(|name| net.tensor(name));
        let y = net.gated_fast_weight([q, k, v, lr], first, momentum, p);
        let y = net.head_norm(y, "ttt_norm", p.heads, EPS);
        if !self.scaled {
            return y;
        }
        let scale = net.linear(h, "ttt_scale");
        let scale = net.g.activation(scale, activation::SILU);
        let scale = net.spread(scale, p.heads, p.head_dim);
        net.g.mul(y, scale)
    }
}

impl Definition for Lact {
    fn common(&self) -> Common {
        self.sizes.common.clone()
    }

    fn rope(&self) -> Option<&Rope> {
        Some(&self.rope)
    }

    fn tensors(&self) -> TensorTable {
        let (s, mut t) = (&self.sizes, TensorTable::default());
        t.matrix("token_embd.weight", "model.embeddings.weight", s.common.vocab_rows, s.common.width).gathered();
        for i in 0..s.common.layers {
            t.layer(i);
            self.block_tensors(&mut t);
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
            let [mut q, mut k, v] = ["attn_q", "attn_k", "attn_v"].map(|name| net.linear(h, name));
            if self.qk_norm {
                [q, k] = [(q, "attn_q_norm"), (k, "attn_k_norm")].map(|(x, name)| net.rms_norm(x, name, EPS));
            }
            let y = net.attention(q, k, v, Some(rope), &s.attention);
            let inner = self.inner(net, h, [q, k, v], rope);
            let y = net.g.add(y, inner);
            x = net.add_attention(i, s, x, y);
            x = net.add_feed_forward(x, s, activation::SILU);
        }
        net.logits(x, s)
    }
}
