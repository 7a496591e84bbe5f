//! IQ2_XS: 256 weights in 74 bytes, 2.3125 bits per weight, sixteen sub-blocks of 16 in two groups of 8.
//! weight = d * (scale + 1/2) / 4 * sign * element of the group's point (8, 25 or 43), scale being a 4-bit number.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, half precision |
//! | 2..66 | a 16-bit word per group: bits 0..9 are the index of its point, bits 9..16 its signs |
//! | 66..74 | scales, even sub-blocks in bits 0..4, odd ones in bits 4..8 |
//!
//! The sign of a group's last element is not stored: the number of minuses is even.

use crate::f16_to_f32;
use crate::grid::{IQ2_XS, even_signs, scaled, signed};

/// Elements per block.
pub const LEN: usize = 256;
/// Bytes per block.
pub const BYTES: usize = 74;
/// Elements that share a scale.
pub const SUB_LEN: usize = 16;

/// A view of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(pub &'a [u8; BYTES]);

impl Block<'_> {
    /// The scale of the scales.
    #[inline]
    pub fn d(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes([self.0[0], self.0[1]]))
    }

    /// All weights in element order.
    #[inline]
    pub fn dequantize(&self, out: &mut [f32; LEN]) {
        let d = self.d();
        let words = self.0[2..66].as_chunks::<4>().0;
        for (i, (out, words)) in out.as_chunks_mut::<SUB_LEN>().0.iter_mut().zip(words).enumerate() {
            let scale = self.0[66 + i / 2] >> (i % 2 * 4) & 15;
            let scale = d * (f32::from(scale) + 0.5) * 0.25;
            for (out, word) in out.as_chunks_mut().0.iter_mut().zip(words.as_chunks().0) {
                let word = u16::from_le_bytes(*word);
                scaled(out, signed(IQ2_XS.point(usize::from(word)), even_signs((word >> 9) as u8)), scale);
            }
        }
    }
}
