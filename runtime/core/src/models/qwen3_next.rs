//! Qwen 3 Next: of four layers three have fast weights under the gated delta rule in the place of attention; the others an attention
//! whose output is gated.
//!
//! Qwen team, "Qwen3-Next", 2025; Yang et al., "Gated Delta Networks", arXiv 2412.06464.

use super::blocks::Bias;
use super::hyper::unsupported;
use super::moe::{MLP, Moe};
use super::net::Net;
use super::rope::Rope;
use super::sizes::{Pairs, Sizes, full_every_as};
use super::{Architecture, Change, Common, ConfigError, Definition, Hyper, TensorTable};
use crate::graph::Value;
use tern_abi::ops::{ColumnsParams, FastWeightParams, ShortConvParams, activation, fast_weight_rule};

pub const ARCHITECTURE: Architecture =
    Architecture { name: "Qwen 3 Next", gguf: &["qwen3next"], hf: &["Qwen3NextForCausalLM"], read };

/// Rows that a state keeps beside its weights, so that they can be taken back: no file says how many. More make decoding read more
/// between the weights' updates, fewer make it update them, and keep a snapshot, more often.
const CHUNK: u32 = 32;
/// Added to the squared length of queries and keys.
const EPS: f64 = 1e-6;

/// Sizes of the layers with fast weights.
struct Delta {
    key_heads: u32,
    heads: u32,
    key_dim: u32,
    value_dim: u32,
    /// Rows that a convolution sees.
    width: u32,
    /// Does the file have queries, keys, values and gates in one matrix, head of keys by head of keys?
    grouped: bool,
}

struct Qwen3Next {
    sizes: Sizes,
    rope: Rope,
    moe: Moe,
    delta: Delta,
    /// Of so many layers the last one has attention.
    full_every: u64,
}

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let mut sizes = Sizes::read(h, Pairs::Halves)?;
    h.one_of("hidden_act", &["silu"])?;
    h.switch("attention_bias", false)?;
    if sizes.attention.n_rot == sizes.attention.head_dim && !h.is_gguf() {
        // What a configuration that says nothing means has changed from program to program.
        return Err(ConfigError::Missing { key: "partial_rotary_factor below 1".to_owned() });
    }
    let rope = Rope::read(h, sizes.attention.n_rot.into(), "")?;
    let layers = sizes.common.layers;
    let keys = ("full_attention_interval", "full_attention_interval");
    let full_every = full_every_as(h, layers, 4, keys, "linear_attention")?;
    let (_, kv) = sizes.attention.rows();
    sizes.common.kv_elements = 2 * (layers / full_every) * kv;
    let delta = Delta::read(h, if full_every > 1 { 0 } else { layers })?;
    let mut moe = Moe::read(h, &sizes, None, MLP)?;
    moe.read_normalize(h, true)?;
    moe.read_layers(h)?;
    moe.shared = h.int("expert_shared_feed_forward_length", &["shared_expert_intermediate_size"], 1..=1 << 20, None)?;
    Ok(Box::new(Qwen3Next { sizes, rope, moe, delta, full_every }))
}

impl Delta {
    /// `first`: a layer that has them.
    fn read(h: &Hyper<'_>, first: u64) -> Result<Self, ConfigError> {
        let key_heads = h.int("ssm.group_count", &["linear_num_key_heads"], 1..=1024, None)?;
        let heads = h.int("ssm.time_step_rank", &["linear_num_value_heads"], 1..=1024, None)?;
        let key_dim = h.int("ssm.state_size", &["linear_key_head_dim"], 1..=1024, None)?;
        let width = h.int("ssm.conv_kernel", &["linear_conv_kernel_dim"], 1..=16, None)?;
        let stated = match h.folder() {
            Some(config) => config.u64("linear_value_head_dim")?.map(|n| n.saturating_mul(heads)),
            None => None,
        };
        let inner = h.int("ssm.inner_size", &[], 1..=1 << 20, stated)?;
        h.divides("ssm.group_count", key_heads, "ssm.time_step_rank", heads)?;
        h.divides("ssm.time_step_rank", heads, "ssm.inner_size", inner)?;
        let value_dim = inner / heads;
        if value_dim > 1024 {
            return Err(unsupported("ssm.inner_size", &inner.to_string(), "up to 1024 for each head"));
        }
        let grouped = !h.is_gguf() || h.has_tensor(&format!("blk.{first}.ssm_in.weight"), "");
        let [key_heads, heads, key_dim, value_dim, width] =
            [key_heads, heads, key_dim, value_dim, width].map(|n| n as u32);
        Ok(Self { key_heads, heads, key_dim, value_dim, width, grouped })
    }

