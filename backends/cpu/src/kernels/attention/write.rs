//! Fresh keys and values on their way into a page.

use crate::kernels::product::{Element, Half};
use crate::kernels::rope::rotate_head;
use crate::simd::{LANES, Simd};
use crate::state::KvLayout;
use std::mem::MaybeUninit;

/// One head of one token.
#[derive(Clone, Copy)]
pub struct Fresh {
    /// `[head_dim]`.
    pub k: *const f32,
    /// `[head_dim]`.
    pub v: *const f32,
    /// Rope table of the token, or null.
    pub table: *const f32,
    /// See [`rotate_head`].
    pub n_rot: usize,
    /// See [`rotate_head`].
    pub rope_layout: u32,
    /// Of a page.
    pub layout: KvLayout,
    /// This head in its page.
    pub page: *mut u8,
    /// Place in the page.
    pub place: usize,
}

/// Largest head that is supported, so that one fits on the stack.
pub const MAX_HEAD_DIM: usize = 512;

#[inline(always)]
unsafe fn write<S: Simd, E: Element>(x: &Fresh) {
    let (d, stride, page_size) = (x.layout.head_dim, x.layout.head_stride(), x.layout.page_size);
    let mut rotated = MaybeUninit::<[f32; MAX_HEAD_DIM]>::uninit();
    let mut rounded = MaybeUninit::<[E; MAX_HEAD_DIM]>::uninit();
    // SAFETY: `k` and `v` have `d <= MAX_HEAD_DIM` elements; the place lies in the page.
    unsafe {
        let keys = x.page.cast::<E>();
        let mut k = x.k;
        if !x.table.is_null() {
            let rotated = rotated.as_mut_ptr().cast::<f32>();
            rotate_head::<S>(k, x.table, rotated, d, x.n_rot, x.rope_layout, 1.0);
            k = rotated;
        }
        let values = keys.add(x.layout.values_at() + x.place * stride);
        let rounded = rounded.as_mut_ptr().cast::<E>();
        let mut i = 0;
        while i < d {
            let n = LANES.min(d - i);
            E::store::<S>(rounded.add(i), S::load_n(k.add(i), n));
            E::store::<S>(values.add(i), S::load_n(x.v.add(i), n));
            i += LANES;
        }
        for i in 0..d {
            *keys.add(i * page_size + x.place) = *rounded.add(i);
        }
    }
}

#[inline(always)]
unsafe fn write_half<S: Simd>(x: &Fresh) {
    // SAFETY: passed on.
    unsafe { write::<S, Half>(x) }
}
#[inline(always)]
unsafe fn write_single<S: Simd>(x: &Fresh) {
    // SAFETY: passed on.
    unsafe { write::<S, f32>(x) }
}

crate::tier::tier_fn! {
    /// Writes to an F16 page.
    pub fn write_f16(x: &Fresh) = write_half;
    /// Writes to an F32 page.
    pub fn write_f32(x: &Fresh) = write_single;
}
