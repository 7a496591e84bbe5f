//! Gradients of norms.

use super::super::vector::{load, map_over, sum_over};
use super::{rms_scale, standard};
use crate::simd::{LANES, Simd};

/// Rows of a norm, for the gradient with respect to its input.
#[derive(Clone, Copy)]
pub struct Rows {
    /// First input row.
    pub x: *const f32,
    /// Weight or null.
    pub w: *const f32,
    /// First row of the output's gradient.
    pub dy: *const f32,
    /// First row of the input's gradient, or null.
    pub dx: *mut f32,
    /// What each row is multiplied with and its mean, in pairs, are written here.
    pub stats: *mut [f32; 2],
    /// Number of rows.
    pub rows: usize,
    /// Elements of a row.
    pub n: usize,
    /// See [`tern_abi::ops::NormParams`].
    pub eps: f32,
}

/// Columns of a norm, for the gradients of its weight and bias.
#[derive(Clone, Copy)]
pub struct Columns {
    /// First input row, at the first of the columns.
    pub x: *const f32,
    /// The same of the output's gradient.
    pub dy: *const f32,
    /// As [`Rows`] has written them.
    pub stats: *const [f32; 2],
    /// Number of rows.
    pub rows: usize,
    /// Elements from one row to the next.
    pub stride: usize,
    /// Columns.
    pub n: usize,
    /// Their weight's gradient, or null.
    pub dw: *mut f32,
    /// Their bias's gradient, or null.
    pub db: *mut f32,
}

/// `dy * w`.
#[inline(always)]
unsafe fn weighed<S: Simd>(a: &Rows, dy: *const f32, i: usize, lanes: usize) -> S::F {
    // SAFETY: the caller's row and columns.
    unsafe {
        let g = load::<S>(dy.add(i), lanes);
        if a.w.is_null() { g } else { S::mul(g, load::<S>(a.w.add(i), lanes)) }
    }
}

/// The normed row.
#[inline(always)]
unsafe fn normed<S: Simd>(x: *const f32, centre: S::F, factor: S::F, i: usize, lanes: usize) -> S::F {
    // SAFETY: the caller's row and columns.
    unsafe { S::mul(S::sub(load::<S>(x.add(i), lanes), centre), factor) }
}

/// With `x̂` the normed row and `g = dy w`: `dx = scale (g - x̂ mean(g x̂))`, and for layer norm less the mean of g.
///
/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn rows<S: Simd, const LAYER: bool>(a: &Rows) {
    for r in 0..a.rows {
        // SAFETY: row `r` of each; partial loads stay within `n`.
        unsafe {
            let (x, dy) = (a.x.add(r * a.n), a.dy.add(r * a.n));
            let (mean, scale) = if LAYER { standard::<S>(x, a.n, a.eps) } else { (0.0, rms_scale::<S>(x, a.n, a.eps)) };
            *a.stats.add(r) = [scale, mean];
            if a.dx.is_null() {
                continue;
            }
            let (centre, factor, n) = (S::splat(mean), S::splat(scale), a.n as f32);
            let along = sum_over!(S, a.n, |i, lanes| {
                S::mul(weighed::<S>(a, dy, i, lanes), normed::<S>(x, centre, factor, i, lanes))
            }) / n;
            let level = if LAYER { sum_over!(S, a.n, |i, lanes| weighed::<S>(a, dy, i, lanes)) / n } else { 0.0 };
            let (along, level) = (S::splat(-along), S::splat(level));
            map_over!(S, a.n, a.dx.add(r * a.n), |i, lanes| {
                let g = S::sub(weighed::<S>(a, dy, i, lanes), level);
                S::mul(S::fma(along, normed::<S>(x, centre, factor, i, lanes), g), factor)
            });
        }
    }
}

/// Sums over rows, in order.
///
/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn columns<S: Simd>(a: &Columns) {
    // SAFETY: rows and columns as described; partial loads stay within `n`.
    unsafe {
        if !a.dw.is_null() {
            map_over!(S, a.n, a.dw, |i, lanes| {
                let mut sum = S::zero();
                for r in 0..a.rows {
                    let [scale, mean] = *a.stats.add(r);
                    let x = S::sub(load::<S>(a.x.add(r * a.stride + i), lanes), S::splat(mean));
                    sum = S::fma(load::<S>(a.dy.add(r * a.stride + i), lanes), S::mul(x, S::splat(scale)), sum);
                }
                sum
            });
        }
        if !a.db.is_null() {
            map_over!(S, a.n, a.db, |i, lanes| {
                let mut sum = S::zero();
                for r in 0..a.rows {
                    sum = S::add(sum, load::<S>(a.dy.add(r * a.stride + i), lanes));
                }
                sum
            });
        }
    }
}

#[inline(always)]
unsafe fn rms<S: Simd>(a: &Rows) {
    // SAFETY: passed on.
    unsafe { rows::<S, false>(a) }
}
#[inline(always)]
unsafe fn layer<S: Simd>(a: &Rows) {
    // SAFETY: passed on.
    unsafe { rows::<S, true>(a) }
}

crate::tier::tier_fn! {
    /// Gradients with respect to rows of an RMS norm.
    pub fn rms_norm(rows: &Rows) = rms;
    /// Gradients with respect to rows of a layer norm.
    pub fn layer_norm(rows: &Rows) = layer;
    /// Gradients of weight and bias.
    pub fn parameters(a: &Columns) = columns;
}
