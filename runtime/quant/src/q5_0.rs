//! Q5_0: 32 weights in 22 bytes, 5.5 bits per weight. weight = d * (code - 16).
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, half precision |
//! | 2..6 | u32: bit i is bit 4 of the code of element i |
//! | 6..22 | bits 0..4 of the codes: byte j holds element j low and element j+16 high |

use crate::f16_to_f32;
use crate::search::{ScaleTooLarge, Targets, fit_scale, nearest, signed_extreme, to_scale};

/// Elements per block.
pub const LEN: usize = 32;
/// Bytes per block.
pub const BYTES: usize = 22;
/// Subtracted from a code to give its signed value.
pub const OFFSET: i32 = 16;

/// A view of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(pub &'a [u8; BYTES]);

impl Block<'_> {
    /// The scale.
    #[inline]
    pub fn d(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes([self.0[0], self.0[1]]))
    }

    /// Bit i is the highest bit of the code of element i.
    #[inline]
    pub fn high_bits(&self) -> u32 {
        u32::from_le_bytes([self.0[2], self.0[3], self.0[4], self.0[5]])
    }

    /// Code of element `i % 32`, 0..=31.
    #[inline]
    pub fn quant(&self, i: usize) -> u8 {
        let low = (self.0[6 + i % 16] >> (i % LEN / 16 * 4)) & 15;
        low | (((self.high_bits() >> (i % LEN)) & 1) as u8) << 4
    }

    /// All codes in element order.
    #[inline]
    pub fn unpack(&self, codes: &mut [u8; LEN]) {
        for j in 0..16 {
            codes[j] = self.0[6 + j] & 15;
            codes[j + 16] = self.0[6 + j] >> 4;
        }
        // Byte-wise, each lane testing its own bit, so that the loop vectorizes.
        for (group, &bits) in codes.as_chunks_mut::<8>().0.iter_mut().zip(&self.0[2..6]) {
            for (k, code) in group.iter_mut().enumerate() {
                *code |= u8::from(bits & (1 << k) != 0) << 4;
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

/// Where the element of largest magnitude may lie: around either end, and beyond, where it counts little.
const TARGETS: [Targets; 3] = [
    Targets { first: -17.0, step: 0.1, count: 21 },
    Targets { first: 14.6, step: 0.2, count: 8 },
    Targets { first: -40.0, step: 3.0, count: 8 },
];

/// Encodes finite weights. Without importance, the same bytes as ggml's reference: the element of
/// largest magnitude maps to code 0, that is -16. With importance, d is searched for the smallest
/// weighted error.
///
/// # Errors
/// [`ScaleTooLarge`] where d exceeds half precision.
pub fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let Some(weights) = importance else {
        let d = signed_extreme(src) / -16.0;
        return write(src, to_scale(d)?, d, out);
    };
    let d = to_scale(fit_scale(src, weights, &TARGETS, |x| nearest(x, -16.0, 15.0)))?;
    write(src, d, f16_to_f32(d), out)
}

/// Writes a block of scale `half`, its codes rounded for `d`.
fn write(src: &[f32; LEN], half: u16, d: f32, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    out[..2].copy_from_slice(&half.to_le_bytes());
    let code = |x: f32| ((x * inverse + 16.5) as u8).min(31);
    let mut high = 0u32;
    for j in 0..16 {
        let (a, b) = (code(src[j]), code(src[j + 16]));
        out[6 + j] = (a & 15) | b << 4;
        high |= u32::from(a >> 4) << j | u32::from(b >> 4) << (j + 16);
    }
    out[2..6].copy_from_slice(&high.to_le_bytes());
    Ok(())
}
