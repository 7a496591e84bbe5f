//! The outer gradient of an inner model with a gate: back through one mini-batch of a head.
//!
//! With the names of [`tern_abi::ops::FAST_WEIGHT`], `D[..]` for gradients, `s`, `s'`, `s''` for SiLU of `z` and its derivatives, and rows
//! of keys that were divided by their length:
//!
//! ```text
//! an answer:   D[h] = D[out] W1ᵀ;  D[z] = D[h] u s';  D[u] = D[h] s;  D[q] = D[z] W0ᵀ + D[u] W2ᵀ
//! a lesson:    a0 = k D[G0];  a2 = k D[G2];  b = v D[G1]ᵀ
//!              D[lr0] = a0·(d u s');  D[lr1] = b·(s u);  D[lr2] = a2·(d s)
//!              D[d] = lr0 a0 u s' + lr2 a2 s;  D[u] = lr0 a0 d s' + lr1 b s
//!              D[z] = lr0 a0 d u s'' + lr2 a2 d s' + lr1 b u s'
//!              D[k] = D[z] W0ᵀ + D[u] W2ᵀ + lr0 (d u s') D[G0]ᵀ + lr2 (d s) D[G2]ᵀ;  D[v] = D[d] W1 + lr1 (s u) D[G1]
//! ```
//!
//! Matrices gain the outer products of what was multiplied with them.

use super::dot;
use super::gated::{GROUP, Model, direct, gate};
use super::products::{Left, Matrix, add_outer, multiply};
use crate::kernels::activation::{activate, grad::slope};
use crate::kernels::vector::{load, map_over, sum_of_squares};
use crate::simd::{LANES, Simd};
use std::ptr::null;
use tern_abi::ops::activation::SILU;

/// At most [`GROUP`] rows of a mini-batch, from first to last.
#[derive(Clone, Copy)]
pub struct Rows {
    /// With the weights of the mini-batch's start, and the rows as places.
    pub model: Model,
    /// How many.
    pub rows: usize,
    /// The first row's place.
    pub first: usize,
    /// Heads: elements from a row's rate to the next one's, and with `f` and `n` of the others.
    pub heads: usize,
    /// The matrices, transposed.
    pub transposed: *const f32,
    /// D of the matrices at the mini-batch's start, added to.
    pub dw: *mut f32,
    /// First query, or in a lesson first key, as it came.
    pub x: *const f32,
    /// Its D, or null.
    pub dx: *mut f32,
    /// [`work_len`] elements.
    pub work: *mut f32,
}

/// What rows taught.
#[derive(Clone, Copy)]
pub struct Lesson {
    /// The rows; `x` is the first key.
    pub rows: Rows,
    /// D of what they taught in all, as the matrices lie.
    pub dg: *const f32,
    /// The same, transposed.
    pub dg_transposed: *const f32,
    /// D of the first value, or null.
    pub dv: *mut f32,
    /// D of the first rates, or null.
    pub drates: *mut f32,
}

/// Elements of the work memory.
pub const fn work_len(f: usize, m: usize, n: usize) -> usize {
    let wide = if f > m { f } else { m };
    GROUP * (6 * m + 2 * f + n + wide)
}

/// A row's parts of the work memory.
struct Work {
    /// Six of `m` a row.
    inner: [*mut f32; 6],
    /// Two of `f` a row: the row, and its D.
    outer: [*mut f32; 2],
    /// `n` a row.
    value: *mut f32,
    /// For [`add_outer`].
    left: *mut f32,
}

impl Work {
    fn new(at: *mut f32, model: &Model) -> Self {
        let (f, m, n) = (model.f, model.m, model.n);
        let part = |i: usize| at.wrapping_add(GROUP * i);
        Self {
            inner: std::array::from_fn(|i| part(i * m)),
            outer: [part(6 * m), part(6 * m + f)],
            value: part(6 * m + 2 * f),
            left: part(6 * m + 2 * f + n),
        }
    }
}

/// SiLU's second derivative.
#[inline(always)]
unsafe fn curve<S: Simd>(z: S::F) -> S::F {
    // SAFETY: see [`Simd`].
    unsafe {
        // It vanishes before.
        let z = S::min(S::splat(100.0), S::max(S::splat(-100.0), z));
        let (s, one) = (S::sigmoid(z), S::splat(1.0));
        let rest = S::sub(one, s);
        S::mul(S::mul(s, rest), S::fma(z, S::sub(rest, s), S::splat(2.0)))
    }
}

