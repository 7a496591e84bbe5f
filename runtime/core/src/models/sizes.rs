//! Hyper-parameters that nearly every decoder has, under the names that nearly all give them.

use super::hyper::unsupported;
use super::net::AttentionShape;
use super::{Change, Common, ConfigError, Hyper};
use tern_abi::ops::rope_layout;

/// What [`Sizes::read`] reads.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// What every model has.
    pub common: Common,
    /// Width of the feed-forward block.
    pub ffn: u64,
    /// Of all layers, unless they differ.
    pub attention: AttentionShape,
    /// Added in norms.
    pub eps: f32,
    /// Does the embedding serve as the head?
    pub head: Head,
    /// How folders have the rows of queries and keys.
    pub pairs: Change,
}

/// Where logits come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// A matrix of its own.
    Own,
    /// The embedding.
    Tied,
    /// The embedding, though the folder has another matrix: it is what remains of a conversion and equal at best.
    TiedWithLeftover,
}

/// How rotated pairs lie in GGUF files of an architecture; folders have half a head between the two of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// Side by side.
    Adjacent,
    /// As in folders.
    Halves,
}

/// What architectures call differently.
pub struct Names<'a> {
    /// The embedding in folders.
    pub embedding: &'a str,
    /// The head in folders.
    pub head: &'a str,
    /// What norms add, in GGUF and in folders.
    pub eps: (&'a str, &'a str),
    /// The feed-forward block's width for one of the model, where it is not stated.
    pub ffn: Option<&'a dyn Fn(u64) -> u64>,
    /// The share of a head that is rotated, where a folder does not state it.
    pub rotated: f64,
}

impl Default for Names<'_> {
    fn default() -> Self {
        let eps = ("attention.layer_norm_rms_epsilon", "rms_norm_eps");
        Self { embedding: "model.embed_tokens.weight", head: "lm_head.weight", eps, ffn: None, rotated: 1.0 }
    }
}

impl Sizes {
    /// Reads and checks them.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(h: &Hyper<'_>, pairs: Pairs) -> Result<Self, ConfigError> {
        Self::read_as(h, pairs, &Names::default())
    }

    /// The same under other names.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read_as(h: &Hyper<'_>, pairs: Pairs, names: &Names<'_>) -> Result<Self, ConfigError> {
        let width = h.int("embedding_length", &["hidden_size", "n_embd"], 1..=1 << 16, None)?;
        let layers = h.int("block_count", &["num_hidden_layers", "n_layer"], 1..=1024, None)?;
        let heads =
            h.int("attention.head_count", &["num_attention_heads", "n_head", "num_attn_heads"], 1..=1024, None)?;
        let kv_heads = h.int("attention.head_count_kv", &["num_key_value_heads"], 1..=heads, Some(heads))?;
        let head_dim = h.int("attention.key_length", &["head_dim"], 2..=1024, Some(width / heads))?;
        h.divides("attention.head_count_kv", kv_heads, "attention.head_count", heads)?;
        h.same("attention.value_length", h.int("attention.value_length", &[], 2..=1024, Some(head_dim))?, head_dim)?;
        let layout = if pairs == Pairs::Adjacent && h.is_gguf() { rope_layout::ADJACENT } else { rope_layout::HALVES };
        Ok(Self {
            common: Common {
                context_length: h.context_length()?,
                vocab_rows: h.rows_of("token_embd.weight", names.embedding)?,
                width,
                layers,
                kv_elements: 2 * layers * kv_heads * head_dim,
            },
            ffn: h.int(
                "feed_forward_length",
                &["intermediate_size", "n_inner"],
                1..=1 << 20,
                names.ffn.map(|of| of(width)),
            )?,
            attention: AttentionShape {
                heads: heads as u32,
                kv_heads: kv_heads as u32,
                head_dim: head_dim as u32,
                n_rot: n_rot(h, head_dim, names.rotated)? as u32,
                rope_layout: layout,
                window: 0,
                scale: 1.0 / (head_dim as f64).sqrt() as f32,
                softcap: 0.0,
                bidirectional: false,
            },
            eps: h.float(names.eps.0, &[names.eps.1], 1e-12..=1.0, None)? as f32,
            head: head(h, names.head)?,
            pairs: if pairs == Pairs::Adjacent { Change::Pairs(head_dim) } else { Change::None },
        })
    }
}

