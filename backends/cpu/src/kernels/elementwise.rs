//! Sums, products and multiples, element by element.

use super::vector::{load, map_over};
use crate::simd::{LANES, Simd};

macro_rules! binary {
    ($name:ident, $op:ident) => {
        /// # Safety
        /// All have `n` elements; see [`Simd`].
        #[inline(always)]
        unsafe fn $name<S: Simd>(a: *const f32, b: *const f32, out: *mut f32, n: usize) {
            // SAFETY: partial loads stay within `n`.
            unsafe {
                map_over!(S, n, out, |i, lanes| S::$op(load::<S>(a.add(i), lanes), load::<S>(b.add(i), lanes)));
            }
        }
    };
}
binary!(add_row, add);
binary!(mul_row, mul);

/// # Safety
/// Both have `n` elements; see [`Simd`].
#[inline(always)]
unsafe fn scale_row<S: Simd>(x: *const f32, factor: f32, out: *mut f32, n: usize) {
    // SAFETY: partial loads stay within `n`.
    unsafe {
        let factor = S::splat(factor);
        map_over!(S, n, out, |i, lanes| S::mul(load::<S>(x.add(i), lanes), factor));
    }
}

/// `Σ weights[j] * y[j]` over `k` rows in order, then the residual, which may be null.
///
/// # Safety
/// `y` has `k` rows of `n` elements, `weights` has `k`, the others have `n`; see [`Simd`].
#[inline(always)]
unsafe fn combine_row<S: Simd>(
    y: *const f32,
    weights: *const f32,
    residual: *const f32,
    out: *mut f32,
    k: usize,
    n: usize,
) {
    // SAFETY: partial loads stay within `n`.
    unsafe {
        map_over!(S, n, out, |i, lanes| {
            let mut sum = S::zero();
            for j in 0..k {
                sum = S::fma(S::splat(*weights.add(j)), load::<S>(y.add(j * n + i), lanes), sum);
            }
            if residual.is_null() { sum } else { S::add(sum, load::<S>(residual.add(i), lanes)) }
        });
    }
}

/// `Σ a[r] * b[r]` over rows in order, element by element; without `b`, which may be null, `Σ a[r]`.
///
/// # Safety
/// `rows` rows of `n` elements, `stride` apart; `out` has `n`; see [`Simd`].
#[inline(always)]
unsafe fn sum_rows<S: Simd>(a: *const f32, b: *const f32, rows: usize, stride: usize, out: *mut f32, n: usize) {
    // SAFETY: partial loads stay within `n`.
    unsafe {
        map_over!(S, n, out, |i, lanes| {
            let mut sum = S::zero();
            for r in 0..rows {
                let x = load::<S>(a.add(r * stride + i), lanes);
                sum =
                    if b.is_null() { S::add(sum, x) } else { S::fma(x, load::<S>(b.add(r * stride + i), lanes), sum) };
            }
            sum
        });
    }
}

crate::tier::tier_fn! {
    /// Sum over rows, see the function.
    pub fn over_rows(a: *const f32, b: *const f32, rows: usize, stride: usize, out: *mut f32, n: usize) = sum_rows;
    /// `a + b`.
    pub fn add(a: *const f32, b: *const f32, out: *mut f32, n: usize) = add_row;
    /// `a * b`.
    pub fn mul(a: *const f32, b: *const f32, out: *mut f32, n: usize) = mul_row;
    /// `factor * x`.
    pub fn scale(x: *const f32, factor: f32, out: *mut f32, n: usize) = scale_row;
    /// Weighted sum of rows, see the function.
    pub fn combine(y: *const f32, weights: *const f32, residual: *const f32, out: *mut f32, k: usize, n: usize) = combine_row;
}
