//! Which of ours an error of tern is.

use super::{BackendReason, ErrorKind, IoReason, TernError, file, learning};
use tern::ErrorKind as Kind;
use tern::backend::{BackendError, status_name};
use tern_text::TextError;

impl From<tern::Error> for TernError {
    fn from(error: tern::Error) -> Self {
        use tern::Error as E;
        let text = error.to_string();
        let kind = error.kind();
        match error {
            _ if kind == Kind::Cancelled => Self::Cancelled { text },
            E::Io { path, error } => Self::Io { text, path, reason: io(&error), code: error.raw_os_error() },
            E::NotAModel { path, what } => Self::NotAModel { text, path, found: what },
            E::Format(error) => file::problem(text, error),
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

pub(super) fn io(error: &std::io::Error) -> IoReason {
    match error.kind() {
        std::io::ErrorKind::NotFound => IoReason::NotFound,
        std::io::ErrorKind::PermissionDenied => IoReason::PermissionDenied,
        std::io::ErrorKind::StorageFull => IoReason::StorageFull,
        _ => IoReason::Other,
    }
}

/// The name of an enum's variant, as its derived `Debug` begins.
pub(super) fn variant(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_owned()
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
        C::Format(error) => file::problem(text, error),
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
