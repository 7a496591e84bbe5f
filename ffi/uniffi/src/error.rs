//! tern's errors as one enum with fields. `text` is always the one line that the Rust error prints.

mod file;
mod from;
mod learning;

/// What went wrong.
#[derive(Debug, thiserror::Error, uniffi::Error)]
#[error("{}", self.summary())]
pub enum TernError {
    /// The operating system failed on a file.
    Io {
        /// One line for people.
        text: String,
        /// The file.
        path: String,
        /// Why.
        reason: IoReason,
        /// The operating system's own code.
        code: Option<i32>,
    },
    /// The file is not a model.
    NotAModel {
        /// One line for people.
        text: String,
        /// The file.
        path: String,
        /// What it is instead.
        found: String,
    },
    /// The file breaks its format.
    BadFile {
        /// One line for people.
        text: String,
        /// The file.
        path: String,
        /// A name for what is wrong, such as `Truncated`.
        problem: String,
        /// The tensor it is about.
        tensor: Option<String>,
        /// The metadata key or the part of the file it is about.
        field: Option<String>,
        /// Where, in bytes from the start of the file.
        offset: Option<u64>,
        /// What is there.
        found: Option<String>,
        /// What should be there, at most be there, or is supported.
        expected: Option<String>,
    },
    /// Hyper-parameters that cannot be used.
    Configuration {
        /// One line for people.
        text: String,
        /// The setting of the model.
        key: String,
        /// Its value; none where it is missing.
        found: Option<String>,
        /// What could be there.
        expected: Option<String>,
    },
    /// Right, but not supported here.
    Unsupported {
        /// One line for people.
        text: String,
        /// "architecture", "dtype", an op or a setting of the model.
        what: String,
        /// The tensor it is about.
        tensor: Option<String>,
        /// What the file has.
        found: String,
        /// What is supported.
        supported: Option<String>,
    },
    /// A tensor that the architecture needs is missing.
    MissingTensor {
        /// One line for people.
        text: String,
        /// The file.
        path: String,
        /// The tensor.
        tensor: String,
    },
    /// A tensor that the architecture does not know.
    ExtraTensor {
        /// One line for people.
        text: String,
        /// The file.
        path: String,
        /// The tensor.
        tensor: String,
    },
    /// A matrix of weights -1, 0 and 1 that is none.
    Ternary {
        /// One line for people.
        text: String,
        /// The tensor.
        tensor: String,
        /// Why not.
        reason: String,
    },
    /// A tensor's shape differs from what the hyper-parameters say.
    TensorShape {
        /// One line for people.
        text: String,
        /// The file.
        path: String,
        /// The tensor.
        tensor: String,
        /// Outermost first.
        found: Vec<u64>,
        /// Outermost first.
        expected: Vec<u64>,
    },
    /// A session file that was saved with another model.
    OtherModel {
        /// One line for people.
        text: String,
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
    SessionFile {
        /// One line for people.
        text: String,
        /// The file.
        path: String,
        /// What is wrong with it.
        found: String,
    },
    /// The tokenizer has more tokens than the embedding rows.
    Vocabulary {
        /// One line for people.
        text: String,
        /// Tokens.
        tokens: u64,
        /// Rows.
        rows: u64,
    },
    /// The model has no chat template.
    NoTemplate {
        /// One line for people.
        text: String,
    },
    /// The chat template cannot be used, or refuses the conversation.
    Template {
        /// One line for people.
        text: String,
        /// Line of the template, from 1.
        line: Option<u64>,
        /// What happened.
        reason: String,
        /// Did the template itself refuse the conversation?
        refused: bool,
    },
    /// A text or a tokenizer cannot be used.
    Text {
        /// One line for people.
        text: String,
        /// A name for what is wrong, such as `UnknownId`.
        problem: String,
    },
    /// Not enough memory, found out before any was taken.
    Memory {
        /// One line for people.
        text: String,
        /// What needs it.
        what: String,
        /// Bytes.
        needed: u64,
        /// Bytes.
        available: u64,
        /// Tokens of context that would fit; 0 where that is not what is too large, or none would.
        fits: u64,
    },
    /// The operating system or the device gave no memory.
    OutOfMemory {
        /// One line for people.
        text: String,
        /// Bytes, where known.
        needed: Option<u64>,
    },
    /// The context has no room for more tokens.
    ContextFull {
        /// One line for people.
        text: String,
        /// Tokens in it.
        used: u64,
        /// Tokens to add.
        wanted: u64,
        /// Its size.
        capacity: u64,
    },
    /// A draft model has another vocabulary than the model.
    DraftVocabulary {
        /// One line for people.
        text: String,
        /// Tokens of the model.
        vocab: u64,
        /// Tokens of the draft model.
        draft_vocab: u64,
        /// The first token that differs.
        id: u32,
        /// What it is in the model; none where it is missing.
        expected: Option<String>,
        /// What it is in the draft model.
        found: Option<String>,
    },
    /// A token id outside the vocabulary.
    Token {
        /// One line for people.
        text: String,
        /// The id.
        id: u32,
        /// Number of tokens.
        vocab: u64,
    },
    /// A setting is out of range.
    Setting {
        /// One line for people.
        text: String,
        /// Which.
        setting: String,
        /// Its value.
        found: String,
        /// The range.
        expected: String,
    },
    /// A form of text that cannot be compiled, or not be kept to.
    Constraint {
        /// One line for people.
        text: String,
        /// Where in its source, from 1.
        line: Option<u64>,
        /// In characters, from 1.
        column: Option<u64>,
        /// What is wrong.
        reason: String,
    },
    /// Nothing to go on from: no tokens.
    Empty {
        /// One line for people.
        text: String,
    },
    /// The session was changed by something else while text was being generated from it.
    Interrupted {
        /// One line for people.
        text: String,
    },
    /// Someone cancelled.
    Cancelled {
        /// One line for people.
        text: String,
    },
    /// A backend is missing or failed.
    Backend {
        /// One line for people.
        text: String,
        /// Its name; empty where none is known.
        backend: String,
        /// Why.
        reason: BackendReason,
        /// The call that failed.
        call: Option<String>,
    },
    /// A file of text, or a record in it, cannot be learned from.
    BadDocument {
        /// One line for people.
        text: String,
        /// The file, or the document's source.
        path: String,
        /// Its line, from 1.
        line: Option<u64>,
        /// The field of the record.
        field: Option<String>,
        /// What is there.
        found: String,
        /// What should be there.
        expected: Option<String>,
    },
    /// Somebody else changes the store; try again when it is done.
    StoreLocked {
        /// One line for people.
        text: String,
        /// The store.
        path: String,
    },
    /// A file of a store is not what it was.
    StoreDamaged {
        /// One line for people.
        text: String,
        /// The file.
        path: String,
        /// What is wrong.
        found: String,
    },
    /// There is no delta of that name.
    NoDelta {
        /// One line for people.
        text: String,
        /// The store.
        store: String,
        /// The name.
        name: String,
    },
    /// A generation is not, or no longer, there.
    NoGeneration {
        /// One line for people.
        text: String,
        /// The delta.
        name: String,
        /// The generation.
        generation: u64,
    },
    /// The base model as it is counts already.
    NothingToUndo {
        /// One line for people.
        text: String,
        /// The delta.
        name: String,
    },
    /// Nothing in the delta came from there.
    NoSource {
        /// One line for people.
        text: String,
        /// The delta.
        name: String,
        /// What was to be forgotten.
        source_name: String,
    },
    /// A document that is needed to learn again is neither in the store nor did the listener have it.
    MissingSource {
        /// One line for people.
        text: String,
        /// The delta.
        name: String,
        /// The document's source.
        source_name: String,
    },
    /// A delta that was learned on another model: `rebuild` learns it for this one.
    OtherBase {
        /// One line for people.
        text: String,
        /// The delta.
        name: String,
        /// The name of the model that it was learned on.
        found_name: Option<String>,
        /// That model's fingerprint.
        found: String,
        /// This model's.
        expected: String,
    },
    /// An adapter that does not fit the model.
    BadAdapter {
        /// One line for people.
        text: String,
        /// A name for what is wrong, such as `Shape`.
        problem: String,
        /// The matrix it is about.
        tensor: Option<String>,
        /// What the adapter has.
        found: Option<String>,
        /// What the model has.
        expected: Option<String>,
    },
    /// Learning went wrong: a smaller learning rate may help.
    Diverged {
        /// One line for people.
        text: String,
        /// In which step, from 0.
        step: u64,
    },
    /// The application's own callback failed.
    Callback {
        /// One line for people.
        text: String,
        /// What it said.
        reason: String,
    },
    /// Something that this version of the bindings has no case for.
    Other {
        /// One line for people.
        text: String,
        /// Its coarse kind.
        kind: ErrorKind,
    },
    /// A defect of the library.
    Internal {
        /// One line for people.
        text: String,
        /// What does not hold.
        what: String,
    },
}

/// Coarse kinds of errors, to decide what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum ErrorKind {
    /// A file, a text or a setting is wrong.
    Input,
    /// Right, but not supported here.
    Unsupported,
    /// Not enough memory.
    Memory,
    /// The context is full.
    Context,
    /// Someone cancelled.
    Cancelled,
    /// A backend failed.
    Backend,
    /// The operating system failed.
    Io,
    /// A defect of the library.
    Internal,
}

