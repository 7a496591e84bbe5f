//! BERT: an encoder. Rows see both ways, learned positions and kinds of tokens, norms after the blocks, no logits.
//!
//! Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", arXiv 1810.04805. MiniLM, BGE and E5 are such models.

use super::hyper::unsupported;
use super::net::{AttentionShape, Net, inputs};
use super::{Architecture, Common, ConfigError, Definition, Hyper, TensorTable};
use crate::graph::Value;
use tern_abi::ops::activation;

pub const ARCHITECTURE: Architecture =
    Architecture { name: "BERT", gguf: &["bert"], hf: &["BertModel", "BertForMaskedLM"], read };

/// What follows the encoder in checkpoints that were trained to guess words, and is no part of an embedding.
const HEADS: [&str; 12] = [
    "embeddings.position_ids",
    "pooler.dense.weight",
    "pooler.dense.bias",
    "cls.predictions.bias",
    "cls.predictions.decoder.weight",
    "cls.predictions.decoder.bias",
    "cls.predictions.transform.dense.weight",
    "cls.predictions.transform.dense.bias",
    "cls.predictions.transform.LayerNorm.weight",
    "cls.predictions.transform.LayerNorm.bias",
    "cls.seq_relationship.weight",
    "cls.seq_relationship.bias",
];

struct Bert {
    common: Common,
    ffn: u64,
    attention: AttentionShape,
    eps: f32,
    /// Kinds of tokens, such as those of the first and of the second of two texts.
    kinds: u64,
    /// Are names in the folder those of a model with a head, rather than of its body?
    prefixed: bool,
}

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    let width = h.int("embedding_length", &["hidden_size"], 1..=1 << 16, None)?;
    let layers = h.int("block_count", &["num_hidden_layers"], 1..=1024, None)?;
    let heads = h.int("attention.head_count", &["num_attention_heads"], 1..=1024, None)?;
    h.divides("attention.head_count", heads, "embedding_length", width)?;
    let head_dim = width / heads;
    if head_dim > 1024 {
        return Err(unsupported("dimensions of a head", &head_dim.to_string(), "at most 1024"));
    }
    if h.flag("attention.causal", &[], false)? {
        return Err(unsupported("attention.causal", "true", "false"));
    }
    h.one_of("position_embedding_type", &["absolute"])?;
    h.one_of("hidden_act", &["gelu"])?;
    h.switch("is_decoder", false)?;
    h.switch("add_cross_attention", false)?;
    let prefixed = h.has_tensor("", "bert.embeddings.word_embeddings.weight");
    let embedding =
        if prefixed { "bert.embeddings.word_embeddings.weight" } else { "embeddings.word_embeddings.weight" };
    Ok(Box::new(Bert {
        common: Common {
            context_length: h.context_length()?,
            vocab_rows: h.rows_of("token_embd.weight", embedding)?,
            width,
            layers,
            kv_elements: 0,
        },
        ffn: h.int("feed_forward_length", &["intermediate_size"], 1..=1 << 20, None)?,
        attention: AttentionShape {
            heads: heads as u32,
            kv_heads: heads as u32,
            head_dim: head_dim as u32,
            scale: 1.0 / (head_dim as f64).sqrt() as f32,
            bidirectional: true,
            ..AttentionShape::default()
        },
        // Published models have 1e-12, of which single precision is a little less.
        eps: h.float("attention.layer_norm_epsilon", &["layer_norm_eps"], 1e-13..=1.0, None)? as f32,
        kinds: h.int("tokenizer.ggml.token_type_count", &["type_vocab_size"], 1..=1 << 16, Some(2))?,
        prefixed,
    }))
}

impl Definition for Bert {
    fn common(&self) -> Common {
        self.common.clone()
    }

    fn is_encoder(&self) -> bool {
        true
    }

    fn reach(&self, _: u64) -> u64 {
        self.common.context_length
    }

    fn tensors(&self) -> TensorTable {
        let (d, ffn) = (self.common.width, self.ffn);
        let top = |name: &str| format!("{}embeddings.{name}", if self.prefixed { "bert." } else { "" });
        let mut t = TensorTable::new(if self.prefixed { "bert.encoder.layer" } else { "encoder.layer" });
        t.ignored.extend(HEADS);
        for (gguf, hf, rows) in [
            ("token_embd.weight", "word_embeddings.weight", self.common.vocab_rows),
            ("position_embd.weight", "position_embeddings.weight", self.common.context_length),
            ("token_types.weight", "token_type_embeddings.weight", self.kinds),
        ] {
            t.matrix(gguf, &top(hf), rows, d).gathered();
        }
        let both = |t: &mut TensorTable, gguf: &str, hf: &str| {
            t.vector(&format!("{gguf}.weight"), &format!("{hf}.weight"), d);
            t.vector(&format!("{gguf}.bias"), &format!("{hf}.bias"), d);
        };
        both(&mut t, "token_embd_norm", &top("LayerNorm"));
        for i in 0..self.common.layers {
            t.layer(i);
            for (gguf, hf, rows, inner) in [
                ("attn_q", "attention.self.query", d, d),
                ("attn_k", "attention.self.key", d, d),
                ("attn_v", "attention.self.value", d, d),
                ("attn_output", "attention.output.dense", d, d),
                ("ffn_up", "intermediate.dense", ffn, d),
                ("ffn_down", "output.dense", d, ffn),
            ] {
                t.matrix(&format!("{gguf}.weight"), &format!("{hf}.weight"), rows, inner);
                t.vector(&format!("{gguf}.bias"), &format!("{hf}.bias"), rows);
            }
            both(&mut t, "attn_output_norm", "attention.output.LayerNorm");
            both(&mut t, "layer_output_norm", "output.LayerNorm");
        }
        t.top();
        t
    }

    fn build(&self, net: &mut Net<'_>) -> Value {
        let mut x = net.embed("token_embd.weight");
        for (table, ids) in [("token_types.weight", inputs::TOKEN_TYPES), ("position_embd.weight", inputs::POSITIONS)] {
            let (table, ids) = (net.tensor(table), net.input(ids));
            let rows = net.g.gather(table, ids);
            x = net.g.add(x, rows);
        }
        x = net.layer_norm(x, "token_embd_norm", self.eps);
        for i in 0..self.common.layers {
            net.layer(i);
            let a = net.self_attention(x, None, &self.attention);
            // Nothing mixes rows after it.
            let last = i + 1 == self.common.layers;
            let (wanted, a) = if last { (net.output_rows(x), net.output_rows(a)) } else { (x, a) };
            let y = net.add_linear(wanted, a, "attn_output");
            x = net.layer_norm(y, "attn_output_norm", self.eps);
            let m = net.linear(x, "ffn_up");
            let m = net.g.activation(m, activation::GELU);
            let y = net.add_linear(x, m, "ffn_down");
            x = net.layer_norm(y, "layer_output_norm", self.eps);
        }
        net.top();
        x
    }
}
