//! The crate's error: data in every variant, one line for people.

use crate::backend::BackendError;
use crate::graph::GraphError;
use crate::learn::AdapterError;
use crate::models::ConfigError;
use crate::plan::PlanError;
use tern_formats::FormatError;
use tern_text::TextError;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not a model.
    #[error("{path}: {what}; give a .gguf file or a Hugging Face folder with config.json and *.safetensors")]
    NotAModel {
        /// The file.
        path: String,
        /// What it is instead.
        what: String,
    },
    /// The file breaks its format.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Hyper-parameters are missing, out of range or of an architecture that is not there.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A tensor that the architecture needs is missing.
    #[error("{file}: tensor {tensor} is missing; the file is incomplete or of another architecture")]
    MissingTensor {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
    },
    /// A tensor that the architecture does not know.
    #[error("{file}: tensor {tensor} is not part of this architecture, so the result would be wrong without it")]
    ExtraTensor {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
    },
    /// A tensor's shape differs from what the hyper-parameters say.
    #[error("{file}: tensor {tensor} has shape {found:?}, but the hyper-parameters say {expected:?}")]
    TensorShape {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Outermost first.
        found: Vec<u64>,
        /// Outermost first.
        expected: Vec<u64>,
    },
    /// A matrix of weights -1, 0 and 1 that is none.
    #[error("tensor {tensor}: {error}")]
    Ternary {
        /// The tensor.
        tensor: String,
        /// Why not.
        error: tern_quant::ternary::TernaryError,
    },
    /// Experts that were to stay in the file, and cannot be used there.
    #[error("experts cannot stay in the file: {tensor} {what}")]
    Paging {
        /// A tensor of theirs.
        tensor: String,
        /// Why not.
        what: &'static str,
    },
    /// More tokens than embeddings.
    #[error("the tokenizer has {tokens} tokens, but the embedding only {rows} rows")]
    Vocabulary {
        /// Tokens.
        tokens: usize,
        /// Rows.
        rows: u64,
    },
    /// The model embeds texts, and something else was asked of it.
    #[error("{architecture} is an encoder: it embeds texts, and can neither write nor score them")]
    Encoder {
        /// The architecture's name in the file.
        architecture: String,
    },
    /// The model has no chat template.
    #[error("the model has no chat template; use plain text prompts")]
    NoTemplate,
    /// Text, tokens or a template.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A graph that does not fit together.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A plan that cannot be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A plugin's error.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Not enough memory, found out before any was taken.
    #[error("{what} needs {needed} bytes, but {available} are available{}", would_fit(*fits))]
    Memory {
        /// What needs it.
        what: String,
        /// Bytes.
        needed: u64,
        /// Bytes.
        available: u64,
        /// Tokens of context that would fit; 0 where that is not what is too large, or none would.
        fits: u64,
    },
    /// The context has no room for more tokens.
    #[error(
        "the context holds {used} of {capacity} tokens and has no room for {wanted} more; choose a larger context or reset"
    )]
    ContextFull {
        /// Tokens in it.
        used: usize,
        /// Tokens to add.
        wanted: usize,
        /// Its size.
        capacity: usize,
    },
    /// A session file that was saved with another model.
    #[error(
        "{path} was saved with another model ({name:?}, {}...), not with this one ({}...)",
        short(found),
        short(expected)
    )]
    OtherModel {
        /// The file.
        path: String,
        /// The other model's name.
        name: String,
        /// Its fingerprint.
        found: String,
        /// This model's fingerprint.
        expected: String,
    },
    /// A session file that cannot be used.
    #[error("{path}: {what}")]
    SessionFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// A model cannot draft for one with another vocabulary.
    #[error(
        "the draft model has another vocabulary: {draft_vocab} tokens against {vocab}, and token {id} is {} instead of {}; \
         choose one with the same tokenizer",
        token(found),
        token(expected)
    )]
    DraftVocabulary {
        /// Tokens of the model.
        vocab: usize,
        /// Tokens of the draft model.
        draft_vocab: usize,
        /// The first token that differs.
        id: u32,
        /// What it is in the model, if it is there.
        expected: Option<String>,
        /// What it is in the draft model.
        found: Option<String>,
    },
    /// A token id outside the vocabulary.
    #[error("token {id} is outside the vocabulary of {vocab}")]
    Token {
        /// The id.
        id: u32,
        /// Number of tokens.
        vocab: usize,
    },
    /// A setting is out of range.
    #[error("{setting} is {found}, expected {expected}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// Its value.
        found: String,
        /// The range.
        expected: &'static str,
    },
    /// The form that was asked for cannot be kept to.
    #[error("the constraint cannot be kept to: {what}")]
    Constraint {
        /// Why.
        what: String,
    },
    /// Nothing to go on from: no tokens.
    #[error("there are no tokens to go on from; give a prompt")]
    Empty,
    /// The session was changed while text was being generated from it.
    #[error("the session was changed by another call while it was generating")]
    Interrupted,
    /// Learning, or the folder that it keeps things in.
    #[error(transparent)]
    Learn(#[from] crate::learn::LearnError),
    /// An adapter that does not fit the model.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The model has no such adapter.
    #[error("the model has no adapter number {id}; it was removed, or is another model's")]
    NoAdapter {
        /// Which.
        id: u32,
    },
    /// Training went wrong: a smaller learning rate may help.
    #[error("the loss or its gradient is not finite in step {step}; choose a smaller learning rate")]
    Diverged {
        /// Which, counted from 0.
        step: u64,
    },
    /// A training state that is of another training, or damaged.
    #[error("{path}: {what}")]
    TrainingFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// The caller gave up.
    #[error("cancelled")]
    Cancelled,
    /// A defect of this library.
    #[error("internal error: {what}; please report it")]
    Internal {
        /// What does not hold.
        what: String,
    },
}

