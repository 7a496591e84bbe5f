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
use crate::grid::{Code, Format, IQ3_S, Signs, Sums, fit, joined, search_fours, signed};
use crate::search::ScaleTooLarge;

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

    /// The scales of the sub-blocks, 0..=15.
    #[inline]
    pub fn scales(&self) -> [u8; 8] {
        core::array::from_fn(|i| self.0[106 + i / 2] >> (i % 2 * 4) & 15)
    }

    /// Elements of all points with their signs, in element order.
    #[inline]
    pub fn unpack(&self, elements: &mut [i8; LEN]) {
        let groups = self.0[2..66].as_chunks::<2>().0.iter().zip(&self.0[74..106]);
        for (p, (out, (indices, &signs))) in elements.as_chunks_mut().0.iter_mut().zip(groups).enumerate() {
            let high = self.0[66 + p / 4] >> (p % 4 * 2);
            let point = |g: usize| IQ3_S.point(usize::from(indices[g]) | usize::from(high >> g & 1) << 8);
            *out = signed(joined(point(0), point(1)), signs);
        }
    }

    /// All weights in element order.
    #[inline]
    pub fn dequantize(&self, out: &mut [f32; LEN]) {
        let d = self.d();
        let mut elements = [0; LEN];
        self.unpack(&mut elements);
        let subs = out.as_chunks_mut::<SUB_LEN>().0.iter_mut().zip(elements.as_chunks::<SUB_LEN>().0);
        for ((out, elements), scale) in subs.zip(self.scales()) {
            let scale = d * f32::from(2 * scale + 1);
            for (y, &v) in out.iter_mut().zip(elements) {
                *y = scale * f32::from(v);
            }
        }
    }
}

/// Encodes finite weights, keeping the squared error small, in which elements count as `importance` says. Searches the
/// scale of every sub-block, and the nearest points of the codebook exactly; ggml tries nearby ones.
///
/// # Errors
/// [`ScaleTooLarge`] where d exceeds half precision.
pub fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let fit = fit::<Iq3S>(src, importance)?;
    out[..2].copy_from_slice(&fit.d.to_le_bytes());
    out[66..74].fill(0);
    for (g, code) in fit.codes.iter().enumerate() {
        out[2 + g] = code.index as u8;
        out[66 + g / 8] |= ((code.index >> 8) as u8) << (g % 8);
    }
    out[74..106].copy_from_slice(&fit.signs);
    for (byte, [even, odd]) in out[106..].iter_mut().zip(fit.numbers.as_chunks().0) {
        *byte = even | odd << 4;
    }
    Ok(())
}

/// What the search for codes needs to know.
struct Iq3S;

/// Values of elements.
const LEVELS: [f32; 8] = [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0];

impl Format for Iq3S {
    const SUB: usize = SUB_LEN;
    const GROUP: usize = 4;
    const SCALES: u8 = 16;
    const FACTOR: (f32, f32) = (1.0, 2.0);
    const LEVELS: &'static [f32] = &LEVELS;
    const SIGNS: Signs = Signs::Free;

    #[inline]
    fn search(x: &[f32], w: &[f32], scale: f32, codes: &mut [Code]) -> Sums {
        search_fours(&IQ3_S, LEVELS, x, w, scale, codes)
    }
}
