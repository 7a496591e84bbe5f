//! Rows of an inner model with a gate (SwiGLU), which learns at the end of a mini-batch. See [`tern_abi::ops::FAST_WEIGHT`] for the
//! mathematics.

use super::products::{Left, Matrix, add_outer, multiply};
use crate::kernels::activation::{activate, grad::slope};
use crate::kernels::transpose::transpose;
use crate::kernels::vector::{load, map_over, sum_of_squares};
use crate::simd::{LANES, Simd};
use tern_abi::ops::activation::SILU;

/// Rows whose gradients are made together.
pub const GROUP: usize = 64;
/// Rows that are answered together.
const TOGETHER: usize = 4;

/// One head's inner model, as states have it.
#[derive(Clone, Copy)]
pub struct Model {
    /// Dimensions of a key.
    pub f: usize,
    /// Dimensions between the layers.
    pub m: usize,
    /// Dimensions of a value.
    pub n: usize,
    /// W0 `[f, m]`, W1 `[m, n]`, W2 `[f, m]`, side by side, at the mini-batch's start.
    pub w: *mut f32,
    /// Places of the mini-batch: key as divided by its length, value, rates of W0, W1 and W2, share of the momentum.
    pub places: *mut f32,
    /// Added to lengths.
    pub eps: f32,
}

impl Model {
    /// Rows, columns, and where it begins, of each matrix.
    pub fn matrices(&self) -> [[usize; 3]; 3] {
        let (f, m, n) = (self.f, self.m, self.n);
        [[f, m, 0], [m, n, f * m], [f, m, m * (f + n)]]
    }
    /// Elements of all of them.
    pub fn elements(&self) -> usize {
        self.m * (2 * self.f + self.n)
    }
    /// Matrix `i`.
    pub(super) fn matrix(&self, i: usize) -> Matrix {
        self.like(self.w, i)
    }
    /// What lies in `w` as matrix `i` does.
    pub(super) fn like(&self, w: *const f32, i: usize) -> Matrix {
        let [rows, columns, at] = self.matrices()[i];
        Matrix::new(w.wrapping_add(at), rows, columns)
    }
    /// The same of what [`transpose_all`](Self::transpose_all) wrote.
    pub(super) fn transposed(&self, w: *const f32, i: usize) -> Matrix {
        let [rows, columns, at] = self.matrices()[i];
        Matrix::new(w.wrapping_add(at), columns, rows)
    }
    /// Transposes what lies in `w` as the matrices do, each in its place of `out`.
    ///
    /// # Safety
    /// Both have as many elements.
    pub unsafe fn transpose_all(&self, w: *const f32, out: *mut f32) {
        for [rows, columns, at] in self.matrices() {
            // SAFETY: in both.
            unsafe { transpose(w.add(at), columns, (rows, columns), out.add(at), rows) }
        }
    }
    /// Elements of a place.
    pub fn place_len(&self) -> usize {
        self.f + self.n + 4
    }
    /// Place `j`.
    pub fn place(&self, j: usize) -> *mut f32 {
        self.places.wrapping_add(j * self.place_len())
    }
}

/// Rows of one head in one mini-batch, from first to last.
#[derive(Clone, Copy)]
pub struct Rows {
    /// The head's.
    pub model: Model,
    /// How many.
    pub rows: usize,
    /// First query.
    pub q: *const f32,
    /// First key.
    pub k: *const f32,
    /// First value.
    pub v: *const f32,
    /// First output.
    pub out: *mut f32,
    /// Heads: elements from a row's share of the momentum to the next one's; with `f` and `n`, of keys and values.
    pub heads: usize,
    /// First rates.
    pub rates: *const f32,
    /// First share of the momentum, or null for none.
    pub momentum: *const f32,
    /// The first row becomes this place.
    pub at: usize,
    /// [`work_len`] elements.
    pub work: *mut f32,
}

/// Elements of the work memory of [`answer`] and [`gradients`], whichever needs more.
pub const fn work_len(f: usize, m: usize, n: usize) -> usize {
    let (wide, answer) = (if f > m { f } else { m }, TOGETHER * (f + 2 * m));
    let gradients = 4 * GROUP * m + GROUP * wide + m * n;
    if answer > gradients { answer } else { gradients }
}

/// `out = x / (|x| + eps)`.
#[inline(always)]
pub(super) unsafe fn direct<S: Simd>(x: *const f32, f: usize, eps: f32, out: *mut f32) {
    // SAFETY: both have `f` elements.
    unsafe {
        let length = S::splat(sum_of_squares::<S>(x, f).sqrt() + eps);
        map_over!(S, f, out, |i, lanes| S::div(load::<S>(x.add(i), lanes), length));
    }
}

