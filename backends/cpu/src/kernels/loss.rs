//! Cross-entropy of a row of logits.

pub mod head;

use super::vector::{load, map_over, max, sum_over};
use crate::simd::{LANES, Simd};

/// Elements summed in f32 before the sum goes on in f64, so that a large vocabulary costs no accuracy.
const BLOCK: usize = 2048;

/// The largest element, and the sum of `e^(x - largest)`.
///
/// # Safety
/// `x` has `n` elements; see [`Simd`].
#[inline(always)]
unsafe fn partition<S: Simd>(x: *const f32, n: usize) -> (f32, f64) {
    // SAFETY: passed on; partial loads stay within `n`.
    unsafe {
        let top = max::<S>(x, n);
        let shift = S::splat(top);
        let mut total = 0f64;
        let mut first = 0;
        while first < n {
            let x = x.add(first);
            let len = BLOCK.min(n - first);
            total += f64::from(sum_over!(S, len, |i, lanes| {
                if lanes == LANES {
                    S::exp(S::sub(S::load(x.add(i)), shift))
                } else {
                    // Lanes past the end must not count.
                    let mut e = [0f32; LANES];
                    S::store_n(e.as_mut_ptr(), S::exp(S::sub(S::load_n(x.add(i), lanes), shift)), lanes);
                    S::load(e.as_ptr())
                }
            }));
            first += len;
        }
        (top, total)
    }
}

/// Writes `seed * (softmax(x) - [i == target])`, or zeros where the target is negative.
///
/// # Safety
/// `x` and `out` have `n` elements, `target < n`; see [`Simd`].
#[inline(always)]
unsafe fn cross_entropy_grad_row<S: Simd>(x: *const f32, n: usize, target: i32, seed: f32, out: *mut f32) {
    // SAFETY: passed on; partial loads stay within `n`.
    unsafe {
        let Ok(target) = usize::try_from(target) else {
            out.write_bytes(0, n);
            return;
        };
        let (top, total) = partition::<S>(x, n);
        let (shift, factor) = (S::splat(top), S::splat((f64::from(seed) / total) as f32));
        map_over!(S, n, out, |i, lanes| S::mul(S::exp(S::sub(load::<S>(x.add(i), lanes), shift)), factor));
        *out.add(target) -= seed;
    }
}

/// Writes `-log softmax(x)[target]`, or 0 where the target is negative.
///
/// # Safety
/// `x` has `n` elements, `target < n`; see [`Simd`].
#[inline(always)]
unsafe fn cross_entropy_row<S: Simd>(x: *const f32, n: usize, target: i32, out: *mut f32) {
    // SAFETY: passed on; partial loads stay within `n`.
    unsafe {
        let Ok(target) = usize::try_from(target) else {
            *out = 0.0;
            return;
        };
        let (top, total) = partition::<S>(x, n);
        *out = (total.ln() - (f64::from(*x.add(target)) - f64::from(top))) as f32;
    }
}

#[inline(always)]
unsafe fn sum_all<S: Simd>(x: *const f32, n: usize, factor: f32, out: *mut f32) {
    // SAFETY: `x` has `n` elements.
    unsafe {
        let mut total = 0f64;
        let mut first = 0;
        while first < n {
            let len = BLOCK.min(n - first);
            total += f64::from(super::vector::sum::<S>(x.add(first), len));
            first += len;
        }
        *out = (f64::from(factor) * total) as f32;
    }
}

crate::tier::tier_fn! {
    /// Loss of one row.
    pub fn cross_entropy(x: *const f32, n: usize, target: i32, out: *mut f32) = cross_entropy_row;
    /// Gradient of one row's loss with respect to its logits.
    pub fn cross_entropy_grad(x: *const f32, n: usize, target: i32, seed: f32, out: *mut f32) = cross_entropy_grad_row;
    /// `factor * Σ x`.
    pub fn sum(x: *const f32, n: usize, factor: f32, out: *mut f32) = sum_all;
}
