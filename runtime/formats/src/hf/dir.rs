//! A folder on disk.

use super::Folder;
use crate::{FileSource, FormatError, Problem, Source};
use std::io;
use std::path::{Path, PathBuf};

/// Opens a folder on disk.
///
/// A symbolic link in it may lead to another place in the folder, or into the `blobs` of a Hugging
/// Face cache, whose `models--*/snapshots/<revision>` folders consist of such links; not elsewhere.
///
/// # Errors
/// As [`super::open`]; [`io::ErrorKind::PermissionDenied`] for a link that leads out.
pub fn open_dir(path: impl AsRef<Path>) -> Result<Folder, FormatError> {
    open_dir_with(path, &|target, name| Ok(Box::new(FileSource::from_file(name, std::fs::File::open(target)?)?)))
}

/// Opens the file at a path; the string is the name for messages.
pub type PathOpener<'a> = dyn Fn(&Path, String) -> io::Result<Box<dyn Source>> + 'a;

/// As [`open_dir`], with files opened by `open`: mapped ones, say.
///
/// # Errors
/// As [`open_dir`].
pub fn open_dir_with(path: impl AsRef<Path>, open: &PathOpener<'_>) -> Result<Folder, FormatError> {
    let path = path.as_ref();
    let name = path.display().to_string();
    let allowed = allowed(path).map_err(|error| FormatError::new(&name, Problem::Open { error }))?;
    super::open(&name, &|file| {
        let file = path.join(file);
        // The target is opened rather than the link, so that it cannot be exchanged after the check.
        let target = file.canonicalize()?;
        if !allowed.iter().any(|dir| target.starts_with(dir)) {
            let message = format!("a link that leads out of the folder, to {}", target.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        open(&target, file.display().to_string())
    })
}

/// The folders in which targets may be.
fn allowed(path: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = path.canonicalize()?;
    let cache = folder.parent().filter(|p| p.ends_with("snapshots")).and_then(Path::parent).map(|p| p.join("blobs"));
    Ok(std::iter::once(folder).chain(cache).collect())
}