/// Why the operating system failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum IoReason {
    /// There is no such file.
    NotFound,
    /// The file may not be read or written.
    PermissionDenied,
    /// There is no more room on the disk.
    StorageFull,
    /// Another reason.
    Other,
}

/// Why a backend failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum BackendReason {
    /// There is none, or it cannot be used on this machine.
    Unavailable,
    /// It lacks an op, a type or a function.
    Unsupported,
    /// A call failed.
    Failed,
    /// It broke its contract, or panicked.
    Broken,
    /// The device is gone; open the model again.
    DeviceLost,
}

#[uniffi::export]
impl TernError {
    /// The coarse kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Io,
            Self::Unsupported { .. } | Self::Backend { reason: BackendReason::Unsupported, .. } => {
                ErrorKind::Unsupported
            }
            Self::Memory { .. } | Self::OutOfMemory { .. } => ErrorKind::Memory,
            Self::ContextFull { .. } => ErrorKind::Context,
            Self::Cancelled { .. } => ErrorKind::Cancelled,
            Self::Backend { .. } => ErrorKind::Backend,
            Self::Internal { .. } => ErrorKind::Internal,
            Self::Other { kind, .. } => *kind,
            _ => ErrorKind::Input,
        }
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        match self {
            Self::Io { text, .. }
            | Self::NotAModel { text, .. }
            | Self::BadFile { text, .. }
            | Self::Configuration { text, .. }
            | Self::Unsupported { text, .. }
            | Self::MissingTensor { text, .. }
            | Self::ExtraTensor { text, .. }
            | Self::TensorShape { text, .. }
            | Self::Ternary { text, .. }
            | Self::OtherModel { text, .. }
            | Self::SessionFile { text, .. }
            | Self::Vocabulary { text, .. }
            | Self::NoTemplate { text, .. }
            | Self::Template { text, .. }
            | Self::Text { text, .. }
            | Self::Memory { text, .. }
            | Self::OutOfMemory { text, .. }
            | Self::ContextFull { text, .. }
            | Self::DraftVocabulary { text, .. }
            | Self::Token { text, .. }
            | Self::Setting { text, .. }
            | Self::Constraint { text, .. }
            | Self::Empty { text, .. }
            | Self::Interrupted { text, .. }
            | Self::Cancelled { text, .. }
            | Self::Backend { text, .. }
            | Self::BadDocument { text, .. }
            | Self::StoreLocked { text, .. }
            | Self::StoreDamaged { text, .. }
            | Self::NoDelta { text, .. }
            | Self::NoGeneration { text, .. }
            | Self::NothingToUndo { text, .. }
            | Self::NoSource { text, .. }
            | Self::MissingSource { text, .. }
            | Self::OtherBase { text, .. }
            | Self::BadAdapter { text, .. }
            | Self::Diverged { text, .. }
            | Self::Callback { text, .. }
            | Self::Other { text, .. }
            | Self::Internal { text, .. } => text.clone(),
        }
    }
}

