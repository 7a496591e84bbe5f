//! Where results go.

use crate::error::ConvertError;
use std::io;
use std::path::Path;
use tern_formats::{AtomicFile, Existing};

/// A file to become `target`, which must not exist unless `force`.
///
/// # Errors
/// [`ConvertError::SameFile`] where it is one of `inputs`; as [`failed`].
pub fn create(target: &Path, inputs: &[&Path], force: bool) -> Result<AtomicFile, ConvertError> {
    if let Ok(there) = target.canonicalize()
        && inputs.iter().any(|input| input.canonicalize().is_ok_and(|input| there == input))
    {
        return Err(ConvertError::SameFile { path: target.to_owned() });
    }
    let existing = if force { Existing::Replace } else { Existing::Keep };
    AtomicFile::create(target, existing).map_err(|error| failed(target, error))
}

/// [`ConvertError::Exists`] where it does, [`ConvertError::Output`] otherwise.
pub fn failed(target: &Path, error: io::Error) -> ConvertError {
    let path = target.to_owned();
    match error.kind() {
        io::ErrorKind::AlreadyExists => ConvertError::Exists { path },
        _ => ConvertError::Output { path, error },
    }
}
