//! Q6_K: 256 weights in 210 bytes, 6.5625 bits per weight, sixteen sub-blocks of 16.
//! weight = (d * scale) * (code - 32), scale being a signed byte of its sub-block.
//!
//! | bytes | content |
//! |---|---|
//! | 0..128 | bits 0..4 of the codes |
//! | 128..192 | bits 4..6 of the codes |
//! | 192..208 | sixteen scales, signed bytes |
//! | 208..210 | d, half precision |
//!
//! Each half h (128 elements) has 64 low bytes and 32 high bytes of its own. In it, element 32r+j
//! (r < 4) has its low bits in byte 32(r%2)+j, the lower nibble for r < 2 and the upper one after,
//! and its high bits in byte j, bits 2r..2r+2.

use crate::f16_to_f32;
use crate::search::{ScaleTooLarge, fit_symmetric, nearest, signed_extreme, sum, to_scale};

/// Elements per block.
pub const LEN: usize = 256;
/// Bytes per block.
pub const BYTES: usize = 210;
/// Elements that share a scale.
pub const SUB_LEN: usize = 16;
/// Subtracted from a code to give its signed value.
pub const OFFSET: i32 = 32;

/// A view of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(pub &'a [u8; BYTES]);

impl Block<'_> {
    /// The scale of the scales. Encoders may make it negative.
    #[inline]
    pub fn d(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes([self.0[208], self.0[209]]))
    }

    /// Scale of sub-block `i % 16`.
    #[inline]
    pub fn scale(&self, i: usize) -> i8 {
        self.0[192 + i % 16].cast_signed()
    }

    /// All sixteen scales.
    #[inline]
    pub fn scales(&self) -> [i8; 16] {
        core::array::from_fn(|i| self.scale(i))
    }

    /// Code of element `i % 256`, 0..=63.
    #[inline]
    pub fn quant(&self, i: usize) -> u8 {
        let (half, run, j) = (i % LEN / 128, i % 128 / 32, i % 32);
        let low = (self.0[64 * half + 32 * (run % 2) + j] >> (run / 2 * 4)) & 15;
        let high = (self.0[128 + 32 * half + j] >> (2 * run)) & 3;
        low | high << 4
    }

    /// All codes in element order.
    #[inline]
    pub fn unpack(&self, codes: &mut [u8; LEN]) {
        let lows = self.0[..128].as_chunks::<64>().0;
        let highs = self.0[128..192].as_chunks::<32>().0;
        for ((out, low), high) in codes.as_chunks_mut::<128>().0.iter_mut().zip(lows).zip(highs) {
            for j in 0..32 {
                out[j] = (low[j] & 15) | (high[j] & 3) << 4;
                out[j + 32] = (low[j + 32] & 15) | ((high[j] >> 2) & 3) << 4;
                out[j + 64] = (low[j] >> 4) | ((high[j] >> 4) & 3) << 4;
                out[j + 96] = (low[j + 32] >> 4) | (high[j] >> 6) << 4;
            }
        }
    }

    /// All weights in element order.
    #[inline]
    pub fn dequantize(&self, out: &mut [f32; LEN]) {
        let d = self.d();
        let mut codes = [0; LEN];
        self.unpack(&mut codes);
        let subs = out.as_chunks_mut::<SUB_LEN>().0.iter_mut().zip(codes.as_chunks::<SUB_LEN>().0);
        for ((out, codes), scale) in subs.zip(self.scales()) {
            let scale = d * f32::from(scale);
            for (y, &q) in out.iter_mut().zip(codes) {
                *y = scale * (i32::from(q) - OFFSET) as f32;
            }
        }
    }
}

/// Encodes finite weights. More accurate than ggml's reference: the same search per sub-block, and
/// then a correction of each 8-bit scale for its own rounding.
///
/// # Errors
/// [`ScaleTooLarge`] where d exceeds half precision.
pub fn encode(src: &[f32; LEN], out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let subs = src.as_chunks::<SUB_LEN>().0;
    let mut fits = [0.0f32; 16];
    for (x, fit) in subs.iter().zip(&mut fits) {
        *fit = fit_symmetric(x, 32.0);
    }
    // The largest scale maps to -128, the side with one step more.
    let d_bits = to_scale(signed_extreme(&fits) / -128.0)?;
    let d = f16_to_f32(d_bits);

    let mut codes = [0u8; LEN];
    let coded = codes.as_chunks_mut::<SUB_LEN>().0.iter_mut().zip(&mut out[192..208]);
    for ((x, &fit), (codes, byte)) in subs.iter().zip(&fits).zip(coded) {
        let scale = correct(x, fit, d);
        *byte = scale.cast_unsigned();
        *codes = round_codes(x, d * f32::from(scale)).map(|code| (code + 32.0) as u8);
    }

    out[208..].copy_from_slice(&d_bits.to_le_bytes());
    let (low, high) = out[..192].split_at_mut(128);
    let halves = low.as_chunks_mut::<64>().0.iter_mut().zip(high.as_chunks_mut::<32>().0);
    for ((low, high), q) in halves.zip(codes.as_chunks::<128>().0) {
        for j in 0..32 {
            low[j] = (q[j] & 15) | q[j + 64] << 4;
            low[j + 32] = (q[j + 32] & 15) | q[j + 96] << 4;
            high[j] = q[j] >> 4 | q[j + 32] >> 4 << 2 | q[j + 64] >> 4 << 4 | q[j + 96] >> 4 << 6;
        }
    }
    Ok(())
}

/// Signed codes, as whole floats, that a scale gives.
#[inline]
fn round_codes(x: &[f32; SUB_LEN], scale: f32) -> [f32; SUB_LEN] {
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    core::array::from_fn(|i| nearest(x[i] * inverse, -32.0, 31.0))
}

/// Searches around the rounded fit for the 8-bit scale with the smallest error, weighted as in the fit.
fn correct(x: &[f32; SUB_LEN], fit: f32, d: f32) -> i8 {
    if d == 0.0 {
        return 0;
    }
    let centre = nearest(fit / d, -128.0, 127.0);
    let mut best = 0;
    let mut best_error = f32::INFINITY;
    for step in [-1.0, 0.0, 1.0] {
        let candidate = (centre + step).clamp(-128.0, 127.0);
        let scale = d * candidate;
        let codes = round_codes(x, scale);
        let error = sum::<SUB_LEN>(|i| {
            let rest = scale * codes[i] - x[i];
            x[i] * x[i] * rest * rest
        });
        if error < best_error {
            best_error = error;
            best = candidate as i8;
        }
    }
    best
}