impl TernError {
    pub(crate) fn callback(reason: String) -> Self {
        Self::Callback { text: format!("the application's callback failed: {reason}"), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tern_formats::{FormatError, Problem};
    use tern_text::TextError;

    #[test]
    fn fields_survive() {
        let io = tern::Error::Io { path: "m.gguf".into(), error: std::io::Error::from_raw_os_error(2) };
        let io = TernError::from(io);
        assert!(
            matches!(&io, TernError::Io { path, reason: IoReason::NotFound, code: Some(2), .. } if path == "m.gguf")
        );
        assert_eq!(io.kind(), ErrorKind::Io);
        let memory = tern::Error::Memory { what: "a context".into(), needed: 9, available: 5, fits: 3 };
        assert!(matches!(memory.into(), TernError::Memory { needed: 9, available: 5, fits: 3, .. }));
    }

    #[test]
    fn problems_of_files_have_names_and_places() {
        let problem = Problem::Truncated { what: "a string", offset: 24, needed: 80, available: 8 };
        let error = TernError::from(tern::Error::from(FormatError::new("m.gguf", problem)));
        let TernError::BadFile { text, path, problem, field, offset, found, expected, tensor } = error else {
            panic!("{error:?}")
        };
        assert_eq!((path.as_str(), problem.as_str(), tensor, offset), ("m.gguf", "Truncated", None, Some(24)));
        assert_eq!(
            (field.as_deref(), found.as_deref(), expected.as_deref()),
            (Some("a string"), Some("8"), Some("80"))
        );
        assert!(text.starts_with("m.gguf: truncated"), "{text}");
    }

    #[test]
    fn kinds_are_those_of_the_runtime() {
        use tern::backend::BackendError as B;
        let call = |e: B| tern::Error::from(e);
        let of = |backend: &str| backend.to_owned();
        let errors = [
            tern::Error::NoTemplate,
            tern::Error::Empty,
            tern::Error::Cancelled,
            tern::Error::ContextFull { used: 1, wanted: 2, capacity: 2 },
            tern::Error::Internal { what: "x".into() },
            call(B::OutOfMemory { backend: of("b"), call: "f", message: of("m") }),
            call(B::DeviceLost { backend: of("b"), call: "f", message: of("m") }),
            call(B::Cancelled { backend: of("b"), call: "f" }),
            TextError::NoTokens { limit: 3 }.into(),
            tern::learn::LearnError::Locked { path: "s".into() }.into(),
            tern::learn::AdapterError::Tensor { tensor: "t".into() }.into(),
            tern::Error::Diverged { step: 3 },
        ];
        for error in errors {
            let (kind, text) = (ErrorKind::from(error.kind()), error.to_string());
            let ours = TernError::from(error);
            assert_eq!((ours.kind(), ours.to_string()), (kind, text));
        }
    }
}
