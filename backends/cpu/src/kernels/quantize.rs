//! Rows rounded to 8 bits with one scale, as BitNet b1.58 has activations.

use super::vector::{load, map_over};
use crate::simd::{LANES, Simd};

/// Rows, one after another.
#[derive(Clone, Copy)]
pub struct Rows {
    /// First input row.
    pub x: *const f32,
    /// First output row.
    pub out: *mut f32,
    /// Number of rows.
    pub rows: usize,
    /// Elements of a row.
    pub n: usize,
}

/// Bits of infinity as f32, above which there are NaNs, and of 1e-36.
const INFINITY: u32 = f32::INFINITY.to_bits();
const SMALLEST: u32 = 1e-36f32.to_bits();

/// What makes codes of a row whose largest magnitude has the bits `top`, and what makes numbers of codes again: NaN for a row
/// with a NaN or an infinity in it, 0 for magnitudes that have no finite inverse.
///
/// `top / 127` may be a number that times 127, rounded, is no longer 127 times itself; that, divided again, is, so rounding a
/// row of multiples gives the same step.
#[inline(always)]
pub fn steps(top: u32) -> (f32, f32) {
    match top {
        INFINITY.. => (0.0, f32::NAN),
        SMALLEST.. => {
            let top = f32::from_bits(top);
            (127.0 / top, (top / 127.0) * 127.0 / 127.0)
        }
        _ => (0.0, 0.0),
    }
}

/// Bits of the largest magnitude of `n` elements.
///
/// # Safety
/// `x` has `n` elements; see [`Simd`].
#[inline(always)]
pub unsafe fn top<S: Simd>(x: *const f32, n: usize) -> u32 {
    // SAFETY: loads stay within `n`.
    unsafe {
        let mut top = 0;
        let mut i = 0;
        while i < n {
            let (a, b) = ((n - i).min(LANES), (n - i).saturating_sub(LANES).min(LANES));
            top = top.max(S::top_magnitude(load::<S>(x.add(i), a), load::<S>(x.add(i + a), b)));
            i += a + b;
        }
        top
    }
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn round_rows<S: Simd>(a: &Rows) {
    for r in 0..a.rows {
        // SAFETY: row `r` of each.
        unsafe {
            let (x, out) = (a.x.add(r * a.n), a.out.add(r * a.n));
            let (inverse, step) = steps(top::<S>(x, a.n));
            let (inverse, step) = (S::splat(inverse), S::splat(step));
            map_over!(S, a.n, out, |i, lanes| {
                S::mul(S::from_i32(S::to_i32(S::mul(load::<S>(x.add(i), lanes), inverse))), step)
            });
        }
    }
}

crate::tier::tier_fn! {
    /// Rounds rows.
    pub fn round(rows: &Rows) = round_rows;
}
