//! TQ2_0: 256 ternary weights in 66 bytes, 2.0625 bits per weight. weight = d * (code - 1).
//!
//! | bytes | content |
//! |---|---|
//! | 0..64 | codes 0..=2: element 128h+32r+j (j < 32) in bits 2r..2r+2 of byte 32h+j |
//! | 64..66 | d, half precision |
//!
//! No encoder writes code 3; it decodes as 2d.

use crate::f16_to_f32;
use crate::search::{ScaleTooLarge, fit_ternary, to_scale};

/// Elements per block.
pub const LEN: usize = 256;
/// Bytes per block.
pub const BYTES: usize = 66;
/// Subtracted from a code to give its signed value.
pub const OFFSET: i32 = 1;

/// A view of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(pub &'a [u8; BYTES]);

impl Block<'_> {
    /// The scale.
    #[inline]
    pub fn d(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes([self.0[64], self.0[65]]))
    }

    /// Code of element `i % 256`.
    #[inline]
    pub fn quant(&self, i: usize) -> u8 {
        let (half, run, j) = (i % LEN / 128, i % 128 / 32, i % 32);
        (self.0[32 * half + j] >> (2 * run)) & 3
    }

    /// All codes in element order.
    #[inline]
    pub fn unpack(&self, codes: &mut [u8; LEN]) {
        let packed = self.0[..64].as_chunks::<32>().0;
        for (half, bytes) in codes.as_chunks_mut::<128>().0.iter_mut().zip(packed) {
            for (run, out) in half.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                for (code, &byte) in out.iter_mut().zip(bytes) {
                    *code = (byte >> (2 * run)) & 3;
                }
            }
        }
    }

    /// All weights in element order.
    #[inline]
    pub fn dequantize(&self, out: &mut [f32; LEN]) {
        let d = self.d();
        let mut codes = [0; LEN];
        self.unpack(&mut codes);
        for (y, &q) in out.iter_mut().zip(&codes) {
            *y = (i32::from(q) - OFFSET) as f32 * d;
        }
    }
}

/// Writes a block: `codes` 0..=2 in element order, `d` the bits of the scale.
pub(crate) fn pack(codes: &[u8; LEN], d: u16, out: &mut [u8; BYTES]) {
    let (packed, scale) = out.split_at_mut(64);
    scale.copy_from_slice(&d.to_le_bytes());
    for (bytes, half) in packed.as_chunks_mut::<32>().0.iter_mut().zip(codes.as_chunks::<128>().0) {
        for (j, byte) in bytes.iter_mut().enumerate() {
            *byte = half[j] | half[j + 32] << 2 | half[j + 64] << 4 | half[j + 96] << 6;
        }
    }
}

/// Encodes finite weights with the best ternary codes and scale. Weights that are ternary already,
/// with a scale that half precision holds, come back as they were.
///
/// # Errors
/// [`ScaleTooLarge`] where d exceeds half precision.
pub fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let half = to_scale(fit_ternary(src, importance))?;
    let middle = f16_to_f32(half) / 2.0;
    pack(&src.map(|x| 1 + u8::from(x > middle) - u8::from(x < -middle)), half, out);
    Ok(())
}
