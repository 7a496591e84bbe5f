//! Q5_K: 256 weights in 176 bytes, 5.5 bits per weight, eight sub-blocks of 32.
//! weight = (d * scale) * code - (dmin * min), scale and min being 6-bit numbers of its sub-block.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, half precision |
//! | 2..4 | dmin, half precision |
//! | 4..16 | eight 6-bit scales and minima, as in [Q4_K](crate::q4_k) |
//! | 16..48 | bit 4 of the codes: element 32k+j (j < 32) in bit k of byte j |
//! | 48..176 | bits 0..4: byte 32g+j holds element 64g+j in bits 0..4 and element 64g+32+j in bits 4..8 |

use crate::f16_to_f32;
use crate::q4_k::{pack_scales_mins, unpack_scales_mins};
use crate::search::{AffineBlock, Ranges, ScaleTooLarge};

/// Elements per block.
pub const LEN: usize = 256;
/// Bytes per block.
pub const BYTES: usize = 176;
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

    /// Code of element `i % 256`, 0..=31.
    #[inline]
    pub fn quant(&self, i: usize) -> u8 {
        let (sub, j) = (i % LEN / 32, i % 32);
        let low = (self.0[48 + sub / 2 * 32 + j] >> (sub % 2 * 4)) & 15;
        low | ((self.0[16 + j] >> sub) & 1) << 4
    }

    /// All codes in element order.
    #[inline]
    pub fn unpack(&self, codes: &mut [u8; LEN]) {
        for (sub, out) in codes.as_chunks_mut::<SUB_LEN>().0.iter_mut().enumerate() {
            let low = &self.0[48 + sub / 2 * 32..];
            for ((code, &low), &high) in out.iter_mut().zip(low).zip(&self.0[16..48]) {
                *code = (low >> (sub % 2 * 4)) & 15 | ((high >> sub) & 1) << 4;
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

const RANGES: Ranges = Ranges { code: 31, pair: 63 };

/// Encodes finite weights, searching scales as [Q4_K](crate::q4_k::encode) does.
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
    out[16..].fill(0);
    for (k, x) in subs[0].iter().enumerate() {
        let codes = fit.codes(k, x, RANGES);
        for (j, code) in codes.into_iter().enumerate() {
            out[16 + j] |= (code >> 4) << k;
            out[48 + k / 2 * 32 + j] |= (code & 15) << (k % 2 * 4);
        }
    }
    Ok(())
}
