//! Q2_K: 256 weights in 84 bytes, 2.625 bits per weight, sixteen sub-blocks of 16.
//! weight = (d * scale) * code - (dmin * min), scale and min being 4-bit numbers of its sub-block.
//!
//! | bytes | content |
//! |---|---|
//! | 0..16 | byte k: scale of sub-block k in bits 0..4, its min in bits 4..8 |
//! | 16..80 | codes 0..=3: element 128h+32r+j (j < 32) in bits 2r..2r+2 of byte 32h+j |
//! | 80..82 | d, half precision |
//! | 82..84 | dmin, half precision |

use crate::f16_to_f32;
use crate::search::{AffineBlock, Ranges, ScaleTooLarge};

/// Elements per block.
pub const LEN: usize = 256;
/// Bytes per block.
pub const BYTES: usize = 84;
/// Elements that share a scale and a minimum.
pub const SUB_LEN: usize = 16;

/// A view of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(pub &'a [u8; BYTES]);

impl Block<'_> {
    /// The scale of the scales.
    #[inline]
    pub fn d(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes([self.0[80], self.0[81]]))
    }

    /// The scale of the minima.
    #[inline]
    pub fn dmin(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes([self.0[82], self.0[83]]))
    }

    /// Scale and minimum, each 0..=15, of the sixteen sub-blocks.
    #[inline]
    pub fn scales_mins(&self) -> [(u8, u8); 16] {
        core::array::from_fn(|k| (self.0[k] & 15, self.0[k] >> 4))
    }

    /// Code of element `i % 256`, 0..=3.
    #[inline]
    pub fn quant(&self, i: usize) -> u8 {
        let (half, run, j) = (i % LEN / 128, i % 128 / 32, i % 32);
        (self.0[16 + 32 * half + j] >> (2 * run)) & 3
    }

    /// All codes in element order.
    #[inline]
    pub fn unpack(&self, codes: &mut [u8; LEN]) {
        let packed = self.0[16..80].as_chunks::<32>().0;
        for (half, bytes) in codes.as_chunks_mut::<128>().0.iter_mut().zip(packed) {
            for (run, out) in half.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                for (code, &byte) in out.iter_mut().zip(bytes) {
                    *code = (byte >> (2 * run)) & 3;
                }
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

const RANGES: Ranges = Ranges { code: 3, pair: 15 };

/// Encodes finite weights, searching scales as [Q4_K](crate::q4_k::encode) does.
///
/// # Errors
/// [`ScaleTooLarge`] where d or dmin exceeds half precision.
pub fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let subs = src.as_chunks::<SUB_LEN>().0.as_chunks::<16>().0;
    let importance = importance.map(|w| &w.as_chunks::<SUB_LEN>().0.as_chunks::<16>().0[0]);
    let fit = AffineBlock::fit(&subs[0], importance, RANGES)?;

    for (byte, (scale, min)) in out.iter_mut().zip(fit.pairs) {
        *byte = scale | min << 4;
    }
    out[16..80].fill(0);
    for (k, x) in subs[0].iter().enumerate() {
        let at = 16 + k / 8 * 32 + k % 2 * 16;
        for (byte, code) in out[at..at + 16].iter_mut().zip(fit.codes(k, x, RANGES)) {
            *byte |= code << (k % 8 / 2 * 2);
        }
    }
    out[80..82].copy_from_slice(&fit.d.to_le_bytes());
    out[82..].copy_from_slice(&fit.dmin.to_le_bytes());
    Ok(())
}
