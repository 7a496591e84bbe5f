//! What a tokenizer is made of, apart from any file format.
//!
//! [`TokenizerSpec`] is the one description between the files (`hf`, `gguf`, `sentencepiece` read it, `gguf` also writes it)
//! and the [`Tokenizer`](crate::Tokenizer) that is built from it.

mod steps;

pub use steps::{Behavior, Decoder, Normalizer, Pattern, PreStep, Prepend};

use std::borrow::Cow;

/// What kind of token an id is; the numbers are GGUF's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum TokenType {
    /// Ordinary text, in the model's own spelling.
    #[default]
    Normal = 1,
    /// Stands for what has no token.
    Unknown = 2,
    /// Steers the model (`<|im_start|>`); plain text. Users' text never becomes one.
    Control = 3,
    /// Added after training, matched in any text; plain text.
    UserDefined = 4,
    /// Padding of the vocabulary.
    Unused = 5,
    /// One byte, written `<0xNN>`.
    Byte = 6,
}

impl TokenType {
    /// From an entry of GGUF's `tokenizer.ggml.token_type`; `None` for a number the format does not have.
    pub fn from_gguf(value: i32) -> Option<Self> {
        Some(match value {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}

/// The merges, by falling priority.
#[derive(Debug, Clone)]
pub enum Merges<'a> {
    /// `"left right"`, as GGUF and older `tokenizer.json` have them.
    Joined(Vec<Cow<'a, str>>),
    /// `["left", "right"]`, as newer `tokenizer.json` have them.
    Pairs(Vec<(Cow<'a, str>, Cow<'a, str>)>),
}

impl Merges<'_> {
    /// Number of merges.
    pub fn len(&self) -> usize {
        match self {
            Self::Joined(list) => list.len(),
            Self::Pairs(list) => list.len(),
        }
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Ids with a meaning, all optional.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpecialIds {
    /// Begin of sequence.
    pub bos: Option<u32>,
    /// End of sequence.
    pub eos: Option<u32>,
    /// End of turn.
    pub eot: Option<u32>,
    /// Padding.
    pub pad: Option<u32>,
    /// For what has no token. What a model emits is said by its [`ModelSpec`].
    pub unk: Option<u32>,
    /// Separates two texts and ends one (BERT).
    pub sep: Option<u32>,
    /// A place to be filled in (BERT).
    pub mask: Option<u32>,
}

/// A token that is searched for in the text before anything else; the flags are those of `tokenizer.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddedToken {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub text: String,
    /// Found only where the caller parses special tokens.
    pub control: bool,
    /// Swallows whitespace before it.
    pub lstrip: bool,
    /// Swallows whitespace after it.
    pub rstrip: bool,
    /// Matches only where neither neighbour is a letter, digit or underscore.
    pub single_word: bool,
    /// Searched for in the normalized text, in its own normalized form; else in the text as given.
    pub normalized: bool,
    /// Not a token of the model: found by this search only.
    pub outside: bool,
}

/// How pieces of text become tokens.
#[derive(Debug, Clone)]
pub enum ModelSpec<'a> {
    /// Merges of known pairs by rank. Over bytes where the last pre-tokenizing step is [`PreStep::Bytes`], else over characters.
    Bpe(BpeSpec<'a>),
    /// SentencePiece's BPE: any two neighbours whose joined text is a token are merged, the highest score first, the leftmost
    /// among equals. Characters without a token become their bytes' tokens (`<0xNN>`), or `unk`.
    ScoredBpe {
        /// Score of each token.
        scores: Vec<f32>,
        /// Emitted for a character that has neither a token nor byte tokens.
        unk: Option<u32>,
        /// Whether neighbouring unknown characters become one `unk`.
        fuse_unk: bool,
    },
    /// The cut with the highest sum of scores (Kudo 2018, "Subword Regularization").
    Unigram {
        /// Log-probability of each token from id 0; tokens beyond are no part of the model.
        scores: Vec<f64>,
        /// Emitted for a run of characters without tokens.
        unk: Option<u32>,
        /// Whether such a run becomes its bytes' tokens (`<0xNN>`) where all exist.
        byte_fallback: bool,
        /// SentencePiece's arithmetic rather than Hugging Face's: sums are kept in single precision, which decides between cuts
        /// that are equally good, and only normal tokens say how bad an unknown character is.
        single_precision: bool,
    },
    /// The longest token at each place of a word, from the left (BERT).
    WordPiece {
        /// What tokens inside a word begin with: `##`.
        prefix: Cow<'a, str>,
        /// A word of more characters is `unk`.
        max_chars: usize,
        /// Emitted for a word that cannot be cut into tokens.
        unk: u32,
    },
    /// Every piece is a token, or unknown.
    WordLevel {
        /// Emitted for an unknown piece; without it such a text is an error.
        unk: Option<u32>,
    },
}

/// Settings of byte-pair encoding.
#[derive(Debug, Clone)]
pub struct BpeSpec<'a> {
    /// The merges.
    pub merges: Merges<'a>,
    /// Whether a piece that is a token as a whole is that token, whatever the merges say (Llama 3).
    pub ignore_merges: bool,
    /// Emitted for a character (or byte) without a token; left out where there is none.
    pub unk: Option<u32>,
    /// Whether neighbouring unknown characters become one `unk`.
    pub fuse_unk: bool,
    /// Whether an unknown character becomes its bytes' tokens (`<0xNN>`) where all exist.
    pub byte_fallback: bool,
    /// What a character that does not begin its piece is prefixed with.
    pub prefix: Cow<'a, str>,
    /// What the last character of a piece is followed by.
    pub suffix: Cow<'a, str>,
}

impl<'a> BpeSpec<'a> {
    /// Merges alone; all else off.
    pub fn new(merges: Merges<'a>) -> Self {
        Self {
            merges,
            ignore_merges: false,
            unk: None,
            fuse_unk: false,
            byte_fallback: false,
            prefix: Cow::Borrowed(""),
            suffix: Cow::Borrowed(""),
        }
    }
}

/// A tokenizer's parts.
///
/// `clean_up_tokenization_spaces` of Hugging Face has no field: it rewrites decoded text (`" ."` to `"."`), so that decoding
/// would lose what the model wrote and a stream could not be given out piece by piece. Truncation and padding settings have
/// none either: they belong to a training batch, not to the text.
#[derive(Debug, Clone)]
pub struct TokenizerSpec<'a> {
    /// Text of each id, as the file has it.
    pub tokens: Vec<Cow<'a, str>>,
    /// Kind of each id.
    pub types: Vec<TokenType>,
    /// How pieces become tokens.
    pub model: ModelSpec<'a>,
    /// Tokens searched for in the text first.
    pub added: Vec<AddedToken>,
    /// What is done to the text between added tokens, in order.
    pub normalizers: Vec<Normalizer>,
    /// How it is then cut into pieces, in order.
    pub pre: Vec<PreStep>,
    /// How tokens become text again, in order. Empty: texts joined by spaces, as Hugging Face does.
    pub decoders: Vec<Decoder>,
    /// Ids with a meaning.
    pub special: SpecialIds,
    /// What [`crate::Bos::Auto`] puts before a text.
    pub before: Vec<u32>,
    /// What it puts behind.
    pub after: Vec<u32>,
}
