//! Rotary position embedding.

use crate::simd::{LANES, Simd};
use tern_abi::ops::rope_layout;

/// Rotates one head: `out` may be `x`. `table` holds cosine and sine of each pair in turn.
///
/// # Safety
/// `x` and `out` have `head_dim` elements, `table` has `n_rot`, which is even and at most `head_dim`.
#[inline(always)]
pub unsafe fn rotate_head<S: Simd>(
    x: *const f32,
    table: *const f32,
    out: *mut f32,
    head_dim: usize,
    n_rot: usize,
    layout: u32,
    sign: f32,
) {
    // SAFETY: pairs lie within `n_rot`, the rest within `head_dim`.
    unsafe {
        let half = n_rot / 2;
        let (mut cos, mut sin) = ([0f32; LANES], [0f32; LANES]);
        let (mut a, mut b) = ([0f32; LANES], [0f32; LANES]);
        let mut i = 0;
        // Arrays of 16 let the compiler shuffle in registers, and both layouts share the arithmetic.
        while i < half {
            let lanes = LANES.min(half - i);
            for l in 0..lanes {
                let (first, second) = place(i + l, half, layout);
                cos[l] = *table.add(2 * (i + l));
                sin[l] = sign * *table.add(2 * (i + l) + 1);
                a[l] = *x.add(first);
                b[l] = *x.add(second);
            }
            let (c, s) = (S::load(cos.as_ptr()), S::load(sin.as_ptr()));
            let (u, v) = (S::load(a.as_ptr()), S::load(b.as_ptr()));
            S::store(a.as_mut_ptr(), S::sub(S::mul(u, c), S::mul(v, s)));
            S::store(b.as_mut_ptr(), S::add(S::mul(u, s), S::mul(v, c)));
            for l in 0..lanes {
                let (first, second) = place(i + l, half, layout);
                *out.add(first) = a[l];
                *out.add(second) = b[l];
            }
            i += lanes;
        }
        if !std::ptr::eq(x, out) {
            for i in n_rot..head_dim {
                *out.add(i) = *x.add(i);
            }
        }
    }
}

#[inline(always)]
fn place(pair: usize, half: usize, layout: u32) -> (usize, usize) {
    if layout == rope_layout::HALVES { (pair, pair + half) } else { (2 * pair, 2 * pair + 1) }
}

/// Heads of one row.
#[derive(Clone, Copy)]
pub struct Row {
    /// Input.
    pub x: *const f32,
    /// Cosines and sines.
    pub table: *const f32,
    /// Output, may be the input.
    pub out: *mut f32,
    /// Number of heads.
    pub heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Rotated elements of a head.
    pub n_rot: usize,
    /// One of [`rope_layout`].
    pub layout: u32,
    /// 1, or -1 to rotate backwards.
    pub sign: f32,
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn rotate_row<S: Simd>(row: &Row) {
    for h in 0..row.heads {
        let at = h * row.head_dim;
        // SAFETY: head `h` of the row.
        unsafe {
            rotate_head::<S>(row.x.add(at), row.table, row.out.add(at), row.head_dim, row.n_rot, row.layout, row.sign);
        }
    }
}

crate::tier::tier_fn! {
    /// Rotates all heads of a row.
    pub fn rotate(row: &Row) = rotate_row;
}
