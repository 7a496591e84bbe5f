//! Products of float matrices of any size: `C = A B`, each element one chain over the terms in order.

use crate::kernels::product::{MAX_ROWS, Product, Products};
use crate::kernels::transpose;
use crate::simd::LANES;
use crate::tier::Tier;

/// Columns that are multiplied together: as many sums as the widest tier has registers for.
pub const SLICE: usize = 64;

/// A matrix in memory: its first element, and the distance from row to row.
#[derive(Clone, Copy)]
pub struct Rows {
    /// First element.
    pub at: *const f32,
    /// Elements from one row to the next.
    pub stride: usize,
}

impl Rows {
    /// From row `row` on.
    pub fn from(self, row: usize) -> Self {
        Self { at: self.at.wrapping_add(row * self.stride), ..self }
    }
    /// From column `column` on.
    pub fn right(self, column: usize) -> Self {
        Self { at: self.at.wrapping_add(column), ..self }
    }
}

/// Operands of a product.
#[derive(Clone, Copy)]
pub struct Operands {
    /// `[rows, terms]`.
    pub a: Rows,
    /// `[terms, columns]`; rows can be read up to the next multiple of 16.
    pub b: Rows,
    /// `[rows, columns]`: first element, and the distance from row to row.
    pub c: *mut f32,
    /// Elements between rows of C.
    pub c_stride: usize,
    /// Rows of A and C.
    pub rows: usize,
    /// Columns of B and C.
    pub columns: usize,
    /// Terms of each sum.
    pub terms: usize,
    /// Continue the sums in C instead of starting at zero.
    pub resume: bool,
}

/// The product of a tier.
#[derive(Clone, Copy)]
pub struct Dense {
    kernel: unsafe fn(&Product<f32>, usize),
}

impl Dense {
    /// Of a tier.
    pub fn of(tier: Tier) -> Self {
        Self { kernel: Products::of(tier).single() }
    }

    /// Multiplies.
    ///
    /// # Safety
    /// The operands are in memory as described, C overlaps neither of the others, and the tier is available.
    pub unsafe fn multiply(&self, o: &Operands) {
        let whole = o.columns / LANES * LANES;
        for first in (0..whole).step_by(SLICE) {
            let width = SLICE.min(whole - first);
            for row in (0..o.rows).step_by(MAX_ROWS) {
                let rows = MAX_ROWS.min(o.rows - row);
                let c = o.c.wrapping_add(row * o.c_stride + first);
                // SAFETY: rows and columns of the operands.
                unsafe { (self.kernel)(&o.product(row, first, width, c, o.c_stride), rows) };
            }
        }
        let rest = o.columns - whole;
        if rest == 0 {
            return;
        }
        // Only so many columns of C are there: a vector of each row is computed beside it.
        for row in (0..o.rows).step_by(MAX_ROWS) {
            let rows = MAX_ROWS.min(o.rows - row);
            let mut beside = [0f32; MAX_ROWS * LANES];
            // SAFETY: as above; B's rows can be read to the end of the vector.
            unsafe {
                let c = o.c.add(row * o.c_stride + whole);
                if o.resume {
                    for r in 0..rows {
                        let from = c.add(r * o.c_stride).cast_const();
                        beside.as_mut_ptr().add(r * LANES).copy_from_nonoverlapping(from, rest);
                    }
                }
                (self.kernel)(&o.product(row, whole, LANES, beside.as_mut_ptr(), LANES), rows);
                for r in 0..rows {
                    c.add(r * o.c_stride).copy_from_nonoverlapping(beside.as_ptr().add(r * LANES), rest);
                }
            }
        }
    }
}

impl Operands {
    fn product(&self, row: usize, column: usize, width: usize, c: *mut f32, c_stride: usize) -> Product<f32> {
        let (a, b) = (self.a.from(row), self.b.right(column));
        Product {
            a: a.at,
            a_stride: a.stride,
            b: b.at,
            b_stride: b.stride,
            c,
            c_stride,
            k: self.terms,
            width,
            resume: self.resume,
            next: b.at,
        }
    }
}

/// Copies `rows` x `columns`, with zeros up to `to_stride` columns.
///
/// # Safety
/// Both matrices are there and do not overlap; `to_stride >= columns`.
pub unsafe fn pad(from: Rows, rows: usize, columns: usize, to: *mut f32, to_stride: usize) {
    for r in 0..rows {
        // SAFETY: row `r` of both.
        unsafe {
            let to = to.add(r * to_stride);
            to.copy_from_nonoverlapping(from.from(r).at, columns);
            to.add(columns).write_bytes(0, to_stride - columns);
        }
    }
}

/// Writes the transpose of `rows` x `columns`: row `c` of the result at `to + c * to_stride`.
///
/// # Safety
/// Both matrices are there and do not overlap; `to_stride >= rows`.
pub unsafe fn transpose(from: Rows, rows: usize, columns: usize, to: *mut f32, to_stride: usize) {
    // SAFETY: passed on.
    unsafe { transpose::transpose(from.at, from.stride, (rows, columns), to, to_stride) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_size_and_in_parts() {
        let number = |i: usize| ((i * 37 + 11) % 64) as f32 / 16.0 - 2.0;
        for tier in Tier::ALL.into_iter().filter(|t| t.available()) {
            let dense = Dense::of(tier);
            for (rows, columns, terms) in [(1usize, 1usize, 1usize), (7, 37, 5), (13, 64, 96), (6, 83, 17)] {
                let stride = columns.next_multiple_of(LANES);
                let a: Vec<f32> = (0..rows * terms).map(number).collect();
                let b: Vec<f32> = (0..terms * stride).map(|i| number(i + 5)).collect();
                let mut c = vec![9.0; rows * columns];
                let cut = terms / 2;
                for (from, to) in [(0, cut), (cut, terms)] {
                    let o = Operands {
                        a: Rows { at: a[from..].as_ptr(), stride: terms },
                        b: Rows { at: b[from * stride..].as_ptr(), stride },
                        c: c.as_mut_ptr(),
                        c_stride: columns,
                        rows,
                        columns,
                        terms: to - from,
                        resume: from > 0,
                    };
                    // SAFETY: sizes as said; the tier is available.
                    unsafe { dense.multiply(&o) };
                }
                for (i, &c) in c.iter().enumerate() {
                    let (r, column) = (i / columns, i % columns);
                    // Small multiples of 1/256: sums are exact.
                    let want: f32 = (0..terms).map(|k| a[r * terms + k] * b[k * stride + column]).sum();
                    assert_eq!(c, want, "{tier:?} {rows}x{columns}x{terms} at {i}");
                }
            }
        }
    }

    #[test]
    fn transposed_and_padded() {
        let x: Vec<f32> = (0..35).map(|i| i as f32).collect();
        let (mut t, mut p) = ([0f32; 7 * 6], [9f32; 5 * 8]);
        // SAFETY: 5 x 7 in, 7 x 6 and 5 x 8 out.
        unsafe {
            transpose(Rows { at: x.as_ptr(), stride: 7 }, 5, 7, t.as_mut_ptr(), 6);
            pad(Rows { at: x.as_ptr(), stride: 7 }, 5, 7, p.as_mut_ptr(), 8);
        }
        assert_eq!((t[6 * 3 + 4], t[6 * 6]), (31.0, 6.0));
        assert_eq!((p[8 * 2], p[8 * 2 + 7]), (14.0, 0.0));
    }
}
