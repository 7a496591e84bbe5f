//! What the fuzz targets and the smoke test run: one function per target, from bytes to a panic where a promise is broken.
//!
//! ```text
//! watch.rs    memory and time of a case: a counting allocator, the processor clock
//! bytes.rs    input bytes to choices
//! gguf.rs ... one file per target: a generator of almost valid inputs, and the checks
//! ```
//!
//! A case's bytes are either the input itself, after a first byte [`RAW`], or choices from which a generator builds one: a
//! valid input with a few broken fields reaches code that random bytes never see. Where the generator broke nothing, the
//! reader must accept.

pub mod adapter;
pub mod blocks;
pub mod bytes;
pub mod charsmap;
pub mod gguf;
pub mod safetensors;
pub mod split;
pub mod template;
pub mod tokenizer_keys;
pub mod tokenizer_load;
pub mod tokenizer_round_trip;
pub mod watch;

/// First byte of a case that holds the input as it is.
pub const RAW: u8 = b'=';

/// A target: its name and its cases.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, by the names of their programs.
pub const TARGETS: &[Target] = &[
    ("gguf", gguf::case),
    ("safetensors", safetensors::case),
    ("tokenizer_load", tokenizer_load::case),
    ("tokenizer_round_trip", tokenizer_round_trip::case),
    ("template", template::case),
    ("blocks", blocks::case),
    ("adapter", adapter::case),
    ("split", split::case),
    ("tokenizer_keys", tokenizer_keys::case),
];

/// The input that a case holds as it is, if it does.
pub fn raw(data: &[u8]) -> Option<&[u8]> {
    data.split_first().filter(|(first, _)| **first == RAW).map(|(_, rest)| rest)
}
