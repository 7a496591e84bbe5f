//! Files of one folder, opened by name.

use crate::Source;
use std::io;
use std::path::{Path, PathBuf};

/// Opens a file that belongs to a model by its name, always a single path component: from a folder on disk
/// ([`folder_opener`]), the assets of an application, a browser's cache.
pub type Opener<'a> = dyn Fn(&str) -> io::Result<Box<dyn Source>> + 'a;

/// Opens the file at a path; the string is the name for messages.
pub type PathOpener<'a> = dyn Fn(&Path, String) -> io::Result<Box<dyn Source>> + 'a;

/// An [`Opener`] for the folder at `path`, whose files are opened by `open`: as mapped ones, say.
///
/// A symbolic link in the folder may lead to another place in it, or into the `blobs` of a Hugging Face cache, whose
/// `models--*/snapshots/<revision>` folders consist of such links; anything else is [`io::ErrorKind::PermissionDenied`].
///
/// # Errors
/// Where there is no such folder.
pub fn folder_opener<'a>(
    path: &'a Path,
    open: &'a PathOpener<'a>,
) -> io::Result<impl Fn(&str) -> io::Result<Box<dyn Source>> + 'a> {
    let allowed = allowed(path)?;
    Ok(move |name: &str| {
        let file = path.join(name);
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
