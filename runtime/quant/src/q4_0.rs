//! Q4_0: 32 weights in 18 bytes, 4.5 bits per weight. weight = d * (code - 8).
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, half precision |
//! | 2..18 | codes 0..=15: byte j holds element j in bits 0..4 and element j+16 in bits 4..8 |

use crate::f16_to_f32;
use crate::search::{ScaleTooLarge, Targets, fit_scale, nearest, signed_extreme, to_scale};

/// Elements per block.
pub const LEN: usize = 32;
/// Bytes per block.
pub const BYTES: usize = 18;
/// Subtracted from a code to give its signed value.
pub const OFFSET: i32 = 8;

/// A view of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(pub &'a [u8; BYTES]);

impl Block<'_> {
    /// The scale.
    #[inline]
    pub fn d(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes([self.0[0], self.0[1]]))
    }

    /// Code of element `i % 32`, 0..=15.
    #[inline]
    pub fn quant(&self, i: usize) -> u8 {
        (self.0[2 + i % 16] >> (i % LEN / 16 * 4)) & 15
    }

    /// All codes in element order.
    #[inline]
    pub fn unpack(&self, codes: &mut [u8; LEN]) {
        for j in 0..16 {
            codes[j] = self.0[2 + j] & 15;
            codes[j + 16] = self.0[2 + j] >> 4;
        }
    }

    /// All weights in element order.
    #[inline]
    pub fn dequantize(&self, out: &mut [f32; LEN]) {
        let d = self.d();
        let mut codes = [0; LEN];
        self.unpack(&mut codes);
        for (y, &q) in out.iter_mut().zip(&codes) {
            *y = (i32::from(q) - OFFSET) as f32 * d;
        }
    }
}

/// Where the element of largest magnitude may lie: around either end, and beyond, where it counts little.
const TARGETS: [Targets; 3] = [
    Targets { first: -9.0, step: 0.1, count: 23 },
    Targets { first: 6.4, step: 0.2, count: 8 },
    Targets { first: -20.0, step: 1.5, count: 8 },
];

/// Encodes finite weights. Without importance, the same bytes as ggml's reference: the element of
/// largest magnitude maps to code 0, that is -8, because the negative side has one code more, and d
/// takes the opposite sign. With importance, d is searched for the smallest weighted error.
///
/// # Errors
/// [`ScaleTooLarge`] where d exceeds half precision.
pub fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let Some(weights) = importance else {
        let d = signed_extreme(src) / -8.0;
        return write(src, to_scale(d)?, d, out);
    };
    let d = to_scale(fit_scale(src, weights, &TARGETS, |x| nearest(x, -8.0, 7.0)))?;
    write(src, d, f16_to_f32(d), out)
}

/// Writes a block of scale `half`, its codes rounded for `d`.
fn write(src: &[f32; LEN], half: u16, d: f32, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    out[..2].copy_from_slice(&half.to_le_bytes());
    // The cast truncates toward zero and saturates, so adding 8.5 rounds and nothing falls below 0.
    let code = |x: f32| ((x * inverse + 8.5) as u8).min(15);
    for j in 0..16 {
        out[2 + j] = code(src[j]) | code(src[j + 16]) << 4;
    }
    Ok(())
}
