//! Choosing scales: what the encoders share.
//!
//! ```text
//! search.rs           rounding, sums, weights
//! search/levels.rs    the nearest of a table of values
//! search/scale.rs     one scale for a run of elements
//! search/affine.rs    a scale and an offset for a run; super-blocks of such runs (Q2_K, Q4_K, Q5_K)
//! search/scaled.rs    super-blocks of runs with a scale (Q3_K, Q6_K, IQ4_XS)
//! search/ternary.rs   the best scale of three levels
//! ```

mod affine;
mod levels;
mod scale;
mod scaled;
mod ternary;

pub(crate) use affine::{AffineBlock, Offset, Ranges, fit_affine};
pub(crate) use levels::Levels;
pub(crate) use scale::{Targets, fit_scale};
pub(crate) use scaled::ScaledBlock;
pub(crate) use ternary::fit_ternary;

use crate::f32_to_f16;
use core::fmt;

/// A block whose scale or minimum does not fit half precision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaleTooLarge {
    /// The scale or minimum that does not fit.
    pub value: f32,
}

impl fmt::Display for ScaleTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a block scale of {} exceeds half precision (65504)", self.value)
    }
}

impl core::error::Error for ScaleTooLarge {}

/// Rounds a scale to half precision, refusing what is not finite there.
pub(crate) fn to_scale(value: f32) -> Result<u16, ScaleTooLarge> {
    let half = f32_to_f16(value);
    if half & 0x7c00 == 0x7c00 { Err(ScaleTooLarge { value }) } else { Ok(half) }
}

/// The first element of largest magnitude, with its sign; 0 for an all-zero slice.
pub(crate) fn signed_extreme(src: &[f32]) -> f32 {
    src.iter().fold(0.0, |best: f32, &x| if x.abs() > best.abs() { x } else { best })
}

/// The largest magnitude.
pub(crate) fn largest_magnitude(src: &[f32]) -> f32 {
    src.iter().fold(0.0, |best, x| x.abs().max(best))
}

/// The smallest and the largest element.
pub(crate) fn range(src: &[f32]) -> (f32, f32) {
    src.iter().fold((f32::MAX, f32::MIN), |(lo, hi), &x| (if x < lo { x } else { lo }, if x > hi { x } else { hi }))
}

/// `x.round()`, saturating at a billion, far beyond any code: the same result, but it vectorizes
/// without SSE4. NaN gives 0.
#[inline]
pub(crate) fn round_half_away(x: f32) -> i32 {
    let x = x.clamp(-1e9, 1e9);
    let whole = x as i32;
    let rest = x - whole as f32;
    whole + i32::from(rest >= 0.5) - i32::from(rest <= -0.5)
}

/// The integer in `low..=high` nearest to a quotient that may be anything, NaN included (which gives
/// `low`). As a float, because this is the inner loop of every search: adding 1.5 * 2^23 leaves no
/// fraction bits, so it rounds without leaving the vector registers.
#[inline]
pub(crate) fn nearest(x: f32, low: f32, high: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    (x.max(low).min(high) + ROUND) - ROUND
}

/// `f(0) + ... + f(N - 1)` in eight interleaved sums, which the compiler may keep in vector registers;
/// it may not do that to a plain sum, whose order of additions is observable. `N` is a multiple of 8.
#[inline]
pub(crate) fn sum<const N: usize>(f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; 8];
    for start in (0..N).step_by(8) {
        for (lane, total) in lanes.iter_mut().enumerate() {
            *total += f(start + lane);
        }
    }
    lanes.iter().sum()
}

/// How much each element counts: its importance, or, where all columns are alike, somewhat more the
/// larger it is, as in ggml. That costs 1 to 2 percent of squared error against counting all alike.
/// At most about 1 + √N.
#[inline]
pub(crate) fn weights<const N: usize>(x: &[f32; N], importance: Option<&[f32; N]>) -> [f32; N] {
    if let Some(importance) = importance {
        return *importance;
    }
    let rms = (sum::<N>(|i| x[i] * x[i]) / N as f32).sqrt();
    if rms > 0.0 && rms.is_finite() { x.map(|v| 1.0 + v.abs() / rms) } else { [1.0; N] }
}

/// Below this, squares and cubes underflow; a half-precision scale cannot express it by far.
pub(crate) const NEGLIGIBLE: f32 = 1e-12;
