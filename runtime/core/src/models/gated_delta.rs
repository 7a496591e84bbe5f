//! Fast weights under the gated delta rule in the place of attention: queries, keys and values go through short convolutions, and the
//! output has a norm and a gate.
//!
//! Yang et al., "Gated Delta Networks", arXiv 2412.06464.

use super::hyper::unsupported;
use super::net::Net;
use super::{Change, ConfigError, HeadOrder, Hyper, TensorTable};
use crate::graph::Value;
use tern_abi::ops::{ColumnsParams, FastWeightParams, ShortConvParams, activation, fast_weight_rule};

/// Rows that a state keeps beside its weights, so that they can be taken back: no file says how many. More make decoding read more
/// between the weights' updates, fewer make it update them, and keep a snapshot, more often.
const CHUNK: u32 = 32;
/// Added to the squared length of queries and keys.
const EPS: f64 = 1e-6;

/// Its sizes, and how the file has its matrices.
pub struct Delta {
    key_heads: u32,
    heads: u32,
    key_dim: u32,
    value_dim: u32,
    /// Rows that a convolution sees.
    width: u32,
    form: Form,
    /// Do heads of different keys come in turns?
    in_turns: bool,
}

/// Its matrices in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Queries, keys, values and gates in one matrix, head of keys by head of keys; rates and decays in another one likewise.
    Grouped,
    /// All queries, then all keys, then all values in one matrix; gates in a second, rates and decays in a third as above.
    Joined,
    /// The first two of these; rates and decays each in a matrix of their own.
    Apart,
}

