//! Llama's block, which most families share: norm, attention, residual; norm, gated feed-forward block, residual.

use super::blocks::Bias;
use super::moe::Moe;
use super::net::Net;
use super::rope::Rope;
use super::sizes::{Pairs, Sizes};
use super::{Change, Common, ConfigError, Definition, Hyper, TensorTable};
use crate::graph::Value;
use tern_abi::ops::activation;

/// A model of such blocks. Its families differ in what they read into these fields.
pub struct PreNorm {
    /// Hyper-parameters.
    pub sizes: Sizes,
    /// Its rotation.
    pub rope: Rope,
    /// Which layers are rotated.
    pub rotated: fn(u64) -> bool,
    /// Biases of query, key and value; of attention's output; of the feed-forward block.
    pub biases: [Bias; 3],
    /// Norms on queries and keys.
    pub query_norms: QueryNorms,
    /// A mixture of experts in place of the feed-forward block.
    pub moe: Option<Moe>,
    /// Do files have matrices with the same input as one?
    pub fused: bool,
    /// Factor on the embedding.
    pub embedding_scale: f32,
    /// Factor on logits.
    pub logit_scale: f32,
}

/// What of queries and keys is normed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryNorms {
    /// Nothing.
    None,
    /// Every head, all with the same weight.
    Heads,
    /// All of a token's.
    Whole,
}

impl PreNorm {
    /// Reads what all of them state; the rest is as in Llama.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(h: &Hyper<'_>, pairs: Pairs) -> Result<Self, ConfigError> {
        let sizes = Sizes::read(h, pairs)?;
        h.one_of("hidden_act", &["silu"])?;
        let rope = Rope::read(h, sizes.attention.n_rot.into(), "")?;
        Ok(Self {
            sizes,
            rope,
            rotated: |_| true,
            biases: [Bias::Maybe; 3],
            query_norms: QueryNorms::None,
            moe: None,
            fused: false,
            embedding_scale: 1.0,
            logit_scale: 1.0,
        })
    }

    /// Positions that all layers see; 0 for all of them.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read_window(&mut self, h: &Hyper<'_>) -> Result<(), ConfigError> {
        self.sizes.attention.window =
            h.int("attention.sliding_window", &["sliding_window"], 0..=1 << 30, Some(0))? as u32;
        Ok(())
    }

    fn layer_tensors(&self, i: u64, t: &mut TensorTable) {
        let (s, [qkv, output, mlp]) = (&self.sizes, self.biases);
        let (d, ffn, (q, kv)) = (s.common.width, s.ffn, s.attention.rows());
        t.pre_norms(s);
        if self.fused {
            let parts = [("attn_q.weight", q), ("attn_k.weight", kv), ("attn_v.weight", kv)];
            t.fused("attn_qkv.weight", "self_attn.qkv_proj.weight", &parts, Some(d), Change::None);
        } else {
            t.qkv(s, qkv);
        }
        let head = u64::from(s.attention.head_dim);
        let norms = match self.query_norms {
            QueryNorms::None => None,
            QueryNorms::Heads => Some((head, head)),
            QueryNorms::Whole => Some((q, kv)),
        };
        if let Some((q, k)) = norms {
            t.vector("attn_q_norm.weight", "self_attn.q_norm.weight", q);
            t.vector("attn_k_norm.weight", "self_attn.k_norm.weight", k);
        }
        t.attention_output(s, output);
        if let Some(moe) = self.moe_of(i) {
            t.moe(s, moe);
        } else if self.fused {
            let parts = [("ffn_gate.weight", ffn), ("ffn_up.weight", ffn)];
            t.fused("ffn_up.weight", "mlp.gate_up_proj.weight", &parts, Some(d), Change::None);
            t.matrix("ffn_down.weight", "mlp.down_proj.weight", d, ffn);
        } else {
            t.gated_mlp(s, mlp);
        }
    }

    /// The mixture of layer `i`, if it has one.
    fn moe_of(&self, i: u64) -> Option<&Moe> {
        self.moe.as_ref().filter(|moe| moe.in_layer(i))
    }
}

impl Definition for PreNorm {
    fn common(&self) -> Common {
        self.sizes.common.clone()
    }

    fn rope(&self) -> Option<&Rope> {
        Some(&self.rope)
    }

    fn tensors(&self) -> TensorTable {
        let mut t = TensorTable::default();
        t.embedding(&self.sizes);
        for i in 0..self.sizes.common.layers {
            t.layer(i);
            self.layer_tensors(i, &mut t);
        }
        t.ending(&self.sizes);
        t
    }

    fn build(&self, net: &mut Net<'_>) -> Value {
        let s = &self.sizes;
        let rope = net.rope(&self.rope);
        let x = net.embed("token_embd.weight");
        let mut x = net.scaled(x, self.embedding_scale);
        for i in 0..s.common.layers {
            net.layer(i);
            let h = net.rms_norm(x, "attn_norm", s.eps);
            let rope = (self.rotated)(i).then_some(rope);
            let a = match self.query_norms {
                QueryNorms::None => net.self_attention(h, rope, &s.attention),
                QueryNorms::Heads => net.normed_attention(h, rope, &s.attention, s.eps),
                QueryNorms::Whole => net.wholly_normed_attention(h, rope, &s.attention, s.eps),
            };
            x = net.add_attention(i, s, x, a);
            x = match self.moe_of(i) {
                Some(moe) => {
                    let h = net.rms_norm(x, "ffn_norm", s.eps);
                    net.add_moe(x, h, moe)
                }
                None => net.add_feed_forward(x, s, activation::SILU),
            };
        }
        let logits = net.logits(x, s);
        net.scaled(logits, self.logit_scale)
    }
}
