//! Back through the rounds that make a step orthogonal, see `muon.rs`.
//!
//! With `A = x xᵀ`, `B = b A + c A A` and `x' = a x + B x`, all of A and B symmetric:
//! `D[B] = D[x'] xᵀ`, `D[A] = b D[B] + c (D[B] A + A D[B])`, `D[x] = a D[x'] + B D[x'] + (D[A] + D[A]ᵀ) x`.

use super::gated_grad::undirect;
use super::muon::SMALL;
use super::products::{Matrix, multiply};
use crate::kernels::transpose::transpose;
use crate::kernels::vector::{load, map_over};
use crate::simd::{LANES, Simd};

/// A round, or the beginning.
#[derive(Clone, Copy)]
pub struct Step {
    /// `[rows, columns]`, before it.
    pub x: *const f32,
    /// D of what came out; becomes D of `x`.
    pub d: *mut f32,
    /// See `x`.
    pub rows: usize,
    /// See `x`.
    pub columns: usize,
    /// [`work_len`] elements.
    pub work: *mut f32,
    /// Of the round.
    pub factors: [f32; 3],
}

/// Elements of the work memory.
pub const fn work_len(rows: usize, columns: usize) -> usize {
    rows * columns + 4 * rows * rows
}

/// Back through `x / (|x| + 1e-7)`.
///
/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn unshrink<S: Simd>(s: &Step) {
    // SAFETY: as the fields say.
    unsafe { undirect::<S>(s.x, s.d, s.rows * s.columns, SMALL, s.d) }
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn back_of_round<S: Simd>(s: &Step) {
    let (rows, columns) = (s.rows, s.columns);
    let (all, len) = (rows * rows, rows * columns);
    let square_of = |w: *mut f32| Matrix::new(w, rows, rows);
    // SAFETY: as the fields say.
    unsafe {
        let other = s.work;
        let [gram, b, db, da] = std::array::from_fn(|i| s.work.add(len + i * all));
        transpose(s.x, columns, (rows, columns), other, rows);
        let transposed = Matrix::new(other, columns, rows);
        multiply::<S, false>((s.x, columns), rows, &transposed, (gram, rows));
        multiply::<S, false>((s.d, columns), rows, &transposed, (db, rows));
        let (fa, fb, fc) = (S::splat(s.factors[0]), S::splat(s.factors[1]), S::splat(s.factors[2]));
        // D[A] without its factors b and c, first D[B] A + A D[B].
        multiply::<S, false>((db, rows), rows, &square_of(gram), (da, rows));
        multiply::<S, true>((gram, rows), rows, &square_of(db), (da, rows));
        map_over!(S, all, da, |i, lanes| {
            S::fma(fc, load::<S>(da.add(i), lanes), S::mul(fb, load::<S>(db.add(i), lanes)))
        });
        for i in 0..rows {
            for j in 0..=i {
                let both = *da.add(i * rows + j) + *da.add(j * rows + i);
                (*db.add(i * rows + j), *db.add(j * rows + i)) = (both, both);
            }
        }
        multiply::<S, false>((gram, rows), rows, &square_of(gram), (b, rows));
        map_over!(S, all, b, |i, lanes| {
            S::fma(fc, load::<S>(b.add(i), lanes), S::mul(fb, load::<S>(gram.add(i), lanes)))
        });
        multiply::<S, false>((b, rows), rows, &Matrix::new(s.d, rows, columns), (other, columns));
        multiply::<S, true>((db, rows), rows, &Matrix::new(s.x, rows, columns), (other, columns));
        map_over!(S, len, s.d, |i, lanes| S::fma(fa, load::<S>(s.d.add(i), lanes), load::<S>(other.add(i), lanes)));
    }
}

crate::tier::tier_fn! {
    /// See [`unshrink`].
    pub fn start(step: &Step) = unshrink;
    /// See [`back_of_round`].
    pub fn round(step: &Step) = back_of_round;
}
