//! The C ABI between the Tern runtime (the *host*) and its backend plugins.
//!
//! A plugin is a table of functions, [`Backend`], handed out by one entry function, [`Entry`], exported
//! under the name [`ENTRY_SYMBOL`]. The major version is part of that name; minor versions only append:
//! fields to the end of structs, functions to the end of the table, ids to the end of lists. Every struct
//! begins with a [`Header`] that carries its size, so a newer host and an older plugin (and the reverse)
//! work together: a missing tail means "not supported". Element types of arrays carry no header; their
//! size stands beside the array.
//!
//! What crosses the boundary is plain data: integers, floats, pointers with lengths, opaque 64-bit
//! handles. Nothing allocated on one side is freed on the other.
//!
//! * [`table`]: the functions of a plugin
//! * [`graph`]: tensors, ops and graphs, as a plugin compiles them
//! * [`ops`]: what each op means: its inputs, outputs and parameters
//! * [`run`]: what is bound to a compiled graph for one step
//! * [`plugin`]: safe scaffolding for plugins written in Rust
#![cfg_attr(not(feature = "plugin"), no_std)]

pub mod dtype;
pub mod graph;
pub mod header;
pub mod ops;
#[cfg(feature = "plugin")]
pub mod plugin;
pub mod run;
pub mod state;
pub mod table;
pub mod weight;

pub use header::{ErrorBuffer, Header, Status, Str, status};
pub use table::{Backend, DeviceInfo, DeviceOptions, Entry, Host, MemoryInfo, Peaks};

/// The one symbol that a plugin library exports. It carries the ABI's major version.
pub const ENTRY_SYMBOL: &str = "tern_backend_v1";
/// Major version: part of [`ENTRY_SYMBOL`]; a change breaks every plugin.
pub const MAJOR: u32 = 1;
/// Minor version: grows when something is appended.
pub const MINOR: u32 = 0;

/// An opened device; 0 is none.
pub type Device = u64;
/// Device memory; 0 is none. Fresh buffers read as zero.
pub type Buffer = u64;
/// A weight in the plugin's own layout; 0 is none.
pub type Weight = u64;
/// A compiled graph; 0 is none.
pub type Exec = u64;
/// Persistent bindings of a compiled graph; 0 is none.
pub type BindSet = u64;
/// An in-order queue of work; 0 is the device's default queue.
pub type Queue = u64;
/// Work under way; 0 is none.
pub type Ticket = u64;
