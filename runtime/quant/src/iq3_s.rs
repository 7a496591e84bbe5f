//! IQ3_S: 256 weights in 110 bytes, 3.4375 bits per weight, eight sub-blocks of 32 in eight groups of 4.
//! weight = d * (2 * scale + 1) * sign * element of the group's point (1, 3, 5, ... 15), scale being a 4-bit number.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, half precision |
//! | 2..66 | bits 0..8 of the index of each group's point |
//! | 66..74 | bit 8 of the indices: group g in bit g%8 of byte g/8 |
//! | 74..106 | a byte of signs per pair of groups |
//! | 106..110 | scales, even sub-blocks in bits 0..4, odd ones in bits 4..8 |

use crate::f16_to_f32;
use crate::grid::{IQ3_S, joined, scaled, signed};

/// Elements per block.
pub const LEN: usize = 256;
/// Bytes per block.
pub const BYTES: usize = 110;
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
        let subs = self.0[2..66].as_chunks::<8>().0.iter().zip(self.0[74..106].as_chunks::<4>().0);
        for (i, (out, (indices, signs))) in out.as_chunks_mut::<SUB_LEN>().0.iter_mut().zip(subs).enumerate() {
            let scale = self.0[106 + i / 2] >> (i % 2 * 4) & 15;
            let scale = d * f32::from(2 * scale + 1);
            let high = usize::from(self.0[66 + i]);
            for (p, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
                let point = |g: usize| IQ3_S.point(usize::from(indices[g]) | (high >> g & 1) << 8);
                scaled(out, signed(joined(point(2 * p), point(2 * p + 1)), signs[p]), scale);
            }
        }
    }
}
