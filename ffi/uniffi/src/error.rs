//! tern's errors as one enum with fields. `text` is always the one line that the Rust error prints.

mod learning;

use tern::ErrorKind as Kind;
use tern::backend::{BackendError, status_name};
use tern_formats::{FormatError, Problem};
use tern_text::TextError;

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

impl From<tern::Error> for TernError {
    fn from(error: tern::Error) -> Self {
        use tern::Error as E;
        let text = error.to_string();
        let kind = error.kind();
        match error {
            _ if kind == Kind::Cancelled => Self::Cancelled { text },
            E::Io { path, error } => Self::Io { text, path, reason: io(&error), code: error.raw_os_error() },
            E::NotAModel { path, what } => Self::NotAModel { text, path, found: what },
            E::Format(error) => format(text, error),
            E::Config(error) => config(text, error),
            E::MissingTensor { file, tensor } => Self::MissingTensor { text, path: file, tensor },
            E::ExtraTensor { file, tensor } => Self::ExtraTensor { text, path: file, tensor },
            E::TensorShape { file, tensor, found, expected } => {
                Self::TensorShape { text, path: file, tensor, found, expected }
            }
            E::Ternary { tensor, error } => Self::Ternary { text, tensor, reason: error.to_string() },
            E::OtherModel { path, name, found, expected } => Self::OtherModel { text, path, name, found, expected },
            E::SessionFile { path, what } => Self::SessionFile { text, path, found: what },
            E::Vocabulary { tokens, rows } => Self::Vocabulary { text, tokens: tokens as u64, rows },
            E::NoTemplate => Self::NoTemplate { text },
            E::Encoder { architecture } => Self::Unsupported {
                text,
                what: "an encoder".into(),
                tensor: None,
                found: architecture,
                supported: None,
            },
            E::Text(error) => text_error(text, &error),
            E::Plan(tern::plan::PlanError::Unsupported { backend, op, .. }) => {
                Self::Unsupported { text, what: op, tensor: None, found: backend, supported: None }
            }
            E::Plan(tern::plan::PlanError::Backend(error)) | E::Backend(error) => backend(text, &error),
            E::Memory { what, needed, available, fits } => Self::Memory { text, what, needed, available, fits },
            E::ContextFull { used, wanted, capacity } => {
                Self::ContextFull { text, used: used as u64, wanted: wanted as u64, capacity: capacity as u64 }
            }
            E::DraftVocabulary { vocab, draft_vocab, id, expected, found } => {
                let (vocab, draft_vocab) = (vocab as u64, draft_vocab as u64);
                Self::DraftVocabulary { text, vocab, draft_vocab, id, expected, found }
            }
            E::Token { id, vocab } => Self::Token { text, id, vocab: vocab as u64 },
            E::Setting { setting, found, expected } => {
                Self::Setting { text, setting: setting.to_owned(), found, expected: expected.to_owned() }
            }
            E::Constraint { what } => Self::Constraint { text, line: None, column: None, reason: what },
            E::Learn(error) => learning::learn(text, error),
            E::Adapter(error) => learning::adapter(text, error),
            E::Diverged { step } => Self::Diverged { text, step },
            E::Empty => Self::Empty { text },
            E::Interrupted => Self::Interrupted { text },
            E::Internal { what } => Self::Internal { text, what },
            _ => Self::Other { text, kind: kind.into() },
        }
    }
}

impl From<Kind> for ErrorKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Input => Self::Input,
            Kind::Unsupported => Self::Unsupported,
            Kind::Memory => Self::Memory,
            Kind::Context => Self::Context,
            Kind::Cancelled => Self::Cancelled,
            Kind::Backend => Self::Backend,
            Kind::Io => Self::Io,
            Kind::Internal => Self::Internal,
        }
    }
}

fn io(error: &std::io::Error) -> IoReason {
    match error.kind() {
        std::io::ErrorKind::NotFound => IoReason::NotFound,
        std::io::ErrorKind::PermissionDenied => IoReason::PermissionDenied,
        std::io::ErrorKind::StorageFull => IoReason::StorageFull,
        _ => IoReason::Other,
    }
}

