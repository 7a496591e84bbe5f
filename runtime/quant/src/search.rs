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

/// Fits `x ≈ scale * code - min` with codes in `0..=max_code`, scale ≥ 0 and min ≥ 0, minimizing the
/// squared error weighted with `weights`.
///
/// Tries rounding grids a little coarser and finer than the one that spans the range: clipping the
/// extremes often buys the bulk more precision. Each grid's codes determine scale and min by linear
/// regression; the fit with the smallest residual wins. min is kept non-negative because the formats
/// store it unsigned.
pub(crate) fn fit_affine<const N: usize>(x: &[f32; N], weights: &[f32; N], max_code: u8) -> (f32, f32) {
    const GRIDS: u8 = 24;
    const REFINEMENTS: u8 = 4;
    let (lo, hi) = range(x);
    let lo = lo.min(0.0);
    let span = hi - lo;
    if span.is_nan() || span <= 0.0 {
        return (0.0, -lo);
    }
    let levels = f32::from(max_code);
    let sw = sum::<N>(|i| weights[i]);
    let sx = sum::<N>(|i| weights[i] * x[i]);

    // For given codes, the scale and the offset (minus the minimum) by regression, and the residual.
    let regress = |codes: &[f32; N]| {
        let sl = sum::<N>(|i| weights[i] * codes[i]);
        let sll = sum::<N>(|i| weights[i] * codes[i] * codes[i]);
        let sxl = sum::<N>(|i| weights[i] * codes[i] * x[i]);
        let determinant = sw * sll - sl * sl;
        let mut scale = (sw * sxl - sx * sl) / determinant;
        let mut offset = (sll * sx - sl * sxl) / determinant;
        if offset > 0.0 {
            (scale, offset) = (sxl / sll, 0.0);
        }
        let error = sum::<N>(|i| {
            let rest = scale * codes[i] + offset - x[i];
            weights[i] * rest * rest
        });
        // Codes that are all equal leave NaN, which no comparison prefers.
        (scale, offset, if scale >= 0.0 { error } else { f32::INFINITY })
    };

    let mut best = (span / levels, lo, f32::INFINITY);
    for grid in 0..=GRIDS {
        // The grid begins at the best offset so far: with an outlier below, that is far from the minimum.
        let inverse = (levels - 1.2 + 0.1 * f32::from(grid)) / (hi - best.1);
        let fit = regress(&core::array::from_fn(|i| nearest((x[i] - best.1) * inverse, 0.0, levels)));
        if fit.2 < best.2 {
            best = fit;
        }
    }
    // Codes and regression in turn, until they agree.
    for _ in 0..REFINEMENTS {
        let inverse = 1.0 / best.0;
        let fit = regress(&core::array::from_fn(|i| nearest((x[i] - best.1) * inverse, 0.0, levels)));
        if fit.2 < best.2 {
            best = fit;
        } else {
            break;
        }
    }
    (best.0, -best.1)
}

/// Fits `x ≈ scale * code` with codes in `-half..half`, minimizing the squared error weighted with
/// the squares of `x`. The scale may be negative: the element of largest magnitude is put on the side
/// that has one code more.
pub(crate) fn fit_symmetric<const N: usize>(x: &[f32; N], half: f32) -> f32 {
    // Far below what a half-precision scale can express; keeps the inverse finite.
    const NEGLIGIBLE: f32 = 1e-15;
    let extreme = signed_extreme(x);
    if extreme.abs() < NEGLIGIBLE {
        return 0.0;
    }
    let (mut best, mut best_gain) = (extreme / -half, 0.0f32);
    for grid in -9i8..=9 {
        let inverse = -(half + 0.1 * f32::from(grid)) / extreme;
        let codes: [f32; N] = core::array::from_fn(|i| nearest(x[i] * inverse, -half, half - 1.0));
        let sxl = sum::<N>(|i| x[i] * x[i] * x[i] * codes[i]);
        let sll = sum::<N>(|i| x[i] * x[i] * codes[i] * codes[i]);
        // The residual of the best scale for these codes is constant minus sxl²/sll.
        let gain = sxl * sxl / sll;
        if gain > best_gain {
            best_gain = gain;
            best = sxl / sll;
        }
    }
    best
}
