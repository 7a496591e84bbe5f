//! Q8_0: 32 weights in 34 bytes, 8.5 bits per weight. weight = d * code.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, half precision |
//! | 2..34 | codes -128..=127, element order (encoders write -127..=127) |

use crate::f16_to_f32;
use crate::search::{ScaleTooLarge, Targets, fit_scale, largest_magnitude, nearest, round_half_away, to_scale};

/// Elements per block.
pub const LEN: usize = 32;
/// Bytes per block.
pub const BYTES: usize = 34;

/// A view of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(pub &'a [u8; BYTES]);

impl Block<'_> {
    /// The scale.
    #[inline]
    pub fn d(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes([self.0[0], self.0[1]]))
    }

    /// Code of element `i % 32`.
    #[inline]
    pub fn quant(&self, i: usize) -> i8 {
        self.0[2 + i % LEN].cast_signed()
    }

    /// All codes in element order.
    #[inline]
    pub fn unpack(&self, codes: &mut [i8; LEN]) {
        for (code, &byte) in codes.iter_mut().zip(&self.0[2..]) {
            *code = byte.cast_signed();
        }
    }

    /// All weights in element order.
    #[inline]
    pub fn dequantize(&self, out: &mut [f32; LEN]) {
        let d = self.d();
        for (y, &byte) in out.iter_mut().zip(&self.0[2..]) {
            *y = f32::from(byte.cast_signed()) * d;
        }
    }
}

/// Where the element of largest magnitude may lie.
const TARGETS: [Targets; 1] = [Targets { first: -128.4, step: 0.2, count: 9 }];

/// Encodes finite weights. Without importance, the same bytes as ggml's reference: the largest
/// magnitude maps to 127, codes round half away from zero. With importance, d is searched for the
/// smallest weighted error.
///
/// # Errors
/// [`ScaleTooLarge`] where d exceeds half precision.
pub fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let (half, d);
    if let Some(weights) = importance {
        half = to_scale(fit_scale(src, weights, &TARGETS, |x| nearest(x, -128.0, 127.0)))?;
        d = f16_to_f32(half);
    } else {
        d = largest_magnitude(src) / 127.0;
        half = to_scale(d)?;
    }
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    out[..2].copy_from_slice(&half.to_le_bytes());
    for (byte, &x) in out[2..].iter_mut().zip(src) {
        *byte = (round_half_away(x * inverse).clamp(-128, 127) as i8).cast_unsigned();
    }
    Ok(())
}
