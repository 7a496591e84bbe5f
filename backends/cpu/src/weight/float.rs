//! F32, F16 and BF16 weights: rows as they are in the file. Nothing is promised about their alignment.

use tern_quant::{bf16_to_f32, f16_to_f32};

/// A row of elements of `SIZE` bytes.
fn decode<const SIZE: usize>(row: &[u8], out: &mut [f32], decode: impl Fn([u8; SIZE]) -> f32) {
    for (y, &element) in out.iter_mut().zip(row.as_chunks().0) {
        *y = decode(element);
    }
}

/// A row of F32.
pub fn row_f32(row: &[u8], out: &mut [f32]) {
    decode(row, out, f32::from_le_bytes);
}
/// A row of F16.
pub fn row_f16(row: &[u8], out: &mut [f32]) {
    decode(row, out, |b| f16_to_f32(u16::from_le_bytes(b)));
}
/// A row of BF16.
pub fn row_bf16(row: &[u8], out: &mut [f32]) {
    decode(row, out, |b| bf16_to_f32(u16::from_le_bytes(b)));
}
