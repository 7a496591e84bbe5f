//! Joining partial softmaxes, and the last division.

use super::State;
use crate::kernels::vector::{load, map_over};
use crate::simd::{LANES, Simd};

/// Adds a part, of its own maxima `m`, to up to 16 rows of `to` from `row` on.
///
/// # Safety
/// The rows exist; `acc` has `n` rows of `stride` elements, `m` has `n`; see [`Simd`].
#[inline(always)]
pub unsafe fn merge_block<S: Simd>(to: &State, row: usize, n: usize, m: *const f32, acc: *const f32, stride: usize) {
    let (mut old, mut new) = ([0f32; LANES], [0f32; LANES]);
    // SAFETY: passed on.
    unsafe {
        // One factor is 1; which, decides the larger maximum. An empty row has minus infinity and zeros, which
        // make its factor 0 and leave the part unchanged.
        let (m1, m2) = (S::load_n(to.m.add(row), n), S::load_n(m, n));
        let (one, smaller) = (S::splat(1.0), S::exp(S::sub(S::zero(), S::abs(S::sub(m1, m2)))));
        S::store(old.as_mut_ptr(), S::select_lt(m1, m2, smaller, one));
        S::store(new.as_mut_ptr(), S::select_lt(m1, m2, one, smaller));
        S::store_n(to.m.add(row), S::select_lt(m1, m2, m2, m1), n);
        for r in 0..n {
            let (old, new) = (S::splat(old[r]), S::splat(new[r]));
            let (sum, part) = (to.acc.add((row + r) * stride), acc.add(r * stride));
            let mut i = 0;
            while i < stride {
                let x = S::mul(S::load(part.add(i)), new);
                S::store(sum.add(i), S::fma(S::load(sum.add(i)), old, x));
                i += LANES;
            }
        }
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
            // Where both are empty the difference of maxima is not a number.
            if *x.part.m.add(r) != f32::NEG_INFINITY {
                merge_block::<S>(&x.to, r, 1, x.part.m.add(r), x.part.acc.add(r * x.stride), x.stride);
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
        let m = *x.state.m.add(x.row);
        let acc = x.state.acc.add(x.row * x.stride);
        let l = S::splat(S::reduce_add(S::load(acc.add(x.stride - LANES))));
        let factor = if x.sink.is_null() {
            S::div(S::splat(1.0), l)
        } else {
            let sink = *x.sink;
            let top = if m < sink { sink } else { m };
            let (old, new) = (S::exp(S::splat(m - top)), S::exp(S::splat(sink - top)));
            S::div(old, S::fma(l, old, new))
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
