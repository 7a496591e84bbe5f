//! GGUF, versions 2 and 3, little-endian: the single-file format of llama.cpp.
//!
//! Source: the specification in ggml's `docs/gguf.md`, and ggml's reader for what it leaves open.
//!
//! ```text
//! "GGUF"  version u32  tensor count u64  key count u64
//! key count    x  key string, value type u32, value
//! tensor count x  name string, dimension count u32, dimensions u64 (innermost first), dtype u32, offset u64
//! padding to general.alignment; then the data section, where each tensor begins at its offset
//! ```
//!
//! A string is a u64 length and that many bytes. Versions 2 and 3 differ only in that 3 also exists
//! big-endian, which is not read here.

mod cursor;
mod encode;
mod entries;
mod header;
mod metadata;
mod parse;
mod readings;
mod split;
mod types;
mod value;
mod writer;

pub use header::{Gguf, Header, ReadOptions, open, open_with};
pub use metadata::Metadata;
pub use split::{SPLIT_COUNT_KEY, SPLIT_NO_KEY, SPLIT_TENSORS_KEY, open_split, part_name};
pub use types::{GgmlType, ggml_type};
pub use value::{Array, StringArray, Value, ValueType};
pub use writer::{Body, Writer};

/// The key that holds the architecture's name.
pub const ARCHITECTURE_KEY: &str = "general.architecture";

/// The key that holds the alignment of tensor data.
pub const ALIGNMENT_KEY: &str = "general.alignment";

/// The first four bytes.
pub const MAGIC: [u8; 4] = *b"GGUF";

/// The version that [`Writer`] writes.
pub const VERSION: u32 = 3;
