//! Q2_0: 64 weights in 18 bytes, 2.25 bits per weight. weight = d * (code - 1), so -d, 0, d or 2d.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, half precision |
//! | 2..18 | codes 0..=3: element i in bits 2(i % 4)..2(i % 4)+2 of byte i / 4 |
//!
//! Older files carry blocks of 128 under the same id: see [`crate::collisions`].

use crate::f16_to_f32;
use crate::search::{ScaleTooLarge, Targets, fit_scale, nearest, to_scale};

/// Elements per block.
pub const LEN: usize = 64;
/// Bytes per block.
pub const BYTES: usize = 18;
/// Subtracted from a code to give its signed value.
pub const OFFSET: i32 = 1;

/// A view of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(pub &'a [u8; BYTES]);

impl Block<'_> {
    /// The scale. Encoders may make it negative.
    #[inline]
    pub fn d(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes([self.0[0], self.0[1]]))
    }

    /// Code of element `i % 64`, 0..=3.
    #[inline]
    pub fn quant(&self, i: usize) -> u8 {
        (self.0[2 + i % LEN / 4] >> (i % 4 * 2)) & 3
    }

    /// All codes in element order.
    #[inline]
    pub fn unpack(&self, codes: &mut [u8; LEN]) {
        for (group, &byte) in codes.as_chunks_mut::<4>().0.iter_mut().zip(&self.0[2..]) {
            for (k, code) in group.iter_mut().enumerate() {
                *code = (byte >> (2 * k)) & 3;
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

/// Where the element of largest magnitude may lie: around 2, around -1, and beyond.
const TARGETS: [Targets; 2] =
    [Targets { first: 0.9, step: 0.2, count: 14 }, Targets { first: -3.0, step: 0.2, count: 12 }];

/// Encodes finite weights. Unlike ggml, which uses three of the four codes, d and its sign are
/// searched for the smallest error.
///
/// # Errors
/// [`ScaleTooLarge`] where d exceeds half precision.
pub fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let level = |x| nearest(x, -1.0, 2.0);
    let half = to_scale(fit_scale(src, importance.unwrap_or(&[1.0; LEN]), &TARGETS, level))?;
    out[..2].copy_from_slice(&half.to_le_bytes());
    let d = f16_to_f32(half);
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    for (byte, x) in out[2..].iter_mut().zip(src.as_chunks::<4>().0) {
        *byte = x.iter().rev().fold(0, |bits, &x| bits << 2 | (level(x * inverse) + 1.0) as u8);
    }
    Ok(())
}
