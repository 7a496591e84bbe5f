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
use crate::search::{AffineBlock, Ranges, ScaleTooLarge};

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
        unpack_scales_mins(&self.0[4..16].as_chunks().0[0])
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

/// The eight 6-bit scales and minima in the twelve bytes that Q4_K and Q5_K share.
#[inline]
pub(crate) fn unpack_scales_mins(s: &[u8; 12]) -> [(u8, u8); 8] {
    let mut out = [(0, 0); 8];
    for k in 0..4 {
        out[k] = (s[k] & 63, s[k + 4] & 63);
        out[k + 4] = ((s[k + 8] & 15) | (s[k] >> 6) << 4, (s[k + 8] >> 4) | (s[k + 4] >> 6) << 4);
    }
    out
}

/// The opposite of [`unpack_scales_mins`].
pub(crate) fn pack_scales_mins(pairs: &[(u8, u8); 8]) -> [u8; 12] {
    let mut s = [0; 12];
    for k in 0..4 {
        let ((scale, min), (scale4, min4)) = (pairs[k], pairs[k + 4]);
        s[k] = scale | (scale4 >> 4) << 6;
        s[k + 4] = min | (min4 >> 4) << 6;
        s[k + 8] = (scale4 & 15) | (min4 & 15) << 4;
    }
    s
}

const RANGES: Ranges = Ranges { code: 15, pair: 63 };

/// Encodes finite weights. Slower and more accurate than ggml's reference: like it, it fits each
/// sub-block over several rounding grids; unlike it, it then chooses the block's two scales and the
/// 6-bit numbers together, for what they are once rounded.
///
/// # Errors
/// [`ScaleTooLarge`] where d or dmin exceeds half precision.
pub fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let subs = src.as_chunks::<SUB_LEN>().0.as_chunks::<8>().0;
    let importance = importance.map(|w| &w.as_chunks::<SUB_LEN>().0.as_chunks::<8>().0[0]);
    let fit = AffineBlock::fit(&subs[0], importance, RANGES)?;

    out[..2].copy_from_slice(&fit.d.to_le_bytes());
    out[2..4].copy_from_slice(&fit.dmin.to_le_bytes());
    out[4..16].copy_from_slice(&pack_scales_mins(&fit.pairs));
    for (g, bytes) in out[16..].as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let low = fit.codes(2 * g, &subs[0][2 * g], RANGES);
        let high = fit.codes(2 * g + 1, &subs[0][2 * g + 1], RANGES);
        *bytes = core::array::from_fn(|j| low[j] | high[j] << 4);
    }
    Ok(())
}
