//! Coding a sub-block at a given scale.

use super::search::Costs;
use super::{Codebook, IQ1_S};

/// How a group is coded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Code {
    /// Index of the group's point.
    pub(crate) index: u16,
    /// Whether the elements are moved down by 1/8 rather than up. IQ1 only.
    pub(crate) down: bool,
}

/// Weighted sums over elements x that become scale * v.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    /// Of w (x - scale v)².
    pub(crate) error: f32,
    /// Of w x v.
    pub(crate) xv: f32,
    /// Of w v².
    pub(crate) vv: f32,
}

impl Sums {
    /// The scale that suits the values best.
    #[inline]
    pub(crate) fn scale(&self) -> f32 {
        if self.xv > 0.0 { self.xv / self.vv } else { 0.0 }
    }

    /// By how much that scale lowers the error from what zeros would have.
    #[inline]
    pub(crate) fn gain(&self) -> f32 {
        self.xv * self.scale()
    }

    #[inline]
    pub(crate) fn add(&mut self, other: Self) {
        self.error += other.error;
        self.xv += other.xv;
        self.vv += other.vv;
    }

    #[inline]
    fn of<const G: usize>(x: &[f32; G], w: &[f32; G], v: [f32; G], error: f32) -> Self {
        let mut sums = Self { error, xv: 0.0, vv: 0.0 };
        for i in 0..G {
            sums.xv += w[i] * x[i] * v[i];
            sums.vv += w[i] * v[i] * v[i];
        }
        sums
    }
}

/// Groups of 8 with the three levels of IQ2.
#[inline]
pub(crate) fn search_eights<const N: usize>(
    book: &Codebook<N, 8>,
    x: &[f32],
    w: &[f32],
    scale: f32,
    codes: &mut [Code],
) -> Sums {
    let levels = [8.0, 25.0, 43.0].map(|level| level * scale);
    let mut sums = Sums::default();
    for ((x, w), code) in x.as_chunks().0.iter().zip(w.as_chunks().0).zip(codes) {
        let (index, error) = book.nearest(&Costs::ternary(x, w, levels), code.index, f32::INFINITY);
        code.index = index;
        sums.add(Sums::of(x, w, book.point(usize::from(index)).map(f32::from), error));
    }
    sums
}

/// Groups of 4 with eight levels.
#[inline]
pub(crate) fn search_fours<const N: usize>(
    book: &Codebook<N, 4>,
    levels: [f32; 8],
    x: &[f32],
    w: &[f32],
    scale: f32,
    codes: &mut [Code],
) -> Sums {
    let levels = levels.map(|level| level * scale);
    let mut sums = Sums::default();
    for ((x, w), code) in x.as_chunks().0.iter().zip(w.as_chunks().0).zip(codes) {
        let (index, error) = book.nearest(&Costs::octal(x, w, levels), code.index, f32::INFINITY);
        code.index = index;
        sums.add(Sums::of(x, w, book.point(usize::from(index)).map(f32::from), error));
    }
    sums
}

/// Groups of 8 of IQ1, at most four, that share a shift: the better one.
#[inline]
pub(crate) fn search_shifted(x: &[f32], w: &[f32], scale: f32, codes: &mut [Code]) -> Sums {
    let mut best = Sums { error: f32::INFINITY, ..Sums::default() };
    let guesses: [Code; 4] = core::array::from_fn(|i| codes.get(i).copied().unwrap_or_default());
    // The shift that was better before is so again, mostly; the other one is soon given up.
    for down in [guesses[0].down, !guesses[0].down] {
        let shift = if down { -0.125 } else { 0.125 };
        let levels = [-1.0, 0.0, 1.0].map(|level| (level + shift) * scale);
        let (mut sums, mut trial) = (Sums::default(), guesses);
        for ((x, w), code) in x.as_chunks().0.iter().zip(w.as_chunks().0).zip(&mut trial) {
            let (index, error) = IQ1_S.nearest(&Costs::ternary(x, w, levels), code.index, best.error - sums.error);
            *code = Code { index, down };
            let v = IQ1_S.point(usize::from(index)).map(|v| f32::from(v) + shift);
            sums.add(Sums::of(x, w, v, error));
            if sums.error >= best.error {
                break;
            }
        }
        if sums.error < best.error {
            best = sums;
            codes.iter_mut().zip(trial).for_each(|(code, trial)| *code = trial);
        }
    }
    best
}