/// Back through `x / (|x| + eps)`; `out` may be `d`.
#[inline(always)]
pub(super) unsafe fn undirect<S: Simd>(x: *const f32, d: *const f32, n: usize, eps: f32, out: *mut f32) {
    // SAFETY: all have `n` elements.
    unsafe {
        let length = sum_of_squares::<S>(x, n).sqrt();
        let whole = length + eps;
        let along = if length > 0.0 { dot::<S>(x, d, n) / whole / length / whole } else { 0.0 };
        let (whole, along) = (S::splat(whole), S::splat(-along));
        map_over!(S, n, out, |i, lanes| {
            S::fma(along, load::<S>(x.add(i), lanes), S::div(load::<S>(d.add(i), lanes), whole))
        });
    }
}

/// `[rows, columns]` side by side.
fn side_by_side(w: *const f32, rows: usize, columns: usize) -> Matrix {
    Matrix::new(w, rows, columns)
}

/// D of rows, which were divided by their length, from that of what was multiplied with W0 and W2, to which this adds.
#[inline(always)]
unsafe fn rows_back<S: Simd>(r: &Rows, w: &Work, (dz, du): (*mut f32, *mut f32)) {
    let (model, count) = (&r.model, r.rows);
    let (f, m) = (model.f, model.m);
    let [x, dx] = w.outer;
    // SAFETY: as the fields say.
    unsafe {
        let left = Left { x, apart: f, len: f, factors: (null(), 0) };
        for (d, i) in [(dz, 0), (du, 2)] {
            add_outer::<S>(&left, &side_by_side(d, count, m), w.left, r.dw.add(model.matrices()[i][2]));
            multiply::<S, true>((d, m), count, &model.transposed(r.transposed, i), (dx, f));
        }
        if !r.dx.is_null() {
            for j in 0..count {
                let at = j * r.heads * f;
                undirect::<S>(r.x.add(at), dx.add(j * f), f, model.eps, r.dx.add(at));
            }
        }
    }
}

/// Rows that were answered. `dout`: D of the first answer.
///
/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn back_of_answers<S: Simd>(r: &Rows, dout: *const f32) {
    let (model, count) = (&r.model, r.rows);
    let (f, m, n) = (model.f, model.m, model.n);
    let w = Work::new(r.work, model);
    let ([z, u, d, h, ..], [x, dx]) = (w.inner, w.outer);
    // SAFETY: as the fields say.
    unsafe {
        for j in 0..count {
            direct::<S>(r.x.add(j * r.heads * f), f, model.eps, x.add(j * f));
        }
        dx.write_bytes(0, count * f);
        multiply::<S, false>((x, f), count, &model.matrix(0), (z, m));
        multiply::<S, false>((x, f), count, &model.matrix(2), (u, m));
        multiply::<S, false>((dout, r.heads * n), count, &model.transposed(r.transposed, 1), (d, m));
        let len = count * m;
        gate::<S>(z, u, len, h);
        let right = Matrix { w: dout, rows: count, columns: n, stride: r.heads * n };
        let left = Left { x: h, apart: m, len: m, factors: (null(), 0) };
        add_outer::<S>(&left, &right, w.left, r.dw.add(model.matrices()[1][2]));
        // By u in the place of h, by z in that of u.
        gate::<S>(z, d, len, h);
        map_over!(S, len, u, |i, lanes| {
            let by = S::mul(load::<S>(d.add(i), lanes), load::<S>(u.add(i), lanes));
            S::mul(by, slope::<S>(load::<S>(z.add(i), lanes), SILU))
        });
        rows_back::<S>(r, &w, (u, h));
    }
}

