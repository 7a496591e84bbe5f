//! Q6_K: 256 weights in 210 bytes, 6.5625 bits per weight, sixteen sub-blocks of 16.
//! weight = (d * scale) * (code - 32), scale being a signed byte of its sub-block.
//!
//! | bytes | content |
//! |---|---|
//! | 0..128 | bits 0..4 of the codes |
//! | 128..192 | bits 4..6 of the codes |
//! | 192..208 | sixteen scales, signed bytes |
//! | 208..210 | d, half precision |
//!
//! Each half h (128 elements) has 64 low bytes and 32 high bytes of its own. In it, element 32r+j
//! (r < 4) has its low bits in byte 32(r%2)+j, the lower nibble for r < 2 and the upper one after,
//! and its high bits in byte j, bits 2r..2r+2.

use crate::f16_to_f32;
use crate::search::{ScaleTooLarge, ScaledBlock, Targets, nearest};

/// Elements per block.
pub const LEN: usize = 256;
/// Bytes per block.
pub const BYTES: usize = 210;
/// Elements that share a scale.
pub const SUB_LEN: usize = 16;
/// Subtracted from a code to give its signed value.
pub const OFFSET: i32 = 32;

/// A view of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(pub &'a [u8; BYTES]);

impl Block<'_> {
    /// The scale of the scales. Encoders may make it negative.
    #[inline]
    pub fn d(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes([self.0[208], self.0[209]]))
    }

    /// Scale of sub-block `i % 16`.
    #[inline]
    pub fn scale(&self, i: usize) -> i8 {
        self.0[192 + i % 16].cast_signed()
    }

    /// All sixteen scales.
    #[inline]
    pub fn scales(&self) -> [i8; 16] {
        core::array::from_fn(|i| self.scale(i))
    }

    /// Code of element `i % 256`, 0..=63.
    #[inline]
    pub fn quant(&self, i: usize) -> u8 {
        let (half, run, j) = (i % LEN / 128, i % 128 / 32, i % 32);
        let low = (self.0[64 * half + 32 * (run % 2) + j] >> (run / 2 * 4)) & 15;
        let high = (self.0[128 + 32 * half + j] >> (2 * run)) & 3;
        low | high << 4
    }

    /// All codes in element order.
    #[inline]
    pub fn unpack(&self, codes: &mut [u8; LEN]) {
        let lows = self.0[..128].as_chunks::<64>().0;
        let highs = self.0[128..192].as_chunks::<32>().0;
        for ((out, low), high) in codes.as_chunks_mut::<128>().0.iter_mut().zip(lows).zip(highs) {
            for j in 0..32 {
                out[j] = (low[j] & 15) | (high[j] & 3) << 4;
                out[j + 32] = (low[j + 32] & 15) | ((high[j] >> 2) & 3) << 4;
                out[j + 64] = (low[j] >> 4) | ((high[j] >> 4) & 3) << 4;
                out[j + 96] = (low[j + 32] >> 4) | (high[j] >> 6) << 4;
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
    [Targets { first: -33.0, step: 0.2, count: 11 }, Targets { first: 30.2, step: 0.4, count: 5 }];

#[inline]
fn level(x: f32) -> f32 {
    nearest(x, -32.0, 31.0)
}

/// Encodes finite weights. More accurate than ggml's reference: the same search per sub-block, and
/// then d and the 8-bit scales are chosen together, for what they are once rounded.
///
/// # Errors
/// [`ScaleTooLarge`] where d exceeds half precision.
pub fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let subs = src.as_chunks::<SUB_LEN>().0.as_chunks::<16>().0;
    let importance = importance.map(|w| &w.as_chunks::<SUB_LEN>().0.as_chunks::<16>().0[0]);
    let fit = ScaledBlock::fit(&subs[0], importance, 128.0, &TARGETS, level)?;

    let mut codes = [0u8; LEN];
    for (k, (codes, x)) in codes.as_chunks_mut::<SUB_LEN>().0.iter_mut().zip(&subs[0]).enumerate() {
        let inverse = fit.inverse(k);
        *codes = x.map(|x| (level(x * inverse) + 32.0) as u8);
        out[192 + k] = fit.scales[k].cast_unsigned();
    }
    out[208..].copy_from_slice(&fit.d.to_le_bytes());
    let (low, high) = out[..192].split_at_mut(128);
    let halves = low.as_chunks_mut::<64>().0.iter_mut().zip(high.as_chunks_mut::<32>().0);
    for ((low, high), q) in halves.zip(codes.as_chunks::<128>().0) {
        for j in 0..32 {
            low[j] = (q[j] & 15) | q[j + 64] << 4;
            low[j + 32] = (q[j + 32] & 15) | q[j + 96] << 4;
            high[j] = q[j] >> 4 | q[j + 32] >> 4 << 2 | q[j + 64] >> 4 << 4 | q[j + 96] >> 4 << 6;
        }
    }
    Ok(())
}
