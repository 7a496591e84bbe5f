//! IQ1_S: 256 weights in 50 bytes, 1.5625 bits per weight, eight sub-blocks of 32 in four groups of 8.
//! weight = d * (2 * scale + 1) * (element of the group's point (-1, 0 or 1) + shift), scale being a 3-bit number and
//! shift 1/8 or -1/8 for the whole sub-block.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, half precision |
//! | 2..34 | bits 0..8 of the index of each group's point |
//! | 34..50 | a 16-bit word per sub-block |
//!
//! Bits 3g..3g+3 of the word are bits 8..11 of the index of group g, bits 12..15 are the scale, and bit 15 makes the
//! shift negative.

use crate::f16_to_f32;
use crate::grid::{Code, Format, IQ1_S, Signs, Sums, fit, search_shifted, shifted};
use crate::search::ScaleTooLarge;

/// Elements per block.
pub const LEN: usize = 256;
/// Bytes per block.
pub const BYTES: usize = 50;
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
    fn word(&self, i: usize) -> u16 {
        u16::from_le_bytes([self.0[34 + 2 * i], self.0[35 + 2 * i]])
    }

    /// The scales of the sub-blocks, 0..=7, and whether their shifts are negative.
    #[inline]
    pub fn scales(&self) -> [(u8, bool); 8] {
        core::array::from_fn(|i| ((self.word(i) >> 12 & 7) as u8, self.word(i) >> 15 == 1))
    }

    /// Elements of all points without their shifts, in element order.
    #[inline]
    pub fn unpack(&self, elements: &mut [i8; LEN]) {
        for (i, sub) in elements.as_chunks_mut::<SUB_LEN>().0.iter_mut().enumerate() {
            let word = usize::from(self.word(i));
            for (g, out) in sub.as_chunks_mut().0.iter_mut().enumerate() {
                *out = IQ1_S.point(usize::from(self.0[2 + 4 * i + g]) | (word >> (3 * g) & 7) << 8);
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
        for ((out, elements), (scale, down)) in subs.zip(self.scales()) {
            shifted(out, elements, down, d * f32::from(2 * scale + 1));
        }
    }
}

/// Encodes finite weights, keeping the squared error small, in which elements count as `importance` says. Searches the
/// scale of every sub-block, and the nearest points of the codebook exactly; ggml tries nearby ones.
///
/// # Errors
/// [`ScaleTooLarge`] where d exceeds half precision.
pub fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let fit = fit::<Iq1S>(src, importance)?;
    out[..2].copy_from_slice(&fit.d.to_le_bytes());
    let (lows, words) = out[2..].split_at_mut(32);
    let subs = lows.as_chunks_mut::<4>().0.iter_mut().zip(words.as_chunks_mut().0);
    for ((lows, word), (codes, number)) in subs.zip(fit.codes.as_chunks::<4>().0.iter().zip(fit.numbers)) {
        let mut bits = u16::from(number) << 12 | u16::from(codes[0].down) << 15;
        for g in 0..4 {
            lows[g] = codes[g].index as u8;
            bits |= (codes[g].index >> 8) << (3 * g);
        }
        *word = bits.to_le_bytes();
    }
    Ok(())
}

/// What the search for codes needs to know.
struct Iq1S;

impl Format for Iq1S {
    const SUB: usize = SUB_LEN;
    const GROUP: usize = 8;
    const SCALES: u8 = 8;
    const FACTOR: (f32, f32) = (1.0, 2.0);
    const LEVELS: &'static [f32] = &[-1.0, 0.0, 1.0];
    const SIGNS: Signs = Signs::InPoints;

    #[inline]
    fn search(x: &[f32], w: &[f32], scale: f32, codes: &mut [Code]) -> Sums {
        search_shifted(x, w, scale, codes)
    }
}
