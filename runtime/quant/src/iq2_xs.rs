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
use crate::grid::{Code, Format, IQ2_XS, Signs, Sums, even_signs, fit, search_eights, signed};
use crate::search::ScaleTooLarge;

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

    /// The scales of the sub-blocks, 0..=15.
    #[inline]
    pub fn scales(&self) -> [u8; 16] {
        core::array::from_fn(|i| self.0[66 + i / 2] >> (i % 2 * 4) & 15)
    }

    /// Elements of all points with their signs, in element order.
    #[inline]
    pub fn unpack(&self, elements: &mut [i8; LEN]) {
        for (out, word) in elements.as_chunks_mut().0.iter_mut().zip(self.0[2..66].as_chunks().0) {
            let word = u16::from_le_bytes(*word);
            *out = signed(IQ2_XS.point(usize::from(word)), even_signs((word >> 9) as u8));
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
    let fit = fit::<Iq2Xs>(src, importance)?;
    out[..2].copy_from_slice(&fit.d.to_le_bytes());
    let groups = fit.codes.iter().zip(fit.signs);
    for (bytes, (code, signs)) in out[2..66].as_chunks_mut().0.iter_mut().zip(groups) {
        *bytes = (code.index | u16::from(signs & 127) << 9).to_le_bytes();
    }
    for (byte, [even, odd]) in out[66..].iter_mut().zip(fit.numbers.as_chunks().0) {
        *byte = even | odd << 4;
    }
    Ok(())
}

/// What the search for codes needs to know.
struct Iq2Xs;

impl Format for Iq2Xs {
    const SUB: usize = SUB_LEN;
    const GROUP: usize = 8;
    const SCALES: u8 = 16;
    const FACTOR: (f32, f32) = (0.125, 0.25);
    const LEVELS: &'static [f32] = &[8.0, 25.0, 43.0];
    const SIGNS: Signs = Signs::Even;

    #[inline]
    fn search(x: &[f32], w: &[f32], scale: f32, codes: &mut [Code]) -> Sums {
        search_eights(&IQ2_XS, x, w, scale, codes)
    }
}
