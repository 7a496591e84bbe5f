//! What can go wrong while learning: data in every variant.

/// Why text cannot be learned from, or a store not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearnError {
    /// A file or folder of text cannot be read.
    #[error("{path}: {error}")]
    Io {
        /// The file or folder.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// A file that was asked for is not text.
    #[error("{path}: not UTF-8 text at byte {offset}, line {line}; convert it to UTF-8 first")]
    NotText {
        /// The file.
        path: String,
        /// The first byte that is wrong.
        offset: usize,
        /// Its line, counted from 1.
        line: usize,
    },
    /// Too much to be meant.
    #[error("{path}: {found} {what}, at most {limit} are read")]
    TooLarge {
        /// The file or folder.
        path: String,
        /// Of what.
        what: &'static str,
        /// How many.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A line of JSONL is not JSON.
    #[error("{path}, line {line}: not JSON: {what}")]
    Json {
        /// The file.
        path: String,
        /// Counted from 1.
        line: usize,
        /// What the parser says.
        what: String,
    },
    /// A record lacks a field or has a wrong one.
    #[error("{path}, line {line}: {field} is {found}, expected {expected}")]
    Field {
        /// The file.
        path: String,
        /// Counted from 1.
        line: usize,
        /// Which field.
        field: String,
        /// What it is.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A template changes what was said so much that the answers in it cannot be found again.
    #[error("{source_name}: the chat template changes message {message} so that it cannot be told from the rest")]
    Untraceable {
        /// The document's source.
        source_name: String,
        /// Which message, counted from 0.
        message: usize,
    },
    /// A delta's name cannot be a folder's.
    #[error("{name:?} cannot be a delta's name: up to 64 letters, digits, - _ and ., not first")]
    Name {
        /// The name.
        name: String,
    },
    /// Somebody else changes the store.
    #[error("{path}: another process is changing this store; try again when it is done")]
    Locked {
        /// The store.
        path: String,
    },
    /// A file of a store is not what it was.
    #[error("{path}: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// There is no delta of that name.
    #[error("{store}: no delta {name:?} in this store")]
    NoDelta {
        /// The store.
        store: String,
        /// The name.
        name: String,
    },
    /// A generation is not, or no longer, there.
    #[error("delta {name:?} has no generation {generation} any more")]
    NoGeneration {
        /// The delta.
        name: String,
        /// The generation.
        generation: u64,
    },
    /// The base model as it is counts already.
    #[error("delta {name:?}: nothing was learned, so there is nothing to undo")]
    NothingToUndo {
        /// The delta.
        name: String,
    },
    /// A document that is needed to learn again is neither in the store nor did the application have it.
    #[error("delta {name:?}: the document {source_name} is needed to learn again, and is not kept; supply it")]
    MissingSource {
        /// The delta.
        name: String,
        /// The document's source, or its digest.
        source_name: String,
    },
    /// Nothing in the delta came from there.
    #[error("delta {name:?}: nothing from {source_name:?} is in it; `show` lists its sources")]
    NoSource {
        /// The delta.
        name: String,
        /// What was to be forgotten.
        source_name: String,
    },
    /// A delta that was learned on another base model.
    #[error(
        "delta {name:?} was learned on another model ({}fingerprint {found}), not on this one (fingerprint {expected}); \
         rebuild it for this one",
        found_name.as_ref().map(|n| format!("{n}, ")).unwrap_or_default()
    )]
    OtherBase {
        /// The delta.
        name: String,
        /// The name of the model it was learned on.
        found_name: Option<String>,
        /// Its fingerprint.
        found: String,
        /// This model's.
        expected: String,
    },
}

impl LearnError {
    pub(super) fn io(path: &std::path::Path, error: std::io::Error) -> Self {
        Self::Io { path: path.display().to_string(), error }
    }

    pub(super) fn damaged(path: &std::path::Path, what: String) -> Self {
        Self::Damaged { path: path.display().to_string(), what }
    }
}
