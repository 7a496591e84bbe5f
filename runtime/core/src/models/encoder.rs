//! What encoders have alike: sizes, under the names that their configurations give them.

use super::hyper::unsupported;
use super::net::AttentionShape;
use super::{Common, ConfigError, Hyper};

/// What [`Encoder::read`] reads.
pub struct Encoder {
    pub common: Common,
    /// Width of the feed-forward block.
    pub ffn: u64,
    /// Of all layers; both ways.
    pub attention: AttentionShape,
    /// Added in norms.
    pub eps: f32,
    /// Positions that come before a text's first, in the folder's table of positions.
    pub before: u64,
}

impl Encoder {
    /// Reads and checks them. `embedding`: the table of tokens in folders; `before`: see the field.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(h: &Hyper<'_>, embedding: &str, before: u64) -> Result<Self, ConfigError> {
        let width = h.int("embedding_length", &["hidden_size", "n_embd"], 1..=1 << 16, None)?;
        let layers = h.int("block_count", &["num_hidden_layers", "n_layer"], 1..=1024, None)?;
        let heads = h.int("attention.head_count", &["num_attention_heads", "n_head"], 1..=1024, None)?;
        h.divides("attention.head_count", heads, "embedding_length", width)?;
        let head_dim = width / heads;
        if head_dim > 1024 {
            return Err(unsupported("dimensions of a head", &head_dim.to_string(), "at most 1024"));
        }
        if h.flag("attention.causal", &[], false)? {
            return Err(unsupported("attention.causal", "true", "false"));
        }
        Ok(Self {
            common: Common {
                context_length: context_length(h, before)?,
                vocab_rows: h.rows_of("token_embd.weight", embedding)?,
                width,
                layers,
                kv_elements: 0,
            },
            ffn: h.int("feed_forward_length", &["intermediate_size", "n_inner"], 1..=1 << 20, None)?,
            attention: AttentionShape {
                heads: heads as u32,
                kv_heads: heads as u32,
                head_dim: head_dim as u32,
                n_rot: head_dim as u32,
                scale: 1.0 / (head_dim as f64).sqrt() as f32,
                bidirectional: true,
                ..AttentionShape::default()
            },
            // Published models have 1e-12, of which single precision is a little less.
            eps: h.float(
                "attention.layer_norm_epsilon",
                &["layer_norm_eps", "layer_norm_epsilon", "norm_eps"],
                1e-13..=1.0,
                None,
            )? as f32,
            before,
        })
    }
}

/// Kinds of tokens, such as those of the first and of the second of two texts.
///
/// # Errors
/// [`ConfigError`].
pub fn kinds(h: &Hyper<'_>) -> Result<u64, ConfigError> {
    h.int("tokenizer.ggml.token_type_count", &["type_vocab_size"], 1..=1 << 16, Some(2))
}

/// Folders count positions that no text has.
fn context_length(h: &Hyper<'_>, before: u64) -> Result<u64, ConfigError> {
    let Some(config) = h.folder().filter(|_| before > 0) else { return h.context_length() };
    let all = config.require_u64("max_position_embeddings")?;
    h.int("context_length", &[], 1..=1 << 30, Some(all.saturating_sub(before)))
}
