//! Q4_1: 32 weights in 20 bytes, 5 bits per weight. weight = d * code + m.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, half precision |
//! | 2..4 | m, half precision |
//! | 4..20 | codes 0..=15: byte j holds element j in bits 0..4 and element j+16 in bits 4..8 |

use crate::f16_to_f32;
use crate::search::{Offset, ScaleTooLarge, fit_affine, range, to_scale};

/// Elements per block.
pub const LEN: usize = 32;
/// Bytes per block.
pub const BYTES: usize = 20;

/// A view of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(pub &'a [u8; BYTES]);

impl Block<'_> {
    /// The scale.
    #[inline]
    pub fn d(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes([self.0[0], self.0[1]]))
    }

    /// The value of code 0, added (not subtracted, unlike the minima of the K formats).
    #[inline]
    pub fn m(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes([self.0[2], self.0[3]]))
    }

    /// Code of element `i % 32`, 0..=15.
    #[inline]
    pub fn quant(&self, i: usize) -> u8 {
        (self.0[4 + i % 16] >> (i % LEN / 16 * 4)) & 15
    }

    /// All codes in element order.
    #[inline]
    pub fn unpack(&self, codes: &mut [u8; LEN]) {
        for j in 0..16 {
            codes[j] = self.0[4 + j] & 15;
            codes[j + 16] = self.0[4 + j] >> 4;
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
        let fit = fit_affine(src, weights, 15, Offset::Any);
        bits = (to_scale(fit.0)?, to_scale(fit.1)?);
        (d, min) = (f16_to_f32(bits.0), f16_to_f32(bits.1));
    } else {
        let (low, high) = range(src);
        (d, min) = ((high - low) / 15.0, low);
        bits = (to_scale(d)?, to_scale(min)?);
    }
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    out[..2].copy_from_slice(&bits.0.to_le_bytes());
    out[2..4].copy_from_slice(&bits.1.to_le_bytes());
    let code = |x: f32| (((x - min) * inverse + 0.5) as u8).min(15);
    for j in 0..16 {
        out[4 + j] = code(src[j]) | code(src[j + 16]) << 4;
    }
    Ok(())
}
