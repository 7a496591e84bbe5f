//! A step made orthogonal by Newton-Schulz's rounds (Jordan et al., "Muon", 2024). See [`tern_abi::ops::MUON`].

use super::products::{Matrix, multiply};
use crate::kernels::transpose::transpose;
use crate::kernels::vector::{load, map_over, sum_of_squares};
use crate::simd::{LANES, Simd};

/// A matrix on its way.
#[derive(Clone, Copy)]
pub struct Step {
    /// `[rows, columns]`.
    pub x: *mut f32,
    /// See `x`.
    pub rows: usize,
    /// See `x`.
    pub columns: usize,
    /// [`work_len`] elements.
    pub work: *mut f32,
    /// Of the round.
    pub factors: [f32; 3],
}

/// Elements of the work memory.
pub const fn work_len(rows: usize, columns: usize) -> usize {
    rows * columns + 2 * rows * rows
}

/// Added to lengths.
pub(super) const SMALL: f32 = 1e-7;

/// `x / (|x| + 1e-7)`, so that no direction is longer than 1.
///
/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn shrink<S: Simd>(s: &Step) {
    let len = s.rows * s.columns;
    // SAFETY: as the fields say.
    unsafe {
        let length = S::splat(sum_of_squares::<S>(s.x, len).sqrt() + SMALL);
        map_over!(S, len, s.x, |i, lanes| S::div(load::<S>(s.x.add(i), lanes), length));
    }
}

/// `x = a x + (b A + c A A) x` with `A = x xᵀ`.
///
/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn one_round<S: Simd>(s: &Step) {
    let (rows, columns) = (s.rows, s.columns);
    // SAFETY: as the fields say.
    unsafe {
        let (other, gram, square) = (s.work, s.work.add(rows * columns), s.work.add(rows * (columns + rows)));
        transpose(s.x, columns, (rows, columns), other, rows);
        multiply::<S, false>((s.x, columns), rows, &Matrix::new(other, columns, rows), (gram, rows));
        multiply::<S, false>((gram, rows), rows, &Matrix::new(gram, rows, rows), (square, rows));
        let [a, b, c] = [S::splat(s.factors[0]), S::splat(s.factors[1]), S::splat(s.factors[2])];
        let (all, len) = (rows * rows, rows * columns);
        map_over!(S, all, square, |i, lanes| {
            S::fma(c, load::<S>(square.add(i), lanes), S::mul(b, load::<S>(gram.add(i), lanes)))
        });
        multiply::<S, false>((square, rows), rows, &Matrix::new(s.x, rows, columns), (other, columns));
        map_over!(S, len, s.x, |i, lanes| S::fma(a, load::<S>(s.x.add(i), lanes), load::<S>(other.add(i), lanes)));
    }
}

crate::tier::tier_fn! {
    /// See [`shrink`].
    pub fn start(step: &Step) = shrink;
    /// See [`one_round`].
    pub fn round(step: &Step) = one_round;
}
