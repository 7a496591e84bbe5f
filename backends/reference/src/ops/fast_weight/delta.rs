//! The gated delta rule: what a key recalls is replaced by its value, and all else fades.

use super::{Inner, Place};
use crate::Real;
use crate::ops::linear::dot;

impl<R: Real> Inner<R> {
    /// Learns from a row and yields what its query recalls.
    pub(super) fn follow(&mut self, q: &[R], k: &[R], v: &[R], rate: R, decay: R) -> Vec<R> {
        let decays = self.open.last().map_or(R::zero(), |p| p.lr) + decay;
        let known = self.recall(k, decays);
        let g = v.iter().zip(known).map(|(&v, known)| rate * (v - known)).collect();
        self.open.push(Place { k: k.to_vec(), g, lr: decays });
        self.recall(q, decays)
    }

    /// `x` times the weights that the open rows have left, when the mini-batch's decays add up to `decays`.
    fn recall(&self, x: &[R], decays: R) -> Vec<R> {
        let shares: Vec<R> = self.open.iter().map(|p| (decays - p.lr).exp() * dot(x, &p.k)).collect();
        let learned = |c: usize| R::dot(shares.iter().copied().zip(self.open.iter().map(|p| p.g[c])));
        (0..self.b.len()).map(|c| decays.exp() * dot(x, &self.column(c)) + learned(c)).collect()
    }

    /// At the mini-batch's last place: what it learned becomes part of the weights.
    pub(super) fn settle(&mut self) {
        let decays = self.open.last().map_or(R::zero(), |p| p.lr);
        for (a, row) in self.w.iter_mut().enumerate() {
            for (c, w) in row.iter_mut().enumerate() {
                let learned = self.open.iter().map(|p| ((decays - p.lr).exp() * p.k[a], p.g[c]));
                *w = decays.exp() * *w + R::dot(learned);
            }
        }
        self.open.clear();
    }
}
