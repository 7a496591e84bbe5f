//! The steps around a tokenizer's model.

/// What is searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// This text.
    Text(String),
    /// An expression in the syntax of Oniguruma.
    Regex(String),
}

/// What becomes of a match when a text is cut at matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behavior {
    /// It is left out.
    Removed,
    /// It is a piece.
    Isolated,
    /// It belongs to the piece before it.
    MergedWithPrevious,
    /// It belongs to the piece behind it.
    MergedWithNext,
    /// Neighbouring matches are one piece.
    Contiguous,
}

/// Which texts get a space in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepend {
    /// Every stretch between added tokens.
    Always,
    /// Only what begins the whole text.
    First,
    /// None.
    Never,
}

/// A change of the text before it is cut. Names and rules are those of Hugging Face's normalizers unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Normalizer {
    /// Unicode's canonical composition.
    Nfc,
    /// Unicode's canonical decomposition.
    Nfd,
    /// Unicode's compatibility composition.
    Nfkc,
    /// Unicode's compatibility decomposition.
    Nfkd,
    /// Each character's lower case.
    Lowercase,
    /// Whitespace at the ends is removed.
    Strip {
        /// At the beginning.
        left: bool,
        /// At the end.
        right: bool,
    },
    /// Combining marks are removed.
    StripAccents,
    /// Every match becomes `content`.
    Replace {
        /// What is searched for.
        pattern: Pattern,
        /// What takes its place.
        content: String,
    },
    /// A text that is not empty gets this in front.
    Prepend(String),
    /// Control characters are removed, other kinds of whitespace become spaces, as Google's machine translation has it.
    Nmt,
    /// SentencePiece's table of replacements, applied as Hugging Face does: by grapheme where one is short, else by character,
    /// and by the *shortest* entry that begins it.
    Charsmap(Vec<u8>),
    /// BERT's.
    Bert {
        /// Control characters are removed, whitespace becomes spaces.
        clean_text: bool,
        /// Spaces around Chinese characters.
        chinese_chars: bool,
        /// Decomposition, then without non-spacing marks.
        strip_accents: bool,
        /// Lower case.
        lowercase: bool,
    },
    /// Each byte becomes its character of GPT-2's alphabet.
    Bytes,
    /// SentencePiece's own: replacements by the longest entry that matches, then spaces become `▁`.
    SentencePiece {
        /// The table of replacements; may be empty.
        charsmap: Vec<u8>,
        /// Spaces at the ends are removed, runs of spaces become one.
        remove_extra_whitespaces: bool,
        /// Where a space is put in front.
        prepend: Prepend,
        /// Texts that are left as they are: user-defined tokens that are searched for in the normalized text.
        symbols: Vec<String>,
    },
}

/// A way to cut pieces into smaller ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreStep {
    /// At matches of a pattern.
    Split {
        /// What is searched for.
        pattern: Pattern,
        /// What becomes of a match.
        behavior: Behavior,
        /// What does not match counts as match, and the other way round.
        invert: bool,
    },
    /// Runs of digits, or each digit, apart from the rest.
    Digits {
        /// Each digit alone.
        individual: bool,
    },
    /// Where the script changes, as of Unicode 9: kana counts as Chinese, a space and what is unassigned as anything. What of
    /// that comes first is left out.
    Scripts,
    /// After every so many characters; the last piece may be shorter.
    Chunks {
        /// At least 1.
        chars: usize,
    },
    /// At punctuation: ASCII's, and Unicode's general category P.
    Punctuation(Behavior),
    /// Each piece gets a space in front unless it has one.
    PrefixSpace,
    /// Spaces become `replacement`.
    Metaspace {
        /// Stands for a space: `▁`.
        replacement: char,
        /// Which pieces get one in front unless they have one.
        prepend: Prepend,
        /// Whether to cut before each.
        split: bool,
    },
    /// Each byte becomes its character of GPT-2's alphabet.
    Bytes,
}

/// A step from tokens' texts to text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoder {
    /// Characters of GPT-2's alphabet become bytes.
    Bytes,
    /// `<0xNN>` becomes a byte.
    ByteFallback,
    /// A space that begins a token is removed while there is no text yet: SentencePiece's rule where it removes extra spaces.
    LeadingSpace,
    /// Every match in a token becomes `content`.
    Replace {
        /// What is searched for.
        pattern: Pattern,
        /// What takes its place.
        content: String,
    },
    /// All tokens are one text for the steps that follow.
    Fuse,
    /// Up to `start` and `stop` times `content` are removed at the ends.
    Strip {
        /// The character.
        content: char,
        /// At most so many at the beginning.
        start: usize,
        /// At most so many at the end.
        stop: usize,
    },
    /// `replacement` becomes a space; in the first token it is removed if `prepended`.
    Metaspace {
        /// Stands for a space: `▁`.
        replacement: char,
        /// Whether encoding puts a space in front.
        prepended: bool,
    },
    /// Tokens are joined by spaces, but for those with `prefix`, which lose it.
    WordPiece {
        /// What tokens inside a word begin with: `##`.
        prefix: String,
        /// Spaces before punctuation and in English contractions are removed.
        cleanup: bool,
    },
    /// Of equal tokens side by side one is left, `pad` is removed from it, and what is then empty is no token (connectionist
    /// temporal classification).
    Ctc {
        /// Separates equal tokens that are meant to be two.
        pad: String,
        /// Becomes a space, with `cleanup`.
        delimiter: String,
        /// As in [`Decoder::WordPiece`].
        cleanup: bool,
    },
    /// `suffix` becomes a space, in the last token nothing.
    WordEnd {
        /// What tokens at the end of a word end with: `</w>`.
        suffix: String,
    },
}

impl PreStep {
    /// BERT's pre-tokenizer: whitespace is removed, each punctuation character stands alone.
    pub fn bert() -> Vec<Self> {
        vec![Self::whitespace(), Self::Punctuation(Behavior::Isolated)]
    }

    /// Words between whitespace.
    pub fn whitespace() -> Self {
        Self::Split { pattern: Pattern::Regex(r"\s".to_owned()), behavior: Behavior::Removed, invert: false }
    }
}
