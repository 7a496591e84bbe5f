//! Reference backend: every op of the ABI, slow and obvious. It is the oracle other plugins are measured against.
//!
//! The forward of an op is written once, generic over [`Real`]. F32 tensors run it on `f32` (sums are
//! accumulated in f64 and rounded once, so a result is as good as its rounded operands allow), F64
//! tensors on `f64`, and gradients on [`Var`], which records what was computed and reads adjoints off
//! the record. So no derivative is written by hand, and each is that of the real-valued op.
//!
//! ```text
//! real.rs, erf.rs   numbers an op computes with
//! tape.rs           the number that records: reverse-mode differentiation
//! signature.rs      what an op is given: shapes and dtypes, and checks on them
//! value.rs          ... and the data
//! kernel.rs         from an op's id to its functions
//! ops/              one file per family: shape rule and forward
//! oracle.rs         forward and gradient on plain vectors; rowwise.rs  the latter in small pieces
//! memory.rs         the plugin's own memory; weight.rs  weights as given
//! arena.rs          catches reads of intermediates that are not there
//! exec.rs           compiled graphs; step.rs  one run of one; device.rs  the plugin
//! ```
//!
//! Memory is this plugin's own and never the host's: a host that treats buffers as its memory, reads an
//! intermediate that another op overwrote or that an earlier step left behind, or binds too few bytes
//! gets an error or NaN, not a lucky answer.
#![forbid(unsafe_code)]

mod arena;
mod device;
mod erf;
mod error;
mod exec;
mod kernel;
mod memory;
pub mod ops;
pub mod oracle;
mod plugin;
mod real;
mod rowwise;
mod signature;
mod state;
mod step;
mod tape;
mod value;
mod weight;

pub use error::{Error, Result};
pub use kernel::Kernel;
pub use plugin::{Reference, entry};
pub use real::Real;
pub use signature::{Kind, Meta, Signature};
pub use tape::{Adjoints, Tape, Var};
pub use value::{Args, Data, Output, Value};
pub use weight::Weight;
