//! Element types. The codes are ggml's type ids where those are unambiguous; ids of our own start at
//! 0x1000. Ids are never reused.

/// 32-bit float.
pub const F32: u32 = 0;
/// IEEE half.
pub const F16: u32 = 1;
/// 8-bit integer; also opaque bytes.
pub const I8: u32 = 24;
/// 32-bit integer: ids, positions, tables.
pub const I32: u32 = 26;
/// 64-bit float: activations of the reference backend's exact mode.
pub const F64: u32 = 28;
/// bfloat16.
pub const BF16: u32 = 30;

/// Bytes of one element of a plain (not block-quantized) type.
pub const fn plain_size(dtype: u32) -> Option<u64> {
    match dtype {
        F32 | I32 => Some(4),
        F16 | BF16 => Some(2),
        I8 => Some(1),
        F64 => Some(8),
        _ => None,
    }
}
