//! IQ4_XS: 256 weights in 136 bytes, 4.25 bits per weight, eight sub-blocks of 32.
//! weight = (d * (scale - 32)) * LEVELS\[code\], with the levels of [IQ4_NL](crate::iq4_nl) and scale a
//! 6-bit number of its sub-block.
//!
//! | bytes | content |
//! |---|---|
//! | 0..2 | d, half precision |
//! | 2..4 | u16: bits 2k..2k+2 are bits 4..6 of scale k |
//! | 4..8 | bits 0..4 of the scales: byte k/2, the lower nibble for even k |
//! | 8..136 | codes 0..=15: byte 16k+j holds element 32k+j in bits 0..4 and element 32k+16+j in bits 4..8 |

use crate::f16_to_f32;
use crate::iq4_nl::{LEVELS, TABLE, TARGETS};
use crate::search::{ScaleTooLarge, ScaledBlock};

/// Elements per block.
pub const LEN: usize = 256;
/// Bytes per block.
pub const BYTES: usize = 136;
/// Elements that share a scale.
pub const SUB_LEN: usize = 32;

/// A view of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(pub &'a [u8; BYTES]);

impl Block<'_> {
    /// The scale of the scales.
    #[inline]
    pub fn d(&self) -> f32 {
        f16_to_f32(u16::from_le_bytes([self.0[0], self.0[1]]))
    }

    /// The signed scales of the eight sub-blocks, -32..=31.
    #[inline]
    pub fn scales(&self) -> [i8; 8] {
        let high = u16::from_le_bytes([self.0[2], self.0[3]]);
        core::array::from_fn(|k| {
            let low = (self.0[4 + k / 2] >> (k % 2 * 4)) & 15;
            let high = ((high >> (2 * k)) & 3) as u8;
            (low | high << 4).cast_signed() - 32
        })
    }

    /// Code of element `i % 256`, 0..=15.
    #[inline]
    pub fn quant(&self, i: usize) -> u8 {
        (self.0[8 + i % LEN / 32 * 16 + i % 16] >> (i % 32 / 16 * 4)) & 15
    }

    /// All codes in element order.
    #[inline]
    pub fn unpack(&self, codes: &mut [u8; LEN]) {
        let packed = self.0[8..].as_chunks::<16>().0;
        for (out, bytes) in codes.as_chunks_mut::<SUB_LEN>().0.iter_mut().zip(packed) {
            for j in 0..16 {
                out[j] = bytes[j] & 15;
                out[j + 16] = bytes[j] >> 4;
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
                *y = scale * f32::from(LEVELS[usize::from(q & 15)]);
            }
        }
    }
}

/// Encodes finite weights, searching scales as [Q6_K](crate::q6_k::encode) does.
///
/// # Errors
/// [`ScaleTooLarge`] where d exceeds half precision.
pub fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    let subs = src.as_chunks::<SUB_LEN>().0.as_chunks::<8>().0;
    let importance = importance.map(|w| &w.as_chunks::<SUB_LEN>().0.as_chunks::<8>().0[0]);
    let fit = ScaledBlock::fit(&subs[0], importance, 32.0, &TARGETS, |x| TABLE.nearest(x))?;

    out[..2].copy_from_slice(&fit.d.to_le_bytes());
    out[2..8].fill(0);
    for (k, (x, bytes)) in subs[0].iter().zip(out[8..].as_chunks_mut::<16>().0).enumerate() {
        let inverse = fit.inverse(k);
        *bytes = core::array::from_fn(|j| TABLE.place(x[j] * inverse) | TABLE.place(x[j + 16] * inverse) << 4);
    }
    for (k, scale) in fit.scales.iter().enumerate() {
        let scale = (scale + 32).cast_unsigned();
        out[2 + k / 4] |= (scale >> 4) << (k % 4 * 2);
        out[4 + k / 2] |= (scale & 15) << (k % 2 * 4);
    }
    Ok(())
}
