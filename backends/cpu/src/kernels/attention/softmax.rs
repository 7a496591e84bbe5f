//! From a page's scores to weights, per row.

use crate::simd::{LANES, Simd};

/// Turns scores into `exp(score - m)`, and yields `m` and their sum. Places outside `from..to` become 0; only
/// `first..last`, which are multiples of 16 around them, are touched.
///
/// # Safety
/// `scores` has `last` elements; see [`Simd`].
#[inline(always)]
pub unsafe fn weights<S: Simd>(
    scores: *mut f32,
    (first, last): (usize, usize),
    (from, to): (usize, usize),
    scale: f32,
    softcap: f32,
) -> (f32, f32) {
    // SAFETY: passed on.
    unsafe {
        let factor = S::splat(scale);
        let mut top = S::splat(f32::NEG_INFINITY);
        if softcap > 0.0 {
            cap::<S>(scores, first, last, scale, softcap);
        }
        let factor = if softcap > 0.0 { S::splat(1.0) } else { factor };
        let whole = first == from && last == to;
        let mut i = first;
        while i < last {
            let mut x = S::mul(S::load(scores.add(i)), factor);
            if !whole {
                x = hide::<S>(x, from.saturating_sub(i), to.saturating_sub(i));
            }
            top = S::max(top, x);
            S::store(scores.add(i), x);
            i += LANES;
        }
        let m = S::reduce_max(top);
        let (shift, mut sum) = (S::splat(m), S::zero());
        let mut i = first;
        while i < last {
            let e = S::exp(S::sub(S::load(scores.add(i)), shift));
            sum = S::add(sum, e);
            S::store(scores.add(i), e);
            i += LANES;
        }
        (m, S::reduce_add(sum))
    }
}

/// Lanes outside `from..to` become minus infinity.
#[inline(always)]
unsafe fn hide<S: Simd>(x: S::F, from: usize, to: usize) -> S::F {
    const LANE: [f32; LANES] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
    // SAFETY: the array has 16 lanes.
    unsafe {
        let lane = S::load(LANE.as_ptr());
        let hidden = S::splat(f32::NEG_INFINITY);
        let x = S::select_lt(lane, S::splat(from.min(LANES) as f32), hidden, x);
        S::select_lt(lane, S::splat(to.min(LANES) as f32), x, hidden)
    }
}

#[inline(always)]
unsafe fn cap<S: Simd>(scores: *mut f32, first: usize, last: usize, scale: f32, softcap: f32) {
    // SAFETY: passed on.
    unsafe {
        let mut i = first;
        while i < last {
            let x = S::div(S::mul(S::load(scores.add(i)), S::splat(scale)), S::splat(softcap));
            S::store(scores.add(i), S::mul(S::splat(softcap), S::tanh(x)));
            i += LANES;
        }
    }
}
