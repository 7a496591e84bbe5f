//! TQ1_0: 256 ternary weights in 54 bytes, 1.6875 bits per weight. weight = d * (code - 1).
//!
//! | bytes | content |
//! |---|---|
//! | 0..32 | byte j: the codes of elements j, j+32, ..., j+128 |
//! | 32..48 | byte j: the codes of elements 160+j, 160+j+16, ..., 160+j+64 |
//! | 48..52 | byte j: the codes of elements 240+j, 240+j+4, 240+j+8, 240+j+12 |
//! | 52..54 | d, half precision |
//!
//! A byte holds five codes 0..=2 (four in the last group, as if a fifth were 0): as digits of a
//! number v < 243 in base 3, the first element leading, stored as ceil(256 v / 243). That fraction of
//! 256 makes decoding a multiplication: digit i is the integer part of 3 times what is left of the
//! byte after multiplying by 3 i times, all in units of 1/256.

use crate::f16_to_f32;
use crate::search::{ScaleTooLarge, fit_ternary, to_scale};

/// Elements per block.
pub const LEN: usize = 256;
/// Bytes per block.
pub const BYTES: usize = 54;
/// Subtracted from a code to give its signed value.
pub const OFFSET: i32 = 1;

/// Where the groups of bytes begin, how many bytes and digits each has, and its first element.
const GROUPS: [(usize, usize, usize, usize); 3] = [(0, 32, 5, 0), (32, 16, 5, 160), (48, 4, 4, 240)];
const POWERS: [u8; 5] = [1, 3, 9, 27, 81];

/// A view of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(pub &'a [u8; BYTES]);

impl Block<'_> {
    /// The scale.
    #[inline]
    pub fn d(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes([self.0[52], self.0[53]]))
    }

    /// Code of element `i % 256`, 0..=2.
    #[inline]
    pub fn quant(&self, i: usize) -> u8 {
        let i = i % LEN;
        let (at, bytes, _, first) = GROUPS[usize::from(i >= 160) + usize::from(i >= 240)];
        digit(self.0[at + (i - first) % bytes], (i - first) / bytes)
    }

    /// All codes in element order.
    #[inline]
    pub fn unpack(&self, codes: &mut [u8; LEN]) {
        for (at, bytes, digits, first) in GROUPS {
            for i in 0..digits {
                for j in 0..bytes {
                    codes[first + i * bytes + j] = digit(self.0[at + j], i);
                }
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
            *y = (i32::from(q) - OFFSET) as f32 * d;
        }
    }
}

/// Digit `i` (0..5, the leading one first) of a byte.
#[inline]
fn digit(byte: u8, i: usize) -> u8 {
    ((u16::from(byte.wrapping_mul(POWERS[i])) * 3) >> 8) as u8
}

/// Writes a block: `codes` 0..=2 in element order, `d` the bits of the scale.
pub(crate) fn pack(codes: &[u8; LEN], d: u16, out: &mut [u8; BYTES]) {
    for (at, bytes, digits, first) in GROUPS {
        for j in 0..bytes {
            // A missing fifth digit is 0.
            let number =
                (0..5).fold(0u16, |v, i| 3 * v + if i < digits { u16::from(codes[first + i * bytes + j]) } else { 0 });
            out[at + j] = (number * 256).div_ceil(243) as u8;
        }
    }
    out[52..].copy_from_slice(&d.to_le_bytes());
}

/// Encodes finite weights with the best ternary codes and scale. Weights that are ternary already,
/// with a scale that half precision holds, come back as they were.
///
/// # Errors
/// [`ScaleTooLarge`] where d exceeds half precision.
pub fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let half = to_scale(fit_ternary(src, importance))?;
    let middle = f16_to_f32(half) / 2.0;
    pack(&src.map(|x| 1 + u8::from(x > middle) - u8::from(x < -middle)), half, out);
    Ok(())
}
