//! Every cap on what a file may claim. Files within them load; the largest known model file stays
//! at least a factor of four below each.

/// Metadata keys in a GGUF file. Real files have under 100.
pub const MAX_KEYS: u64 = 64 << 10;

/// Tensors in a checkpoint. The largest mixture-of-experts checkpoints, one tensor per expert matrix,
/// have about 200 thousand.
pub const MAX_TENSORS: u64 = 1 << 20;

/// Bytes of a metadata key; the GGUF specification's own limit.
pub const MAX_KEY_BYTES: u64 = (64 << 10) - 1;

/// Bytes of a tensor name. ggml stops at 63; Hugging Face names reach about 150.
pub const MAX_NAME_BYTES: u64 = 1 << 10;

/// Bytes of one string value. A few files embed a whole tokenizer.json, up to about 35 MB.
pub const MAX_STRING_BYTES: u64 = 128 << 20;

/// Bytes of a GGUF header: metadata and tensor infos together. A vocabulary of 256 thousand tokens
/// with merges takes about 15 MB. This is also what bounds memory while parsing.
pub const MAX_GGUF_HEADER: u64 = 256 << 20;

/// Dimensions of a GGUF tensor, fixed by the format's consumers (ggml).
pub const MAX_GGUF_DIMS: u32 = 4;

/// Dimensions of a safetensors tensor. Convolutions over video have 5.
pub const MAX_SAFETENSORS_DIMS: usize = 8;

/// One dimension. 2^40 elements of anything exceed any machine this runs on, and four of them still
/// cannot be multiplied unchecked.
pub const MAX_DIM: u64 = 1 << 40;

/// GGUF alignment where the file does not say; from the specification.
pub const DEFAULT_ALIGNMENT: u64 = 32;

/// Smallest and largest GGUF alignment. The specification asks for a multiple of 8; memory pages,
/// the only reason to align widely, are at most 64 KiB.
pub const ALIGNMENT_RANGE: core::ops::RangeInclusive<u64> = 8..=64 << 10;

/// Bytes of a safetensors header; the cap of the reference implementation.
pub const MAX_SAFETENSORS_HEADER: u64 = 100_000_000;

/// Bytes of `model.safetensors.index.json`: 2^20 tensors at 150 bytes fit.
pub const MAX_INDEX_BYTES: u64 = 160 << 20;

/// Shards of a checkpoint. The largest checkpoints have about 200.
pub const MAX_SHARDS: usize = 4096;

/// Bytes of config.json and generation_config.json. Real ones have a few KiB, some with label maps
/// of a hundred; parsed JSON takes up to 20 times its text.
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Bytes of tokenizer_config.json. Those that list every added token have about 3 MB.
pub const MAX_TOKENIZER_CONFIG_BYTES: u64 = 16 << 20;

/// Bytes of tokenizer.json. The largest known (256 thousand tokens, merges as pairs) has 35 MB.
pub const MAX_TOKENIZER_BYTES: u64 = 160 << 20;

/// Bytes of a chat template. Real ones have up to 20 KiB.
pub const MAX_TEMPLATE_BYTES: u64 = 1 << 20;
