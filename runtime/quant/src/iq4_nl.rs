//! IQ4_NL: 32 weights in 18 bytes, 4.5 bits per weight. weight = d * LEVELS\[code\].
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, half precision |
//! | 2..18 | codes 0..=15: byte j holds element j in bits 0..4 and element j+16 in bits 4..8 |

use crate::f16_to_f32;
use crate::search::{Levels, ScaleTooLarge, Targets, fit_scale, to_scale, weights};

/// Elements per block.
pub const LEN: usize = 32;
/// Bytes per block.
pub const BYTES: usize = 18;
/// What the codes stand for: denser around zero, where weights are.
pub const LEVELS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

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
            *y = d * f32::from(LEVELS[usize::from(q & 15)]);
        }
    }
}

/// [`LEVELS`] for encoders.
pub(crate) static TABLE: Levels = Levels::new(&LEVELS);

/// Where the element of largest magnitude may lie.
pub(crate) const TARGETS: [Targets; 2] =
    [Targets { first: -150.0, step: 4.5, count: 10 }, Targets { first: 100.0, step: 8.0, count: 4 }];

/// Encodes finite weights: d is searched for the smallest error, as in ggml, over more candidates.
///
/// # Errors
/// [`ScaleTooLarge`] where d exceeds half precision.
pub fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let weights = weights(src, importance);
    let half = to_scale(fit_scale(src, &weights, &TARGETS, |x| TABLE.nearest(x)))?;
    out[..2].copy_from_slice(&half.to_le_bytes());
    let d = f16_to_f32(half);
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    for j in 0..16 {
        out[2 + j] = TABLE.place(src[j] * inverse) | TABLE.place(src[j + 16] * inverse) << 4;
    }
    Ok(())
}
