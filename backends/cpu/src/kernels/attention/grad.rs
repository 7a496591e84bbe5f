//! From scores to their gradients, for a row of queries or of keys.
//!
//! With `p` the weights and `dp = do · v`, the gradient of a score is `p (dp - Σ p dp)`, times the slope of the cap.

use super::softmax::LANE;
use crate::simd::{LANES, Simd};

/// Query rows of a block, and keys of a block.
pub const BLOCK: usize = 64;

/// How products of queries and keys become scores.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Factor.
    pub scale: f32,
    /// 0: none.
    pub softcap: f32,
}

/// What is kept of a block's rows, `[3][64]` after each other: the largest score, one over the sum of exponentials, `Σ p dp`.
#[derive(Clone, Copy)]
pub struct Stats(pub *mut f32);

impl Stats {
    /// Floats of a block.
    pub const FLOATS: usize = 3 * BLOCK;
    fn at(self, which: usize, row: usize) -> *mut f32 {
        self.0.wrapping_add(which * BLOCK + row)
    }
    /// The weight of a sink of row `row`, times `Σ p dp`.
    ///
    /// # Safety
    /// The row's numbers are there.
    pub unsafe fn sink(self, row: usize, sink: f32) -> f32 {
        // SAFETY: passed on.
        unsafe { (sink - *self.at(0, row)).exp() * *self.at(1, row) * *self.at(2, row) }
    }
}

/// A query row against all keys from some block on.
#[derive(Clone, Copy)]
pub struct QueryRow {
    /// Products with keys; become gradients of those.
    pub scores: *mut f32,
    /// `do · v`.
    pub dp: *const f32,
    /// Elements of both, a multiple of 16.
    pub n: usize,
    /// Those that the row sees.
    pub seen: (usize, usize),
    /// See [`Rule`].
    pub rule: Rule,
    /// One more score without a value, or null.
    pub sink: *const f32,
    /// Of the row's block, and which row it is.
    pub stats: Stats,
    /// The row.
    pub row: usize,
}

/// A key row against the queries of a block.
#[derive(Clone, Copy)]
pub struct KeyRow {
    /// Products with queries; become weights.
    pub scores: *mut f32,
    /// `v · do`; become gradients of the products.
    pub dp: *mut f32,
    /// Queries that see the key.
    pub seen: (usize, usize),
    /// See [`Rule`].
    pub rule: Rule,
    /// Of the queries' block.
    pub stats: Stats,
}

/// Lanes `from..to` of `yes`, the others of `no`.
#[inline(always)]
unsafe fn between<S: Simd>(i: usize, (from, to): (usize, usize), yes: S::F, no: S::F) -> S::F {
    if from <= i && i + LANES <= to {
        return yes;
    }
    let lane = |at: usize| at.saturating_sub(i).min(LANES) as f32;
    // SAFETY: the array has 16 lanes.
    unsafe {
        let lanes = S::load(LANE.as_ptr());
        let below = S::select_lt(lanes, S::splat(lane(to)), yes, no);
        S::select_lt(lanes, S::splat(lane(from)), no, below)
    }
}

/// A score, and the slope of it by the product.
#[inline(always)]
unsafe fn score<S: Simd>(product: S::F, rule: Rule) -> (S::F, S::F) {
    // SAFETY: passed on.
    unsafe {
        let (scale, cap) = (S::splat(rule.scale), S::splat(rule.softcap));
        let y = S::mul(product, scale);
        if rule.softcap > 0.0 {
            let t = S::tanh(S::div(y, cap));
            (S::mul(cap, t), S::mul(scale, S::sub(S::splat(1.0), S::mul(t, t))))
        } else {
            (y, scale)
        }
    }
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn query_row<S: Simd>(a: &QueryRow) {
    let hidden = f32::NEG_INFINITY;
    // SAFETY: vectors of the row.
    unsafe {
        let mut top = S::splat(hidden);
        for i in (0..a.n).step_by(LANES) {
            let (y, _) = score::<S>(S::load(a.scores.add(i)), a.rule);
            top = S::max(top, between::<S>(i, a.seen, y, S::splat(hidden)));
        }
        let mut top = S::reduce_max(top);
        if !a.sink.is_null() && top < *a.sink {
            top = *a.sink;
        }
        let shift = S::splat(top);
        let (mut sum, mut along) = (S::zero(), S::zero());
        for i in (0..a.n).step_by(LANES) {
            let (y, _) = score::<S>(S::load(a.scores.add(i)), a.rule);
            let e = between::<S>(i, a.seen, S::exp(S::sub(y, shift)), S::zero());
            sum = S::add(sum, e);
            along = S::fma(e, S::load(a.dp.add(i)), along);
        }
        let mut total = S::reduce_add(sum);
        if !a.sink.is_null() {
            let mut e = [0f32; LANES];
            S::store(e.as_mut_ptr(), S::exp(S::splat(*a.sink - top)));
            total += e[0];
        }
        let along = S::reduce_add(along) / total;
        *a.stats.at(0, a.row) = top;
        *a.stats.at(1, a.row) = 1.0 / total;
        *a.stats.at(2, a.row) = along;
        let (inverse, along) = (S::splat(1.0 / total), S::splat(along));
        for i in (0..a.n).step_by(LANES) {
            let (y, slope) = score::<S>(S::load(a.scores.add(i)), a.rule);
            let p = S::mul(S::exp(S::sub(y, shift)), inverse);
            let g = S::mul(S::mul(p, S::sub(S::load(a.dp.add(i)), along)), slope);
            S::store(a.scores.add(i), between::<S>(i, a.seen, g, S::zero()));
        }
    }
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn key_row<S: Simd>(a: &KeyRow) {
    for i in (0..BLOCK).step_by(LANES) {
        // SAFETY: vectors of the row and of the block's numbers.
        unsafe {
            let (y, slope) = score::<S>(S::load(a.scores.add(i)), a.rule);
            let of = |which: usize| S::load(a.stats.at(which, i));
            let p = S::mul(S::exp(S::sub(y, of(0))), of(1));
            let g = S::mul(S::mul(p, S::sub(S::load(a.dp.add(i)), of(2))), slope);
            S::store(a.scores.add(i), between::<S>(i, a.seen, p, S::zero()));
            S::store(a.dp.add(i), between::<S>(i, a.seen, g, S::zero()));
        }
    }
}

crate::tier::tier_fn! {
    /// Gradients of a query's scores, and its [`Stats`].
    pub fn query(a: &QueryRow) = query_row;
    /// Weights of a key, and gradients of its scores.
    pub fn key(a: &KeyRow) = key_row;
}
