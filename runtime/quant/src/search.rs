//! Choosing scales: what the encoders share.

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

/// Nearest code in `0..=max` for a quotient that may be anything, NaN included (which gives 0).
#[inline]
pub(crate) fn nearest_code(x: f32, max: u8) -> u8 {
    ((x + 0.5) as u8).min(max)
}

/// Fits `x ≈ scale * code - min` with codes in `0..=max_code`, scale ≥ 0 and min ≥ 0, minimizing the
/// squared error weighted with `weights`.
///
/// Tries rounding grids a little coarser and finer than the one that spans the range: clipping the
/// extremes often buys the bulk more precision. Each grid's codes determine scale and min by linear
/// regression; the fit with the smallest residual wins. min is kept non-negative because the formats
/// store it unsigned.
pub(crate) fn fit_affine<const N: usize>(x: &[f32; N], weights: &[f32; N], max_code: u8) -> (f32, f32) {
    const GRIDS: u8 = 24;
    let (lo, hi) = range(x);
    let lo = lo.min(0.0);
    let span = hi - lo;
    if span.is_nan() || span <= 0.0 {
        return (0.0, -lo);
    }
    let levels = f32::from(max_code);
    let sums = |f: &dyn Fn(usize) -> f32| (0..N).map(f).sum::<f32>();
    let sw = sums(&|i| weights[i]);
    let sx = sums(&|i| weights[i] * x[i]);

    let mut best = (span / levels, -lo);
    let mut best_error = f32::INFINITY;
    for grid in 0..=GRIDS {
        let inverse = (levels - 1.2 + 0.1 * f32::from(grid)) / span;
        let (mut sl, mut sll, mut sxl) = (0.0f32, 0.0f32, 0.0f32);
        let mut codes = [0.0f32; N];
        for i in 0..N {
            let code = f32::from(nearest_code((x[i] - lo) * inverse, max_code));
            codes[i] = code;
            sl += weights[i] * code;
            sll += weights[i] * code * code;
            sxl += weights[i] * code * x[i];
        }
        let determinant = sw * sll - sl * sl;
        if determinant.is_nan() || determinant <= 0.0 {
            continue;
        }
        let mut scale = (sw * sxl - sx * sl) / determinant;
        let mut offset = (sll * sx - sl * sxl) / determinant;
        if offset > 0.0 {
            offset = 0.0;
            scale = sxl / sll;
        }
        let error = sums(&|i| {
            let rest = scale * codes[i] + offset - x[i];
            weights[i] * rest * rest
        });
        if error < best_error && scale >= 0.0 {
            best_error = error;
            best = (scale, -offset);
        }
    }
    best
}

/// Fits `x ≈ scale * code` with codes in `-half..half`, minimizing the squared error weighted with
/// the squares of `x`. The scale may be negative: the element of largest magnitude is put on the side
/// that has one code more.
pub(crate) fn fit_symmetric<const N: usize>(x: &[f32; N], half: i32) -> f32 {
    // Far below what a half-precision scale can express; keeps the inverse finite.
    const NEGLIGIBLE: f32 = 1e-15;
    let extreme = signed_extreme(x);
    if extreme.abs() < NEGLIGIBLE {
        return 0.0;
    }
    let (mut best, mut best_gain) = (extreme / -half as f32, 0.0f32);
    for grid in -9i8..=9 {
        let inverse = -(half as f32 + 0.1 * f32::from(grid)) / extreme;
        let (mut sxl, mut sll) = (0.0f32, 0.0f32);
        for &x in x {
            let code = round_half_away(x * inverse).clamp(-half, half - 1) as f32;
            sxl += x * x * x * code;
            sll += x * x * code * code;
        }
        // The residual of the best scale for these codes is constant minus sxl²/sll.
        let gain = sxl * sxl / sll;
        if gain > best_gain {
            best_gain = gain;
            best = sxl / sll;
        }
    }
    best
}
