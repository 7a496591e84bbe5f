//! Llama (1 to 3), SmolLM2, Mistral: pre-norm, rotary positions, grouped queries, gated MLP.
//!
//! Touvron et al., arXiv 2302.13971; Grattafiori et al., arXiv 2407.21783; Jiang et al., arXiv 2310.06825.

use super::net::{AttentionShape, Net};
use super::rope::Scaling;
use super::{Architecture, Common, ConfigError, Definition, Hyper, TensorTable};
use crate::graph::Value;
use tern_abi::ops::{activation, rope_layout};

pub const ARCHITECTURE: Architecture =
    Architecture { gguf: &["llama"], hf: &["LlamaForCausalLM", "MistralForCausalLM"], read };

struct Llama {
    common: Common,
    ffn: u64,
    attention: AttentionShape,
    eps: f32,
    rope_base: f64,
    scaling: Scaling,
    tied: bool,
}

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let width = h.int("embedding_length", &["hidden_size"], 1..=1 << 16, None)?;
    let layers = h.int("block_count", &["num_hidden_layers"], 1..=1024, None)?;
    let heads = h.int("attention.head_count", &["num_attention_heads"], 1..=1024, None)?;
    let kv_heads = h.int("attention.head_count_kv", &["num_key_value_heads"], 1..=heads, Some(heads))?;
    let head_dim = h.int("attention.key_length", &["head_dim"], 2..=1024, Some(width / heads))?;
    let n_rot = h.int("rope.dimension_count", &[], 2..=head_dim, Some(head_dim))?;
    h.divides("attention.head_count_kv", kv_heads, "attention.head_count", heads)?;
    h.divides("2", 2, "rope.dimension_count", n_rot)?;
    h.same("attention.value_length", h.int("attention.value_length", &[], 2..=1024, Some(head_dim))?, head_dim)?;
    h.one_of("hidden_act", &["silu"])?;
    Ok(Box::new(Llama {
        common: Common {
            context_length: h.int("context_length", &["max_position_embeddings"], 1..=1 << 30, None)?,
            vocab_rows: h.rows_of("token_embd.weight", "model.embed_tokens.weight")?,
            width,
            layers,
            kv_elements: 2 * layers * kv_heads * head_dim,
        },
        ffn: h.int("feed_forward_length", &["intermediate_size"], 1..=1 << 20, None)?,
        attention: AttentionShape {
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            head_dim: head_dim as u32,
            n_rot: n_rot as u32,
            // GGUF stores q and k with rotated pairs side by side.
            rope_layout: if h.is_gguf() { rope_layout::ADJACENT } else { rope_layout::HALVES },
            window: h.int("attention.sliding_window", &["sliding_window"], 0..=1 << 30, Some(0))? as u32,
        },
        eps: h.float("attention.layer_norm_rms_epsilon", &["rms_norm_eps"], 1e-12..=1.0, None)? as f32,
        rope_base: h.float(
            "rope.freq_base",
            &["rope_theta", "rope_parameters.rope_theta"],
            1.0..=1e12,
            Some(10000.0),
        )?,
        scaling: Scaling::read(h)?,
        tied: !h.has_tensor("output.weight", "lm_head.weight"),
    }))
}

impl Definition for Llama {
    fn common(&self) -> Common {
        self.common.clone()
    }

    fn tensors(&self) -> TensorTable {
        let (d, ffn, a) = (self.common.width, self.ffn, &self.attention);
        let (q, kv) = (u64::from(a.heads * a.head_dim), u64::from(a.kv_heads * a.head_dim));
        let mut t = TensorTable::default();
        t.matrix("token_embd.weight", "model.embed_tokens.weight", self.common.vocab_rows, d).gathered();
        for i in 0..self.common.layers {
            t.layer(i);
            t.vector("attn_norm.weight", "input_layernorm.weight", d);
            t.matrix("attn_q.weight", "self_attn.q_proj.weight", q, d);
            t.matrix("attn_k.weight", "self_attn.k_proj.weight", kv, d);
            t.matrix("attn_v.weight", "self_attn.v_proj.weight", kv, d);
            t.matrix("attn_output.weight", "self_attn.o_proj.weight", d, q);
            t.vector("attn_q.bias", "self_attn.q_proj.bias", q).optional();
            t.vector("attn_k.bias", "self_attn.k_proj.bias", kv).optional();
            t.vector("attn_v.bias", "self_attn.v_proj.bias", kv).optional();
            t.vector("attn_output.bias", "self_attn.o_proj.bias", d).optional();
            t.vector("ffn_norm.weight", "post_attention_layernorm.weight", d);
            t.matrix("ffn_gate.weight", "mlp.gate_proj.weight", ffn, d);
            t.matrix("ffn_up.weight", "mlp.up_proj.weight", ffn, d);
            t.matrix("ffn_down.weight", "mlp.down_proj.weight", d, ffn);
            t.vector("ffn_gate.bias", "mlp.gate_proj.bias", ffn).optional();
            t.vector("ffn_up.bias", "mlp.up_proj.bias", ffn).optional();
            t.vector("ffn_down.bias", "mlp.down_proj.bias", d).optional();
        }
        t.top();
        t.vector("output_norm.weight", "model.norm.weight", d);
        t.matrix("output.weight", "lm_head.weight", self.common.vocab_rows, d).optional();
        t.vector("rope_freqs.weight", "", u64::from(a.n_rot) / 2).optional();
        t
    }

    fn build(&self, net: &mut Net<'_>) -> Value {
        let frequencies = self.scaling.frequencies(self.rope_base, u64::from(self.attention.n_rot));
        let rope = net.rope_table(&frequencies, "rope_freqs.weight");
        let mut x = net.embed("token_embd.weight");
        for i in 0..self.common.layers {
            net.layer(i);
            let h = net.rms_norm(x, "attn_norm", self.eps);
            let (q, k, v) = (net.linear(h, "attn_q"), net.linear(h, "attn_k"), net.linear(h, "attn_v"));
            let mut a = net.attention(q, k, v, rope, &self.attention);
            if i + 1 == self.common.layers {
                // Nothing after this mixes rows, so only those that are asked for go on.
                (x, a) = (net.output_rows(x), net.output_rows(a));
            }
            x = net.add_linear(x, a, "attn_output");
            let h = net.rms_norm(x, "ffn_norm", self.eps);
            let (gate, up) = (net.linear(h, "ffn_gate"), net.linear(h, "ffn_up"));
            let m = net.glu(gate, up, activation::SILU);
            x = net.add_linear(x, m, "ffn_down");
        }
        net.top();
        let h = net.rms_norm(x, "output_norm", self.eps);
        net.linear(h, if self.tied { "token_embd" } else { "output" })
    }
}