    /// Rows of all queries (as many as of keys), and of all values.
    fn rows(&self) -> (u64, u64) {
        let of = |heads: u32, dim: u32| u64::from(heads) * u64::from(dim);
        (of(self.key_heads, self.key_dim), of(self.heads, self.value_dim))
    }

    fn tensors(&self, t: &mut TensorTable, d: u64) {
        let ((keys, values), heads) = (self.rows(), u64::from(self.heads));
        if self.grouped {
            t.matrix("ssm_in.weight", "linear_attn.in_proj_qkvz.weight", 2 * (keys + values), d);
        } else {
            let parts = [("attn_q.weight", keys), ("attn_k.weight", keys), ("attn_v.weight", values)];
            t.fused("attn_qkv.weight", "", &parts, Some(d), Change::None);
            t.matrix("attn_gate.weight", "", values, d);
        }
        t.matrix("ssm_ba.weight", "linear_attn.in_proj_ba.weight", 2 * heads, d);
        let parts = [("ssm_conv1d_q.weight", keys), ("ssm_conv1d_k.weight", keys), ("ssm_conv1d_v.weight", values)];
        t.fused_convolutions("ssm_conv1d.weight", "linear_attn.conv1d.weight", &parts, self.width.into());
        t.vector("ssm_dt.bias", "linear_attn.dt_bias", heads);
        t.vector("ssm_a", "linear_attn.A_log", heads).changed(Change::NegativeExp);
        t.vector("ssm_norm.weight", "linear_attn.norm.weight", self.value_dim.into());
        t.matrix("ssm_out.weight", "linear_attn.out_proj.weight", d, values);
    }

    /// Queries, keys, values, and the output's gate.
    fn inputs(&self, net: &mut Net<'_>, h: Value) -> [Value; 4] {
        if !self.grouped {
            return ["attn_q", "attn_k", "attn_v", "attn_gate"].map(|name| net.linear(h, name));
        }
        let y = net.linear(h, "ssm_in");
        let (key, values) = (self.key_dim, self.heads / self.key_heads * self.value_dim);
        let part = |first, run| ColumnsParams { first, run, step: 2 * (key + values), count: self.key_heads * run };
        let parts = [part(0, key), part(key, key), part(2 * key, values), part(2 * key + values, values)];
        parts.map(|part| net.g.columns(y, part))
    }

    /// What replaces attention, before its output matrix.
    fn block(&self, net: &mut Net<'_>, h: Value, eps: f32) -> Value {
        let [q, k, v, gate] = self.inputs(net, h);
        let (keys, values) = self.rows();
        let params = ShortConvParams { width: self.width, chunk: CHUNK };
        let [q, k, v] = [(q, "q", keys), (k, "k", keys), (v, "v", values)].map(|(x, name, width)| {
            let x = net.short_conv(x, &format!("ssm_conv1d_{name}"), width, params);
            net.g.activation(x, activation::SILU)
        });
        // A vector of length 1 is one with a mean square of 1, divided by the root of its dimensions; queries are divided once more.
        let dims = f64::from(self.key_dim);
        let [q, k] =
            [(q, "query_length", 1.0 / dims), (k, "key_length", 1.0 / dims.sqrt())].map(|(x, name, length)| {
                let w = net.constant(name, vec![length as f32; self.key_dim as usize]);
                net.g.rms_norm_groups(x, w, self.key_heads, (EPS / dims) as f32)
            });
        let y = net.linear(h, "ssm_ba");
        let run = self.heads / self.key_heads;
        let part = |first| ColumnsParams { first, run, step: 2 * run, count: self.heads };
        let (rate, decay) = (net.g.columns(y, part(0)), net.g.columns(y, part(run)));
        let rate = net.g.activation(rate, activation::SIGMOID);
        let (bias, factor) = (net.tensor("ssm_dt.bias"), net.tensor("ssm_a"));
        let decay = net.g.add(decay, bias);
        let decay = net.g.activation(decay, activation::SOFTPLUS);
        let decay = net.g.mul(decay, factor);
        let params = FastWeightParams {
            heads: self.heads,
            head_dim: self.key_dim,
            chunk: CHUNK,
            rule: fast_weight_rule::DELTA,
            value_dim: self.value_dim,
            key_heads: self.key_heads,
            ..Default::default()
        };
        let y = net.delta_rule([q, k, v, rate], decay, params);
        let y = net.head_norm(y, "ssm_norm", self.heads, eps);
        net.glu(gate, y, activation::SILU)
    }
}

