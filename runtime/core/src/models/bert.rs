//! BERT and RoBERTa: encoders. Rows see both ways, learned positions and kinds of tokens, norms after the blocks, no logits.
//!
//! Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", arXiv 1810.04805. MiniLM, BGE and E5 are such models.
//! Liu et al., "RoBERTa", arXiv 1907.11692; Conneau et al., "XLM-R", arXiv 1911.02116: multilingual E5 and BGE-M3 are such. Their
//! first positions are that of padding and those before it, which no text has and GGUF leaves out.

use super::encoder::{Encoder, kinds};
use super::net::{Net, inputs};
use super::{Architecture, Change, Common, ConfigError, Definition, Hyper, TensorTable};
use crate::graph::Value;
use tern_abi::ops::activation;

pub const ARCHITECTURE: Architecture = Architecture {
    name: "BERT, RoBERTa",
    gguf: &["bert"],
    hf: &[
        "BertModel",
        "BertForMaskedLM",
        "RobertaModel",
        "RobertaForMaskedLM",
        "XLMRobertaModel",
        "XLMRobertaForMaskedLM",
    ],
    read,
};

/// What follows the encoder in checkpoints that were trained to guess words, and is no part of an embedding.
const HEADS: [&str; 19] = [
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
    "lm_head.bias",
    "lm_head.dense.weight",
    "lm_head.dense.bias",
    "lm_head.layer_norm.weight",
    "lm_head.layer_norm.bias",
    "lm_head.decoder.weight",
    "lm_head.decoder.bias",
];

struct Bert {
    of: Encoder,
    kinds: u64,
    /// What precedes names in the folder of a model with a head, rather than of its body.
    prefix: &'static str,
}

fn read(h: &Hyper<'_>) -> Result<Box<dyn Definition>, ConfigError> {
    h.one_of("position_embedding_type", &["absolute"])?;
    h.one_of("hidden_act", &["gelu"])?;
    h.switch("is_decoder", false)?;
    h.switch("add_cross_attention", false)?;
    let table = |prefix: &str| format!("{prefix}embeddings.word_embeddings.weight");
    let prefix = ["bert.", "roberta."].into_iter().find(|prefix| h.has_tensor("", &table(prefix))).unwrap_or("");
    let before = match h.folder() {
        Some(config)
            if config.strings("architectures")?.is_some_and(|names| names[..].iter().any(|n| n.contains("oberta"))) =>
        {
            config.u64("pad_token_id")?.unwrap_or(1) + 1
        }
        _ => 0,
    };
    Ok(Box::new(Bert { of: Encoder::read(h, &table(prefix), before)?, kinds: kinds(h)?, prefix }))
}

impl Definition for Bert {
    fn common(&self) -> Common {
        self.of.common.clone()
    }

    fn is_encoder(&self) -> bool {
        true
    }

    fn reach(&self, _: u64) -> u64 {
        self.of.common.context_length
    }

    fn tensors(&self) -> TensorTable {
        let (common, ffn) = (&self.of.common, self.of.ffn);
        let d = common.width;
        let top = |name: &str| format!("{}embeddings.{name}", self.prefix);
        let mut t = TensorTable::new(match self.prefix {
            "bert." => "bert.encoder.layer",
            "roberta." => "roberta.encoder.layer",
            _ => "encoder.layer",
        });
        t.ignored.extend(HEADS);
        for (gguf, hf, rows) in [
            ("token_embd.weight", "word_embeddings.weight", common.vocab_rows),
            ("position_embd.weight", "position_embeddings.weight", common.context_length),
            ("token_types.weight", "token_type_embeddings.weight", self.kinds),
        ] {
            let spec = t.matrix(gguf, &top(hf), rows, d).gathered();
            if self.of.before > 0 && gguf == "position_embd.weight" {
                let before = self.of.before;
                spec.changed(Change::Within { first: before, of: before.saturating_add(rows) });
            }
        }
        let both = |t: &mut TensorTable, gguf: &str, hf: &str| {
            t.vector(&format!("{gguf}.weight"), &format!("{hf}.weight"), d);
            t.vector(&format!("{gguf}.bias"), &format!("{hf}.bias"), d);
        };
        both(&mut t, "token_embd_norm", &top("LayerNorm"));
        for i in 0..common.layers {
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
        let (layers, eps) = (self.of.common.layers, self.of.eps);
        let mut x = net.embed("token_embd.weight");
        for (table, ids) in [("token_types.weight", inputs::TOKEN_TYPES), ("position_embd.weight", inputs::POSITIONS)] {
            let (table, ids) = (net.tensor(table), net.input(ids));
            let rows = net.g.gather(table, ids);
            x = net.g.add(x, rows);
        }
        x = net.layer_norm(x, "token_embd_norm", eps);
        for i in 0..layers {
            net.layer(i);
            let a = net.self_attention(x, None, &self.of.attention);
            // Nothing mixes rows after it.
            let last = i + 1 == layers;
            let (wanted, a) = if last { (net.output_rows(x), net.output_rows(a)) } else { (x, a) };
            let y = net.add_linear(wanted, a, "attn_output");
            x = net.layer_norm(y, "attn_output_norm", eps);
            let m = net.linear(x, "ffn_up");
            let m = net.g.activation(m, activation::GELU);
            let y = net.add_linear(x, m, "ffn_down");
            x = net.layer_norm(y, "layer_output_norm", eps);
        }
        net.top();
        x
    }
}
