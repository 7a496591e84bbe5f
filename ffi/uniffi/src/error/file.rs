//! Errors of files: what is wrong, and where.

use super::TernError;
use super::from::{io, variant};
use tern_formats::{FormatError, Problem};

pub(super) fn problem(text: String, FormatError { file: path, problem }: FormatError) -> TernError {
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