/// Coarse kinds of [`Error`], for exit codes and retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A file or setting is wrong.
    Input,
    /// Right, but not supported here.
    Unsupported,
    /// Not enough memory.
    Memory,
    /// The context is full.
    Context,
    /// The caller gave up.
    Cancelled,
    /// A plugin failed.
    Backend,
    /// The operating system failed.
    Io,
    /// A defect of this library.
    Internal,
}

impl ErrorKind {
    /// "input", "unsupported", "memory", "context", "cancelled", "backend", "io" or "internal".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Unsupported => "unsupported",
            Self::Memory => "memory",
            Self::Context => "context",
            Self::Cancelled => "cancelled",
            Self::Backend => "backend",
            Self::Io => "io",
            Self::Internal => "internal",
        }
    }
}

impl Error {
    /// The coarse kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Io,
            Self::Config(ConfigError::UnknownArchitecture { .. } | ConfigError::Unsupported { .. }) => {
                ErrorKind::Unsupported
            }
            Self::Plan(PlanError::Unsupported { .. }) | Self::Encoder { .. } | Self::Paging { .. } => {
                ErrorKind::Unsupported
            }
            Self::Plan(PlanError::Backend(e)) | Self::Backend(e) => backend_kind(e),
            Self::Plan(PlanError::Overflow { .. }) | Self::Memory { .. } => ErrorKind::Memory,
            Self::ContextFull { .. } => ErrorKind::Context,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Internal { .. } | Self::Graph(_) => ErrorKind::Internal,
            _ => ErrorKind::Input,
        }
    }

    /// Did the caller give up, whoever noticed?
    pub fn is_cancelled(&self) -> bool {
        self.kind() == ErrorKind::Cancelled
    }
}

fn would_fit(tokens: u64) -> String {
    match tokens {
        0 => "; choose a smaller model, or a larger limit".to_owned(),
        n => format!("; {n} tokens would fit"),
    }
}

/// A token for people.
fn token(text: &Option<String>) -> String {
    text.as_ref().map_or_else(|| "missing".to_owned(), |text| format!("{text:?}"))
}

/// The beginning of a fingerprint.
fn short(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}

fn backend_kind(e: &BackendError) -> ErrorKind {
    match e {
        BackendError::Cancelled { .. } => ErrorKind::Cancelled,
        BackendError::OutOfMemory { .. } => ErrorKind::Memory,
        _ => ErrorKind::Backend,
    }
}