/// Of so many layers the last one sees all positions and the others a window; 1 where all see all.
///
/// # Errors
/// [`ConfigError`] where it is not so regular.
pub fn full_every(h: &Hyper<'_>, layers: u64, default: u64) -> Result<u64, ConfigError> {
    let keys = ("attention.sliding_window_pattern", "sliding_window_pattern");
    full_every_as(h, layers, default, keys, ("sliding_attention", ""))
}

/// The same under another key of GGUF and of folders, and of layers of another type, as `layer_types` calls it. GGUF files may have a list
/// of all layers instead, which tells those of that type.
///
/// # Errors
/// As [`full_every`].
pub fn full_every_as(
    h: &Hyper<'_>,
    layers: u64,
    default: u64,
    (key, hf): (&str, &str),
    (other, list): (&str, &str),
) -> Result<u64, ConfigError> {
    let (name, stated) = match h.folder() {
        Some(config) => ("layer_types", of_types(config.strings("layer_types")?, other)?),
        None => (list, h.gguf_flags(list)?.map(|others| others.iter().map(|other| !other).collect())),
    };
    let Some(mut full) = stated else { return h.int(key, &[hf], 1..=1024, Some(default)) };
    if h.is_gguf() {
        // It may go on behind them.
        full.truncate(usize::try_from(layers).unwrap_or(usize::MAX));
    }
    h.same(&format!("length of {name}"), full.len() as u64, layers)?;
    let fits = |n: &u64| full.iter().zip(1..).all(|(&full, i)| full == (i % n == 0));
    let found = std::iter::once(default).chain(1..=layers + 1).find(fits);
    let found = found
        .ok_or_else(|| unsupported(name, "an irregular list", "every so many layers one that sees all positions"))?;
    if h.is_gguf() {
        return Ok(found);
    }
    h.int(key, &[], 1..=1025, Some(found))
}

/// For each of a folder's layers, whether it sees all positions.
fn of_types(types: Option<Vec<String>>, other: &str) -> Result<Option<Vec<bool>>, ConfigError> {
    let known = ["full_attention", other];
    let Some(types) = types else { return Ok(None) };
    match types.iter().find(|t| !known.contains(&t.as_str())) {
        Some(unknown) => Err(unsupported("layer_types", unknown, &known.join(", "))),
        None => Ok(Some(types.iter().map(|t| t == known[0]).collect())),
    }
}

/// Rotated dimensions of a head.
fn n_rot(h: &Hyper<'_>, head_dim: u64, usual: f64) -> Result<u64, ConfigError> {
    let stated =
        h.folder_float(&["partial_rotary_factor".to_owned(), "rope_parameters.partial_rotary_factor".to_owned()])?;
    let share = stated.unwrap_or(if h.is_gguf() { 1.0 } else { usual });
    let rotated = (share * head_dim as f64) as u64;
    let n_rot = h.int("rope.dimension_count", &[], 2..=head_dim, Some(rotated))?;
    h.divides("2", 2, "rope.dimension_count", n_rot)?;
    Ok(n_rot)
}

/// Folders say whether the embedding is the head, and may have the matrix in any case; in GGUF a missing matrix says it.
fn head(h: &Hyper<'_>, name: &str) -> Result<Head, ConfigError> {
    let stated = match h.folder() {
        Some(config) => config.bool("tie_word_embeddings")?,
        None => None,
    };
    if h.draft().is_some() {
        return Ok(if stated == Some(true) { Head::Tied } else { Head::Own });
    }
    match (h.has_tensor("output.weight", name), stated) {
        (true, Some(true)) => Ok(Head::TiedWithLeftover),
        (true, _) => Ok(Head::Own),
        (false, Some(false)) => Err(ConfigError::Missing { key: format!("tensor {name}") }),
        (false, _) => Ok(Head::Tied),
    }
}
