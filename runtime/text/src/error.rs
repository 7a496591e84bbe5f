//! The one error type of this crate.

/// What went wrong with a tokenizer, a text or a template, with the data to say so in any language.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The file uses something this crate does not have.
    #[error("{what} is not supported: found {found}")]
    Unsupported {
        /// The field or feature.
        what: &'static str,
        /// Its value in the file.
        found: String,
    },
    /// GGUF names a pre-tokenizer that this crate does not have.
    #[error("unknown tokenizer.ggml.pre {found:?}; known are {}", crate::PRE_TOKENIZER_NAMES.join(", "))]
    UnknownPre {
        /// The name, shortened.
        found: String,
    },
    /// A field is missing or has another form than the format says.
    #[error("bad {field}: expected {expected}, found {found}")]
    BadField {
        /// Path of the field.
        field: String,
        /// What the format asks for.
        expected: &'static str,
        /// What is there, shortened.
        found: String,
    },
    /// A document is not JSON.
    #[error("{file} is not valid JSON: {message} (line {line}, column {column})")]
    Json {
        /// Which document.
        file: &'static str,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The reader's message.
        message: String,
    },
    /// A size is over one of this crate's caps (the `MAX_` constants).
    #[error("{what} is {found}, the limit is {limit}")]
    TooLarge {
        /// What was measured.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The cap.
        limit: usize,
    },
    /// Two lists that describe the same tokens differ in length.
    #[error("{what} has {found} entries, expected {expected}")]
    LengthMismatch {
        /// The list.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The number of tokens.
        expected: usize,
    },
    /// The vocabulary is empty.
    #[error("the vocabulary has no tokens (expected between 1 and {limit})")]
    NoTokens {
        /// Most tokens allowed.
        limit: usize,
    },
    /// Two ids have the same text.
    #[error("token {text:?} appears twice, as {first} and as {second}")]
    DuplicateToken {
        /// The text, shortened.
        text: String,
        /// The lower id.
        first: u32,
        /// The higher id.
        second: u32,
    },
    /// A token's score is not a number to compare with.
    #[error("the score of token {id} is {score}, expected a finite number")]
    BadScore {
        /// The token.
        id: u32,
        /// Its score.
        score: f64,
    },
    /// A table of replacements (`precompiled_charsmap`) does not hold together.
    #[error("precompiled_charsmap: {what} is {found}, expected {expected}")]
    BadCharsmap {
        /// What was looked at.
        what: &'static str,
        /// Its value.
        found: usize,
        /// What the table's other parts ask for.
        expected: usize,
    },
    /// SentencePiece's `tokenizer.model` is not the protocol buffer that it should be.
    #[error("tokenizer.model: {what} at byte {at}")]
    BadProto {
        /// What is wrong.
        what: &'static str,
        /// Where, from the beginning of the file.
        at: usize,
    },
    /// A tokenizer is not written as `tokenizer.json`.
    #[error("tokenizer.json: this tokenizer's {part} is not written: {found}")]
    NotInJson {
        /// The part: `normalizer`, `pre-tokenizer`, ...
        part: &'static str,
        /// What it is, shortened.
        found: String,
    },
    /// A tokenizer is not one of SentencePiece's.
    #[error("tokenizer.model cannot express this tokenizer's {part}: {found}")]
    NotInProto {
        /// The part: `model`, `normalizer`, ...
        part: &'static str,
        /// What it is, shortened.
        found: String,
    },
    /// A tokenizer cannot be written as GGUF metadata without changing its tokens.
    #[error("GGUF cannot express this tokenizer's {part}: {found}")]
    NotInGguf {
        /// The part: `normalizer`, `pre-tokenizer`, ...
        part: &'static str,
        /// What it is, shortened.
        found: String,
    },
    /// A merge is not two texts joined by one space.
    #[error("merge {index} is {text:?}, expected two tokens with a space between")]
    BadMerge {
        /// Place in the list, from 0.
        index: usize,
        /// The entry, shortened.
        text: String,
    },
    /// A merge names, or makes, a text that is not in the vocabulary.
    #[error("merge {index} needs token {token:?}, which is not in the vocabulary")]
    MergeToken {
        /// Place in the list, from 0.
        index: usize,
        /// The missing text, shortened.
        token: String,
    },
    /// A pair is merged twice.
    #[error("merges {first} and {second} join the same pair")]
    DuplicateMerge {
        /// Place of the first, from 0.
        first: usize,
        /// Place of the second.
        second: usize,
    },
    /// A piece of text has no token, and the tokenizer has none for unknown ones.
    #[error("{text:?} is no token, and this tokenizer names none for unknown words")]
    UnknownWord {
        /// The piece, shortened.
        text: String,
    },
    /// A special id lies outside the vocabulary.
    #[error("{role} id {id} is outside the vocabulary of {vocab} tokens")]
    SpecialId {
        /// `bos`, `eos`, ...
        role: &'static str,
        /// The id.
        id: u32,
        /// Number of tokens.
        vocab: usize,
    },
    /// A special token is named by a text that is not in the vocabulary.
    #[error("{role} token {text:?} is not in the vocabulary")]
    SpecialText {
        /// `bos`, `eos`, ...
        role: &'static str,
        /// The text, shortened.
        text: String,
    },
    /// A pre-tokenizer expression does not compile.
    #[error("pre-tokenizer expression {pattern:?}: {message}")]
    Regex {
        /// The expression, shortened.
        pattern: String,
        /// The engine's message.
        message: String,
    },
    /// An expression with look-around gave up on this text.
    #[error("pre-tokenizer expression {pattern:?} needs more than {limit} steps at byte {at} of its piece")]
    RegexLimit {
        /// The expression, shortened.
        pattern: String,
        /// Where the search began.
        at: usize,
        /// The cap on steps.
        limit: usize,
    },
    /// An id is outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocab} tokens")]
    UnknownId {
        /// The id.
        id: u32,
        /// Number of tokens.
        vocab: usize,
    },
    /// BOS was asked for and the tokenizer has none.
    #[error("the tokenizer declares no {role} token (vocabulary of {vocab} tokens)")]
    NoSpecial {
        /// `bos`, `eos`, ...
        role: &'static str,
        /// Number of tokens.
        vocab: usize,
    },
    /// A template does not parse.
    #[error("chat template, line {line}: {message}")]
    TemplateSyntax {
        /// Line, from 1.
        line: usize,
        /// What was found and expected.
        message: String,
    },
    /// A template ran into a value it cannot work with.
    #[error("chat template, line {line}: {message}")]
    TemplateRuntime {
        /// Line of the statement, from 1.
        line: usize,
        /// What happened.
        message: String,
    },
    /// A template refused the conversation (`raise_exception`).
    #[error("the chat template refuses this conversation: {message}")]
    TemplateRaised {
        /// The template's words.
        message: String,
    },
    /// A template needs more than it may use.
    #[error("the chat template goes over its limit of {value} {limit}")]
    TemplateLimit {
        /// What ran out: `steps`, `bytes held`, `bytes written`, `depth`, `nesting`, `value depth`.
        limit: &'static str,
        /// The cap.
        value: usize,
    },
    /// A stop string is empty.
    #[error("stop string {index} is empty")]
    EmptyStop {
        /// Place in the list, from 0.
        index: usize,
    },
}

/// At most 64 characters of a text, for messages: a file may hold 64 KiB there.
pub(crate) fn short(text: &str) -> String {
    let mut out: String = text.chars().take(64).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}
