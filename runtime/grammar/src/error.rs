//! The crate's error.

/// Why a source is no constraint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrammarError {
    /// The source breaks its language's rules.
    #[error("{language}, line {line}, column {column}: {what}")]
    Syntax {
        /// "JSON Schema", "regular expression" or "GBNF".
        language: &'static str,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// The source is larger or deeper than a constraint may be.
    #[error("{language}: {what} is {found}, and at most {limit} is possible")]
    TooLarge {
        /// As above.
        language: &'static str,
        /// What is too large.
        what: &'static str,
        /// How large it is.
        found: usize,
        /// How large it may be.
        limit: usize,
    },
    /// The source is well-formed, but nothing satisfies it, it takes too much to compile, or it needs what is not supported.
    #[error("{language}: {what}")]
    Refused {
        /// As above.
        language: &'static str,
        /// Why.
        what: String,
    },
    /// The tokenizer's vocabulary cannot be used.
    #[error("the vocabulary cannot be used with constraints: {what}")]
    Vocabulary {
        /// Why.
        what: String,
    },
}

impl From<GrammarError> for tern::Error {
    fn from(error: GrammarError) -> Self {
        Self::Constraint { what: error.to_string() }
    }
}
