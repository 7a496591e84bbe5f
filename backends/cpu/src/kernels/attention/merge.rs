//! Joining partial softmaxes, and the last division.

use super::State;
use crate::kernels::vector::{load, map_over};
use crate::simd::{LANES, Simd};

/// Adds a part (`m`, `l`, `acc`) to row `row` of `to`. An empty row takes the part over unchanged.
///
/// # Safety
/// `acc` has `stride` elements, a multiple of 16, and `to` has the row; see [`Simd`].
#[inline(always)]
pub unsafe fn merge_row<S: Simd>(to: &State, row: usize, m: f32, l: f32, acc: *const f32, stride: usize) {
    // SAFETY: passed on.
    unsafe {
        let sum = to.acc.add(row * stride);
        let (m1, l1) = (*to.m.add(row), *to.l.add(row));
        let mut i = 0;
        if m1 == f32::NEG_INFINITY {
            while i < stride {
                S::store(sum.add(i), S::load(acc.add(i)));
                i += LANES;
            }
            *to.m.add(row) = m;
            *to.l.add(row) = l;
            return;
        }
        // One factor is 1; which, decides the larger maximum.
        let (one, smaller) = (S::splat(1.0), S::exp(S::splat(-(m1 - m).abs())));
        let (old, new) = if m1 < m { (smaller, one) } else { (one, smaller) };
        while i < stride {
            let part = S::mul(S::load(acc.add(i)), new);
            S::store(sum.add(i), S::fma(S::load(sum.add(i)), old, part));
            i += LANES;
        }
        *to.m.add(row) = if m1 < m { m } else { m1 };
        S::store_n(to.l.add(row), S::fma(S::splat(l1), old, S::mul(S::splat(l), new)), 1);
    }
}

/// One part to merge into another.
#[derive(Clone, Copy)]
pub struct Merge {
    /// Grows.
    pub to: State,
    /// Is added.
    pub part: State,
    /// Rows of both.
    pub rows: usize,
    /// Elements of a row of `acc`.
    pub stride: usize,
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
pub(super) unsafe fn merge_rows<S: Simd>(x: &Merge) {
    for r in 0..x.rows {
        // SAFETY: row `r` of both.
        unsafe {
            let m = *x.part.m.add(r);
            if m != f32::NEG_INFINITY {
                merge_row::<S>(&x.to, r, m, *x.part.l.add(r), x.part.acc.add(r * x.stride), x.stride);
            }
        }
    }
}

/// The last step of one row.
#[derive(Clone, Copy)]
pub struct Finish {
    /// Where the row's state is.
    pub state: State,
    /// Row of the state.
    pub row: usize,
    /// Elements of a row of `acc`.
    pub stride: usize,
    /// One more score, without a value; or null.
    pub sink: *const f32,
    /// `[n]`.
    pub out: *mut f32,
    /// Elements of the result.
    pub n: usize,
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn finish_row<S: Simd>(x: &Finish) {
    // SAFETY: passed on.
    unsafe {
        let (m, l) = (*x.state.m.add(x.row), *x.state.l.add(x.row));
        let acc = x.state.acc.add(x.row * x.stride);
        let factor = if x.sink.is_null() {
            S::div(S::splat(1.0), S::splat(l))
        } else {
            let sink = *x.sink;
            let top = if m < sink { sink } else { m };
            let (old, new) = (S::exp(S::splat(m - top)), S::exp(S::splat(sink - top)));
            S::div(old, S::fma(S::splat(l), old, new))
        };
        map_over!(S, x.n, x.out, |i, lanes| S::mul(load::<S>(acc.add(i), lanes), factor));
    }
}

crate::tier::tier_fn! {
    /// Merges all rows of a part.
    pub fn merge(x: &Merge) = merge_rows;
    /// Writes a row of the result.
    pub fn finish(x: &Finish) = finish_row;
}
