//! The plugins that can be named on the command line: one line each.

use tern_abi::Entry;

/// Name and entry of every plugin that is linked in.
pub const BACKENDS: &[(&str, Entry)] = &[
    ("reference", tern_reference::entry),
    #[cfg(feature = "cpu")]
    ("cpu", tern_cpu::entry),
];

/// The entry of a plugin by name.
pub fn find(name: &str) -> Option<Entry> {
    BACKENDS.iter().find(|(known, _)| *known == name).map(|&(_, entry)| entry)
}