/// Rows that were learned from.
///
/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn back_of_lesson<S: Simd>(l: &Lesson) {
    let r = &l.rows;
    let (model, count) = (&r.model, r.rows);
    let (f, m, n, step) = (model.f, model.m, model.n, model.place_len());
    let w = Work::new(r.work, model);
    let ([z, u, d, a0, a2, b], [x, dx]) = (w.inner, w.outer);
    // SAFETY: as the fields say.
    unsafe {
        let (keys, values) = (model.place(r.first), model.place(r.first).add(f));
        let rates = keys.add(f + n).cast_const();
        for j in 0..count {
            x.add(j * f).copy_from_nonoverlapping(keys.add(j * step), f);
        }
        multiply::<S, false>((x, f), count, &model.matrix(0), (z, m));
        multiply::<S, false>((x, f), count, &model.matrix(2), (u, m));
        multiply::<S, false>((values, step), count, &model.transposed(r.transposed, 1), (d, m));
        multiply::<S, false>((x, f), count, &model.like(l.dg, 0), (a0, m));
        multiply::<S, false>((x, f), count, &model.like(l.dg, 2), (a2, m));
        multiply::<S, false>((values, step), count, &model.transposed(l.dg_transposed, 1), (b, m));
        for j in 0..count {
            let rates = std::array::from_fn(|i| *rates.add(j * step + i));
            let drates = lesson_of_row::<S>([z, u, d, a0, a2, b].map(|x| x.add(j * m)), m, rates);
            if !l.drates.is_null() {
                l.drates.add(j * 3 * r.heads).copy_from_nonoverlapping(drates.as_ptr(), 3);
            }
        }
        // In their places: D of z, u and d, and what the row taught: of W0, W2, and before W1.
        multiply::<S, false>((a0, m), count, &model.transposed(l.dg_transposed, 0), (dx, f));
        multiply::<S, true>((a2, m), count, &model.transposed(l.dg_transposed, 2), (dx, f));
        rows_back::<S>(r, &w, (z, u));
        let left = Left { x: d, apart: m, len: m, factors: (null(), 0) };
        let right = Matrix { w: values, rows: count, columns: n, stride: step };
        add_outer::<S>(&left, &right, w.left, r.dw.add(model.matrices()[1][2]));
        if !l.dv.is_null() {
            multiply::<S, false>((d, m), count, &model.matrix(1), (w.value, n));
            multiply::<S, true>((b, m), count, &model.like(l.dg, 1), (w.value, n));
            for j in 0..count {
                l.dv.add(j * r.heads * n).copy_from_nonoverlapping(w.value.add(j * n), n);
            }
        }
    }
}

/// One row's `z, u, d, a0, a2, b` become D of the first three, and the row's own `lr0 d u s'`, `lr2 d s`, `lr1 s u`. Yields D of its rates.
#[inline(always)]
unsafe fn lesson_of_row<S: Simd>([z, u, d, a0, a2, b]: [*mut f32; 6], m: usize, rates: [f32; 3]) -> [f32; 3] {
    // SAFETY: all have `m` elements.
    unsafe {
        let mut drates = [0f32; 3];
        let (lr0, lr1, lr2) = (S::splat(rates[0]), S::splat(rates[1]), S::splat(rates[2]));
        let mut from = 0;
        while from < m {
            let lanes = (m - from).min(LANES);
            let [z, u, d, a0, a2, b] = [z, u, d, a0, a2, b].map(|x| x.add(from));
            // Not by a closure, which a compiler may leave a call without the tier's features.
            let (zs, us, ds) = (load::<S>(z, lanes), load::<S>(u, lanes), load::<S>(d, lanes));
            let (a0s, a2s, bs) = (load::<S>(a0, lanes), load::<S>(a2, lanes), load::<S>(b, lanes));
            let (s, s1, s2) = (activate::<S>(zs, SILU), slope::<S>(zs, SILU), curve::<S>(zs));
            let (p0, p1, p2) = (S::mul(S::mul(ds, us), s1), S::mul(s, us), S::mul(ds, s));
            drates[0] += S::reduce_add(S::mul(a0s, p0));
            drates[1] += S::reduce_add(S::mul(bs, p1));
            drates[2] += S::reduce_add(S::mul(a2s, p2));
            let (a0s, a2s, bs) = (S::mul(lr0, a0s), S::mul(lr2, a2s), S::mul(lr1, bs));
            let dd = S::fma(S::mul(a0s, us), s1, S::mul(a2s, s));
            let du = S::fma(S::mul(a0s, ds), s1, S::mul(bs, s));
            let bent = S::mul(S::mul(S::mul(a0s, ds), us), s2);
            let dz = S::fma(S::fma(a2s, ds, S::mul(bs, us)), s1, bent);
            let taught = [S::mul(lr0, p0), S::mul(lr2, p2), S::mul(lr1, p1)];
            for (to, x) in [z, u, d, a0, a2, b].into_iter().zip([dz, du, dd].into_iter().chain(taught)) {
                if lanes == LANES { S::store(to, x) } else { S::store_n(to, x, lanes) }
            }
            from += LANES;
        }
        drates
    }
}

