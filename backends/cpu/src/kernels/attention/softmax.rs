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
    /// Where keys and values are codes: the scales of keys, then those of values, `[stride]` each.
    pub scales: *const f32,
}

impl Scores {
    /// Scales of keys from place `i` on.
    unsafe fn keys(&self, i: usize) -> *const f32 {
        // SAFETY: within the page.
        unsafe { self.scales.add(i) }
    }
    /// Scales of values from place `i` on.
    unsafe fn values(&self, i: usize) -> *const f32 {
        // SAFETY: within the page.
        unsafe { self.scales.add(self.stride + i) }
    }
}

/// Scales and caps row `r`, hides what is outside `from..to`, and yields the largest. With `CODES`, what is there are
/// products of queries and codes, without the scales of keys.
///
/// # Safety
/// The row has `span.1` elements; with `CODES` there are scales; see [`Simd`].
#[inline(always)]
pub unsafe fn prepare<S: Simd, const CODES: bool>(x: &Scores, r: usize, seen: (usize, usize)) -> f32 {
    // SAFETY: passed on.
    unsafe {
        let row = x.at.add(r * x.stride);
        if x.softcap > 0.0 {
            cap::<S, CODES>(row, x);
            return largest::<S, false>(x, row, 1.0, seen);
        }
        largest::<S, CODES>(x, row, x.scale, seen)
    }
}

#[inline(always)]
unsafe fn largest<S: Simd, const CODES: bool>(x: &Scores, row: *mut f32, factor: f32, seen: (usize, usize)) -> f32 {
    // SAFETY: passed on.
    unsafe {
        let factor = S::splat(factor);
        let mut top = S::splat(f32::NEG_INFINITY);
        let (mut i, last) = x.span;
        if seen == x.span {
            while i + 4 * LANES <= last {
                top = S::max(top, scaled::<S, CODES, 4>(x, row, i, factor));
                i += 4 * LANES;
            }
            while i < last {
                top = S::max(top, scaled::<S, CODES, 1>(x, row, i, factor));
                i += LANES;
            }
        }
        while i < last {
            let y = S::mul(products::<S, CODES>(x, row, i), factor);
            let y = hide::<S>(y, seen.0.saturating_sub(i), seen.1.saturating_sub(i));
            S::store(row.add(i), y);
            top = S::max(top, y);
            i += LANES;
        }
        S::reduce_max(top)
    }
}

/// Sixteen products of a query and keys.
#[inline(always)]
unsafe fn products<S: Simd, const CODES: bool>(x: &Scores, row: *const f32, i: usize) -> S::F {
    // SAFETY: a vector of the row.
    unsafe {
        let y = S::load(row.add(i));
        if CODES { S::mul(y, S::load(x.keys(i))) } else { y }
    }
}

/// Multiplies N vectors from place `i` on and yields the maximum in each lane.
#[inline(always)]
unsafe fn scaled<S: Simd, const CODES: bool, const N: usize>(
    x: &Scores,
    row: *mut f32,
    i: usize,
    factor: S::F,
) -> S::F {
    // SAFETY: N vectors of the row.
    unsafe {
        let mut y = [factor; N];
        for (n, y) in y.iter_mut().enumerate() {
            *y = S::mul(products::<S, CODES>(x, row, i + n * LANES), factor);
            S::store(row.add(i + n * LANES), *y);
        }
        let mut top = y[0];
        for &y in &y[1..] {
            top = S::max(top, y);
        }
        top
    }
}

/// Turns row `r` into `exp(score - m)` and stores the sum, lane by lane, at `sum`. With `CODES`, the row becomes
/// what the codes of values are to be multiplied with: those weights times the scales of values, which are no part of
/// the sum.
///
/// # Safety
/// As [`prepare`]; `sum` has 16 elements.
#[inline(always)]
pub unsafe fn exponentials<S: Simd, const CODES: bool>(x: &Scores, r: usize, m: f32, sum: *mut f32) {
    // SAFETY: passed on.
    unsafe {
        let row = x.at.add(r * x.stride);
        let (shift, mut total) = (S::splat(m), S::zero());
        let (mut i, last) = x.span;
        while i + 4 * LANES <= last {
            total = raised::<S, CODES, 4>(x, row, i, shift, total);
            i += 4 * LANES;
        }
        while i < last {
            total = raised::<S, CODES, 1>(x, row, i, shift, total);
            i += LANES;
        }
        S::store(sum, total);
    }
}

#[inline(always)]
unsafe fn raised<S: Simd, const CODES: bool, const N: usize>(
    x: &Scores,
    row: *mut f32,
    i: usize,
    shift: S::F,
    mut total: S::F,
) -> S::F {
    // SAFETY: N vectors of the row.
    unsafe {
        let mut y = [shift; N];
        for (n, y) in y.iter_mut().enumerate() {
            *y = S::exp(S::sub(S::load(row.add(i + n * LANES)), shift));
        }
        for (n, &y) in y.iter().enumerate() {
            let at = i + n * LANES;
            S::store(row.add(at), if CODES { S::mul(y, S::load(x.values(at))) } else { y });
            total = S::add(total, y);
        }
        total
    }
}

/// The number of each lane.
pub const LANE: [f32; LANES] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];

/// Lanes outside `from..to` become minus infinity.
#[inline(always)]
unsafe fn hide<S: Simd>(x: S::F, from: usize, to: usize) -> S::F {
    // SAFETY: the array has 16 lanes.
    unsafe {
        let lane = S::load(LANE.as_ptr());
        let hidden = S::splat(f32::NEG_INFINITY);
        let x = S::select_lt(lane, S::splat(from.min(LANES) as f32), hidden, x);
        S::select_lt(lane, S::splat(to.min(LANES) as f32), x, hidden)
    }
}

#[inline(always)]
unsafe fn cap<S: Simd, const CODES: bool>(row: *mut f32, x: &Scores) {
    let mut i = x.span.0;
    while i < x.span.1 {
        // SAFETY: within the row.
        unsafe {
            let y = S::div(S::mul(products::<S, CODES>(x, row, i), S::splat(x.scale)), S::splat(x.softcap));
            S::store(row.add(i), S::mul(S::splat(x.softcap), S::tanh(y)));
        }
        i += LANES;
    }
}
