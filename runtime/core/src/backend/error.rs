//! What can go wrong between host and plugin.

use std::path::{Path, PathBuf};
use tern_abi::{Status, status};

/// Why a backend, or a call to one, failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// No backend of this name (empty: none at all) is registered or was found.
    #[error("no {}backend; {}", quoted(name), looked_in(searched))]
    NotFound {
        /// The name asked for.
        name: String,
        /// Folders that were searched.
        searched: Vec<PathBuf>,
    },
    /// A folder to search cannot be used.
    #[error("backend folder {}: {reason}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A manifest is unreadable or wrong.
    #[error("backend manifest {}: {reason}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// A manifest asks for what this machine does not have.
    #[error("backend \"{name}\" needs {needed}, this machine has {found}")]
    Requirement {
        /// The backend.
        name: String,
        /// What its manifest asks for.
        needed: String,
        /// What is there instead.
        found: String,
    },
    /// A library cannot be loaded.
    #[error("backend library {}: {reason}", path.display())]
    Load {
        /// The library.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A library is not the one its manifest describes.
    #[error("backend library {}: its sha256 is {found}, its manifest says {expected}", path.display())]
    Checksum {
        /// The library.
        path: PathBuf,
        /// As the manifest says.
        expected: String,
        /// As the file is.
        found: String,
    },
    /// A plugin speaks another major version of the ABI.
    #[error("backend {}: it speaks ABI version {found}, this runtime version {supported}", path.display())]
    AbiMajor {
        /// The library, or its manifest.
        path: PathBuf,
        /// The plugin's.
        found: u32,
        /// The host's.
        supported: u32,
    },
    /// A library is not a plugin.
    #[error("backend library {}: it does not export {symbol}", path.display())]
    MissingSymbol {
        /// The library.
        path: PathBuf,
        /// The symbol.
        symbol: String,
    },
    /// A plugin's entry function failed.
    #[error("backend {origin}: its entry failed: {} ({message})", status_name(*status))]
    Entry {
        /// The library, or "registered".
        origin: String,
        /// What it returned.
        status: Status,
        /// What it said.
        message: String,
    },
    /// A plugin's function table cannot be used.
    #[error("backend {origin}: its table is wrong: {reason}")]
    Table {
        /// The library, or "registered".
        origin: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// Two backends have one name; the first one stays.
    #[error("there is already a backend \"{name}\", from {first}")]
    Duplicate {
        /// The name.
        name: String,
        /// Where the first one came from.
        first: String,
    },
    /// A plugin says that it does not fit this machine.
    #[error("backend \"{name}\" cannot be used here: {reason}")]
    Unusable {
        /// The backend.
        name: String,
        /// Its own words.
        reason: String,
    },
    /// A plugin is older than a function, or leaves it out.
    #[error("backend \"{backend}\" does not have {function}")]
    MissingFunction {
        /// The backend.
        backend: String,
        /// The function's name in the table.
        function: &'static str,
    },
    /// A plugin lacks an op, a dtype or a shape.
    #[error("backend \"{backend}\", {call}: not supported: {message}")]
    Unsupported {
        /// The backend.
        backend: String,
        /// The function.
        call: &'static str,
        /// What the plugin said.
        message: String,
    },
    /// A call failed.
    #[error("backend \"{backend}\", {call}: {}{}: {message}", status_name(*status), native_code(*native))]
    Call {
        /// The backend.
        backend: String,
        /// The function.
        call: &'static str,
        /// What it returned.
        status: Status,
        /// The driver's own code, or 0.
        native: i64,
        /// What the plugin said.
        message: String,
    },
    /// A plugin panicked; the panic stopped at the boundary.
    #[error("backend \"{backend}\", {call}: {message}")]
    Panicked {
        /// The backend.
        backend: String,
        /// The function.
        call: &'static str,
        /// What the plugin said.
        message: String,
    },
    /// Memory could not be had.
    #[error("backend \"{backend}\", {call}: out of memory: {message}")]
    OutOfMemory {
        /// The backend.
        backend: String,
        /// The function.
        call: &'static str,
        /// How much was wanted.
        message: String,
    },
    /// The caller's cancel flag was seen.
    #[error("backend \"{backend}\", {call}: cancelled")]
    Cancelled {
        /// The backend.
        backend: String,
        /// The function.
        call: &'static str,
    },
    /// The device is gone. Every later call on it fails likewise; open another one.
    #[error("backend \"{backend}\", {call}: the device is lost: {message}")]
    DeviceLost {
        /// The backend.
        backend: String,
        /// The function.
        call: &'static str,
        /// What the plugin said.
        message: String,
    },
    /// A plugin broke the ABI's rules.
    #[error("backend \"{backend}\", {call}: broke the ABI: {reason}")]
    BadAnswer {
        /// The backend.
        backend: String,
        /// The function.
        call: &'static str,
        /// What was found and what was expected.
        reason: String,
    },
    /// The caller's arguments do not fit together; the plugin was not called.
    #[error("{call}: {reason}")]
    Argument {
        /// The function.
        call: &'static str,
        /// What was found and what was expected.
        reason: String,
    },
}

/// Result of a call to a backend.
pub type Result<T> = std::result::Result<T, BackendError>;

/// The name of a status code.
pub fn status_name(status: Status) -> &'static str {
    match status {
        status::OK => "ok",
        status::PENDING => "pending",
        status::INTERNAL => "internal error",
        status::UNAVAILABLE => "unavailable",
        status::UNSUPPORTED => "unsupported",
        status::PANIC => "panic",
        status::ABI => "ABI mismatch",
        status::ARGUMENT => "wrong argument",
        status::OUT_OF_MEMORY => "out of memory",
        status::DEVICE_LOST => "device lost",
        status::CANCELLED => "cancelled",
        _ => "unknown status",
    }
}

/// An [`BackendError::Argument`].
pub(super) fn argument<T>(call: &'static str, reason: impl Into<String>) -> Result<T> {
    Err(BackendError::Argument { call, reason: reason.into() })
}

fn quoted(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!("\"{name}\" ") }
}

fn looked_in(folders: &[PathBuf]) -> String {
    if folders.is_empty() {
        return "no folder was searched".to_owned();
    }
    let list: Vec<_> = folders.iter().map(|f| Path::display(f).to_string()).collect();
    format!("searched {}", list.join(", "))
}

fn native_code(native: i64) -> String {
    if native == 0 { String::new() } else { format!(" (code {native})") }
}
