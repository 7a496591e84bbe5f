//! Encoding a block: its scale, the small numbers that multiply it, and the points.
//!
//! Three steps, each narrowing what the next has to try. Searching points is what costs time.
//! 1. Every sub-block for itself: the scale that would suit it without a codebook, then with it.
//! 2. The block's scale, such that a multiple of it is near each of those; an error in a sub-block's scale costs a
//!    known amount. No points are searched.
//! 3. Numbers and points for that scale, then the best scale for those points, and once more.

use super::signs::{Signs, split};
use super::sub::{Code, Sums};
use crate::f16_to_f32;
use crate::search::{ScaleTooLarge, largest_magnitude, nearest, to_scale, weights};

/// Elements per block of every format with a codebook.
const LEN: usize = 256;

/// What tells the formats apart.
pub(crate) trait Format {
    /// Elements that share a scale.
    const SUB: usize;
    /// Elements that share an index.
    const GROUP: usize;
    /// How many scale numbers there are: 0..SCALES.
    const SCALES: u8;
    /// The factor on d for number 0, and how much more it is for each next number.
    const FACTOR: (f32, f32);
    /// Values that elements take, ascending; without the shifts of IQ1.
    const LEVELS: &'static [f32];
    /// How signs are stored.
    const SIGNS: Signs;

    /// The best codes of a sub-block at this scale. Those in `codes` are where the search begins.
    fn search(x: &[f32], w: &[f32], scale: f32, codes: &mut [Code]) -> Sums;

    /// What a scale number multiplies d by.
    #[inline]
    fn factor(number: u8) -> f32 {
        Self::FACTOR.0 + Self::FACTOR.1 * f32::from(number)
    }

    /// The scale number, not rounded, that gives a scale.
    #[inline]
    fn number(scale: f32, d: f32) -> f32 {
        if d > 0.0 { (scale / d - Self::FACTOR.0) / Self::FACTOR.1 } else { 0.0 }
    }
}

/// A block as a format stores it. A sub-block is a run of `Format::SUB` elements, a group one of `Format::GROUP`.
#[derive(Clone)]
pub(crate) struct Fit {
    /// Half precision.
    pub(crate) d: u16,
    /// By sub-block.
    pub(crate) numbers: [u8; 16],
    /// By group.
    pub(crate) codes: [Code; 64],
    /// By run of eight elements.
    pub(crate) signs: [u8; 32],
}

/// Share of a block's largest magnitude below which a value counts as zero.
const NEGLIGIBLE: f32 = 1e-12;
/// Sub-blocks without codebook are tried at scales that grow by this factor.
const COARSE: f32 = 1.08;
/// The largest of them makes the largest magnitude the largest level and a bit more.
const COARSE_END: f32 = 1.1;
/// The smallest lets levels end where this share of the largest magnitude is; outliers then lose.
const COARSE_START: f32 = 0.4;
/// With codebook they are tried at these multiples of the best.
const FINE: [f32; 2] = [0.96, 1.04];
/// Much more is tried where the codebook costs this many times the error without it, and this share of all.
const SUSPICIOUS: (f32, f32) = (6.0, 0.01);
/// Steps of the block's scale, as shares of the largest it may be.
const D_STEP: f32 = 0.0125;
const D_STEPS: u8 = 40;
const ROUNDS: u8 = 2;

/// Fits a block of finite weights.
pub(crate) fn fit<F: Format>(src: &[f32; LEN], importance: Option<&[f32; LEN]>) -> Result<Fit, ScaleTooLarge> {
    let mut fit = Fit { d: 0, numbers: [0; 16], codes: [Code::default(); 64], signs: [0; 32] };
    // Calculated in units of a power of two near the largest weight, so that nothing overflows or vanishes.
    let unit = f32::from_bits(largest_magnitude(src).to_bits() & 0x7f80_0000);
    if unit == 0.0 {
        return Ok(fit);
    }
    // No code tells such values from zero, and scales that are searched for them would not change when multiplied.
    let mut x = src.map(|v| if (v / unit).abs() < NEGLIGIBLE { 0.0 } else { v / unit });
    // With so few points, importance alone would sacrifice large weights to the many small ones; ggml does not either.
    let mut w = weights(&x, None);
    if let Some(importance) = importance {
        w.iter_mut().zip(importance).for_each(|(w, q)| *w *= q);
    }
    let runs = x.as_chunks_mut().0.iter_mut().zip(w.as_chunks().0);
    for ((x, w), signs) in runs.zip(&mut fit.signs) {
        *signs = split(x, w, F::SIGNS);
    }

    let fits = alone::<F>(&x, &w, &mut fit.codes);
    let mut d = common_scale::<F>(&fits);
    let mut best_error = f32::INFINITY;
    for _ in 0..ROUNDS {
        let bits = to_scale(d * unit)?;
        let mut trial = Fit { d: bits, ..fit.clone() };
        let sums = choose::<F>(&x, &w, &fits, f16_to_f32(bits) / unit, &mut trial);
        if sums.error < best_error {
            best_error = sums.error;
            fit = trial;
        }
        d = sums.scale();
    }
    Ok(fit)
}

