//! NVFP4: 64 weights in 36 bytes, 4.5 bits per weight, four sub-blocks of 16.
//! weight = scale * value of a 4-bit float (E2M1), scale an unsigned 8-bit float (UE4M3).
//!
//! | bytes | content |
//! |---|---|
//! | 0..4 | the scales of the sub-blocks |
//! | 4..36 | codes 0..=15: byte 8k+j holds element 16k+j in bits 0..4 and element 16k+8+j in bits 4..8 |
//!
//! Codes as in [MXFP4](crate::mxfp4), doubled likewise. A scale has its exponent, biased by 7, in
//! bits 3..7 and its fraction in bits 0..3; exponent 0 is subnormal. As in ggml, bit 7 is ignored,
//! except that 0x7f, which would be NaN, is 0 and 0xff is 480. Files add a scale per tensor, in a
//! tensor of its own: it is not part of the block.

use crate::mxfp4::{LEVELS, TABLE, code};
use crate::search::{ScaleTooLarge, largest_magnitude, sum, weights};

/// Elements per block.
pub const LEN: usize = 64;
/// Bytes per block.
pub const BYTES: usize = 36;
/// Elements that share a scale.
pub const SUB_LEN: usize = 16;

/// A view of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(pub &'a [u8; BYTES]);

impl Block<'_> {
    /// The scales, of [`LEVELS`], of the four sub-blocks.
    #[inline]
    pub fn scales(&self) -> [f32; 4] {
        core::array::from_fn(|k| half_scale(self.0[k]))
    }

    /// Code of element `i % 64`, 0..=15.
    #[inline]
    pub fn quant(&self, i: usize) -> u8 {
        (self.0[4 + i % LEN / 16 * 8 + i % 8] >> (i % 16 / 8 * 4)) & 15
    }

    /// All codes in element order.
    #[inline]
    pub fn unpack(&self, codes: &mut [u8; LEN]) {
        let packed = self.0[4..].as_chunks::<8>().0;
        for (out, bytes) in codes.as_chunks_mut::<SUB_LEN>().0.iter_mut().zip(packed) {
            for j in 0..8 {
                out[j] = bytes[j] & 15;
                out[j + 8] = bytes[j] >> 4;
            }
        }
    }

    /// All weights in element order.
    #[inline]
    pub fn dequantize(&self, out: &mut [f32; LEN]) {
        let mut codes = [0; LEN];
        self.unpack(&mut codes);
        let subs = out.as_chunks_mut::<SUB_LEN>().0.iter_mut().zip(codes.as_chunks::<SUB_LEN>().0);
        for ((out, codes), scale) in subs.zip(self.scales()) {
            for (y, &q) in out.iter_mut().zip(codes) {
                *y = f32::from(LEVELS[usize::from(q & 15)]) * scale;
            }
        }
    }
}

/// Half the value of a UE4M3 scale.
#[inline]
pub fn half_scale(code: u8) -> f32 {
    let (exponent, fraction) = (u32::from(code >> 3 & 15), u32::from(code & 7));
    match code {
        0x7f => 0.0,
        _ if exponent == 0 => fraction as f32 * (1.0 / 1024.0),
        _ => f32::from_bits((exponent + 127 - 8) << 23 | fraction << 20),
    }
}

/// Largest scale code; the next one is NaN.
const LARGEST: u8 = 0x7e;

/// Encodes finite weights. ggml maps the largest magnitude of a sub-block to 6; here the scales
/// around that are tried too, and the smallest error wins.
///
/// # Errors
/// [`ScaleTooLarge`] where a magnitude exceeds six times the largest scale, 448.
pub fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let subs = src.as_chunks::<SUB_LEN>().0.iter().zip(out[4..].as_chunks_mut::<8>().0);
    let mut scales = [0; 4];
    for (k, (x, bytes)) in subs.enumerate() {
        let scale = choose(x, &weights(x, importance.map(|w| &w.as_chunks::<SUB_LEN>().0[k])))?;
        let inverse = if scale == 0 { 0.0 } else { 1.0 / half_scale(scale) };
        *bytes = core::array::from_fn(|j| code(x[j] * inverse) | code(x[j + 8] * inverse) << 4);
        scales[k] = scale;
    }
    out[..4].copy_from_slice(&scales);
    Ok(())
}

/// The scale with the smallest error.
fn choose(x: &[f32; SUB_LEN], weights: &[f32; SUB_LEN]) -> Result<u8, ScaleTooLarge> {
    let largest = largest_magnitude(x);
    if largest > 6.0 * 448.0 {
        return Err(ScaleTooLarge { value: largest / 6.0 });
    }
    // The codes ascend with the scale, so this is where the largest magnitude maps to 6 or less.
    let centre = (1..LARGEST).find(|&c| 12.0 * half_scale(c) >= largest).unwrap_or(LARGEST);
    let mut best = (0, sum::<SUB_LEN>(|i| weights[i] * x[i] * x[i]));
    for scale in centre.saturating_sub(6).max(1)..=centre.saturating_add(5).min(LARGEST) {
        let (d, inverse) = (half_scale(scale), 1.0 / half_scale(scale));
        let error = sum::<SUB_LEN>(|i| {
            let rest = TABLE.nearest(x[i] * inverse) * d - x[i];
            weights[i] * rest * rest
        });
        if error < best.1 {
            best = (scale, error);
        }
    }
    Ok(best.0)
}
