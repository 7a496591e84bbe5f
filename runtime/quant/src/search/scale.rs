//! One scale for a run of elements.

use super::{NEGLIGIBLE, signed_extreme, sum};

/// To which values, in units of the scale, the element of largest magnitude is mapped in turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Targets {
    /// The first one; its sign decides on which side that element comes to lie.
    pub first: f32,
    /// The distance to the next.
    pub step: f32,
    /// How many there are.
    pub count: u8,
}

/// Fits `x ≈ scale * level`, minimizing the squared error weighted with `weights`. `level` gives the
/// nearest level to a quotient. The scale may be negative.
///
/// Each target determines levels, and they a scale by linear regression; the scale with the smallest
/// residual wins. Then levels and scale in turn, while that helps.
pub(crate) fn fit_scale<const N: usize>(
    x: &[f32; N],
    weights: &[f32; N],
    targets: &[Targets],
    level: impl Fn(f32) -> f32,
) -> f32 {
    const REFINEMENTS: u8 = 4;
    let extreme = signed_extreme(x);
    if extreme.abs() < NEGLIGIBLE {
        return 0.0;
    }
    // Scale and gain: the residual of the best scale for given levels is a constant minus the gain.
    let regress = |inverse: f32| {
        let levels: [f32; N] = core::array::from_fn(|i| level(x[i] * inverse));
        let sxl = sum::<N>(|i| weights[i] * x[i] * levels[i]);
        let sll = sum::<N>(|i| weights[i] * levels[i] * levels[i]);
        // No level but zero leaves NaN, which no comparison prefers.
        (sxl / sll, sxl * sxl / sll)
    };
    let mut best = (0.0, 0.0);
    for t in targets {
        for k in 0..t.count {
            let fit = regress((t.first + t.step * f32::from(k)) / extreme);
            if fit.1 > best.1 {
                best = fit;
            }
        }
    }
    for _ in 0..REFINEMENTS {
        let fit = regress(1.0 / best.0);
        if fit.1 > best.1 {
            best = fit;
        } else {
            break;
        }
    }
    best.0
}
