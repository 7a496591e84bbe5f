//! Q1_0: 128 weights in 18 bytes, 1.125 bits per weight. weight = d or -d.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, half precision |
//! | 2..18 | signs: element i is d where bit i % 8 of byte i / 8 is set |

use crate::f16_to_f32;
use crate::search::{ScaleTooLarge, sum, to_scale};

/// Elements per block.
pub const LEN: usize = 128;
/// Bytes per block.
pub const BYTES: usize = 18;

/// A view of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(pub &'a [u8; BYTES]);

impl Block<'_> {
    /// The scale.
    #[inline]
    pub fn d(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes([self.0[0], self.0[1]]))
    }

    /// 1 where element `i % 128` is d, 0 where it is -d.
    #[inline]
    pub fn quant(&self, i: usize) -> u8 {
        (self.0[2 + i % LEN / 8] >> (i % 8)) & 1
    }

    /// All codes in element order.
    #[inline]
    pub fn unpack(&self, codes: &mut [u8; LEN]) {
        for (group, &bits) in codes.as_chunks_mut::<8>().0.iter_mut().zip(&self.0[2..]) {
            for (k, code) in group.iter_mut().enumerate() {
                *code = u8::from(bits & (1 << k) != 0);
            }
        }
    }

    /// All weights in element order.
    #[inline]
    pub fn dequantize(&self, out: &mut [f32; LEN]) {
        let d = self.d();
        let mut codes = [0; LEN];
        self.unpack(&mut codes);
        for (y, &q) in out.iter_mut().zip(&codes) {
            *y = if q == 0 { -d } else { d };
        }
    }
}

/// Encodes finite weights: signs, and the mean magnitude, which is the best scale for them.
///
/// # Errors
/// [`ScaleTooLarge`] where d exceeds half precision.
pub fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let weights = importance.unwrap_or(&[1.0; LEN]);
    let d = sum::<LEN>(|i| weights[i] * src[i].abs()) / sum::<LEN>(|i| weights[i]);
    out[..2].copy_from_slice(&to_scale(d)?.to_le_bytes());
    for (byte, x) in out[2..].iter_mut().zip(src.as_chunks::<8>().0) {
        *byte = x.iter().rev().fold(0, |bits, &x| bits << 1 | u8::from(x >= 0.0));
    }
    Ok(())
}
