//! Errors of learning and of adapters.

use super::TernError;
use super::from::{io, variant};
use tern::learn::{AdapterError, LearnError};

pub(super) fn learn(text: String, error: LearnError) -> TernError {
    use LearnError as L;
    let bad = |text, path, line: Option<usize>, field, found, expected: Option<String>| TernError::BadDocument {
        text,
        path,
        line: line.map(|l| l as u64),
        field,
        found,
        expected,
    };
    match error {
        L::Io { path, error } => TernError::Io { text, path, reason: io(&error), code: error.raw_os_error() },
        L::NotText { path, offset, line } => {
            bad(text, path, Some(line), None, format!("no UTF-8 at byte {offset}"), Some("UTF-8".to_owned()))
        }
        L::TooLarge { path, what, found, limit } => {
            bad(text, path, None, Some(what.to_owned()), found.to_string(), Some(format!("at most {limit}")))
        }
        L::Json { path, line, what } => bad(text, path, Some(line), None, what, Some("JSON".to_owned())),
        L::Field { path, line, field, found, expected } => {
            bad(text, path, Some(line), Some(field), found, Some(expected.to_owned()))
        }
        L::Untraceable { source_name, message } => {
            let field = format!("messages[{message}]");
            bad(text, source_name, None, Some(field), "a message that the chat template changes".to_owned(), None)
        }
        L::Name { name } => TernError::Setting {
            text,
            setting: "name".to_owned(),
            found: name,
            expected: "up to 64 letters, digits, - _ and ., not first".to_owned(),
        },
        L::Locked { path } => TernError::StoreLocked { text, path },
        L::Damaged { path, what } => TernError::StoreDamaged { text, path, found: what },
        L::NoDelta { store, name } => TernError::NoDelta { text, store, name },
        L::NoGeneration { name, generation } => TernError::NoGeneration { text, name, generation },
        L::NothingToUndo { name } => TernError::NothingToUndo { text, name },
        L::MissingSource { name, source_name } => TernError::MissingSource { text, name, source_name },
        L::NoSource { name, source_name } => TernError::NoSource { text, name, source_name },
        L::OtherBase { name, found_name, found, expected } => {
            TernError::OtherBase { text, name, found_name, found, expected }
        }
        _ => TernError::Other { text, kind: super::ErrorKind::Input },
    }
}

pub(super) fn adapter(text: String, error: AdapterError) -> TernError {
    use AdapterError as A;
    let problem = variant(&error);
    let (tensor, found, expected) = match error {
        A::Architecture { found, expected } => (None, Some(found), Some(expected)),
        A::Tensor { tensor } | A::Incomplete { tensor } | A::Twice { tensor } | A::NotFinite { tensor } => {
            (Some(tensor), None, None)
        }
        A::Shape { tensor, found, expected } => {
            (Some(tensor), Some(format!("{found:?}")), Some(format!("{expected:?}")))
        }
        A::Rank { tensor, found, expected } => (Some(tensor), Some(found.to_string()), Some(expected.to_string())),
        A::Unsupported { what, .. } => (None, Some(what.to_owned()), None),
        A::Targets { wanted, known } => (None, Some(wanted), Some(known)),
        _ => (None, None, None),
    };
    TernError::BadAdapter { text, problem, tensor, found, expected }
}
