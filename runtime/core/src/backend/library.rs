//! Plugins in libraries: found by their manifests, opened, never closed.

mod checksum;
mod image;
mod machine;
mod manifest;

use super::error::{BackendError, Result};
use super::table::Backend;
use libloading::Library;
use std::path::{Path, PathBuf};
use tern_abi::{ENTRY_SYMBOL, Entry, MAJOR};

pub(super) use manifest::Manifest;

/// A folder with more entries than this is not a folder of plugins.
const MAX_ENTRIES: usize = 4096;
/// Majors whose symbol is looked for in a library that lacks ours, to say more than "missing".
const OTHER_MAJORS: std::ops::RangeInclusive<u32> = 2..=9;

/// The manifests (`*.json`) in `folder`, best score first, or why it cannot be read.
pub(super) fn manifests(folder: &Path) -> std::result::Result<Vec<(PathBuf, Result<Manifest>)>, String> {
    let entries = std::fs::read_dir(folder).map_err(|e| e.to_string())?;
    let mut found = Vec::new();
    for (i, entry) in entries.enumerate() {
        if i == MAX_ENTRIES {
            return Err(format!("it has more than {MAX_ENTRIES} entries"));
        }
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.extension().is_some_and(|e| e == "json") {
            let manifest = Manifest::read(&path);
            found.push((path, manifest));
        }
    }
    // The path decides between equals, so that the order is the same on every machine.
    let score = |m: &Result<Manifest>| m.as_ref().map_or(0, |m| m.score);
    found.sort_by(|(a, x), (b, y)| score(y).cmp(&score(x)).then_with(|| a.cmp(b)));
    Ok(found)
}

/// Opens the library that a manifest describes. What can be checked is checked before any of its code runs.
pub(super) fn open(manifest_path: &Path, manifest: &Manifest) -> Result<Backend> {
    manifest.check_machine()?;
    let folder = manifest_path.parent().unwrap_or(Path::new("/"));
    let path = folder.join(&manifest.library);
    let failed = |reason: String| BackendError::Load { path: path.clone(), reason };
    if let Some(expected) = &manifest.sha256 {
        let found = checksum::sha256(&path).map_err(|e| failed(e.to_string()))?;
        if !found.eq_ignore_ascii_case(expected) {
            return Err(BackendError::Checksum { path, expected: expected.clone(), found });
        }
    }
    image::check(&path).map_err(failed)?;
    let library = load(&path).map_err(|e| failed(super::call::one_line(e.to_string().as_bytes())))?;
    let entry = entry(&library, &path);
    // Never closed: threads and destructors of its own may outlive every use of it.
    std::mem::forget(library);
    // SAFETY: the entry of a plugin, by name and major version; plugins are trusted to follow the ABI.
    let backend = unsafe { Backend::new(entry?, &path.display().to_string()) }?;
    if backend.name() != manifest.name {
        let reason = format!("its library calls itself \"{}\", not \"{}\"", backend.name(), manifest.name);
        return Err(BackendError::Manifest { path: manifest_path.to_owned(), reason });
    }
    Ok(backend)
}

fn entry(library: &Library, path: &Path) -> Result<Entry> {
    // SAFETY: the symbol's type is fixed by its name.
    if let Ok(entry) = unsafe { library.get::<Entry>(ENTRY_SYMBOL) } {
        return Ok(*entry);
    }
    // SAFETY: the symbol is looked for, not used.
    let other =
        OTHER_MAJORS.into_iter().find(|m| unsafe { library.get::<Entry>(format!("tern_backend_v{m}")) }.is_ok());
    let path = path.to_owned();
    Err(match other {
        Some(found) => BackendError::AbiMajor { path, found, supported: MAJOR },
        None => BackendError::MissingSymbol { path, symbol: ENTRY_SYMBOL.to_owned() },
    })
}

#[cfg(unix)]
fn load(path: &Path) -> std::result::Result<Library, libloading::Error> {
    use libloading::os::unix;
    // Local, because every plugin exports the same symbol.
    let flags = unix::RTLD_LAZY | unix::RTLD_LOCAL;
    // SAFETY: loading runs the library's initializers; plugins are trusted.
    unsafe { unix::Library::open(Some(path), flags) }.map(Library::from)
}

#[cfg(windows)]
fn load(path: &Path) -> std::result::Result<Library, libloading::Error> {
    use libloading::os::windows;
    // What it depends on comes from its own folder or the system, not from the current directory.
    let flags = windows::LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | windows::LOAD_LIBRARY_SEARCH_DEFAULT_DIRS;
    // SAFETY: loading runs the library's initializers; plugins are trusted.
    unsafe { windows::Library::load_with_flags(path, flags) }.map(Library::from)
}
