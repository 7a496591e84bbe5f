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
        let adjacent = layout != rope_layout::HALVES;
        let sign = S::splat(sign);
        let mut i = 0;
        while i + LANES <= half {
            let (cos, sin) = split::<S>(table.add(2 * i));
            let (a, b) =
                if adjacent { split::<S>(x.add(2 * i)) } else { (S::load(x.add(i)), S::load(x.add(half + i))) };
            let (a, b) = turn::<S>(a, b, cos, S::mul(sin, sign));
            if adjacent {
                join::<S>(a, b, out.add(2 * i));
            } else {
                S::store(out.add(i), a);
                S::store(out.add(half + i), b);
            }
            i += LANES;
        }
        while i < half {
            let (first, second) = if adjacent { (2 * i, 2 * i + 1) } else { (i, i + half) };
            let lane = |p: *const f32| S::load_n(p, 1);
            let sin = S::mul(lane(table.add(2 * i + 1)), sign);
            let (a, b) = turn::<S>(lane(x.add(first)), lane(x.add(second)), lane(table.add(2 * i)), sin);
            S::store_n(out.add(first), a, 1);
            S::store_n(out.add(second), b, 1);
            i += 1;
        }
        if !std::ptr::eq(x, out) {
            out.add(n_rot).copy_from_nonoverlapping(x.add(n_rot), head_dim - n_rot);
        }
    }
}

#[inline(always)]
unsafe fn turn<S: Simd>(a: S::F, b: S::F, cos: S::F, sin: S::F) -> (S::F, S::F) {
    // SAFETY: passed on.
    unsafe { (S::sub(S::mul(a, cos), S::mul(b, sin)), S::add(S::mul(a, sin), S::mul(b, cos))) }
}

/// Even and odd elements of 32. Plain loops of fixed length, which compilers turn into shuffles.
#[inline(always)]
unsafe fn split<S: Simd>(p: *const f32) -> (S::F, S::F) {
    let (mut even, mut odd) = ([0f32; LANES], [0f32; LANES]);
    // SAFETY: the caller's pointer has 32 elements.
    unsafe {
        let all = p.cast::<[f32; 2 * LANES]>().read_unaligned();
        for i in 0..LANES {
            even[i] = all[2 * i];
            odd[i] = all[2 * i + 1];
        }
        (S::load(even.as_ptr()), S::load(odd.as_ptr()))
    }
}

/// The reverse of [`split`].
#[inline(always)]
unsafe fn join<S: Simd>(even: S::F, odd: S::F, p: *mut f32) {
    let (mut a, mut b, mut all) = ([0f32; LANES], [0f32; LANES], [0f32; 2 * LANES]);
    // SAFETY: the caller's pointer has 32 elements.
    unsafe {
        S::store(a.as_mut_ptr(), even);
        S::store(b.as_mut_ptr(), odd);
        for i in 0..LANES {
            all[2 * i] = a[i];
            all[2 * i + 1] = b[i];
        }
        p.cast::<[f32; 2 * LANES]>().write_unaligned(all);
    }
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
