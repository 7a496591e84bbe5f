//! Documents from files and folders.

use super::document::{Document, Origin};
use super::jsonl;
use crate::learn::LearnError;
use std::fs;
use std::path::Path;

/// Larger files are data, not documents.
pub const MAX_FILE_BYTES: u64 = 64 << 20;
/// More files are a mistake, as a home folder.
pub const MAX_FILES: usize = 100_000;
/// Folders deeper than that are linked in a circle, or made to harm.
const MAX_DEPTH: usize = 64;

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// In the order of their paths.
    pub documents: Vec<Document>,
    /// Files of folders that hold no text.
    pub skipped: Vec<String>,
}

/// Reads a file, or all text files of a folder and those in it: text, Markdown, code are one document each, of origin `origin`;
/// each line of a `.jsonl` file is one of the records of [`jsonl`](super).
///
/// In folders, what begins with a point, links and what is not UTF-8 text are skipped; a file that is named must be text.
///
/// # Errors
/// [`LearnError::Io`], [`LearnError::NotText`], [`LearnError::TooLarge`], [`LearnError::Json`], [`LearnError::Field`].
pub fn read(path: &Path, origin: Origin) -> Result<Reading, LearnError> {
    let mut reading = Reading::default();
    let about = fs::metadata(path).map_err(|e| LearnError::io(path, e))?;
    if about.is_dir() {
        let mut files = Vec::new();
        walk(path, 0, &mut files)?;
        for file in &files {
            match read_file(file, origin) {
                Ok(documents) => reading.documents.extend(documents),
                Err(LearnError::NotText { path, .. } | LearnError::TooLarge { path, .. }) => reading.skipped.push(path),
                Err(error) => return Err(error),
            }
        }
    } else {
        reading.documents = read_file(path, origin)?;
    }
    Ok(reading)
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<std::path::PathBuf>) -> Result<(), LearnError> {
    let too_large = |what, found: usize, limit: usize| LearnError::TooLarge {
        path: folder.display().to_string(),
        what,
        found: found as u64,
        limit: limit as u64,
    };
    if depth > MAX_DEPTH {
        return Err(too_large("folders in each other", depth, MAX_DEPTH));
    }
    let mut entries: Vec<_> =
        fs::read_dir(folder).and_then(Iterator::collect::<Result<_, _>>).map_err(|e| LearnError::io(folder, e))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().map_err(|e| LearnError::io(&entry.path(), e))?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if kind.is_dir() {
            walk(&entry.path(), depth + 1, files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
        if files.len() > MAX_FILES {
            return Err(too_large("files", files.len(), MAX_FILES));
        }
    }
    Ok(())
}

fn read_file(path: &Path, origin: Origin) -> Result<Vec<Document>, LearnError> {
    let name = path.display().to_string();
    let found = fs::metadata(path).map_err(|e| LearnError::io(path, e))?.len();
    if found > MAX_FILE_BYTES {
        return Err(LearnError::TooLarge { path: name, what: "bytes", found, limit: MAX_FILE_BYTES });
    }
    let text = text(&name, fs::read(path).map_err(|e| LearnError::io(path, e))?)?;
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("jsonl")) {
        return jsonl::documents(&name, &text, origin);
    }
    Ok(if text.trim().is_empty() { Vec::new() } else { vec![Document::text(name, origin, text)] })
}

/// UTF-8 without zero bytes, which no text has.
fn text(path: &str, bytes: Vec<u8>) -> Result<String, LearnError> {
    let not_text = |bytes: &[u8], offset: usize| {
        let line = 1 + bytes.iter().take(offset).filter(|&&b| b == b'\n').count();
        Err(LearnError::NotText { path: path.to_owned(), offset, line })
    };
    if let Some(offset) = bytes.iter().position(|&b| b == 0) {
        return not_text(&bytes, offset);
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return not_text(error.as_bytes(), error.utf8_error().valid_up_to()),
    };
    // What editors on Windows put in front.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}
