//! Blocks that families share: their part of the tensor table beside what they do.

use super::net::{AttentionShape, Net};
use super::sizes::{Head, Sizes};
use super::{Change, TensorTable};
use crate::graph::Value;
use tern_abi::ops::activation;

/// Biases of a group of matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// None of them has one.
    Never,
    /// Each may have one.
    Maybe,
    /// All of them have one.
    Always,
}

impl TensorTable {
    /// The embedding of `s`.
    pub fn embedding(&mut self, s: &Sizes) {
        self.matrix("token_embd.weight", "model.embed_tokens.weight", s.common.vocab_rows, s.common.width).gathered();
    }

    /// What follows the layers: the last norm, the head of `s` where it is not the embedding, and what a GGUF file may have
    /// of the rotation.
    pub fn ending(&mut self, s: &Sizes) {
        self.top();
        self.vector("output_norm.weight", "model.norm.weight", s.common.width);
        self.head(s);
        for name in ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"] {
            self.vector(name, "", u64::from(s.attention.n_rot) / 2).optional();
        }
    }

    /// The head of `s`, where it is not the embedding.
    pub fn head(&mut self, s: &Sizes) {
        match s.head {
            Head::Own => {
                self.matrix("output.weight", "lm_head.weight", s.common.vocab_rows, s.common.width);
            }
            Head::Tied => {}
            Head::TiedWithLeftover => self.ignored.push("lm_head.weight"),
        }
    }

    /// The norms before attention and before the feed-forward block.
    pub fn pre_norms(&mut self, s: &Sizes) {
        self.vector("attn_norm.weight", "input_layernorm.weight", s.common.width);
        self.vector("ffn_norm.weight", "post_attention_layernorm.weight", s.common.width);
    }

    /// Query, key and value with biases or not.
    pub fn qkv(&mut self, s: &Sizes, bias: Bias) {
        let (q, kv) = s.attention.rows();
        let pairs = s.pairs;
        for (name, hf, rows, change) in [
            ("attn_q", "self_attn.q_proj", q, pairs),
            ("attn_k", "self_attn.k_proj", kv, pairs),
            ("attn_v", "self_attn.v_proj", kv, Change::None),
        ] {
            self.matrix(&format!("{name}.weight"), &format!("{hf}.weight"), rows, s.common.width).changed(change);
            self.bias(name, hf, rows, bias, change);
        }
    }

    /// The matrix after attention.
    pub fn attention_output(&mut self, s: &Sizes, bias: Bias) {
        self.matrix("attn_output.weight", "self_attn.o_proj.weight", s.common.width, s.attention.rows().0);
        self.bias("attn_output", "self_attn.o_proj", s.common.width, bias, Change::None);
    }

    /// Gate, up and down.
    pub fn gated_mlp(&mut self, s: &Sizes, bias: Bias) {
        let (d, ffn) = (s.common.width, s.ffn);
        for (name, hf, rows, inner) in [
            ("ffn_gate", "mlp.gate_proj", ffn, d),
            ("ffn_up", "mlp.up_proj", ffn, d),
            ("ffn_down", "mlp.down_proj", d, ffn),
        ] {
            self.matrix(&format!("{name}.weight"), &format!("{hf}.weight"), rows, inner);
            self.bias(name, hf, rows, bias, Change::None);
        }
    }

    /// The bias of a matrix.
    pub fn bias(&mut self, name: &str, hf: &str, rows: u64, bias: Bias, change: Change) {
        if bias != Bias::Never {
            let spec = self.vector(&format!("{name}.bias"), &format!("{hf}.bias"), rows);
            spec.changed(change).optional_if(bias == Bias::Maybe);
        }
    }
}

