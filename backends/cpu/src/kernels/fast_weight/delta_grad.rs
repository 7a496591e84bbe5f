//! The outer gradient of the gated delta rule: back through one row of a head.
//!
//! With the names of [`tern_abi::ops::FAST_WEIGHT`], `W` before the row, `a = exp(decay)` and `D` the gradient of what follows it:
//!
//! ```text
//! m = k W;  g = lr (v - a m);  W' = a W + kᵀ g;  out = q W'
//! D[W'] += qᵀ D[out];  D[q] = W' D[out];  D[g] = k D[W'];  D[v] = lr D[g];  D[lr] = D[g]·(v - a m);  D[m] = -a lr D[g]
//! D[k] = D[W'] g + W D[m];  D[a] = Σ D[W'] W - lr D[g]·m;  D[W] = a D[W'] + kᵀ D[m]
//! ```

use super::super::vector::{load, map_over};
use super::dot;
use crate::simd::{LANES, Simd};

/// One row of one head.
#[derive(Clone, Copy)]
pub struct Row {
    /// Dimensions of a key.
    pub f: usize,
    /// Dimensions of a value.
    pub n: usize,
    /// `[f]`.
    pub q: *const f32,
    /// `[f]`.
    pub k: *const f32,
    /// `[n]`.
    pub v: *const f32,
    /// Learning rate.
    pub rate: f32,
    /// `exp` of the decay.
    pub fade: f32,
    /// `[f, n]` before the row; [`follow`] advances it.
    pub w: *mut f32,
    /// `[n]`, the output's gradient.
    pub dout: *const f32,
    /// `[f, n]`, the gradient of the weights after the row; becomes that of those before it.
    pub dw: *mut f32,
    /// `[f]`, added to.
    pub dq: *mut f32,
    /// `[f]`, added to.
    pub dk: *mut f32,
    /// `[n]`, or null.
    pub dv: *mut f32,
    /// One number, or null.
    pub drate: *mut f32,
    /// One number, or null: the decay's gradient.
    pub ddecay: *mut f32,
    /// [`work_len`] elements.
    pub work: *mut f32,
}

/// Elements of the work memory.
pub const fn work_len(n: usize) -> usize {
    4 * n
}

/// `out = Σ_a x[a] w[a]`.
#[inline(always)]
unsafe fn product<S: Simd>(x: *const f32, w: *const f32, f: usize, n: usize, out: *mut f32) {
    // SAFETY: partial loads stay within a row of W.
    unsafe {
        map_over!(S, n, out, |c, lanes| {
            let mut acc = S::zero();
            for a in 0..f {
                acc = S::fma(S::splat(*x.add(a)), load::<S>(w.add(a * n + c), lanes), acc);
            }
            acc
        });
    }
}

/// What the key recalls, how far the value is from it, and what is learned: `m`, `v - a m`, `g`.
#[inline(always)]
unsafe fn learned<S: Simd>(r: &Row) -> [*mut f32; 3] {
    let n = r.n;
    // SAFETY: as the fields say.
    unsafe {
        let [m, left, g] = std::array::from_fn(|i| r.work.add(i * n));
        product::<S>(r.k, r.w, r.f, n, m);
        let (rate, fade) = (S::splat(r.rate), S::splat(r.fade));
        map_over!(S, n, left, |c, lanes| {
            S::sub(load::<S>(r.v.add(c), lanes), S::mul(fade, load::<S>(m.add(c), lanes)))
        });
        map_over!(S, n, g, |c, lanes| S::mul(rate, load::<S>(left.add(c), lanes)));
        [m, left, g]
    }
}

/// `to = by * from + x * y`.
#[inline(always)]
unsafe fn outer<S: Simd>(by: f32, from: *const f32, x: f32, y: *const f32, n: usize, to: *mut f32) {
    // SAFETY: all have `n` elements.
    unsafe {
        let (by, x) = (S::splat(by), S::splat(x));
        map_over!(S, n, to, |c, lanes| {
            S::fma(x, load::<S>(y.add(c), lanes), S::mul(by, load::<S>(from.add(c), lanes)))
        });
    }
}

/// # Safety
/// As the fields say, but for those of gradients; see [`Simd`].
#[inline(always)]
unsafe fn one_row<S: Simd>(r: &Row) {
    // SAFETY: passed on.
    unsafe {
        let [_, _, g] = learned::<S>(r);
        for a in 0..r.f {
            let row = r.w.add(a * r.n);
            outer::<S>(r.fade, row, *r.k.add(a), g, r.n, row);
        }
    }
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn one_row_back<S: Simd>(r: &Row) {
    let (f, n) = (r.f, r.n);
    // SAFETY: as the fields say.
    unsafe {
        let [m, left, g] = learned::<S>(r);
        let dg = r.work.add(3 * n);
        let answered = dot::<S>(g, r.dout, n);
        let mut dfade = 0.0;
        for a in 0..f {
            let (w, dw, k) = (r.w.add(a * n), r.dw.add(a * n), *r.k.add(a));
            *r.dq.add(a) += r.fade * dot::<S>(w, r.dout, n) + k * answered;
            outer::<S>(1.0, dw, *r.q.add(a), r.dout, n, dw);
            *r.dk.add(a) += dot::<S>(dw, g, n);
            dfade += dot::<S>(dw, w, n);
        }
        product::<S>(r.k, r.dw, f, n, dg);
        dfade -= r.rate * dot::<S>(dg, m, n);
        if !r.drate.is_null() {
            *r.drate = dot::<S>(dg, left, n);
        }
        if !r.ddecay.is_null() {
            *r.ddecay = r.fade * dfade;
        }
        if !r.dv.is_null() {
            let rate = S::splat(r.rate);
            map_over!(S, n, r.dv, |c, lanes| S::mul(rate, load::<S>(dg.add(c), lanes)));
        }
        let by = S::splat(-r.fade * r.rate);
        map_over!(S, n, dg, |c, lanes| S::mul(by, load::<S>(dg.add(c), lanes)));
        for a in 0..f {
            let (w, dw) = (r.w.add(a * n), r.dw.add(a * n));
            *r.dk.add(a) += dot::<S>(w, dg, n);
            outer::<S>(r.fade, dw, *r.k.add(a), dg, n, dw);
        }
    }
}

crate::tier::tier_fn! {
    /// Takes the weights past a row.
    pub fn follow(row: &Row) = one_row;
    /// Back through a row.
    pub fn back(row: &Row) = one_row_back;
}
