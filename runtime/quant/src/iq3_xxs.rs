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
use crate::grid::{Code, Format, IQ3_XXS, Signs, Sums, even_signs, fit, joined, search_fours, signed};
use crate::search::ScaleTooLarge;

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

    /// The word of sub-block `i`.
    #[inline]
    fn word(&self, i: usize) -> u32 {
        let at = 66 + 4 * i;
        u32::from_le_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    /// The scales of the sub-blocks, 0..=15.
    #[inline]
    pub fn scales(&self) -> [u8; 8] {
        core::array::from_fn(|i| (self.word(i) >> 28) as u8)
    }

    /// Elements of all points with their signs, in element order.
    #[inline]
    pub fn unpack(&self, elements: &mut [i8; LEN]) {
        for (i, sub) in elements.as_chunks_mut::<SUB_LEN>().0.iter_mut().enumerate() {
            let word = self.word(i);
            for (p, out) in sub.as_chunks_mut().0.iter_mut().enumerate() {
                let point = |g: usize| IQ3_XXS.point(usize::from(self.0[2 + 8 * i + g]));
                *out = signed(joined(point(2 * p), point(2 * p + 1)), even_signs((word >> (7 * p)) as u8));
            }
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
            let scale = d * (f32::from(scale) + 0.5) * 0.5;
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
    let fit = fit::<Iq3Xxs>(src, importance)?;
    out[..2].copy_from_slice(&fit.d.to_le_bytes());
    for (byte, code) in out[2..66].iter_mut().zip(fit.codes) {
        *byte = code.index as u8;
    }
    let subs = fit.signs.as_chunks::<4>().0.iter().zip(fit.numbers);
    for (bytes, (signs, number)) in out[66..].as_chunks_mut().0.iter_mut().zip(subs) {
        let signs = (0..4).fold(0, |word, p| word | u32::from(signs[p] & 127) << (7 * p));
        *bytes = (signs | u32::from(number) << 28).to_le_bytes();
    }
    Ok(())
}

/// What the search for codes needs to know.
struct Iq3Xxs;

/// Values of elements.
const LEVELS: [f32; 8] = [4.0, 12.0, 20.0, 28.0, 36.0, 44.0, 52.0, 62.0];

impl Format for Iq3Xxs {
    const SUB: usize = SUB_LEN;
    const GROUP: usize = 4;
    const SCALES: u8 = 16;
    const FACTOR: (f32, f32) = (0.25, 0.5);
    const LEVELS: &'static [f32] = &LEVELS;
    const SIGNS: Signs = Signs::Even;

    #[inline]
    fn search(x: &[f32], w: &[f32], scale: f32, codes: &mut [Code]) -> Sums {
        search_fours(&IQ3_XXS, LEVELS, x, w, scale, codes)
    }
}
