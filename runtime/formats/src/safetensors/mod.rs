//! safetensors, single files and sharded checkpoints.
//!
//! Source: the format section of the safetensors README.
//!
//! ```text
//! header length n u64
//! n bytes of JSON, padded with spaces: {"__metadata__": {string: string}, name: {dtype, shape, data_offsets: [begin, end]}, ...}
//! data; offsets count from here
//! ```
//!
//! A sharded checkpoint is several such files and `model.safetensors.index.json`, whose `weight_map`
//! names each tensor's file.

mod header;
mod sharded;
mod writer;

pub use header::{Header, Safetensors, open};
pub use sharded::{INDEX_FILE, open_sharded};
pub use writer::{Body, Writer};

/// The header's key that names no tensor.
pub const METADATA_KEY: &str = "__metadata__";
