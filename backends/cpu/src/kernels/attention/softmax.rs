//! From a page's scores to weights, for the rows of a block.
//!
//! Maxima first and exponentials second, each for all rows, so that the processor can overlap what in one row
//! is a long chain.

use crate::simd::{LANES, Simd};

/// Scores of a block of rows against the places `span` of a page.
#[derive(Clone, Copy)]
pub struct Scores {
    /// Row `r` is at `r * stride`.
    pub at: *mut f32,
    /// Elements between rows.
    pub stride: usize,
    /// Places that are present, in whole vectors.
    pub span: (usize, usize),
    /// Factor on scores.
    pub scale: f32,
    /// 0: none.
    pub softcap: f32,
}

/// Scales and caps row `r`, hides what is outside `from..to`, and yields the largest.
///
/// # Safety
/// The row has `span.1` elements; see [`Simd`].
#[inline(always)]
pub unsafe fn prepare<S: Simd>(x: &Scores, r: usize, seen: (usize, usize)) -> f32 {
    // SAFETY: passed on.
    unsafe {
        let row = x.at.add(r * x.stride);
        if x.softcap > 0.0 {
            cap::<S>(row, x);
        }
        let factor = S::splat(if x.softcap > 0.0 { 1.0 } else { x.scale });
        let mut top = S::splat(f32::NEG_INFINITY);
        let (mut i, last) = x.span;
        if seen == x.span {
            while i + 4 * LANES <= last {
                top = S::max(top, scaled::<S, 4>(row.add(i), factor));
                i += 4 * LANES;
            }
            while i < last {
                top = S::max(top, scaled::<S, 1>(row.add(i), factor));
                i += LANES;
            }
        }
        while i < last {
            let y = S::mul(S::load(row.add(i)), factor);
            let y = hide::<S>(y, seen.0.saturating_sub(i), seen.1.saturating_sub(i));
            S::store(row.add(i), y);
            top = S::max(top, y);
            i += LANES;
        }
        S::reduce_max(top)
    }
}

/// Multiplies N vectors and yields the maximum in each lane.
#[inline(always)]
unsafe fn scaled<S: Simd, const N: usize>(row: *mut f32, factor: S::F) -> S::F {
    // SAFETY: N vectors at `row`.
    unsafe {
        let mut x = [factor; N];
        for (i, x) in x.iter_mut().enumerate() {
            *x = S::mul(S::load(row.add(i * LANES)), factor);
            S::store(row.add(i * LANES), *x);
        }
        let mut top = x[0];
        for &x in &x[1..] {
            top = S::max(top, x);
        }
        top
    }
}

/// Turns row `r` into `exp(score - m)` and stores the sum, lane by lane, at `sum`.
///
/// # Safety
/// As [`prepare`]; `sum` has 16 elements.
#[inline(always)]
pub unsafe fn exponentials<S: Simd>(x: &Scores, r: usize, m: f32, sum: *mut f32) {
    // SAFETY: passed on.
    unsafe {
        let row = x.at.add(r * x.stride);
        let (shift, mut total) = (S::splat(m), S::zero());
        let (mut i, last) = x.span;
        while i + 4 * LANES <= last {
            total = raised::<S, 4>(row.add(i), shift, total);
            i += 4 * LANES;
        }
        while i < last {
            total = raised::<S, 1>(row.add(i), shift, total);
            i += LANES;
        }
        S::store(sum, total);
    }
}

#[inline(always)]
unsafe fn raised<S: Simd, const N: usize>(row: *mut f32, shift: S::F, mut total: S::F) -> S::F {
    // SAFETY: N vectors at `row`.
    unsafe {
        let mut x = [shift; N];
        for (i, x) in x.iter_mut().enumerate() {
            *x = S::exp(S::sub(S::load(row.add(i * LANES)), shift));
        }
        for (i, &x) in x.iter().enumerate() {
            S::store(row.add(i * LANES), x);
            total = S::add(total, x);
        }
        total
    }
}

/// Multiplies row `r` by `factors`, place by place: scales of codes, which the products leave out.
///
/// # Safety
/// The row and `factors` have `span.1` elements; see [`Simd`].
#[inline(always)]
pub unsafe fn rescale<S: Simd>(x: &Scores, r: usize, factors: *const f32) {
    let (mut i, last) = x.span;
    while i < last {
        // SAFETY: within the row.
        unsafe {
            let row = x.at.add(r * x.stride);
            S::store(row.add(i), S::mul(S::load(row.add(i)), S::load(factors.add(i))));
        }
        i += LANES;
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
unsafe fn cap<S: Simd>(row: *mut f32, x: &Scores) {
    let mut i = x.span.0;
    while i < x.span.1 {
        // SAFETY: within the row.
        unsafe {
            let y = S::div(S::mul(S::load(row.add(i)), S::splat(x.scale)), S::splat(x.softcap));
            S::store(row.add(i), S::mul(S::splat(x.softcap), S::tanh(y)));
        }
        i += LANES;
    }
}
