//! What a byte-level BPE tokenizer is made of, apart from any file format.

/// What kind of token an id is; the numbers are GGUF's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum TokenType {
    /// Ordinary text, in GPT-2's byte alphabet.
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
    Joined(Vec<&'a str>),
    /// `["left", "right"]`, as newer `tokenizer.json` have them.
    Pairs(Vec<(&'a str, &'a str)>),
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
    /// For what has no token. Only emitted when it is not a control token; else such bytes are left out, as the
    /// reference implementations do.
    pub unk: Option<u32>,
}

/// A byte-level BPE tokenizer's parts. From GGUF metadata:
///
/// | field | key | when absent |
/// |---|---|---|
/// | (must be `gpt2`) | `tokenizer.ggml.model` | error |
/// | `tokens` | `tokenizer.ggml.tokens` | error |
/// | `types` | `tokenizer.ggml.token_type`, each through [`TokenType::from_gguf`] | empty: see `types` |
/// | `merges` | `tokenizer.ggml.merges` as [`Merges::Joined`] | error |
/// | `pre` | `tokenizer.ggml.pre` | `"default"` |
/// | `special.bos` ... | `tokenizer.ggml.{bos,eos,eot,padding,unknown}_token_id` | `None` |
/// | `add_bos`, `add_eos` | `tokenizer.ggml.add_bos_token`, `.add_eos_token` | [`BpeSpec::gguf_adds_bos`], false |
/// | `ignore_merges` | (no key) [`BpeSpec::gguf_ignores_merges`] of `pre` | |
/// | `add_prefix_space` | false: `tokenizer.ggml.add_space_prefix` speaks of SentencePiece only | |
///
/// `clean_up_tokenization_spaces` of Hugging Face has no field: it rewrites decoded text (`" ."` to `"."`), so that decoding
/// would lose what the model wrote and a stream could not be given out piece by piece.
#[derive(Debug, Clone)]
pub struct BpeSpec<'a> {
    /// Text of each id; ordinary tokens in GPT-2's byte alphabet.
    pub tokens: Vec<&'a str>,
    /// Kind of each id. Empty: all are normal, but for bos, eos and eot and well-known end texts, which are control tokens.
    pub types: Vec<TokenType>,
    /// The merges.
    pub merges: Merges<'a>,
    /// Name of the pre-tokenizer, one of [`crate::PRE_TOKENIZER_NAMES`].
    pub pre: &'a str,
    /// Ids with a meaning.
    pub special: SpecialIds,
    /// Whether [`crate::Bos::Auto`] puts BOS in front.
    pub add_bos: bool,
    /// Whether [`crate::Bos::Auto`] puts EOS behind.
    pub add_eos: bool,
    /// Whether a piece that is a token as a whole is that token, whatever the merges say (Llama 3).
    pub ignore_merges: bool,
    /// Whether text that does not begin with a space gets one.
    pub add_prefix_space: bool,
}

impl BpeSpec<'_> {
    /// Whether a GGUF file with this `tokenizer.ggml.pre` looks whole pieces up before merging.
    pub fn gguf_ignores_merges(pre: &str) -> bool {
        crate::pretok::table::ignores_merges(pre)
    }

    /// Whether a GGUF file with this `tokenizer.ggml.pre` adds BOS where it does not say.
    pub fn gguf_adds_bos(pre: &str) -> bool {
        crate::pretok::table::adds_bos(pre)
    }
}