/// The end of a mini-batch for one matrix, backwards.
#[derive(Clone, Copy)]
pub struct Settle {
    /// `[rows, columns]`, before the step.
    pub w: *const f32,
    /// See `w`.
    pub rows: usize,
    /// See `w`.
    pub columns: usize,
    /// What was added to it.
    pub step: *const f32,
    /// What the sequence began with.
    pub first: *const f32,
    /// D of that, added to.
    pub dfirst: *mut f32,
    /// D of the matrix after it, becomes that of the matrix before it and of the step alike.
    pub dw: *mut f32,
    /// Added to lengths.
    pub eps: f32,
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn unsettle_matrix<S: Simd>(s: &Settle) {
    // SAFETY: as the fields say.
    unsafe {
        let tiny = S::splat(f32::MIN_POSITIVE);
        let mut i = 0;
        while i < s.columns {
            let lanes = (s.columns - i).min(LANES);
            let at = |w: *const f32, a: usize| load::<S>(w.add(a * s.columns + i), lanes);
            let (mut now, mut then, mut along) = (S::zero(), S::zero(), S::zero());
            for a in 0..s.rows {
                let (w, first) = (S::add(at(s.w, a), at(s.step, a)), at(s.first, a));
                now = S::fma(w, w, now);
                then = S::fma(first, first, then);
                along = S::fma(w, at(s.dw, a), along);
            }
            let (now, then) = (S::sqrt(now), S::sqrt(then));
            let whole = S::add(now, S::splat(s.eps));
            let (factor, along) = (S::div(then, whole), S::div(along, whole));
            let of_own = S::div(S::mul(factor, along), S::max(now, tiny));
            let of_first = S::div(along, S::max(then, tiny));
            for a in 0..s.rows {
                let w = S::add(at(s.w, a), at(s.step, a));
                let dw = S::sub(S::mul(factor, at(s.dw, a)), S::mul(w, of_own));
                let dfirst = S::fma(at(s.first, a), of_first, at(s.dfirst, a));
                for (to, x) in [(s.dw, dw), (s.dfirst, dfirst)] {
                    let to = to.add(a * s.columns + i);
                    if lanes == LANES { S::store(to, x) } else { S::store_n(to, x, lanes) }
                }
            }
            i += LANES;
        }
    }
}

/// D of what rows taught, and of what the mini-batch before left of the momentum.
#[derive(Clone, Copy)]
pub struct Momentum {
    /// Elements of all matrices.
    pub len: usize,
    /// What the mini-batch before left.
    pub before: *const f32,
    /// D of what was learned, without what came of it later; becomes whole.
    pub dg: *mut f32,
    /// D of what this mini-batch left, becomes that of `before`.
    pub carried: *mut f32,
    /// The momentum's share.
    pub share: f32,
    /// D of the share.
    pub dshare: *mut f32,
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn back_of_momentum<S: Simd>(p: &Momentum) {
    // SAFETY: as the fields say.
    unsafe {
        let whole = |i: usize, lanes| S::add(load::<S>(p.dg.add(i), lanes), load::<S>(p.carried.add(i), lanes));
        map_over!(S, p.len, p.dg, |i, lanes| whole(i, lanes));
        *p.dshare = dot::<S>(p.dg, p.before, p.len);
        let share = S::splat(p.share);
        map_over!(S, p.len, p.carried, |i, lanes| S::mul(share, load::<S>(p.dg.add(i), lanes)));
    }
}

crate::tier::tier_fn! {
    /// See [`back_of_answers`].
    pub fn answers(rows: &Rows, dout: *const f32) = back_of_answers;
    /// See [`back_of_lesson`].
    pub fn lesson(lesson: &Lesson) = back_of_lesson;
    /// See [`unsettle_matrix`].
    pub fn unsettle(settle: &Settle) = unsettle_matrix;
    /// See [`back_of_momentum`].
    pub fn momentum(momentum: &Momentum) = back_of_momentum;
}
