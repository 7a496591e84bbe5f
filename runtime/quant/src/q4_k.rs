//! Q4_K: 256 weights in 144 bytes, 4.5 bits per weight, eight sub-blocks of 32.
//! weight = (d * scale) * code - (dmin * min), scale and min being 6-bit numbers of its sub-block.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, half precision |
//! | 2..4 | dmin, half precision |
//! | 4..16 | eight 6-bit scales and minima, below |
//! | 16..144 | codes 0..=15: byte 32g+j holds element 64g+j in bits 0..4 and element 64g+32+j in bits 4..8 |
//!
//! The twelve bytes s: for sub-blocks k < 4, scale = s\[k\] & 63 and min = s\[k+4\] & 63; for
//! k = 4..8, scale = low nibble of s\[k+4\] + upper two bits of s\[k-4\] << 4, and
//! min = high nibble of s\[k+4\] + upper two bits of s\[k\] << 4.

use crate::f16_to_f32;
use crate::search::{ScaleTooLarge, fit_affine, nearest, sum, to_scale};

/// Elements per block.
pub const LEN: usize = 256;
/// Bytes per block.
pub const BYTES: usize = 144;
/// Elements that share a scale and a minimum.
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

    /// The scale of the minima.
    #[inline]
    pub fn dmin(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes([self.0[2], self.0[3]]))
    }

    /// Scale and minimum, each 0..=63, of the eight sub-blocks.
    #[inline]
    pub fn scales_mins(&self) -> [(u8, u8); 8] {
        let s = &self.0[4..16];
        let mut out = [(0, 0); 8];
        for k in 0..4 {
            out[k] = (s[k] & 63, s[k + 4] & 63);
            out[k + 4] = ((s[k + 8] & 15) | (s[k] >> 6) << 4, (s[k + 8] >> 4) | (s[k + 4] >> 6) << 4);
        }
        out
    }

    /// Code of element `i % 256`, 0..=15.
    #[inline]
    pub fn quant(&self, i: usize) -> u8 {
        let i = i % LEN;
        (self.0[16 + i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4)) & 15
    }

    /// All codes in element order.
    #[inline]
    pub fn unpack(&self, codes: &mut [u8; LEN]) {
        let packed = self.0[16..].as_chunks::<32>().0;
        for (pair, bytes) in codes.as_chunks_mut::<64>().0.iter_mut().zip(packed) {
            for j in 0..32 {
                pair[j] = bytes[j] & 15;
                pair[j + 32] = bytes[j] >> 4;
            }
        }
    }

    /// All weights in element order.
    #[inline]
    pub fn dequantize(&self, out: &mut [f32; LEN]) {
        let (d, dmin) = (self.d(), self.dmin());
        let mut codes = [0; LEN];
        self.unpack(&mut codes);
        let subs = out.as_chunks_mut::<SUB_LEN>().0.iter_mut().zip(codes.as_chunks::<SUB_LEN>().0);
        for ((out, codes), (scale, min)) in subs.zip(self.scales_mins()) {
            let scale = d * f32::from(scale);
            let min = dmin * f32::from(min);
            for (y, &q) in out.iter_mut().zip(codes) {
                *y = scale * f32::from(q) - min;
            }
        }
    }
}

/// Encodes finite weights. Slower and more accurate than ggml's reference: like it, it fits each
/// sub-block over several rounding grids with larger weights counting more; unlike it, it then
/// chooses the block's two scales and the 6-bit numbers together, for what they are once rounded.
///
/// # Errors
/// [`ScaleTooLarge`] where d or dmin exceeds half precision.
pub fn encode(src: &[f32; LEN], out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let subs: [SubBlock<'_>; 8] = core::array::from_fn(|k| SubBlock::new(&src.as_chunks().0[k]));
    let largest = subs.iter().fold((0.0f32, 0.0f32), |l, s| (l.0.max(s.fit.0), l.1.max(s.fit.1)));

    // The largest sub-block decides the step of the 6-bit numbers for all. Where it stands out, giving
    // up some of its range buys the others precision, so smaller steps are tried too.
    let mut best: Option<Choice> = None;
    for shrink in SHRINKS {
        let (d, dmin) = (largest.0 / 63.0 * shrink, largest.1 / 63.0 * shrink);
        let first = Choice::new(&subs, to_scale(d)?, to_scale(dmin)?);
        let (d, dmin) = first.refit(&subs);
        let second = Choice::new(&subs, to_scale(d)?, to_scale(dmin)?);
        for choice in [first, second] {
            if best.as_ref().is_none_or(|b| choice.error < b.error) {
                best = Some(choice);
            }
        }
    }
    // There is always one: SHRINKS is not empty.
    let Some(Choice { d_bits, dmin_bits, pairs, .. }) = best else { return Ok(()) };
    let (d, dmin) = (f16_to_f32(d_bits), f16_to_f32(dmin_bits));
    let mut codes = [0u8; LEN];
    for ((sub, pair), codes) in subs.iter().zip(pairs).zip(codes.as_chunks_mut().0) {
        *codes = sub.codes(d * f32::from(pair.0), dmin * f32::from(pair.1)).map(|code| code as u8);
    }

    out[..2].copy_from_slice(&d_bits.to_le_bytes());
    out[2..4].copy_from_slice(&dmin_bits.to_le_bytes());
    for k in 0..4 {
        let ((scale, min), (scale4, min4)) = (pairs[k], pairs[k + 4]);
        out[4 + k] = scale | (scale4 >> 4) << 6;
        out[8 + k] = min | (min4 >> 4) << 6;
        out[12 + k] = (scale4 & 15) | (min4 & 15) << 4;
    }
    for (bytes, pair) in out[16..].as_chunks_mut::<32>().0.iter_mut().zip(codes.as_chunks::<64>().0) {
        for j in 0..32 {
            bytes[j] = pair[j] | pair[j + 32] << 4;
        }
    }
    Ok(())
}

/// Factors on the steps that map the largest scale and minimum to 63.
const SHRINKS: [f32; 3] = [1.0, 0.85, 0.7];

/// What is known about a sub-block before the block's scales are.
struct SubBlock<'a> {
    x: &'a [f32; SUB_LEN],
    weights: [f32; SUB_LEN],
    /// The best unrounded scale and minimum.
    fit: (f32, f32),
}

