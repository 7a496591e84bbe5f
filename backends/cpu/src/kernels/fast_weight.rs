//! One row of fast weights: an inner linear model of a head that learns along a sequence.
//! See [`tern_abi::ops::FAST_WEIGHT`] for the mathematics.

pub mod grad;

use super::vector::{load, map_over, sum, sum_of_squares, sum_over};
use crate::simd::{LANES, Simd};

/// One head at one token. Vectors have `f` elements.
#[derive(Clone, Copy)]
pub struct Row {
    /// Dimensions of the head.
    pub f: usize,
    /// The token's query.
    pub q: *const f32,
    /// The token's key.
    pub k: *const f32,
    /// The token's value.
    pub v: *const f32,
    /// The token's learning rate.
    pub lr: f32,
    /// Scale of the token's place in the mini-batch, not negative.
    pub scale: f32,
    /// Of the inner norm.
    pub ln_w: *const f32,
    /// Of the inner norm.
    pub ln_b: *const f32,
    /// Of the inner norm.
    pub eps: f32,
    /// `[f, f]` at the mini-batch's start.
    pub w: *mut f32,
    /// At the mini-batch's start.
    pub b: *mut f32,
    /// Places of the mini-batch: key, gradient, learning rate.
    pub places: *mut f32,
    /// Places `first .. at` are open; this token becomes `at`.
    pub first: usize,
    /// See `first`.
    pub at: usize,
    /// Places of a full mini-batch.
    pub chunk: usize,
    /// `[f]`.
    pub out: *mut f32,
    /// `[2, f]`.
    pub work: *mut f32,
}

impl Row {
    #[inline(always)]
    unsafe fn place(&self, j: usize) -> *mut f32 {
        // SAFETY: a place of the mini-batch.
        unsafe { self.places.add(j * (2 * self.f + 1)) }
    }
}

/// `out = x W + b`.
#[inline(always)]
unsafe fn apply<S: Simd>(x: *const f32, w: *const f32, b: *const f32, f: usize, out: *mut f32) {
    // SAFETY: partial loads stay within a row of W.
    unsafe {
        map_over!(S, f, out, |i, lanes| {
            let mut acc = S::zero();
            for a in 0..f {
                acc = S::fma(S::splat(*x.add(a)), load::<S>(w.add(a * f + i), lanes), acc);
            }
            S::add(acc, load::<S>(b.add(i), lanes))
        });
    }
}

/// Makes `x` standard: mean 0, variance 1. Yields the root of the variance.
#[inline(always)]
unsafe fn standardize<S: Simd>(x: *mut f32, f: usize, eps: f32) -> f32 {
    // SAFETY: `x` has `f` elements.
    unsafe {
        let mean = S::splat(sum::<S>(x, f) / f as f32);
        map_over!(S, f, x, |i, lanes| S::sub(load::<S>(x.add(i), lanes), mean));
        let root = (sum_of_squares::<S>(x, f) / f as f32 + eps).sqrt();
        let scale = S::splat(1.0 / root);
        map_over!(S, f, x, |i, lanes| S::mul(load::<S>(x.add(i), lanes), scale));
        root
    }
}

#[inline(always)]
unsafe fn dot<S: Simd>(a: *const f32, b: *const f32, f: usize) -> f32 {
    // SAFETY: both have `f` elements.
    unsafe { sum_over!(S, f, |i, lanes| S::mul(load::<S>(a.add(i), lanes), load::<S>(b.add(i), lanes))) }
}

/// Takes the token in as place `at`: its key, gradient and learning rate.
#[inline(always)]
unsafe fn take_in<S: Simd>(row: &Row) {
    let f = row.f;
    // SAFETY: as the fields say.
    unsafe {
        let place = row.place(row.at);
        inner_gradient::<S>(row, row.work, row.work.add(f), place.add(f));
        place.copy_from_nonoverlapping(row.k, f);
        *place.add(2 * f) = row.lr;
    }
}

