//! Tokenizers in GGUF metadata.

mod read;
mod write;

use std::borrow::Cow;

use crate::error::TextError;
use crate::spec::{SpecialIds, TokenizerSpec};
use crate::tokenizer::Tokenizer;

/// The keys of a GGUF file that describe its tokenizer, as they stand there.
///
/// The ids of [`SpecialIds`] are `tokenizer.ggml.{bos,eos,eot,padding,unknown,mask}_token_id` and `seperator_token_id` (sic).
#[derive(Debug, Clone, Default)]
pub struct GgufTokenizer<'a> {
    /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE), `llama` (BPE with scores), `gemma4` (BPE over characters), `t5` (Unigram) or
    /// `bert` (WordPiece).
    pub model: Cow<'a, str>,
    /// `tokenizer.ggml.pre`, for BPE one of [`crate::PRE_TOKENIZER_NAMES`].
    pub pre: Option<Cow<'a, str>>,
    /// `tokenizer.ggml.tokens`.
    pub tokens: Vec<Cow<'a, str>>,
    /// `tokenizer.ggml.token_type`, the numbers of [`crate::TokenType`].
    pub token_type: Option<Vec<i32>>,
    /// `tokenizer.ggml.scores`.
    pub scores: Option<Vec<f32>>,
    /// `tokenizer.ggml.merges`, each `left right`.
    pub merges: Option<Vec<Cow<'a, str>>>,
    /// The ids with a meaning.
    pub special: SpecialIds,
    /// `tokenizer.ggml.cls_token_id`.
    pub cls: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_sep_token`.
    pub add_sep: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.ggml.remove_extra_whitespaces`.
    pub remove_extra_whitespaces: Option<bool>,
    /// `tokenizer.ggml.precompiled_charsmap`.
    pub precompiled_charsmap: Option<Cow<'a, [u8]>>,
    /// `tokenizer.ggml.normalizer.lowercase`.
    pub lowercase: Option<bool>,
    /// `tokenizer.ggml.normalizer.strip_accents`.
    pub strip_accents: Option<bool>,
}

impl<'a> TokenizerSpec<'a> {
    /// What the keys of a GGUF file describe.
    ///
    /// # Errors
    /// [`TextError::Unsupported`] for a model or pre-tokenizer that this crate does not have, [`TextError::BadField`],
    /// [`TextError::LengthMismatch`], [`TextError::NoSpecial`].
    pub fn from_gguf(keys: GgufTokenizer<'a>) -> Result<Self, TextError> {
        read::spec(keys)
    }

    /// The keys that describe this tokenizer in a GGUF file.
    ///
    /// # Errors
    /// [`TextError::NotInGguf`] for a part that has no key or no name there.
    pub fn to_gguf(&self) -> Result<GgufTokenizer<'_>, TextError> {
        write::keys(self)
    }
}

impl Tokenizer {
    /// The tokenizer that the keys of a GGUF file describe.
    ///
    /// # Errors
    /// Those of [`TokenizerSpec::from_gguf`] and [`Tokenizer::new`].
    pub fn from_gguf(keys: GgufTokenizer<'_>) -> Result<Self, TextError> {
        Self::new(TokenizerSpec::from_gguf(keys)?)
    }
}

/// Stands for a space in SentencePiece's vocabularies.
const SPACE: &str = "▁";

/// What BERT's tokens inside a word begin with. GGUF leaves it out and marks the others with [`SPACE`] instead.
const INSIDE: &str = "##";
