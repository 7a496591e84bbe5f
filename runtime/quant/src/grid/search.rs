//! The nearest point of a codebook, exactly: the one with the smallest weighted squared error.
//!
//! The error is a sum over elements, so a point costs what its two halves cost. There are few possible
//! halves (81 of four elements with 3 levels, 64 of two with 8), so their costs are tabulated. Most second
//! halves alone cost more than the best point found so far; each of the others has a few first halves.

use super::Codebook;

/// Costs of the first and of the second half of a group, by the number that the half's levels form,
/// least significant first.
pub(crate) struct Costs<const H: usize> {
    first: [f32; H],
    second: [f32; H],
}

impl Costs<81> {
    /// A group of 8 with 3 levels: element i costs w\[i\] * (x\[i\] - level)².
    #[inline]
    pub(crate) fn ternary(x: &[f32; 8], w: &[f32; 8], levels: [f32; 3]) -> Self {
        let costs = levels.map(|level| -> [f32; 8] { core::array::from_fn(|i| cost(x[i], w[i], level)) });
        let half = |start: usize| {
            let pair: [f32; 9] = core::array::from_fn(|i| costs[i % 3][start] + costs[i / 3][start + 1]);
            let mut out = [0.0; 81];
            for (k, out) in out.as_chunks_mut::<9>().0.iter_mut().enumerate() {
                let rest = costs[k % 3][start + 2] + costs[k / 3][start + 3];
                *out = pair.map(|c| c + rest);
            }
            out
        };
        Self { first: half(0), second: half(4) }
    }
}

impl Costs<64> {
    /// A group of 4 with 8 levels.
    #[inline]
    pub(crate) fn octal(x: &[f32; 4], w: &[f32; 4], levels: [f32; 8]) -> Self {
        let half = |start: usize| {
            let low = levels.map(|level| cost(x[start], w[start], level));
            let mut out = [0.0; 64];
            for (out, level) in out.as_chunks_mut::<8>().0.iter_mut().zip(levels) {
                let rest = cost(x[start + 1], w[start + 1], level);
                *out = low.map(|c| c + rest);
            }
            out
        };
        Self { first: half(0), second: half(2) }
    }
}

#[inline]
fn cost(x: f32, w: f32, level: f32) -> f32 {
    let rest = x - level;
    w * rest * rest
}

impl<const N: usize, const G: usize> Codebook<N, G> {
    /// The cheapest point's index and cost; an infinite cost where no point costs less than `limit`.
    /// The better the index `guess`, the faster.
    #[inline]
    pub(crate) fn nearest<const H: usize>(&self, costs: &Costs<H>, guess: u16, limit: f32) -> (u16, f32) {
        let Costs { first, second } = costs;
        let guess = guess % N as u16;
        let (low, high) = self.halves[usize::from(guess)];
        let (mut best, mut bound) = (guess, limit.min(first[usize::from(low)] + second[usize::from(high)]));
        let floor = first.iter().fold(f32::INFINITY, |floor, &c| if c < floor { c } else { floor });
        for (&cost, ends) in second.iter().zip(self.starts.windows(2)) {
            if cost + floor < bound {
                for index in ends[0]..ends[1] {
                    let total = cost + first[usize::from(self.halves[usize::from(index) % N].0)];
                    if total < bound {
                        (best, bound) = (index, total);
                    }
                }
            }
        }
        (best, if bound < limit { bound } else { f32::INFINITY })
    }
}

#[cfg(test)]
mod tests {
    use super::Costs;
    use crate::grid::{Codebook, IQ1_S, IQ2_XXS, IQ3_S};

    /// Numbers in [0, 1).
    fn numbers(seed: &mut u32) -> impl FnMut() -> f32 {
        move || {
            *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (*seed >> 8) as f32 / 16_777_216.0
        }
    }

    fn check<const N: usize, const G: usize, const H: usize>(
        book: &Codebook<N, G>,
        costs: impl Fn(&[f32; G], &[f32; G]) -> Costs<H>,
        reach: f32,
    ) {
        let mut seed = 1;
        let mut next = numbers(&mut seed);
        for trial in 0..200 {
            let x: [f32; G] = core::array::from_fn(|_| (2.4 * next() - 1.2) * reach);
            let w: [f32; G] = core::array::from_fn(|_| next());
            let error = |index: usize| -> f32 {
                let point = book.point(index);
                (0..G).map(|i| w[i] * (x[i] - f32::from(point[i])).powi(2)).sum()
            };
            let least = (0..N).map(error).fold(f32::INFINITY, f32::min);
            let (index, cost) = book.nearest(&costs(&x, &w), trial * 11, f32::INFINITY);
            for found in [error(usize::from(index)), cost] {
                assert!((found - least).abs() <= 1e-5 * least, "{found} against {least}");
            }
            // A limit that nothing is below is told apart from the best.
            assert_eq!(book.nearest(&costs(&x, &w), trial, least * 0.999).1, f32::INFINITY);
            assert_eq!(book.nearest(&costs(&x, &w), trial, least * 1.001).0, index);
        }
    }

    #[test]
    fn no_point_is_nearer() {
        check(&IQ1_S, |x, w| Costs::ternary(x, w, [-1.0, 0.0, 1.0]), 1.0);
        check(&IQ2_XXS, |x, w| Costs::ternary(x, w, [8.0, 25.0, 43.0]), 43.0);
        check(&IQ3_S, |x, w| Costs::octal(x, w, [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0]), 15.0);
    }
}
