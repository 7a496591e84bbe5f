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
use crate::grid::{Code, Format, IQ2_S, Signs, Sums, fit, search_eights, signed};
use crate::search::ScaleTooLarge;

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

    /// The scales of the sub-blocks, 0..=15.
    #[inline]
    pub fn scales(&self) -> [u8; 16] {
        core::array::from_fn(|i| self.0[74 + i / 2] >> (i % 2 * 4) & 15)
    }

    /// Elements of all points with their signs, in element order.
    #[inline]
    pub fn unpack(&self, elements: &mut [i8; LEN]) {
        for (g, out) in elements.as_chunks_mut().0.iter_mut().enumerate() {
            let high = usize::from(self.0[66 + g / 4] >> (g % 4 * 2) & 3);
            let point = IQ2_S.point(usize::from(self.0[2 + g]) | high << 8);
            *out = signed(point, self.0[34 + g]);
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
            let scale = d * (f32::from(scale) + 0.5) * 0.25;
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
    let fit = fit::<Iq2S>(src, importance)?;
    out[..2].copy_from_slice(&fit.d.to_le_bytes());
    out[34..66].copy_from_slice(&fit.signs);
    out[66..74].fill(0);
    for (g, code) in fit.codes[..32].iter().enumerate() {
        out[2 + g] = code.index as u8;
        out[66 + g / 4] |= ((code.index >> 8) as u8) << (g % 4 * 2);
    }
    for (byte, [even, odd]) in out[74..].iter_mut().zip(fit.numbers.as_chunks().0) {
        *byte = even | odd << 4;
    }
    Ok(())
}

/// What the search for codes needs to know.
struct Iq2S;

impl Format for Iq2S {
    const SUB: usize = SUB_LEN;
    const GROUP: usize = 8;
    const SCALES: u8 = 16;
    const FACTOR: (f32, f32) = (0.125, 0.25);
    const LEVELS: &'static [f32] = &[8.0, 25.0, 43.0];
    const SIGNS: Signs = Signs::Free;

    #[inline]
    fn search(x: &[f32], w: &[f32], scale: f32, codes: &mut [Code]) -> Sums {
        search_eights(&IQ2_S, x, w, scale, codes)
    }
}