/// `z = silu(z) * u`.
#[inline(always)]
pub(super) unsafe fn gate<S: Simd>(z: *const f32, u: *const f32, len: usize, out: *mut f32) {
    // SAFETY: all have `len` elements.
    unsafe {
        map_over!(S, len, out, |i, lanes| {
            S::mul(activate::<S>(load::<S>(z.add(i), lanes), SILU), load::<S>(u.add(i), lanes))
        });
    }
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn answer_rows<S: Simd>(r: &Rows) {
    let (model, heads) = (&r.model, r.heads);
    let (f, m, n) = (model.f, model.m, model.n);
    // SAFETY: as the fields say.
    unsafe {
        let (z, u) = (r.work.add(TOGETHER * f), r.work.add(TOGETHER * (f + m)));
        for first in (0..r.rows).step_by(TOGETHER) {
            let count = TOGETHER.min(r.rows - first);
            for i in 0..count {
                direct::<S>(r.q.add((first + i) * heads * f), f, model.eps, r.work.add(i * f));
            }
            multiply::<S, false>((r.work, f), count, &model.matrix(0), (z, m));
            multiply::<S, false>((r.work, f), count, &model.matrix(2), (u, m));
            gate::<S>(z, u, count * m, z);
            multiply::<S, false>((z, m), count, &model.matrix(1), (r.out.add(first * heads * n), heads * n));
        }
        places::<S>(r);
    }
}

/// # Safety
/// As the fields say, of which the query and the output are not used; see [`Simd`].
#[inline(always)]
unsafe fn places<S: Simd>(r: &Rows) {
    let (model, heads) = (&r.model, r.heads);
    let (f, n) = (model.f, model.n);
    // SAFETY: as the fields say.
    unsafe {
        for i in 0..r.rows {
            let place = model.place(r.at + i);
            direct::<S>(r.k.add(i * heads * f), f, model.eps, place);
            place.add(f).copy_from_nonoverlapping(r.v.add(i * heads * n), n);
            place.add(f + n).copy_from_nonoverlapping(r.rates.add(i * 3 * heads), 3);
            *place.add(f + n + 3) = if r.momentum.is_null() { 0.0 } else { *r.momentum.add(i * heads) };
        }
    }
}

/// Places of a mini-batch, at most [`GROUP`].
#[derive(Clone, Copy)]
pub struct Group {
    /// The head's.
    pub model: Model,
    /// The first one.
    pub first: usize,
    /// How many.
    pub count: usize,
    /// What was learned so far, as the model's matrices lie.
    pub sums: *mut f32,
    /// [`work_len`] elements.
    pub work: *mut f32,
}

/// Adds what the places have to teach to the sums.
///
/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn add_gradients<S: Simd>(g: &Group) {
    let (model, count) = (&g.model, g.count);
    let (f, m, n, step) = (model.f, model.m, model.n, model.place_len());
    // SAFETY: as the fields say.
    unsafe {
        let part = |i: usize| g.work.add(i * GROUP * m);
        let (z, u, d, h) = (part(0), part(1), part(2), part(3));
        let (transposed, left) = (part(4), part(4).add(m * n));
        let w1 = model.w.add(model.matrices()[1][2]);
        transpose(w1, n, (m, n), transposed, m);
        let (keys, values) = (model.place(g.first), model.place(g.first).add(f));
        multiply::<S, false>((keys, step), count, &model.matrix(0), (z, m));
        multiply::<S, false>((keys, step), count, &model.matrix(2), (u, m));
        multiply::<S, false>((values, step), count, &Matrix::new(transposed, n, m), (d, m));
        let len = count * m;
        gate::<S>(z, u, len, h);
        // By z in the place of u, by u in that of d.
        map_over!(S, len, u, |i, lanes| {
            let by = S::mul(load::<S>(d.add(i), lanes), load::<S>(u.add(i), lanes));
            S::mul(by, slope::<S>(load::<S>(z.add(i), lanes), SILU))
        });
        gate::<S>(z, d, len, d);
        let sides = [(keys, step, u, m), (h, m, values, step), (keys, step, d, m)];
        for (i, ((x, apart, right, stride), [len, columns, at])) in sides.into_iter().zip(model.matrices()).enumerate()
        {
            let factors = (model.place(g.first).add(f + n + i).cast_const(), step);
            let right = Matrix { w: right, rows: count, columns, stride };
            add_outer::<S>(&Left { x, apart, len, factors }, &right, left, g.sums.add(at));
        }
    }
}

/// The end of a mini-batch for one matrix.
#[derive(Clone, Copy)]
pub struct Settle {
    /// `[rows, columns]`.
    pub w: *mut f32,
    /// See `w`.
    pub rows: usize,
    /// See `w`.
    pub columns: usize,
    /// What is added to it.
    pub step: *const f32,
    /// What the sequence began with.
    pub first: *const f32,
    /// Added to lengths.
    pub eps: f32,
    /// `columns` elements.
    pub work: *mut f32,
}

/// Adds the step and gives every column its first length.
///
/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn settle_matrix<S: Simd>(s: &Settle) {
    let (rows, columns) = (s.rows, s.columns);
    // SAFETY: as the fields say.
    unsafe {
        let len = rows * columns;
        map_over!(S, len, s.w, |i, lanes| S::add(load::<S>(s.w.add(i), lanes), load::<S>(s.step.add(i), lanes)));
        map_over!(S, columns, s.work, |i, lanes| {
            let (mut now, mut then) = (S::zero(), S::zero());
            for a in 0..rows {
                let (w, first) =
                    (load::<S>(s.w.add(a * columns + i), lanes), load::<S>(s.first.add(a * columns + i), lanes));
                now = S::fma(w, w, now);
                then = S::fma(first, first, then);
            }
            S::div(S::sqrt(then), S::add(S::sqrt(now), S::splat(s.eps)))
        });
        for a in 0..rows {
            let row = s.w.add(a * columns);
            map_over!(S, columns, row, |i, lanes| S::mul(
                load::<S>(row.add(i), lanes),
                load::<S>(s.work.add(i), lanes)
            ));
        }
    }
}

crate::tier::tier_fn! {
    /// Writes the outputs of rows, and takes them in as places.
    pub fn answer(rows: &Rows) = answer_rows;
    /// Takes rows in as places.
    pub fn take_in(rows: &Rows) = places;
    /// See [`add_gradients`].
    pub fn gradients(group: &Group) = add_gradients;
    /// See [`settle_matrix`].
    pub fn settle(settle: &Settle) = settle_matrix;
}
