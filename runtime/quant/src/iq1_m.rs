//! IQ1_M: 256 weights in 56 bytes, 1.75 bits per weight, sixteen sub-blocks of 16 in two groups of 8.
//! weight = d * (2 * scale + 1) * (element of the group's point (-1, 0 or 1) + shift), scale being a 3-bit number and
//! shift 1/8 or -1/8 for the group. The codebook is that of IQ1_S.
//!
//! | bytes | content |
//! |---|---|
//! | 0..32 | bits 0..8 of the index of each group's point |
//! | 32..48 | a nibble per group: bits 0..3 are bits 8..11 of the index, bit 3 makes the shift negative |
//! | 48..56 | four 16-bit words: bits 3i..3i+3 of word k are the scale of sub-block 4k+i, bits 12..16 a piece of d |
//!
//! d is a half-precision number whose bits 4k..4k+4 are in word k.

use crate::f16_to_f32;
use crate::grid::{IQ1_S, shifted};

/// Elements per block.
pub const LEN: usize = 256;
/// Bytes per block.
pub const BYTES: usize = 56;
/// Elements that share a scale.
pub const SUB_LEN: usize = 16;

/// A view of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(pub &'a [u8; BYTES]);

impl Block<'_> {
    /// The scale of the scales.
    #[inline]
    pub fn d(&self) -> f32 {
        f16_to_f32((0..4).fold(0, |d, k| d | (self.word(k) >> 12) << (4 * k)))
    }

    /// The words with the scales.
    #[inline]
    fn word(&self, k: usize) -> u16 {
        u16::from_le_bytes([self.0[48 + 2 * k], self.0[49 + 2 * k]])
    }

    /// All weights in element order.
    #[inline]
    pub fn dequantize(&self, out: &mut [f32; LEN]) {
        let d = self.d();
        for (i, out) in out.as_chunks_mut::<SUB_LEN>().0.iter_mut().enumerate() {
            let scale = d * f32::from(2 * (self.word(i / 4) >> (i % 4 * 3) & 7) + 1);
            for (j, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
                let nibble = usize::from(self.0[32 + i] >> (4 * j));
                let index = usize::from(self.0[2 * i + j]) | (nibble & 7) << 8;
                shifted(out, IQ1_S.point(index), nibble & 8 != 0, scale);
            }
        }
    }
}
