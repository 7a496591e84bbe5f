//! A scale and an offset for a run of elements, and super-blocks of such runs.

use super::{ScaleTooLarge, nearest, range, sum, to_scale, weights};
use crate::f16_to_f32;

/// What offsets a format can store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offset {
    /// Zero and below: the K formats store its negative unsigned.
    NotPositive,
    /// All.
    Any,
}

/// Fits `x ≈ scale * code + offset` with codes in `0..=max_code` and scale ≥ 0, minimizing the squared
/// error weighted with `weights`. Returns scale and offset.
///
/// Tries rounding grids a little coarser and finer than the one that spans the range: clipping the
/// extremes often buys the bulk more precision. Each grid's codes determine scale and min by linear
/// regression; the fit with the smallest residual wins. Then codes and regression in turn.
pub(crate) fn fit_affine<const N: usize>(
    x: &[f32; N],
    weights: &[f32; N],
    max_code: u8,
    offsets: Offset,
) -> (f32, f32) {
    const GRIDS: u8 = 12;
    const REFINEMENTS: u8 = 4;
    let (lo, hi) = range(x);
    let lo = if offsets == Offset::Any { lo } else { lo.min(0.0) };
    let span = hi - lo;
    if span.is_nan() || span <= 0.0 {
        return (0.0, lo);
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
        if offset > 0.0 && offsets == Offset::NotPositive {
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
        let inverse = (levels - 1.2 + 0.2 * f32::from(grid)) / (hi - best.1);
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
    (best.0, best.1)
}

/// Factors on the steps that map the largest scale and minimum to the largest number.
const SHRINKS: [f32; 3] = [1.0, 0.85, 0.7];

/// A super-block of K runs of S elements: weight = (d * scale) * code - (dmin * min), scale and min
/// being small unsigned numbers of the run.
#[derive(Clone, Debug)]
pub(crate) struct AffineBlock<const K: usize> {
    /// d, half precision.
    pub d: u16,
    /// dmin, half precision.
    pub dmin: u16,
    /// Scale and min of each run.
    pub pairs: [(u8, u8); K],
    error: f32,
}

/// The largest values that a format stores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ranges {
    /// Of a code.
    pub code: u8,
    /// Of a scale and a min.
    pub pair: u8,
}

impl<const K: usize> AffineBlock<K> {
    /// Fits each run over several rounding grids, then chooses the block's two scales and the small
    /// numbers together, for what they are once rounded.
    ///
    /// The largest run decides the step of the small numbers for all. Where it stands out, giving up
    /// some of its range buys the others precision, so smaller steps are tried too.
    pub(crate) fn fit<const S: usize>(
        src: &[[f32; S]; K],
        importance: Option<&[[f32; S]; K]>,
        ranges: Ranges,
    ) -> Result<Self, ScaleTooLarge> {
        let runs: [Run<'_, S>; K] = core::array::from_fn(|k| Run::new(&src[k], importance.map(|w| &w[k]), ranges));
        let largest = runs.iter().fold((0.0f32, 0.0f32), |l, r| (l.0.max(r.fit.0), l.1.max(r.fit.1)));
        let steps = (largest.0 / f32::from(ranges.pair), largest.1 / f32::from(ranges.pair));

        let mut best = Self::choose(&runs, to_scale(steps.0)?, to_scale(steps.1)?);
        let mut candidate = best.clone();
        for shrink in SHRINKS {
            if shrink < 1.0 {
                candidate = Self::choose(&runs, to_scale(steps.0 * shrink)?, to_scale(steps.1 * shrink)?);
            }
            let (d, dmin) = candidate.refit(&runs);
            let second = Self::choose(&runs, to_scale(d)?, to_scale(dmin)?);
            for choice in [&candidate, &second] {
                if choice.error < best.error {
                    best = choice.clone();
                }
            }
        }
        Ok(best)
    }

    /// The codes of run `k`, which holds `x`.
    pub(crate) fn codes<const S: usize>(&self, k: usize, x: &[f32; S], ranges: Ranges) -> [u8; S] {
        let (scale, min) = self.pairs[k];
        let (scale, min) = (f16_to_f32(self.d) * f32::from(scale), f16_to_f32(self.dmin) * f32::from(min));
        round(x, scale, min, ranges).map(|code| code as u8)
    }

    fn choose<const S: usize>(runs: &[Run<'_, S>; K], d: u16, dmin: u16) -> Self {
        let mut choice = Self { d, dmin, pairs: [(0, 0); K], error: 0.0 };
        for (pair, run) in choice.pairs.iter_mut().zip(runs) {
            let (best, error) = run.choose(f16_to_f32(d), f16_to_f32(dmin));
            *pair = best;
            choice.error += error;
        }
        choice
    }

    /// The block scales that fit best, by linear regression, with all codes and pairs as they are.
    fn refit<const S: usize>(&self, runs: &[Run<'_, S>; K]) -> (f32, f32) {
        let (d, dmin) = (f16_to_f32(self.d), f16_to_f32(self.dmin));
        // Sums of weighted products of a = scale * code, b = min, and x.
        let (mut aa, mut ab, mut bb, mut ax, mut bx) = (0.0f32, 0.0f32, 0.0f32, 0.0f32, 0.0f32);
        for (run, pair) in runs.iter().zip(self.pairs) {
            let (scale, b) = (f32::from(pair.0), f32::from(pair.1));
            let codes = round(run.x, d * scale, dmin * b, run.ranges);
            let (w, x) = (&run.weights, run.x);
            aa += sum::<S>(|i| w[i] * codes[i] * codes[i]) * scale * scale;
            ab += sum::<S>(|i| w[i] * codes[i]) * scale * b;
            bb += sum::<S>(|i| w[i]) * b * b;
            ax += sum::<S>(|i| w[i] * codes[i] * x[i]) * scale;
            bx += sum::<S>(|i| w[i] * x[i]) * b;
        }
        let determinant = aa * bb - ab * ab;
        let (new_d, new_dmin) = if determinant > 0.0 {
            ((ax * bb - bx * ab) / determinant, (ax * ab - bx * aa) / determinant)
        } else if aa > 0.0 {
            (ax / aa, dmin)
        } else {
            (d, dmin)
        };
        // The regression may leave the range that the format can express; then it has nothing to offer.
        if new_d.is_finite() && new_dmin.is_finite() && new_d >= 0.0 && new_dmin >= 0.0 {
            (new_d, new_dmin)
        } else {
            (d, dmin)
        }
    }
}

/// What is known about a run before the block's scales are.
struct Run<'a, const S: usize> {
    x: &'a [f32; S],
    weights: [f32; S],
    /// The best unrounded scale and minimum.
    fit: (f32, f32),
    ranges: Ranges,
}

impl<'a, const S: usize> Run<'a, S> {
    fn new(x: &'a [f32; S], importance: Option<&[f32; S]>, ranges: Ranges) -> Self {
        let weights = weights(x, importance);
        let (scale, offset) = fit_affine(x, &weights, ranges.code, Offset::NotPositive);
        Self { x, weights, fit: (scale, -offset), ranges }
    }

    /// The pair of numbers near the fit with the smallest weighted error, and that error.
    fn choose(&self, d: f32, dmin: f32) -> ((u8, u8), f32) {
        let top = self.ranges.pair;
        let near =
            |value: f32, unit: f32| if unit > 0.0 { nearest(value / unit, 0.0, f32::from(top)) as u8 } else { 0 };
        let (scale0, min0) = (near(self.fit.0, d), near(self.fit.1, dmin));
        let (mut best, mut best_error) = ((scale0, min0), f32::INFINITY);
        for scale_code in scale0.saturating_sub(1)..=(scale0 + 1).min(top) {
            for min_code in min0.saturating_sub(1)..=(min0 + 1).min(top) {
                let (scale, min) = (d * f32::from(scale_code), dmin * f32::from(min_code));
                let codes = round(self.x, scale, min, self.ranges);
                let error = sum::<S>(|i| {
                    let rest = scale * codes[i] - min - self.x[i];
                    self.weights[i] * rest * rest
                });
                if error < best_error {
                    (best, best_error) = ((scale_code, min_code), error);
                }
            }
        }
        (best, best_error)
    }
}

/// Codes, as whole floats, that a scale and a minimum give.
#[inline]
fn round<const S: usize>(x: &[f32; S], scale: f32, min: f32, ranges: Ranges) -> [f32; S] {
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let top = f32::from(ranges.code);
    core::array::from_fn(|i| nearest((x[i] + min) * inverse, 0.0, top))
}
