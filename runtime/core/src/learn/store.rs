//! A folder of named deltas whose changes happen wholly or not at all.
//!
//! ```text
//! disk.rs       what is asked of a file system; tests replace it with ones that fail
//! manifest.rs   what is known about a generation; state.rs: the one file that says what counts
//! read.rs       looking: needs no lock, and disturbs nobody
//! edit.rs       changing: commit, undo, forget, rebuild, evidence
//! clean.rs      removing what no longer counts
//! ```
//!
//! ```text
//! STORE/lock                           held while somebody changes something
//! STORE/anchors/<base>.json            the base's own answers
//! STORE/deltas/NAME/state.json         which generation counts, and which evidence waits
//! STORE/deltas/NAME/log.jsonl          what happened, a line each
//! STORE/deltas/NAME/<generation>/      manifest.json and delta.gguf
//! STORE/deltas/NAME/sources/<hash>     documents, as far as they may be kept
//! ```
//!
//! **What makes it a transaction.** Everything new is written beside what is there, synced, read back and compared with its hash.
//! Then one rename replaces `state.json`: before it the old generation counts, after it the new one. What neither counts
//! nor waits is removed afterwards, and where that was interrupted, when the store is next opened for a change.

mod clean;
mod disk;
mod edit;
mod manifest;
mod read;
mod state;

pub use disk::{Disk, SystemDisk};
pub use edit::{Change, Edit};
pub use manifest::{Base, LORA, Learned, Manifest, STATE};
pub use read::{Delta, Entry, LogLine, Store};
pub use state::State;

/// Generations that are kept unless the caller says otherwise.
pub const DEFAULT_KEEP: usize = 5;

#[cfg(test)]
mod tests;
