//! A small host: opens a plugin through the raw ABI, and runs programs on it.
//!
//! Written apart from the runtime's own host, so that the two check each other's reading of the ABI.

mod device;
mod program;
mod run;

pub use device::{Device, Memory, PreparedWeight};
pub use program::{OpSpec, Outcome, Program, Role, SLACK, StateSpec, TensorSpec};

use tern_abi::{Status, status};

/// Result of the host's functions.
pub type Result<T> = std::result::Result<T, HostError>;

/// Why the host could not do something.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum HostError {
    #[error("{function}: status {status}: {message}")]
    Call { function: &'static str, status: Status, message: String },
    #[error("the plugin has no function {function}")]
    Absent { function: &'static str },
    #[error("the plugin's table has {found} bytes, expected at least {expected}")]
    Table { found: u32, expected: u32 },
    #[error("tensor {tensor}: {bytes} bytes given for a shape of {expected}")]
    Bytes { tensor: usize, bytes: usize, expected: usize },
    #[error("tensor {tensor}: the plugin wrote outside its memory, {where_}")]
    Overrun { tensor: usize, where_: &'static str },
    #[error("the plugin says that it lacks op {op}: {why}")]
    Unsupported { op: usize, why: String },
}

impl HostError {
    /// Did the plugin see its cancel flag?
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Call { status: status::CANCELLED, .. })
    }
    /// Does it mean that the plugin lacks what was asked, rather than that it is wrong?
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Unsupported { .. } | Self::Absent { .. } | Self::Call { status: status::UNSUPPORTED, .. })
    }
}
