//! Q8_K: 256 weights in 292 bytes, 9.125 bits per weight. weight = d * code.
//!
//! ggml rounds activations to it; files hardly ever carry it.
//!
//! | bytes | content |
//! |---|---|
//! | 0..4 | d, single precision |
//! | 4..260 | codes -128..=127, element order |
//! | 260..292 | sixteen i16: the sum of each run of sixteen codes |

use crate::search::{ScaleTooLarge, Targets, fit_scale, nearest, signed_extreme};

/// Elements per block.
pub const LEN: usize = 256;
/// Bytes per block.
pub const BYTES: usize = 292;

/// A view of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(pub &'a [u8; BYTES]);

impl Block<'_> {
    /// The scale.
    #[inline]
    pub fn d(&self) -> f32 {
        f32::from_le_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }

    /// Code of element `i % 256`.
    #[inline]
    pub fn quant(&self, i: usize) -> i8 {
        self.0[4 + i % LEN].cast_signed()
    }

    /// The stored sum of the codes of run `i % 16`.
    #[inline]
    pub fn sum(&self, i: usize) -> i16 {
        let at = 260 + i % 16 * 2;
        i16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    /// All codes in element order.
    #[inline]
    pub fn unpack(&self, codes: &mut [i8; LEN]) {
        for (code, &byte) in codes.iter_mut().zip(&self.0[4..260]) {
            *code = byte.cast_signed();
        }
    }

    /// All weights in element order. The sums do not matter.
    #[inline]
    pub fn dequantize(&self, out: &mut [f32; LEN]) {
        let d = self.d();
        for (y, &byte) in out.iter_mut().zip(&self.0[4..260]) {
            *y = d * f32::from(byte.cast_signed());
        }
    }
}

/// Where the element of largest magnitude may lie.
const TARGETS: [Targets; 1] = [Targets { first: -128.4, step: 0.2, count: 9 }];

/// Encodes finite weights. Without importance, the same bytes as ggml's reference: the element of
/// largest magnitude maps to -127. With importance, d is searched for the smallest weighted error.
///
/// # Errors
/// None: single precision holds every scale.
pub fn encode(src: &[f32; LEN], importance: Option<&[f32; LEN]>, out: &mut [u8; BYTES]) -> Result<(), ScaleTooLarge> {
    out.fill(0);
    let extreme = signed_extreme(src);
    // Relative to the extreme, so that no square overflows: there is no bound on it here.
    let fit = |w| fit_scale(&src.map(|x| x / extreme), w, &TARGETS, |x| nearest(x, -128.0, 127.0));
    let inverse = importance.map_or(-127.0, |w| 1.0 / fit(w)) / extreme;
    // Zeros, and magnitudes so small that nothing is left of the quotient.
    if !inverse.is_finite() || !(1.0 / inverse).is_finite() {
        return Ok(());
    }
    out[..4].copy_from_slice(&(1.0 / inverse).to_le_bytes());
    let (codes, sums) = out[4..].split_at_mut(LEN);
    for (byte, &x) in codes.iter_mut().zip(src) {
        *byte = (nearest(x * inverse, -128.0, 127.0) as i8).cast_unsigned();
    }
    for (sum, run) in sums.as_chunks_mut::<2>().0.iter_mut().zip(codes.as_chunks::<16>().0) {
        *sum = run.iter().map(|&c| i16::from(c.cast_signed())).sum::<i16>().to_le_bytes();
    }
    Ok(())
}
