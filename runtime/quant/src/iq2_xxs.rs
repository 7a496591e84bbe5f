//! IQ2_XXS: 256 weights in 66 bytes, 2.0625 bits per weight, eight sub-blocks of 32 in four groups of 8.
//! weight = d * (scale + 1/2) / 4 * sign * element of the group's point (8, 25 or 43), scale being a 4-bit number.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, half precision |
//! | 2..66 | eight sub-blocks, each four bytes with the indices of its points, then a 32-bit word |
//!
//! Bits 7g..7g+7 of the word are the signs of group g without the last, which makes the number of minuses even;
//! bits 28..32 are the scale.

use crate::f16_to_f32;
use crate::grid::{IQ2_XXS, even_signs, scaled, signed};

/// Elements per block.
pub const LEN: usize = 256;
/// Bytes per block.
pub const BYTES: usize = 66;
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
        let subs = self.0[2..].as_chunks::<8>().0;
        for (out, sub) in out.as_chunks_mut::<SUB_LEN>().0.iter_mut().zip(subs) {
            let word = u32::from_le_bytes([sub[4], sub[5], sub[6], sub[7]]);
            let scale = d * ((word >> 28) as f32 + 0.5) * 0.25;
            for (g, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
                let signs = even_signs((word >> (7 * g)) as u8);
                scaled(out, signed(IQ2_XXS.point(usize::from(sub[g])), signs), scale);
            }
        }
    }
}
