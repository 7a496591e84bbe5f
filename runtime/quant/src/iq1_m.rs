//! IQ1_M: 256 weights in 56 bytes, 1.75 bits per weight, sixteen sub-blocks of 16 in two groups of 8.
//! weight = d * (2 * scale + 1) * (element of the group's point (-1, 0 or 1) + shift), scale being a 3-bit number and
//! shift 1/8 or -1/8 for the group. The codebook is that of IQ1_S.
//!
//! | bytes | content |
//! |---|---|
//! | 0..32 | bits 0..8 of the index of each group's point |
//! | 32..48 | a nibble per group: bits 0..3 are bits 8..11 of the index, bit 3 makes the shift negative |
//! | 48..56 | four 16-bit words: bits 3i..3i+3 of word k are the scale of sub-block 4k+i, bits 12..16 a piece of d |
//!
//! d is a half-precision number whose bits 4k..4k+4 are in word k.

use crate::f16_to_f32;
use crate::grid::{Code, Format, IQ1_S, Signs, Sums, fit, search_shifted, shifted};
use crate::search::ScaleTooLarge;

/// Elements per block.
pub const LEN: usize = 256;
/// Bytes per block.
pub const BYTES: usize = 56;
/// Elements that share a scale.
pub const SUB_LEN: usize = 16;

/// A view of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(pub &'a [u8; BYTES]);

impl Block<'_> {
    /// The scale of the scales.
    #[inline]
    pub fn d(&self) -> f32 {
        f16_to_f32(self.d_bits())
    }

    /// The same as it is put together: half precision.
    #[inline]
    pub fn d_bits(&self) -> u16 {
        (0..4).fold(0, |d, k| d | (self.word(k) >> 12) << (4 * k))
    }

    /// The words with the scales.
    #[inline]
    fn word(&self, k: usize) -> u16 {
        u16::from_le_bytes([self.0[48 + 2 * k], self.0[49 + 2 * k]])
    }

    /// The scales of the sub-blocks, 0..=7.
    #[inline]
    pub fn scales(&self) -> [u8; 16] {
        core::array::from_fn(|i| (self.word(i / 4) >> (i % 4 * 3) & 7) as u8)
    }

    /// Is the shift of group `g % 32` negative?
    #[inline]
    pub fn is_down(&self, g: usize) -> bool {
        self.0[32 + g % 32 / 2] >> (4 * (g % 2) + 3) & 1 == 1
    }

    /// Elements of all points without their shifts, in element order.
    #[inline]
    pub fn unpack(&self, elements: &mut [i8; LEN]) {
        for (g, out) in elements.as_chunks_mut().0.iter_mut().enumerate() {
            let high = usize::from(self.0[32 + g / 2] >> (4 * (g % 2)) & 7);
            *out = IQ1_S.point(usize::from(self.0[g]) | high << 8);
        }
    }

    /// All weights in element order.
    #[inline]
    pub fn dequantize(&self, out: &mut [f32; LEN]) {
        let (d, scales) = (self.d(), self.scales());
        let mut elements = [0; LEN];
        self.unpack(&mut elements);
        let groups = out.as_chunks_mut::<8>().0.iter_mut().zip(elements.as_chunks::<8>().0);
        for (g, (out, elements)) in groups.enumerate() {
            shifted(out, elements, self.is_down(g), d * f32::from(2 * scales[g / 2] + 1));
        }
    }
}

/// Encodes finite weights, keeping the squared error small, in which elements count as `importance` says. Searches the
/// scale of every sub-block, and the nearest points of the codebook exactly; ggml tries nearby ones.
///
/// # Errors
/// [`ScaleTooLarge`] where d exceeds half precision.
pub fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let fit = fit::<Iq1M>(src, importance)?;
    out[32..48].fill(0);
    for (g, code) in fit.codes[..32].iter().enumerate() {
        out[g] = code.index as u8;
        out[32 + g / 2] |= ((code.index >> 8) as u8 | u8::from(code.down) << 3) << (g % 2 * 4);
    }
    for (k, (word, numbers)) in out[48..].as_chunks_mut().0.iter_mut().zip(fit.numbers.as_chunks::<4>().0).enumerate() {
        let scales = (0..4).fold(0, |bits, i| bits | u16::from(numbers[i]) << (3 * i));
        *word = (scales | (fit.d >> (4 * k) & 15) << 12).to_le_bytes();
    }
    Ok(())
}

/// What the search for codes needs to know.
struct Iq1M;

impl Format for Iq1M {
    const SUB: usize = SUB_LEN;
    const GROUP: usize = 8;
    const SCALES: u8 = 8;
    const FACTOR: (f32, f32) = (1.0, 2.0);
    const LEVELS: &'static [f32] = &[-1.0, 0.0, 1.0];
    const SIGNS: Signs = Signs::InPoints;

    #[inline]
    fn search(x: &[f32], w: &[f32], scale: f32, codes: &mut [Code]) -> Sums {
        let mut sums = Sums::default();
        // Each group has a shift of its own.
        for ((x, w), code) in x.chunks_exact(8).zip(w.chunks_exact(8)).zip(codes.chunks_exact_mut(1)) {
            sums.add(search_shifted(x, w, scale, code));
        }
        sums
    }
}