impl Qwen3Next {
    fn is_full(&self, i: u64) -> bool {
        (i + 1).is_multiple_of(self.full_every)
    }

    fn attention_tensors(&self, t: &mut TensorTable) {
        let (s, (q, kv)) = (&self.sizes, self.sizes.attention.rows());
        let (d, head) = (s.common.width, s.attention.head_dim.into());
        t.matrix("attn_q.weight", "self_attn.q_proj.weight", 2 * q, d);
        t.matrix("attn_k.weight", "self_attn.k_proj.weight", kv, d);
        t.matrix("attn_v.weight", "self_attn.v_proj.weight", kv, d);
        t.vector("attn_q_norm.weight", "self_attn.q_norm.weight", head);
        t.vector("attn_k_norm.weight", "self_attn.k_norm.weight", head);
        t.attention_output(s, Bias::Never);
    }

    /// Attention of the current layer with its gate, before its output matrix.
    fn attention(&self, net: &mut Net<'_>, h: Value, rope: Value) -> Value {
        let (a, eps) = (&self.sizes.attention, self.sizes.eps);
        let (both, k, v) = (net.linear(h, "attn_q"), net.linear(h, "attn_k"), net.linear(h, "attn_v"));
        let run = a.head_dim;
        let part = |first| ColumnsParams { first, run, step: 2 * run, count: a.heads * run };
        let (q, gate) = (net.g.columns(both, part(0)), net.g.columns(both, part(run)));
        let q = net.head_norm(q, "attn_q_norm", a.heads, eps);
        let k = net.head_norm(k, "attn_k_norm", a.kv_heads, eps);
        let y = net.attention(q, k, v, Some(rope), a);
        net.glu(gate, y, activation::SIGMOID)
    }
}

impl Definition for Qwen3Next {
    fn common(&self) -> Common {
        self.sizes.common.clone()
    }

    fn rope(&self) -> Option<&Rope> {
        Some(&self.rope)
    }

    fn tensors(&self) -> TensorTable {
        let (s, d, mut t) = (&self.sizes, self.sizes.common.width, TensorTable::default());
        // Layers that guess several tokens at once.
        t.ignored_parts.push("mtp.");
        t.embedding(s);
        for i in 0..s.common.layers {
            t.layer(i);
            t.vector("attn_norm.weight", "input_layernorm.weight", d);
            if self.is_full(i) {
                self.attention_tensors(&mut t)
            } else {
                self.delta.tensors(&mut t, d)
            }
            t.vector("post_attention_norm.weight", "post_attention_layernorm.weight", d);
            if self.moe.in_layer(i) { t.moe(s, &self.moe) } else { t.gated_mlp(s, Bias::Never) }
        }
        t.ending(s);
        let around_one = |name: &str| name.ends_with("norm.weight") && !name.ends_with("linear_attn.norm.weight");
        t.specs.iter_mut().filter(|v| around_one(&v.hf)).for_each(|v| v.change = Change::PlusOne);
        t
    }

    fn build(&self, net: &mut Net<'_>) -> Value {
        let s = &self.sizes;
        let rope = net.rope(&self.rope);
        let mut x = net.embed("token_embd.weight");
        for i in 0..s.common.layers {
            net.layer(i);
            let h = net.rms_norm(x, "attn_norm", s.eps);
            x = if self.is_full(i) {
                let y = self.attention(net, h, rope);
                net.add_attention(i, s, x, y)
            } else {
                let y = self.delta.block(net, h, s.eps);
                let (x, y) = net.wanted_rows(i, s, x, y);
                net.add_linear(x, y, "ssm_out")
            };
            let h = net.rms_norm(x, "post_attention_norm", s.eps);
            x = if self.moe.in_layer(i) {
                net.add_moe(x, h, &self.moe)
            } else {
                let y = net.gated(h, activation::SILU);
                net.add_linear(x, y, "ffn_down")
            };
        }
        net.logits(x, s)
    }
}