/// The gradient at the inner model's output, with what it is made of: the output standardized, and the loss's derivative by
/// that. Yields the root of the variance.
#[inline(always)]
unsafe fn inner_gradient<S: Simd>(row: &Row, normal: *mut f32, e: *mut f32, gradient: *mut f32) -> f32 {
    let f = row.f;
    // SAFETY: as the fields say.
    unsafe {
        apply::<S>(row.k, row.w, row.b, f, normal);
        let root = standardize::<S>(normal, f, row.eps);
        map_over!(S, f, e, |i, lanes| {
            let w = load::<S>(row.ln_w.add(i), lanes);
            let y = S::fma(w, load::<S>(normal.add(i), lanes), load::<S>(row.ln_b.add(i), lanes));
            let target = S::sub(load::<S>(row.v.add(i), lanes), load::<S>(row.k.add(i), lanes));
            S::mul(S::sub(y, target), w)
        });
        let total = S::splat(sum::<S>(e, f));
        let along = S::splat(dot::<S>(e, normal, f));
        let (n, below) = (S::splat(f as f32), S::splat(f as f32 * root));
        map_over!(S, f, gradient, |i, lanes| {
            let left = S::sub(S::mul(n, load::<S>(e.add(i), lanes)), total);
            S::div(S::sub(left, S::mul(load::<S>(normal.add(i), lanes), along)), below)
        });
        root
    }
}

/// The output row, with what the mini-batch has learned up to and including this token.
#[inline(always)]
unsafe fn output<S: Simd>(row: &Row) {
    let f = row.f;
    // SAFETY: as the fields say.
    unsafe {
        let (z, learned) = (row.work, row.work.add(f));
        apply::<S>(row.q, row.w, row.b, f, z);
        map_over!(S, f, learned, |_i, _lanes| S::zero());
        for j in row.first..=row.at {
            let place = row.place(j);
            let share = S::splat(*place.add(2 * f) * (dot::<S>(row.q, place, f) + 1.0));
            let gradient = place.add(f);
            map_over!(S, f, learned, |i, lanes| {
                S::fma(share, load::<S>(gradient.add(i), lanes), load::<S>(learned.add(i), lanes))
            });
        }
        let scale = S::splat(row.scale);
        map_over!(S, f, z, |i, lanes| {
            S::sub(load::<S>(z.add(i), lanes), S::mul(scale, load::<S>(learned.add(i), lanes)))
        });
        standardize::<S>(z, f, row.eps);
        map_over!(S, f, row.out, |i, lanes| {
            let y = S::fma(
                load::<S>(row.ln_w.add(i), lanes),
                load::<S>(z.add(i), lanes),
                load::<S>(row.ln_b.add(i), lanes),
            );
            S::add(load::<S>(row.q.add(i), lanes), y)
        });
    }
}

/// What the full mini-batch learned becomes part of W and b, and its places are cleared.
#[inline(always)]
unsafe fn commit<S: Simd>(row: &Row) {
    let f = row.f;
    // SAFETY: as the fields say.
    unsafe {
        let scale = S::splat(row.scale);
        for a in 0..=f {
            // The bias is as a row whose input is always 1.
            let to = if a < f { row.w.add(a * f) } else { row.b };
            map_over!(S, f, to, |i, lanes| {
                let mut acc = S::zero();
                for j in row.first..=row.at {
                    let place = row.place(j);
                    let rate = *place.add(2 * f);
                    let rate = if a < f { rate * *place.add(a) } else { rate };
                    acc = S::fma(S::splat(rate), load::<S>(place.add(f + i), lanes), acc);
                }
                S::sub(load::<S>(to.add(i), lanes), S::mul(scale, acc))
            });
        }
        row.places.write_bytes(0, row.chunk * (2 * f + 1));
    }
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn one_row<S: Simd>(row: &Row) {
    // SAFETY: passed on.
    unsafe {
        take_in::<S>(row);
        output::<S>(row);
        if row.at + 1 == row.chunk {
            commit::<S>(row);
        }
    }
}

/// # Safety
/// As the fields say, but for `q`, `out` and `scale` before the mini-batch's last place; see [`Simd`].
#[inline(always)]
unsafe fn one_row_again<S: Simd>(row: &Row) {
    // SAFETY: passed on.
    unsafe {
        take_in::<S>(row);
        if row.at + 1 == row.chunk {
            commit::<S>(row);
        }
    }
}

crate::tier::tier_fn! {
    /// Learns from a token and writes its output.
    pub fn learn(row: &Row) = one_row;
    /// Learns from a token without an output.
    pub fn relearn(row: &Row) = one_row_again;
}