/// The name of an enum's variant, as its derived `Debug` begins.
fn variant(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_owned()
}

fn format(text: String, FormatError { file: path, problem }: FormatError) -> TernError {
    use Problem as P;
    let name = variant(&problem);
    let mut bad = Place::default();
    match *problem {
        P::Io { error, .. } | P::Write { error, .. } | P::Open { error } => {
            return TernError::Io { text, path, reason: io(&error), code: error.raw_os_error() };
        }
        P::OutOfMemory { bytes, .. } => return TernError::OutOfMemory { text, needed: Some(bytes) },
        P::UnsupportedDtype { tensor, found, supported } => {
            let (tensor, supported) = (Some(tensor), Some(supported));
            return TernError::Unsupported { text, what: "dtype".to_owned(), tensor, found, supported };
        }
        P::NoWeights { expected } => bad.expected = Some(expected.to_owned()),
        P::WrongMagic { found, expected, .. } => bad = bad.found(found.escape_ascii()).expected(expected),
        P::UnsupportedVersion { found, expected, .. } => bad = bad.field("version").found(found).expected(expected),
        P::Truncated { what, offset, needed, available } => {
            bad = bad.field(what).at(offset).found(available).expected(needed);
        }
        P::TooMany { what, found, limit } => bad = bad.field(what).found(found).expected(limit),
        P::TooLong { what, offset, found, limit } => bad = bad.field(what).at(offset).found(found).expected(limit),
        P::EmptyName { what, offset } => bad = bad.field(what).at(offset),
        P::NotUtf8 { what, offset } => bad = bad.field(what).at(offset),
        P::Duplicate { what, name } => bad = bad.field(what).found(name),
        P::TrailingBytes { offset, found, limit } => bad = bad.at(offset).found(found).expected(limit),
        P::UnknownValueType { key, found, offset } => bad = bad.field(key).at(offset).found(found),
        P::MissingKey { key, expected } => bad = bad.field(key).expected(expected),
        P::WrongType { key, expected, found } => bad = bad.field(key).found(found).expected(expected),
        P::OutOfRange { key, expected, found } => bad = bad.field(key).found(found).expected(expected),
        P::ArrayLength { key, expected, found } => bad = bad.field(key).found(found).expected(expected),
        P::BadAlignment { found } => bad = bad.field("general.alignment").found(found),
        P::Json { what, message } => bad = bad.field(what).found(message),
        P::DimensionCount { tensor, found, expected } => bad = bad.tensor(tensor).found(found).expected(expected),
        P::Dimension { tensor, found, limit, .. } => bad = bad.tensor(tensor).found(found).expected(limit),
        P::ShapeOverflow { tensor, .. } | P::NoSuchTensor { tensor } => bad = bad.tensor(tensor),
        P::RemovedDtype { tensor, name, .. } => bad = bad.tensor(tensor).found(name),
        P::UnknownDtype { tensor, found } => bad = bad.tensor(tensor).found(found),
        P::PartialBlock { tensor, found, block_len, .. } => bad = bad.tensor(tensor).found(found).expected(block_len),
        P::Misaligned { tensor, offset, alignment } => bad = bad.tensor(tensor).at(offset).expected(alignment),
        P::OutOfFile { tensor, offset, bytes, file_len } => {
            bad = bad.tensor(tensor).at(offset).found(file_len).expected(offset.saturating_add(bytes));
        }
        P::Overlap { tensor, offset, .. } => bad = bad.tensor(tensor).at(offset),
        P::Gap { tensor, offset, found } => bad = bad.tensor(tensor).at(offset).found(found),
        P::ByteCount { tensor, begin, end, expected } => {
            bad = bad.tensor(tensor).found(end.saturating_sub(begin)).expected(expected);
        }
        P::NotInShard { tensor, .. } | P::NotInIndex { tensor, .. } => bad = bad.tensor(tensor),
        _ => {}
    }
    let Place { tensor, field, offset, found, expected } = bad;
    TernError::BadFile { text, path, problem: name, tensor, field, offset, found, expected }
}

