//! Q5_1: 32 weights in 24 bytes, 6 bits per weight. weight = d * code + m.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, half precision |
//! | 2..4 | m, half precision |
//! | 4..8 | u32: bit i is bit 4 of the code of element i |
//! | 8..24 | bits 0..4 of the codes: byte j holds element j low and element j+16 high |

use crate::f16_to_f32;
use crate::search::{Offset, ScaleTooLarge, fit_affine, range, to_scale};

/// Elements per block.
pub const LEN: usize = 32;
/// Bytes per block.
pub const BYTES: usize = 24;

/// A view of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(pub &'a [u8; BYTES]);

impl Block<'_> {
    /// The scale.
    #[inline]
    pub fn d(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes([self.0[0], self.0[1]]))
    }

    /// The value of code 0, added.
    #[inline]
    pub fn m(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes([self.0[2], self.0[3]]))
    }

    /// Bit i is the highest bit of the code of element i.
    #[inline]
    pub fn high_bits(&self) -> u32 {
        u32::from_le_bytes([self.0[4], self.0[5], self.0[6], self.0[7]])
    }

    /// Code of element `i % 32`, 0..=31.
    #[inline]
    pub fn quant(&self, i: usize) -> u8 {
        let low = (self.0[8 + i % 16] >> (i % LEN / 16 * 4)) & 15;
        low | (((self.high_bits() >> (i % LEN)) & 1) as u8) << 4
    }

    /// All codes in element order.
    #[inline]
    pub fn unpack(&self, codes: &mut [u8; LEN]) {
        for j in 0..16 {
            codes[j] = self.0[8 + j] & 15;
            codes[j + 16] = self.0[8 + j] >> 4;
        }
        // Byte-wise, each lane testing its own bit, so that the loop vectorizes.
        for (group, &bits) in codes.as_chunks_mut::<8>().0.iter_mut().zip(&self.0[4..8]) {
            for (k, code) in group.iter_mut().enumerate() {
                *code |= u8::from(bits & (1 << k) != 0) << 4;
            }
        }
    }

    /// All weights in element order.
    #[inline]
    pub fn dequantize(&self, out: &mut [f32; LEN]) {
        let (d, m) = (self.d(), self.m());
        let mut codes = [0; LEN];
        self.unpack(&mut codes);
        for (y, &q) in out.iter_mut().zip(&codes) {
            *y = f32::from(q) * d + m;
        }
    }
}

/// Encodes finite weights. Without importance, the same bytes as ggml's reference: the codes span the
/// range between the smallest and the largest element. With importance, d and m are searched for the
/// smallest weighted error.
///
/// # Errors
/// [`ScaleTooLarge`] where d or m exceeds half precision.
pub fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let (bits, d, min);
    if let Some(weights) = importance {
        let fit = fit_affine(src, weights, 31, Offset::Any);
        bits = (to_scale(fit.0)?, to_scale(fit.1)?);
        (d, min) = (f16_to_f32(bits.0), f16_to_f32(bits.1));
    } else {
        let (low, high) = range(src);
        (d, min) = ((high - low) / 31.0, low);
        bits = (to_scale(d)?, to_scale(min)?);
    }
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    out[..2].copy_from_slice(&bits.0.to_le_bytes());
    out[2..4].copy_from_slice(&bits.1.to_le_bytes());
    let code = |x: f32| (((x - min) * inverse + 0.5) as u8).min(31);
    let mut high = 0u32;
    for j in 0..16 {
        let (a, b) = (code(src[j]), code(src[j + 16]));
        out[8 + j] = (a & 15) | b << 4;
        high |= u32::from(a >> 4) << j | u32::from(b >> 4) << (j + 16);
    }
    out[4..8].copy_from_slice(&high.to_le_bytes());
    Ok(())
}