impl Delta {
    /// Reads its sizes. `in_turns`: heads of different keys, whose order the files say nothing of.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(h: &Hyper<'_>, form: Form, in_turns: bool) -> Result<Self, ConfigError> {
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
        let [key_heads, heads, key_dim, value_dim, width] =
            [key_heads, heads, key_dim, value_dim, width].map(|n| n as u32);
        Ok(Self { key_heads, heads, key_dim, value_dim, width, form, in_turns })
    }

    /// Rows of all queries (as many as of keys), and of all values.
    fn rows(&self) -> (u64, u64) {
        let of = |heads: u32, dim: u32| u64::from(heads) * u64::from(dim);
        (of(self.key_heads, self.key_dim), of(self.heads, self.value_dim))
    }

    /// Its part of a layer's table, for models of width `d`.
    pub fn tensors(&self, t: &mut TensorTable, d: u64) {
        let ((keys, values), heads, width) = (self.rows(), u64::from(self.heads), u64::from(self.width));
        let order = |dims: u64, first: u64, columns: bool| {
            let (keys, shared) = (self.key_heads.into(), u64::from(self.heads / self.key_heads));
            let moved = self.form == Form::Apart && keys > 1 && shared > 1;
            moved.then_some(HeadOrder { keys, shared, dims, first, columns })
        };
        let of_values = |first| order(self.value_dim.into(), first, false);
        let conv = ("ssm_conv1d.weight", "linear_attn.conv1d.weight");
        if self.form == Form::Grouped {
            t.matrix("ssm_in.weight", "linear_attn.in_proj_qkvz.weight", 2 * (keys + values), d);
            let parts = [("ssm_conv1d_q.weight", keys), ("ssm_conv1d_k.weight", keys), ("ssm_conv1d_v.weight", values)];
            t.fused_convolutions(conv.0, conv.1, &parts, width);
        } else {
            let (rows, first) = (2 * keys + values, of_values(2 * keys));
            t.matrix("attn_qkv.weight", "linear_attn.in_proj_qkv.weight", rows, d).ordered(first);
            t.matrix("attn_gate.weight", "linear_attn.in_proj_z.weight", values, d).ordered(of_values(0));
            t.numbers(conv.0, conv.1, &[rows, width]).changed(Change::Squeezed).ordered(first);
        }
        let single = order(1, 0, false);
        if self.form == Form::Apart {
            t.matrix("ssm_beta.weight", "linear_attn.in_proj_b.weight", heads, d).ordered(single);
            t.matrix("ssm_alpha.weight", "linear_attn.in_proj_a.weight", heads, d).ordered(single);
        } else {
            t.matrix("ssm_ba.weight", "linear_attn.in_proj_ba.weight", 2 * heads, d);
        }
        t.vector("ssm_dt.bias", "linear_attn.dt_bias", heads).ordered(single);
        t.vector("ssm_a", "linear_attn.A_log", heads).changed(Change::NegativeExp).ordered(single);
        t.vector("ssm_norm.weight", "linear_attn.norm.weight", self.value_dim.into());
        let columns = order(self.value_dim.into(), 0, true);
        t.matrix("ssm_out.weight", "linear_attn.out_proj.weight", d, values).ordered(columns);
    }

    /// Queries, keys and values after their convolutions, and the output's gate.
    fn inputs(&self, net: &mut Net<'_>, h: Value) -> [Value; 4] {
        let params = ShortConvParams { width: self.width, chunk: CHUNK };
        let (keys, values) = self.rows();
        let convolved = |net: &mut Net<'_>, x, name: &str, width| {
            let x = net.short_conv(x, name, width, params);
            net.g.activation(x, activation::SILU)
        };
        if self.form != Form::Grouped {
            let y = net.linear(h, "attn_qkv");
            let y = convolved(net, y, "ssm_conv1d", 2 * keys + values);
            let (keys, values) = (self.key_heads * self.key_dim, self.heads * self.value_dim);
            let part = |first, run| ColumnsParams { first, run, step: run, count: run };
            let [q, k, v] =
                [part(0, keys), part(keys, keys), part(2 * keys, values)].map(|part| net.g.columns(y, part));
            return [q, k, v, net.linear(h, "attn_gate")];
        }
        let y = net.linear(h, "ssm_in");
        let (key, shared) = (self.key_dim, self.heads / self.key_heads * self.value_dim);
        let part = |first, run| ColumnsParams { first, run, step: 2 * (key + shared), count: self.key_heads * run };
        let parts = [part(0, key), part(key, key), part(2 * key, shared), part(2 * key + shared, shared)];
        let [q, k, v, gate] = parts.map(|part| net.g.columns(y, part));
        let [q, k, v] = [(q, "ssm_conv1d_q", keys), (k, "ssm_conv1d_k", keys), (v, "ssm_conv1d_v", values)]
            .map(|(x, name, width)| convolved(net, x, name, width));
        [q, k, v, gate]
    }

    /// Rates, and decays before their bias, of all heads.
    fn rates(&self, net: &mut Net<'_>, h: Value) -> [Value; 2] {
        if self.form == Form::Apart {
            return ["ssm_beta", "ssm_alpha"].map(|name| net.linear(h, name));
        }
        let y = net.linear(h, "ssm_ba");
        let run = self.heads / self.key_heads;
        [0, run].map(|first| net.g.columns(y, ColumnsParams { first, run, step: 2 * run, count: self.heads }))
    }

    /// What replaces attention, before its output matrix `ssm_out`.
    pub fn block(&self, net: &mut Net<'_>, h: Value, eps: f32) -> Value {
        let [q, k, v, gate] = self.inputs(net, h);
        // A vector of length 1 is one with a mean square of 1, divided by the root of its dimensions; queries are divided once more.
        let dims = f64::from(self.key_dim);
        let [q, k] =
            [(q, "query_length", 1.0 / dims), (k, "key_length", 1.0 / dims.sqrt())].map(|(x, name, length)| {
                let w = net.constant(name, vec![length as f32; self.key_dim as usize]);
                net.g.rms_norm_groups(x, w, self.key_heads, (EPS / dims) as f32)
            });
        let [rate, decay] = self.rates(net, h);
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
            in_turns: self.in_turns.into(),
            ..Default::default()
        };
        let y = net.delta_rule([q, k, v, rate], decay, params);
        let y = net.head_norm(y, "ssm_norm", self.heads, eps);
        net.glu(gate, y, activation::SILU)
    }
}
