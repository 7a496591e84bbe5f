//! IQ2_S: 256 weights in 82 bytes, 2.5625 bits per weight, sixteen sub-blocks of 16 in two groups of 8.
//! weight = d * (scale + 1/2) / 4 * sign * element of the group's point (8, 25 or 43), scale being a 4-bit number.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, half precision |
//! | 2..34 | bits 0..8 of the index of each group's point |
//! | 34..66 | a byte of signs per group |
//! | 66..74 | bits 8..10 of the indices: group g in bits 2(g%4)..2(g%4)+2 of byte g/4 |
//! | 74..82 | scales, even sub-blocks in bits 0..4, odd ones in bits 4..8 |

use crate::f16_to_f32;
use crate::grid::{IQ2_S, scaled, signed};

/// Elements per block.
pub const LEN: usize = 256;
/// Bytes per block.
pub const BYTES: usize = 82;
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
        for (i, out) in out.as_chunks_mut::<SUB_LEN>().0.iter_mut().enumerate() {
            let scale = self.0[74 + i / 2] >> (i % 2 * 4) & 15;
            let scale = d * (f32::from(scale) + 0.5) * 0.25;
            for (j, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
                let g = 2 * i + j;
                let high = usize::from(self.0[66 + g / 4] >> (g % 4 * 2) & 3);
                let point = IQ2_S.point(usize::from(self.0[2 + g]) | high << 8);
                scaled(out, signed(point, self.0[34 + g]), scale);
            }
        }
    }
}
