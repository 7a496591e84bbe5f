//! MXFP4 of the OCP Microscaling specification: 32 weights in 17 bytes, 4.25 bits per weight.
//! weight = 2^(e - 127) * value of a 4-bit float (E2M1).
//!
//! | bytes | content |
//! |---|---|
//! | 0 | e |
//! | 1..17 | codes 0..=15: byte j holds element j in bits 0..4 and element j+16 in bits 4..8 |
//!
//! A code is a sign bit over eight magnitudes 0, 0.5, 1, 1.5, 2, 3, 4, 6. As in ggml, [`LEVELS`] has
//! them doubled and [`Block::d`] is halved; code 8, minus zero, is plain zero; and e = 255, which the
//! specification reserves for NaN, is one more power of two.

use crate::search::{Levels, ScaleTooLarge, largest_magnitude, sum, weights};

/// Elements per block.
pub const LEN: usize = 32;
/// Bytes per block.
pub const BYTES: usize = 17;
/// Twice what the codes stand for.
pub const LEVELS: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// A view of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(pub &'a [u8; BYTES]);

impl Block<'_> {
    /// The scale of [`LEVELS`].
    #[inline]
    pub fn d(&self) -> f32 {
        half_scale(self.0[0])
    }

    /// Code of element `i % 32`, 0..=15.
    #[inline]
    pub fn quant(&self, i: usize) -> u8 {
        (self.0[1 + i % 16] >> (i % LEN / 16 * 4)) & 15
    }

    /// All codes in element order.
    #[inline]
    pub fn unpack(&self, codes: &mut [u8; LEN]) {
        for j in 0..16 {
            codes[j] = self.0[1 + j] & 15;
            codes[j + 16] = self.0[1 + j] >> 4;
        }
    }

    /// All weights in element order.
    #[inline]
    pub fn dequantize(&self, out: &mut [f32; LEN]) {
        let d = self.d();
        let mut codes = [0; LEN];
        self.unpack(&mut codes);
        for (y, &q) in out.iter_mut().zip(&codes) {
            *y = f32::from(LEVELS[usize::from(q & 15)]) * d;
        }
    }
}

/// 2^(e - 128), exactly, as a subnormal for e < 2.
#[inline]
pub fn half_scale(e: u8) -> f32 {
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { u32::from(e - 1) << 23 })
}

/// [`LEVELS`], ascending, for encoders.
pub(crate) static TABLE: Levels = Levels::new(&[-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12]);

/// The code of the nearest level.
#[inline]
pub(crate) fn code(x: f32) -> u8 {
    let place = TABLE.place(x);
    if place < 7 { 15 - place } else { place - 7 }
}

/// Encodes finite weights. ggml takes the power of two that brings the largest magnitude between 4
/// and 8; here its neighbours are tried too, and the smallest error wins.
///
/// # Errors
/// None: every finite block has a scale.
pub fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let weights = weights(src, importance);
    // With exponents in this range neither the inverse of the scale nor a weight overflows.
    let exponent = (largest_magnitude(src).to_bits() >> 23) as i32 - 2;
    let mut best = (0, f32::INFINITY);
    for e in exponent - 1..=exponent + 1 {
        let e = e.clamp(1, 252);
        let inverse = 1.0 / half_scale(e as u8);
        let error = sum::<LEN>(|i| {
            let rest = TABLE.nearest(src[i] * inverse) - src[i] * inverse;
            weights[i] * rest * rest
        });
        // In units of the scale so far; relative to the first exponent they compare.
        let error = error * 4f32.powi(e - exponent);
        if error < best.1 {
            best = (e as u8, error);
        }
    }
    let inverse = 1.0 / half_scale(best.0.max(1));
    out[0] = best.0;
    for j in 0..16 {
        out[1 + j] = code(src[j] * inverse) | code(src[j + 16] * inverse) << 4;
    }
    Ok(())
}
