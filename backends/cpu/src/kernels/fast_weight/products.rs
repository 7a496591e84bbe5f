//! Products of several rows with a matrix: every element is one chain over the rows of the matrix in order, however rows and columns
//! are grouped, so that a row comes out the same alone and among others.

use crate::kernels::vector::load;
use crate::simd::{LANES, Simd};

/// The right side of a product.
#[derive(Clone, Copy)]
pub struct Matrix {
    /// First row.
    pub w: *const f32,
    /// The sums' terms.
    pub rows: usize,
    /// Elements of a result.
    pub columns: usize,
    /// Elements from a row to the next one.
    pub stride: usize,
}

impl Matrix {
    /// One whose rows lie side by side.
    pub fn new(w: *const f32, rows: usize, columns: usize) -> Self {
        Self { w, rows, columns, stride: columns }
    }
}

/// `out[m] = x[m] W`, or with `ADD` the chain goes on from what `out` has, for columns `i ..` that are `V` vectors.
#[inline(always)]
unsafe fn columns<S: Simd, const M: usize, const V: usize, const ADD: bool>(
    x: [*const f32; M],
    r: &Matrix,
    i: usize,
    lanes: usize,
    out: [*mut f32; M],
) {
    // SAFETY: the caller's columns exist in every row of W.
    unsafe {
        let mut acc = [[S::zero(); V]; M];
        for (acc, out) in acc.iter_mut().zip(out).filter(|_| ADD) {
            for (v, acc) in acc.iter_mut().enumerate() {
                *acc = load::<S>(out.add(i + v * LANES), lanes);
            }
        }
        for a in 0..r.rows {
            let row = r.w.add(a * r.stride + i);
            let mut w = [S::zero(); V];
            for (v, w) in w.iter_mut().enumerate() {
                *w = load::<S>(row.add(v * LANES), lanes);
            }
            for (acc, x) in acc.iter_mut().zip(x) {
                let x = S::splat(*x.add(a));
                for (acc, w) in acc.iter_mut().zip(w) {
                    *acc = S::fma(x, w, *acc);
                }
            }
        }
        for (acc, out) in acc.into_iter().zip(out) {
            for (v, acc) in acc.into_iter().enumerate() {
                let to = out.add(i + v * LANES);
                if lanes == LANES { S::store(to, acc) } else { S::store_n(to, acc, lanes) }
            }
        }
    }
}

/// `out[m] = x[m] W`, `V` vectors of columns at a time where there are so many; with `ADD` as [`columns`].
///
/// # Safety
/// Every `x` has as many elements as W rows, every `out` as many as it has columns; see [`Simd`].
#[inline(always)]
pub unsafe fn products<S: Simd, const M: usize, const V: usize, const ADD: bool>(
    x: [*const f32; M],
    r: &Matrix,
    out: [*mut f32; M],
) {
    let mut i = 0;
    // SAFETY: columns of W.
    unsafe {
        while i + V * LANES <= r.columns {
            columns::<S, M, V, ADD>(x, r, i, LANES, out);
            i += V * LANES;
        }
        while i + LANES <= r.columns {
            columns::<S, M, 1, ADD>(x, r, i, LANES, out);
            i += LANES;
        }
        if i < r.columns {
            columns::<S, M, 1, ADD>(x, r, i, r.columns - i, out);
        }
    }
}

/// Rows that are multiplied with others, each times a factor.
#[derive(Clone, Copy)]
pub struct Left {
    /// The first one.
    pub x: *const f32,
    /// Elements from a row to the next one.
    pub apart: usize,
    /// Elements of a row.
    pub len: usize,
    /// The first one's factor and how far the next one's is from it; null for none.
    pub factors: (*const f32, usize),
}

/// `out += Σ_j factor_j x_jᵀ y_j`, one chain per element over the rows of `y` in order.
///
/// # Safety
/// There are as many `x` and factors as rows of `y`, `out` is `[len of x, columns of y]`, and `work` has room for all `x`; see
/// [`Simd`].
#[inline(always)]
pub unsafe fn add_outer<S: Simd>(left: &Left, y: &Matrix, work: *mut f32, out: *mut f32) {
    let (factors, apart) = left.factors;
    // SAFETY: as the caller says.
    unsafe {
        for j in 0..y.rows {
            let factor = if factors.is_null() { 1.0 } else { *factors.add(j * apart) };
            for a in 0..left.len {
                *work.add(a * y.rows + j) = factor * *left.x.add(j * left.apart + a);
            }
        }
        multiply::<S, true>((work, y.rows), left.len, y, (out, y.columns));
    }
}

/// [`products`] of `count` rows, which lie `from` and `to` elements apart.
///
/// # Safety
/// As there.
#[inline(always)]
pub unsafe fn multiply<S: Simd, const ADD: bool>(
    (x, from): (*const f32, usize),
    count: usize,
    r: &Matrix,
    (out, to): (*mut f32, usize),
) {
    let mut i = 0;
    // SAFETY: as the caller says.
    unsafe {
        while i + 4 <= count {
            let (x, out) = (x.add(i * from), out.add(i * to));
            let x = [x, x.add(from), x.add(2 * from), x.add(3 * from)];
            let out = [out, out.add(to), out.add(2 * to), out.add(3 * to)];
            if S::PAIR {
                products::<S, 4, 2, ADD>(x, r, out)
            } else {
                products::<S, 4, 1, ADD>(x, r, out)
            }
            i += 4;
        }
        for i in i..count {
            let (x, out) = ([x.add(i * from)], [out.add(i * to)]);
            if S::PAIR { products::<S, 1, 4, ADD>(x, r, out) } else { products::<S, 1, 2, ADD>(x, r, out) }
        }
    }
}
