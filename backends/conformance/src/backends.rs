//! The plugins that can be checked: those linked in, one line each, and libraries.

use tern_abi::Entry;

/// Name and entry of every plugin that is linked in.
pub const BACKENDS: &[(&str, Entry)] = &[
    ("reference", tern_reference::entry),
    #[cfg(feature = "cpu")]
    ("cpu", tern_cpu::entry),
];

/// Why there is no such plugin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum BackendError {
    #[error("no backend {name:?} is linked in; there are: {known}")]
    Unknown { name: String, known: String },
    #[error("{path}: {message}")]
    Library { path: String, message: String },
}

/// The entry of a plugin by name.
pub fn find(name: &str) -> Result<Entry, BackendError> {
    let found = BACKENDS.iter().find(|(known, _)| *known == name).map(|&(_, entry)| entry);
    found.ok_or_else(|| {
        let known: Vec<&str> = BACKENDS.iter().map(|(name, _)| *name).collect();
        BackendError::Unknown { name: name.to_owned(), known: known.join(", ") }
    })
}

/// The entry of a plugin in a library. The library stays loaded: a table lives as long as the process.
///
/// # Safety
/// Loading runs the library's code; the caller trusts it to be a plugin of this ABI.
#[cfg(feature = "library")]
pub unsafe fn load(path: &str) -> Result<Entry, BackendError> {
    let error = |e: libloading::Error| BackendError::Library { path: path.to_owned(), message: e.to_string() };
    // SAFETY: vouched for by the caller.
    unsafe {
        let library = libloading::Library::new(path).map_err(error)?;
        let entry = *library.get::<Entry>(tern_abi::ENTRY_SYMBOL).map_err(error)?;
        std::mem::forget(library);
        Ok(entry)
    }
}

/// Without the feature `library`, none can be loaded.
///
/// # Safety
/// None is needed.
#[cfg(not(feature = "library"))]
pub unsafe fn load(path: &str) -> Result<Entry, BackendError> {
    let message = "this build cannot load libraries (feature \"library\")".to_owned();
    Err(BackendError::Library { path: path.to_owned(), message })
}
