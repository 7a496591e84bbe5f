//! Q3_K: 256 weights in 110 bytes, 3.4375 bits per weight, sixteen sub-blocks of 16.
//! weight = (d * (scale - 32)) * (code - 4), scale being a 6-bit number of its sub-block.
//!
//! | bytes | content |
//! |---|---|
//! | 0..32 | bit 2 of the codes: element 128h+32r+j (j < 32) in bit 4h+r of byte j |
//! | 32..96 | bits 0..2 of the codes: the same element in bits 2r..2r+2 of byte 32h+j |
//! | 96..108 | sixteen 6-bit scales, below |
//! | 108..110 | d, half precision |
//!
//! The twelve bytes s: scale k has its low four bits in s\[k % 8\], the lower nibble for k < 8 and
//! the upper one after, and its high two bits in s\[8 + k % 4\], bits 2(k/4)..2(k/4)+2.

use crate::f16_to_f32;
use crate::search::{ScaleTooLarge, ScaledBlock, Targets, nearest};

/// Elements per block.
pub const LEN: usize = 256;
/// Bytes per block.
pub const BYTES: usize = 110;
/// Elements that share a scale.
pub const SUB_LEN: usize = 16;
/// Subtracted from a code to give its signed value.
pub const OFFSET: i32 = 4;

/// A view of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(pub &'a [u8; BYTES]);

impl Block<'_> {
    /// The scale of the scales. Encoders may make it negative.
    #[inline]
    pub fn d(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes([self.0[108], self.0[109]]))
    }

    /// The signed scales of the sixteen sub-blocks, -32..=31.
    #[inline]
    pub fn scales(&self) -> [i8; 16] {
        let s = &self.0[96..108];
        core::array::from_fn(|k| {
            let low = (s[k % 8] >> (k / 8 * 4)) & 15;
            let high = (s[8 + k % 4] >> (k / 4 * 2)) & 3;
            (low | high << 4).cast_signed() - 32
        })
    }

    /// Code of element `i % 256`, 0..=7.
    #[inline]
    pub fn quant(&self, i: usize) -> u8 {
        let (half, run, j) = (i % LEN / 128, i % 128 / 32, i % 32);
        let low = (self.0[32 + 32 * half + j] >> (2 * run)) & 3;
        let high = (self.0[j] >> (4 * half + run)) & 1;
        low | high << 2
    }

    /// All codes in element order.
    #[inline]
    pub fn unpack(&self, codes: &mut [u8; LEN]) {
        for (run, out) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let low = &self.0[32 + run / 4 * 32..];
            for ((code, &low), &high) in out.iter_mut().zip(low).zip(&self.0[..32]) {
                *code = (low >> (run % 4 * 2)) & 3 | ((high >> run) & 1) << 2;
            }
        }
    }

    /// All weights in element order.
    #[inline]
    pub fn dequantize(&self, out: &mut [f32; LEN]) {
        let d = self.d();
        let mut codes = [0; LEN];
        self.unpack(&mut codes);
        let subs = out.as_chunks_mut::<SUB_LEN>().0.iter_mut().zip(codes.as_chunks::<SUB_LEN>().0);
        for ((out, codes), scale) in subs.zip(self.scales()) {
            let scale = d * f32::from(scale);
            for (y, &q) in out.iter_mut().zip(codes) {
                *y = scale * (i32::from(q) - OFFSET) as f32;
            }
        }
    }
}

/// Where the element of largest magnitude may lie.
const TARGETS: [Targets; 2] =
    [Targets { first: -5.2, step: 0.2, count: 11 }, Targets { first: 2.4, step: 0.3, count: 5 }];

#[inline]
fn level(x: f32) -> f32 {
    nearest(x, -4.0, 3.0)
}

/// Encodes finite weights, searching scales as [Q6_K](crate::q6_k::encode) does.
///
/// # Errors
/// [`ScaleTooLarge`] where d exceeds half precision.
pub fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let subs = src.as_chunks::<SUB_LEN>().0.as_chunks::<16>().0;
    let importance = importance.map(|w| &w.as_chunks::<SUB_LEN>().0.as_chunks::<16>().0[0]);
    let fit = ScaledBlock::fit(&subs[0], importance, 32.0, &TARGETS, level)?;

    out.fill(0);
    for (k, x) in subs[0].iter().enumerate() {
        let scale = (fit.scales[k] + 32).cast_unsigned();
        out[96 + k % 8] |= (scale & 15) << (k / 8 * 4);
        out[104 + k % 4] |= (scale >> 4) << (k / 4 * 2);
        let (inverse, run, at) = (fit.inverse(k), k / 2, k % 2 * 16);
        for (j, &x) in x.iter().enumerate() {
            let code = (level(x * inverse) + 4.0) as u8;
            out[at + j] |= (code >> 2) << run;
            out[32 + run / 4 * 32 + at + j] |= (code & 3) << (run % 4 * 2);
        }
    }
    out[108..].copy_from_slice(&fit.d.to_le_bytes());
    Ok(())
}
