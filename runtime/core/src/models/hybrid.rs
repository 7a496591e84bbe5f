//! Models whose layers mostly have fast weights under the gated delta rule; every so many layers one has an attention whose output is
//! gated. Feed-forward blocks are plain or mixtures of experts.

use super::blocks::Bias;
use super::gated_delta::{Delta, Form};
use super::moe::Moe;
use super::net::Net;
use super::rope::Rope;
use super::sizes::{Names, Pairs, Sizes, full_every_as};
use super::{Change, Common, ConfigError, Definition, Hyper, TensorTable};
use crate::graph::Value;
use tern_abi::ops::{ColumnsParams, activation};

/// See the module.
pub struct Hybrid {
    pub sizes: Sizes,
    pub rope: Rope,
    pub delta: Delta,
    /// Mixtures of experts, where there are any.
    pub moe: Option<Moe>,
    /// Of so many layers the last one has attention.
    pub full_every: u64,
    /// Layers of a GGUF file behind these: they guess further tokens and are not run.
    pub guessing: u64,
    /// Do folders have the language model as a part of a larger one?
    pub nested: bool,
}

impl Hybrid {
    /// Reads what all of them state. `form` and `in_turns`: see [`Delta::read`]; a GGUF file may have the form [`Form::Grouped`] all the same.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(h: &Hyper<'_>, names: &Names<'_>, form: Form, in_turns: bool) -> Result<Self, ConfigError> {
        let mut sizes = Sizes::read_as(h, Pairs::Halves, names)?;
        h.one_of("hidden_act", &["silu"])?;
        h.switch("attention_bias", false)?;
        let rope = Rope::read(h, sizes.attention.n_rot.into(), "")?;
        // What a GGUF file counts as layers.
        let guessing = h.int("nextn_predict_layers", &[], 0..=sizes.common.layers - 1, Some(0))?;
        sizes.common.layers -= guessing;
        let layers = sizes.common.layers;
        let keys = ("full_attention_interval", "full_attention_interval");
        let full_every = full_every_as(h, layers, 4, keys, ("linear_attention", "attention.recurrent_layers"))?;
        let (_, kv) = sizes.attention.rows();
        sizes.common.kv_elements = 2 * (layers / full_every) * kv;
        let first = if full_every > 1 { 0 } else { layers };
        let grouped = h.has_tensor(&format!("blk.{first}.ssm_in.weight"), "");
        let delta = Delta::read(h, if grouped { Form::Grouped } else { form }, in_turns)?;
        Ok(Self { sizes, rope, delta, moe: None, full_every, guessing, nested: false })
    }

    fn is_full(&self, i: u64) -> bool {
        (i + 1).is_multiple_of(self.full_every)
    }

    /// The mixture of layer `i`, if it has one.
    fn mixture(&self, i: u64) -> Option<&Moe> {
        self.moe.as_ref().filter(|moe| moe.in_layer(i))
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

impl Definition for Hybrid {
    fn common(&self) -> Common {
        self.sizes.common.clone()
    }

    fn rope(&self) -> Option<&Rope> {
        Some(&self.rope)
    }

    fn tensors(&self) -> TensorTable {
        let (s, d, mut t) = (&self.sizes, self.sizes.common.width, TensorTable::default());
        let layers = s.common.layers;
        // Guesses of several tokens at once, and what sees.
        t.ignored_parts.extend(["mtp.", "model.mtp.", "model.visual."].map(Into::into));
        t.ignored_parts.extend((layers..layers + self.guessing).map(|i| format!("blk.{i}.").into()));
        t.embedding(s);
        for i in 0..layers {
            t.layer(i);
            t.vector("attn_norm.weight", "input_layernorm.weight", d);
            if self.is_full(i) {
                self.attention_tensors(&mut t)
            } else {
                self.delta.tensors(&mut t, d)
            }
            t.vector("post_attention_norm.weight", "post_attention_layernorm.weight", d);
            match self.mixture(i) {
                Some(moe) => t.moe(s, moe),
                None => t.gated_mlp(s, Bias::Never),
            }
        }
        t.ending(s);
        let around_one = |name: &str| name.ends_with("norm.weight") && !name.ends_with("linear_attn.norm.weight");
        t.specs.iter_mut().filter(|v| around_one(&v.hf)).for_each(|v| v.change = Change::PlusOne);
        for spec in t.specs.iter_mut().filter(|_| self.nested) {
            if let Some(name) = spec.hf.strip_prefix("model.") {
                spec.hf = format!("model.language_model.{name}");
            }
        }
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
            x = match self.mixture(i) {
                Some(moe) => net.add_moe(x, h, moe),
                None => {
                    let y = net.gated(h, activation::SILU);
                    net.add_linear(x, y, "ffn_down")
                }
            };
        }
        net.logits(x, s)
    }
}