impl<'a> SubBlock<'a> {
    fn new(x: &'a [f32; SUB_LEN]) -> Self {
        let rms = (sum::<SUB_LEN>(|i| x[i] * x[i]) / SUB_LEN as f32).sqrt();
        let weights = x.map(|x| rms + x.abs());
        Self { x, weights, fit: fit_affine(x, &weights, 15) }
    }

    /// Codes, as whole floats, that a scale and a minimum give.
    #[inline]
    fn codes(&self, scale: f32, min: f32) -> [f32; SUB_LEN] {
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        core::array::from_fn(|i| nearest((self.x[i] + min) * inverse, 0.0, 15.0))
    }

    /// The pair of 6-bit numbers near the fit with the smallest weighted error, and that error.
    fn choose(&self, d: f32, dmin: f32) -> ((u8, u8), f32) {
        let near = |value: f32, unit: f32| if unit > 0.0 { nearest(value / unit, 0.0, 63.0) as u8 } else { 0 };
        let (scale0, min0) = (near(self.fit.0, d), near(self.fit.1, dmin));
        let (mut best, mut best_error) = ((scale0, min0), f32::INFINITY);
        for scale_code in scale0.saturating_sub(1)..=(scale0 + 1).min(63) {
            for min_code in min0.saturating_sub(1)..=(min0 + 1).min(63) {
                let (scale, min) = (d * f32::from(scale_code), dmin * f32::from(min_code));
                let codes = self.codes(scale, min);
                let error = sum::<SUB_LEN>(|i| {
                    let rest = scale * codes[i] - min - self.x[i];
                    self.weights[i] * rest * rest
                });
                if error < best_error {
                    (best, best_error) = ((scale_code, min_code), error);
                }
            }
        }
        (best, best_error)
    }
}

/// A pair of block scales with the 6-bit numbers chosen for it.
struct Choice {
    d_bits: u16,
    dmin_bits: u16,
    pairs: [(u8, u8); 8],
    error: f32,
}

impl Choice {
    fn new(subs: &[SubBlock<'_>; 8], d_bits: u16, dmin_bits: u16) -> Self {
        let (d, dmin) = (f16_to_f32(d_bits), f16_to_f32(dmin_bits));
        let mut choice = Self { d_bits, dmin_bits, pairs: [(0, 0); 8], error: 0.0 };
        for (pair, sub) in choice.pairs.iter_mut().zip(subs) {
            let (best, error) = sub.choose(d, dmin);
            *pair = best;
            choice.error += error;
        }
        choice
    }

    /// The block scales that fit best, by linear regression, with all codes and 6-bit numbers as they are.
    fn refit(&self, subs: &[SubBlock<'_>; 8]) -> (f32, f32) {
        let (d, dmin) = (f16_to_f32(self.d_bits), f16_to_f32(self.dmin_bits));
        // Sums of weighted products of a = scale * code, b = min, and x.
        let (mut aa, mut ab, mut bb, mut ax, mut bx) = (0.0f32, 0.0f32, 0.0f32, 0.0f32, 0.0f32);
        for (sub, pair) in subs.iter().zip(self.pairs) {
            let (scale, b) = (f32::from(pair.0), f32::from(pair.1));
            let codes = sub.codes(d * scale, dmin * b);
            let (w, x) = (&sub.weights, sub.x);
            aa += sum::<SUB_LEN>(|i| w[i] * codes[i] * codes[i]) * scale * scale;
            ab += sum::<SUB_LEN>(|i| w[i] * codes[i]) * scale * b;
            bb += sum::<SUB_LEN>(|i| w[i]) * b * b;
            ax += sum::<SUB_LEN>(|i| w[i] * codes[i] * x[i]) * scale;
            bx += sum::<SUB_LEN>(|i| w[i] * x[i]) * b;
        }
        let determinant = aa * bb - ab * ab;
        let (new_d, new_dmin) = if determinant > 0.0 {
            ((ax * bb - bx * ab) / determinant, (ax * ab - bx * aa) / determinant)
        } else if aa > 0.0 {
            (ax / aa, dmin)
        } else {
            (d, dmin)
        };
        // The regression may leave the range that the format can express; then it has nothing to offer.
        if new_d.is_finite() && new_dmin.is_finite() && new_d >= 0.0 && new_dmin >= 0.0 {
            (new_d, new_dmin)
        } else {
            (d, dmin)
        }
    }
}