impl Net<'_> {
    /// Attention of the current layer on `h`, before its output matrix.
    pub fn self_attention(&mut self, h: Value, rope: Option<Value>, shape: &AttentionShape) -> Value {
        let (q, k, v) = (self.linear(h, "attn_q"), self.linear(h, "attn_k"), self.linear(h, "attn_v"));
        self.attention(q, k, v, rope, shape)
    }

    /// The same with an RMS norm on each query and key head.
    pub fn normed_attention(&mut self, h: Value, rope: Option<Value>, shape: &AttentionShape, eps: f32) -> Value {
        let (q, k, v) = (self.linear(h, "attn_q"), self.linear(h, "attn_k"), self.linear(h, "attn_v"));
        let q = self.head_norm(q, "attn_q_norm", shape.heads, eps);
        let k = self.head_norm(k, "attn_k_norm", shape.kv_heads, eps);
        self.attention(q, k, v, rope, shape)
    }

    /// The same with an RMS norm on all of a token's query, and of its key.
    pub fn wholly_normed_attention(
        &mut self,
        h: Value,
        rope: Option<Value>,
        shape: &AttentionShape,
        eps: f32,
    ) -> Value {
        let (q, k, v) = (self.linear(h, "attn_q"), self.linear(h, "attn_k"), self.linear(h, "attn_v"));
        let (q, k) = (self.rms_norm(q, "attn_q_norm", eps), self.rms_norm(k, "attn_k_norm", eps));
        self.attention(q, k, v, rope, shape)
    }

    /// After the attention of the last layer nothing mixes rows, so only those that are asked for go on: of the residual
    /// stream `x` and of what attention gave, `a`. In other layers `i` all do.
    pub fn wanted_rows(&mut self, i: u64, s: &Sizes, x: Value, a: Value) -> (Value, Value) {
        if i + 1 == s.common.layers { (self.output_rows(x), self.output_rows(a)) } else { (x, a) }
    }

    /// The residual stream `x` of layer `i` plus the output matrix on what attention gave.
    pub fn add_attention(&mut self, i: u64, s: &Sizes, x: Value, a: Value) -> Value {
        let (x, a) = self.wanted_rows(i, s, x, a);
        self.add_linear(x, a, "attn_output")
    }

    /// `x` plus the gated feed-forward block on its norm.
    pub fn add_feed_forward(&mut self, x: Value, s: &Sizes, activation: u32) -> Value {
        let h = self.rms_norm(x, "ffn_norm", s.eps);
        let m = self.gated(h, activation);
        self.add_linear(x, m, "ffn_down")
    }

    /// `x` plus the norm `norm` of the matrix `name` applied to `h`.
    pub fn add_normed(&mut self, x: Value, h: Value, name: &str, norm: &str, eps: f32) -> Value {
        let y = self.linear(h, name);
        let y = self.rms_norm(y, norm, eps);
        self.g.add(x, y)
    }

    /// `factor * x`; x itself for a factor of 1.
    pub fn scaled(&mut self, x: Value, factor: f32) -> Value {
        if factor == 1.0 { x } else { self.g.scale(x, factor) }
    }

    /// `cap * tanh(x / cap)`; x itself for a cap of 0.
    pub fn soft_cap(&mut self, x: Value, cap: f32) -> Value {
        if cap == 0.0 {
            return x;
        }
        let x = self.g.scale(x, 1.0 / cap);
        let x = self.g.activation(x, activation::TANH);
        self.g.scale(x, cap)
    }

    /// `activation(gate(h)) * up(h)`, before the down matrix.
    pub fn gated(&mut self, h: Value, activation: u32) -> Value {
        let (gate, up) = (self.linear(h, "ffn_gate"), self.linear(h, "ffn_up"));
        self.glu(gate, up, activation)
    }

    /// Logits of the residual stream: the last norm and the head.
    pub fn logits(&mut self, x: Value, s: &Sizes) -> Value {
        self.top();
        let h = self.rms_norm(x, "output_norm", s.eps);
        self.head(h, s)
    }

    /// Logits of what the last norm gave.
    pub fn head(&mut self, h: Value, s: &Sizes) -> Value {
        self.linear(h, if s.head == Head::Own { "output" } else { "token_embd" })
    }
}
