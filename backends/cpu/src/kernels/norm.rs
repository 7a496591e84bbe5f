//! Norms of rows.

pub mod grad;

use super::vector::{load, map_over, sum, sum_of_squares, sum_over};
use crate::simd::{LANES, Simd};

/// One row of RMS norm. `w` may be null; `out` may be `x`.
///
/// # Safety
/// All have `n` elements; see [`Simd`].
#[inline(always)]
pub unsafe fn rms_norm_row<S: Simd>(x: *const f32, w: *const f32, out: *mut f32, n: usize, eps: f32) {
    // SAFETY: passed on.
    unsafe {
        let scale = S::splat(rms_scale::<S>(x, n, eps));
        map_over!(S, n, out, |i, lanes| {
            let y = S::mul(load::<S>(x.add(i), lanes), scale);
            if w.is_null() { y } else { S::mul(y, load::<S>(w.add(i), lanes)) }
        });
    }
}

/// The mean of a row, and one over its deviation.
///
/// # Safety
/// `x` has `n` elements; see [`Simd`].
#[inline(always)]
unsafe fn standard<S: Simd>(x: *const f32, n: usize, eps: f32) -> (f32, f32) {
    // SAFETY: passed on; partial loads stay within `n`.
    unsafe {
        let mean = sum::<S>(x, n) / n as f32;
        let centre = S::splat(mean);
        let square = sum_over!(S, n, |i, lanes| {
            if lanes == LANES {
                let d = S::sub(S::load(x.add(i)), centre);
                S::mul(d, d)
            } else {
                // Lanes past the end would hold the mean's square.
                let mut d = [0f32; LANES];
                S::store_n(d.as_mut_ptr(), S::sub(S::load_n(x.add(i), lanes), centre), lanes);
                let d = S::load(d.as_ptr());
                S::mul(d, d)
            }
        });
        (mean, 1.0 / (square / n as f32 + eps).sqrt())
    }
}

/// One over the root mean square of a row.
///
/// # Safety
/// As [`standard`].
#[inline(always)]
unsafe fn rms_scale<S: Simd>(x: *const f32, n: usize, eps: f32) -> f32 {
    // SAFETY: passed on.
    unsafe { 1.0 / (sum_of_squares::<S>(x, n) / n as f32 + eps).sqrt() }
}

/// One row of layer norm. `w` and `b` may be null; `out` may be `x`.
///
/// # Safety
/// All have `n` elements; see [`Simd`].
#[inline(always)]
pub unsafe fn layer_norm_row<S: Simd>(x: *const f32, w: *const f32, b: *const f32, out: *mut f32, n: usize, eps: f32) {
    // SAFETY: passed on; partial loads stay within `n`.
    unsafe {
        let (mean, scale) = standard::<S>(x, n, eps);
        let (centre, scale) = (S::splat(mean), S::splat(scale));
        map_over!(S, n, out, |i, lanes| {
            let mut y = S::mul(S::sub(load::<S>(x.add(i), lanes), centre), scale);
            if !w.is_null() {
                y = S::mul(y, load::<S>(w.add(i), lanes));
            }
            if !b.is_null() {
                y = S::add(y, load::<S>(b.add(i), lanes));
            }
            y
        });
    }
}

/// Rows of a norm, one after another.
#[derive(Clone, Copy)]
pub struct Rows {
    /// First input row.
    pub x: *const f32,
    /// Weight or null.
    pub w: *const f32,
    /// Bias or null.
    pub b: *const f32,
    /// First output row.
    pub out: *mut f32,
    /// Number of rows.
    pub rows: usize,
    /// Elements of a row.
    pub n: usize,
    /// See [`tern_abi::ops::NormParams`].
    pub eps: f32,
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn rms_norm_rows<S: Simd>(a: &Rows) {
    for r in 0..a.rows {
        // SAFETY: row `r` of each.
        unsafe { rms_norm_row::<S>(a.x.add(r * a.n), a.w, a.out.add(r * a.n), a.n, a.eps) };
    }
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn layer_norm_rows<S: Simd>(a: &Rows) {
    for r in 0..a.rows {
        // SAFETY: row `r` of each.
        unsafe { layer_norm_row::<S>(a.x.add(r * a.n), a.w, a.b, a.out.add(r * a.n), a.n, a.eps) };
    }
}

crate::tier::tier_fn! {
    /// RMS norm of rows.
    pub fn rms_norm(rows: &Rows) = rms_norm_rows;
    /// Layer norm of rows.
    pub fn layer_norm(rows: &Rows) = layer_norm_rows;
}