/// The sub-blocks of a block: elements, weights, codes.
fn subs<'a, F: Format>(
    x: &'a [f32; LEN],
    w: &'a [f32; LEN],
    codes: &'a mut [Code; 64],
) -> impl Iterator<Item = (&'a [f32], &'a [f32], &'a mut [Code])> {
    let codes = codes.chunks_exact_mut(F::SUB / F::GROUP);
    x.chunks_exact(F::SUB).zip(w.chunks_exact(F::SUB)).zip(codes).map(|((x, w), codes)| (x, w, codes))
}

/// Each sub-block with a scale of its own.
fn alone<F: Format>(x: &[f32; LEN], w: &[f32; LEN], codes: &mut [Code; 64]) -> [Sums; 16] {
    let mut fits = [Sums::default(); 16];
    for ((x, w, codes), best) in subs::<F>(x, w, codes).zip(&mut fits) {
        let mut consider = |best: &mut Sums, scale: f32| {
            let sums = F::search(x, w, scale, codes);
            if sums.gain() > best.gain() {
                *best = sums;
            }
        };
        let largest = largest_magnitude(x);
        let free = without_codebook::<F>(x, w, largest);
        FINE.iter().for_each(|factor| consider(best, free.scale() * factor));
        let improved = best.scale();
        consider(best, improved);

        // Where the magnitudes are nearly equal, any level may suit, but few of these points are in the codebook.
        let all: f32 = x.iter().zip(w).map(|(x, w)| w * x * x).sum();
        if all - best.gain() > SUSPICIOUS.0 * (all - free.gain()) + SUSPICIOUS.1 * all {
            let smallest = F::LEVELS.iter().fold(f32::INFINITY, |s, l| if *l > 0.0 { s.min(*l) } else { s });
            let mut scale = COARSE_END * largest / smallest;
            while scale > free.scale() {
                consider(best, scale);
                scale /= COARSE;
            }
        }
    }
    fits
}

/// A sub-block whose elements may have any level each, at its best scale. Only what the scale and the gain need is
/// in the sums.
fn without_codebook<F: Format>(x: &[f32], w: &[f32], largest: f32) -> Sums {
    let mut best = Sums::default();
    let (Some(lowest), Some(highest)) = (F::LEVELS.first(), F::LEVELS.last()) else { return best };
    let end = COARSE_END * largest / highest;
    let mut scale = end * COARSE_START;
    while scale < end {
        let (mut xv, mut vv) = ([0.0f32; 8], [0.0f32; 8]);
        for (x, w) in x.as_chunks::<8>().0.iter().zip(w.as_chunks::<8>().0) {
            let mut v = [*lowest; 8];
            for pair in F::LEVELS.windows(2) {
                let (gap, middle) = (pair[1] - pair[0], (pair[0] + pair[1]) / 2.0 * scale);
                for i in 0..8 {
                    v[i] += if x[i] > middle { gap } else { 0.0 };
                }
            }
            for i in 0..8 {
                xv[i] += w[i] * x[i] * v[i];
                vv[i] += w[i] * v[i] * v[i];
            }
        }
        let sums = Sums { error: 0.0, xv: xv.iter().sum(), vv: vv.iter().sum() };
        if sums.gain() > best.gain() {
            best = sums;
        }
        scale *= COARSE;
    }
    best
}

/// The block's scale. A sub-block's error grows by vv (scale - its own)² if its points stay.
fn common_scale<F: Format>(fits: &[Sums; 16]) -> f32 {
    let largest = fits.iter().fold(0.0f32, |largest, sums| largest.max(sums.scale()));
    let most = 1.1 * largest / F::factor(F::SCALES - 1);
    let (mut best, mut best_loss) = (0.0, f32::INFINITY);
    for step in 0..D_STEPS {
        let d = most * (1.0 - D_STEP * f32::from(step));
        let mut loss = 0.0;
        for sums in fits {
            let number = nearest(F::number(sums.scale(), d), 0.0, f32::from(F::SCALES - 1));
            let rest = sums.scale() - d * F::factor(number as u8);
            loss += sums.vv * rest * rest;
        }
        if loss < best_loss {
            (best, best_loss) = (d, loss);
        }
    }
    best
}

/// Numbers and points for a given d. Returns the block's sums, in which scale is d.
fn choose<F: Format>(x: &[f32; LEN], w: &[f32; LEN], fits: &[Sums; 16], d: f32, fit: &mut Fit) -> Sums {
    let last = F::SCALES - 1;
    let mut total = Sums::default();
    let coded = subs::<F>(x, w, &mut fit.codes).zip(fits).zip(&mut fit.numbers);
    for (((x, w, codes), alone), number) in coded {
        // The two numbers around the sub-block's own scale.
        let below = nearest(F::number(alone.scale(), d) - 0.5, 0.0, f32::from(last)) as u8;
        let mut best = F::search(x, w, d * F::factor(below), codes);
        *number = below;
        if below < last {
            let mut trial = [Code::default(); 8];
            let trial = &mut trial[..codes.len()];
            trial.copy_from_slice(codes);
            let sums = F::search(x, w, d * F::factor(below + 1), trial);
            if sums.error < best.error {
                (best, *number) = (sums, below + 1);
                codes.copy_from_slice(trial);
            }
        }
        let factor = F::factor(*number);
        total.add(Sums { error: best.error, xv: best.xv * factor, vv: best.vv * factor * factor });
    }
    total
}