/// What a problem of a file is about.
#[derive(Default)]
struct Place {
    tensor: Option<String>,
    field: Option<String>,
    offset: Option<u64>,
    found: Option<String>,
    expected: Option<String>,
}

impl Place {
    fn tensor(self, name: String) -> Self {
        Self { tensor: Some(name), ..self }
    }
    fn field(self, name: impl ToString) -> Self {
        Self { field: Some(name.to_string()), ..self }
    }
    fn at(self, offset: u64) -> Self {
        Self { offset: Some(offset), ..self }
    }
    fn found(self, value: impl ToString) -> Self {
        Self { found: Some(value.to_string()), ..self }
    }
    fn expected(self, value: impl ToString) -> Self {
        Self { expected: Some(value.to_string()), ..self }
    }
}

fn config(text: String, error: tern::models::ConfigError) -> TernError {
    use tern::models::ConfigError as C;
    let unsupported = |text, what: String, found, supported| TernError::Unsupported {
        text,
        what,
        tensor: None,
        found,
        supported: Some(supported),
    };
    let bad = |text, key, found, expected| TernError::Configuration { text, key, found, expected };
    match error {
        C::Format(error) => format(text, error),
        C::UnknownArchitecture { found, supported } => unsupported(text, "architecture".to_owned(), found, supported),
        C::Unsupported { key, found, supported } => unsupported(text, key, found, supported),
        C::Missing { key } => bad(text, key, None, None),
        C::Range { key, found, min, max } => bad(text, key, Some(found.to_string()), Some(format!("{min} to {max}"))),
        C::Conflict { a, a_value, b, b_value } => {
            bad(text, a, Some(a_value.to_string()), Some(format!("to fit {b} = {b_value}")))
        }
    }
}

fn text_error(text: String, error: &TextError) -> TernError {
    use TextError as T;
    let template = |text, line: Option<usize>, reason: &str, refused| {
        let line = line.map(|l| l as u64);
        TernError::Template { text, line, reason: reason.to_owned(), refused }
    };
    match error {
        T::TemplateSyntax { line, message } | T::TemplateRuntime { line, message } => {
            template(text, Some(*line), message, false)
        }
        T::TemplateRaised { message } => template(text, None, message, true),
        T::TemplateLimit { limit, .. } => template(text, None, limit, false),
        T::UnknownId { id, vocab } => TernError::Token { text, id: *id, vocab: *vocab as u64 },
        other => TernError::Text { text, problem: variant(other) },
    }
}

fn backend(text: String, error: &BackendError) -> TernError {
    use BackendError as B;
    let failed = |text, backend: &str, reason, call: &str| {
        let call = (!call.is_empty()).then(|| call.to_owned());
        TernError::Backend { text, backend: backend.to_owned(), reason, call }
    };
    match error {
        B::OutOfMemory { .. } => TernError::OutOfMemory { text, needed: None },
        B::NotFound { name, .. } | B::Requirement { name, .. } | B::Unusable { name, .. } => {
            failed(text, name, BackendReason::Unavailable, "")
        }
        B::MissingFunction { backend, function } => failed(text, backend, BackendReason::Unsupported, function),
        B::Unsupported { backend, call, .. } => failed(text, backend, BackendReason::Unsupported, call),
        B::Call { backend, call, status, .. } => {
            failed(text, backend, BackendReason::Failed, &format!("{call}: {}", status_name(*status)))
        }
        B::Panicked { backend, call, .. } | B::BadAnswer { backend, call, .. } => {
            failed(text, backend, BackendReason::Broken, call)
        }
        B::DeviceLost { backend, call, .. } => failed(text, backend, BackendReason::DeviceLost, call),
        B::Argument { call, .. } => failed(text, "", BackendReason::Failed, call),
        B::Entry { origin, .. } | B::Table { origin, .. } => failed(text, origin, BackendReason::Broken, ""),
        _ => failed(text, "", BackendReason::Unavailable, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
