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
use crate::search::{ScaleTooLarge, fit_affine, nearest_code, to_scale};

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
/// corrects the 6-bit scales and minima for their own rounding.
///
/// # Errors
/// [`ScaleTooLarge`] where d or dmin exceeds half precision.
pub fn encode(src: &[f32; LEN], out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let subs = src.as_chunks::<SUB_LEN>().0;
    let mut importance = [[0.0f32; SUB_LEN]; 8];
    let mut fits = [(0.0f32, 0.0f32); 8];
    for ((x, w), fit) in subs.iter().zip(&mut importance).zip(&mut fits) {
        let rms = (x.iter().map(|x| x * x).sum::<f32>() / SUB_LEN as f32).sqrt();
        for (w, x) in w.iter_mut().zip(x) {
            *w = rms + x.abs();
        }
        *fit = fit_affine(x, w, 15);
    }
    let largest = fits.iter().fold((0.0f32, 0.0f32), |l, f| (l.0.max(f.0), l.1.max(f.1)));
    let d_bits = to_scale(largest.0 / 63.0)?;
    let dmin_bits = to_scale(largest.1 / 63.0)?;
    let (d, dmin) = (f16_to_f32(d_bits), f16_to_f32(dmin_bits));

    let mut codes = [0u8; LEN];
    let mut pairs = [(0u8, 0u8); 8];
    let coded = codes.as_chunks_mut::<SUB_LEN>().0.iter_mut().zip(&mut pairs);
    for (((x, w), fit), (codes, pair)) in subs.iter().zip(&importance).zip(&fits).zip(coded) {
        *pair = correct(x, w, *fit, d, dmin);
        round_codes(x, d * f32::from(pair.0), dmin * f32::from(pair.1), codes);
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

fn round_codes(x: &[f32; SUB_LEN], scale: f32, min: f32, codes: &mut [u8; SUB_LEN]) {
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    for (code, x) in codes.iter_mut().zip(x) {
        *code = nearest_code((x + min) * inverse, 15);
    }
}

/// Searches around the rounded fit for the pair of 6-bit numbers with the smallest weighted error.
fn correct(x: &[f32; SUB_LEN], w: &[f32; SUB_LEN], fit: (f32, f32), d: f32, dmin: f32) -> (u8, u8) {
    let near = |value: f32, unit: f32| if unit > 0.0 { nearest_code(value / unit, 63) } else { 0 };
    let (scale0, min0) = (near(fit.0, d), near(fit.1, dmin));
    let mut best = (scale0, min0);
    let mut best_error = f32::INFINITY;
    for scale_code in scale0.saturating_sub(1)..=(scale0 + 1).min(63) {
        for min_code in min0.saturating_sub(1)..=(min0 + 1).min(63) {
            let (scale, min) = (d * f32::from(scale_code), dmin * f32::from(min_code));
            let mut codes = [0; SUB_LEN];
            round_codes(x, scale, min, &mut codes);
            let error: f32 = (0..SUB_LEN)
                .map(|i| {
                    let rest = scale * f32::from(codes[i]) - min - x[i];
                    w[i] * rest * rest
                })
                .sum();
            if error < best_error {
                best_error = error;
                best = (scale_code, min_code);
            }
        }
    }
    best
}
