//! A folder on disk.

use super::Folder;
use crate::folder::{PathOpener, folder_opener};
use crate::{FileSource, FormatError, Problem};
use std::path::Path;

/// Opens a folder on disk. See [`folder_opener`] for where its links may lead.
///
/// # Errors
/// As [`super::open`]; [`std::io::ErrorKind::PermissionDenied`] for a link that leads out.
pub fn open_dir(path: impl AsRef<Path>) -> Result<Folder, FormatError> {
    open_dir_with(path, &|target, name| Ok(Box::new(FileSource::from_file(name, std::fs::File::open(target)?)?)))
}

/// As [`open_dir`], with files opened by `open`: mapped ones, say.
///
/// # Errors
/// As [`open_dir`].
pub fn open_dir_with(path: impl AsRef<Path>, open: &PathOpener<'_>) -> Result<Folder, FormatError> {
    let path = path.as_ref();
    let name = path.display().to_string();
    let open = folder_opener(path, open).map_err(|error| FormatError::new(&name, Problem::Open { error }))?;
    super::open(&name, &open)
}
