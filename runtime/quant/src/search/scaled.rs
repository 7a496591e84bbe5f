//! Super-blocks of runs with a scale.

use super::{NEGLIGIBLE, ScaleTooLarge, Targets, fit_scale, nearest, signed_extreme, sum, to_scale, weights};
use crate::f16_to_f32;

/// Factors on the step that maps the largest scale to the end of its range.
const SHRINKS: [f32; 3] = [1.0, 0.9, 0.8];

/// A super-block of K runs of S elements: weight = (d * scale) * level, scale being a small signed
/// number of the run in -top..top.
#[derive(Clone, Debug)]
pub(crate) struct ScaledBlock<const K: usize> {
    /// d, half precision.
    pub d: u16,
    /// The scale of each run.
    pub scales: [i8; K],
    error: f32,
}

impl<const K: usize> ScaledBlock<K> {
    /// Fits each run with one of `targets`, then chooses d and the scales together, for what they are
    /// once rounded. `level` gives the nearest level to a quotient.
    pub(crate) fn fit<const S: usize>(
        src: &[[f32; S]; K],
        importance: Option<&[[f32; S]; K]>,
        top: f32,
        targets: &[Targets],
        level: impl Fn(f32) -> f32 + Copy,
    ) -> Result<Self, ScaleTooLarge> {
        let runs: [Run<'_, S>; K] = core::array::from_fn(|k| {
            let weights = weights(&src[k], importance.map(|w| &w[k]));
            Run { x: &src[k], weights, fit: fit_scale(&src[k], &weights, targets, level) }
        });
        // The largest scale maps to -top, the side with one step more.
        let step = signed_extreme(&runs.each_ref().map(|r| r.fit)) / -top;

        let mut best = Self::choose(&runs, to_scale(step)?, top, level);
        let mut candidate = best.clone();
        for shrink in SHRINKS {
            if shrink < 1.0 {
                candidate = Self::choose(&runs, to_scale(step * shrink)?, top, level);
            }
            let second = Self::choose(&runs, to_scale(candidate.refit(&runs, level))?, top, level);
            for choice in [&candidate, &second] {
                if choice.error < best.error {
                    best = choice.clone();
                }
            }
        }
        Ok(best)
    }

    /// What the elements of run `k` are divided by before rounding, inverted; 0 where the scale is.
    pub(crate) fn inverse(&self, k: usize) -> f32 {
        invert(f16_to_f32(self.d) * f32::from(self.scales[k]))
    }

    fn choose<const S: usize>(runs: &[Run<'_, S>; K], d: u16, top: f32, level: impl Fn(f32) -> f32 + Copy) -> Self {
        let mut choice = Self { d, scales: [0; K], error: 0.0 };
        for (scale, run) in choice.scales.iter_mut().zip(runs) {
            let (best, error) = run.choose(f16_to_f32(d), top, level);
            *scale = best;
            choice.error += error;
        }
        choice
    }

    /// The d that fits best, by linear regression, with all levels and scales as they are.
    fn refit<const S: usize>(&self, runs: &[Run<'_, S>; K], level: impl Fn(f32) -> f32 + Copy) -> f32 {
        let d = f16_to_f32(self.d);
        let (mut ll, mut xl) = (0.0f32, 0.0f32);
        for (k, run) in runs.iter().enumerate() {
            let (inverse, scale) = (self.inverse(k), f32::from(self.scales[k]));
            let levels: [f32; S] = core::array::from_fn(|i| level(run.x[i] * inverse));
            ll += sum::<S>(|i| run.weights[i] * levels[i] * levels[i]) * scale * scale;
            xl += sum::<S>(|i| run.weights[i] * levels[i] * run.x[i]) * scale;
        }
        let refitted = xl / ll;
        if refitted.is_finite() { refitted } else { d }
    }
}

/// What is known about a run before d is.
struct Run<'a, const S: usize> {
    x: &'a [f32; S],
    weights: [f32; S],
    /// The best unrounded scale.
    fit: f32,
}

impl<const S: usize> Run<'_, S> {
    /// The scale near the fit with the smallest weighted error, and that error.
    fn choose(&self, d: f32, top: f32, level: impl Fn(f32) -> f32) -> (i8, f32) {
        let centre = if d == 0.0 { 0.0 } else { nearest(self.fit / d, -top, top - 1.0) };
        let (mut best, mut best_error) = (0, f32::INFINITY);
        for step in [0.0, -1.0, 1.0] {
            let candidate = (centre + step).clamp(-top, top - 1.0);
            let scale = d * candidate;
            let inverse = invert(scale);
            let levels: [f32; S] = core::array::from_fn(|i| level(self.x[i] * inverse));
            let error = sum::<S>(|i| {
                let rest = scale * levels[i] - self.x[i];
                self.weights[i] * rest * rest
            });
            if error < best_error {
                (best, best_error) = (candidate as i8, error);
            }
        }
        (best, best_error)
    }
}

/// The inverse of a scale; 0 for one that is nothing.
#[inline]
fn invert(scale: f32) -> f32 {
    if scale.abs() < NEGLIGIBLE { 0.0 } else { 1.0 / scale }
}
