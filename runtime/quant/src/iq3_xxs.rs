//! IQ3_XXS: 256 weights in 98 bytes, 3.0625 bits per weight, eight sub-blocks of 32 in eight groups of 4.
//! weight = d * (scale + 1/2) / 2 * sign * element of the group's point (4, 12, 20, ... 52 or 62), scale being a
//! 4-bit number.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, half precision |
//! | 2..66 | the index of each group's point |
//! | 66..98 | a 32-bit word per sub-block |
//!
//! Bits 7p..7p+7 of the word are the signs of the p-th pair of groups without the last, which makes the number of
//! minuses even; bits 28..32 are the scale.

use crate::f16_to_f32;
use crate::grid::{IQ3_XXS, even_signs, joined, scaled, signed};

/// Elements per block.
pub const LEN: usize = 256;
/// Bytes per block.
pub const BYTES: usize = 98;
/// Elements that share a scale.
pub const SUB_LEN: usize = 32;

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
        let subs = self.0[2..66].as_chunks::<8>().0.iter().zip(self.0[66..].as_chunks::<4>().0);
        for (out, (indices, word)) in out.as_chunks_mut::<SUB_LEN>().0.iter_mut().zip(subs) {
            let word = u32::from_le_bytes(*word);
            let scale = d * ((word >> 28) as f32 + 0.5) * 0.5;
            for (p, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
                let point = |g: usize| IQ3_XXS.point(usize::from(indices[g]));
                let signs = even_signs((word >> (7 * p)) as u8);
                scaled(out, signed(joined(point(2 * p), point(2 * p + 1)), signs), scale);
            }
        }
    }
}
