//! Fresh keys and values on their way into a page.

use super::codes::encode;
use crate::kernels::product::{Float, Half};
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

type Head<T> = MaybeUninit<[T; MAX_HEAD_DIM]>;

/// The key after rotation, which happens in `room`.
#[inline(always)]
unsafe fn key<S: Simd>(x: &Fresh, room: &mut Head<f32>) -> *const f32 {
    if x.table.is_null() {
        return x.k;
    }
    let rotated = room.as_mut_ptr().cast::<f32>();
    // SAFETY: `k` has `head_dim <= MAX_HEAD_DIM` elements.
    unsafe { rotate_head::<S>(x.k, x.table, rotated, x.layout.head_dim, x.n_rot, x.rope_layout, 1.0) };
    rotated
}

/// Keys lie transposed.
#[inline(always)]
unsafe fn scatter<T: Copy>(from: *const T, x: &Fresh) {
    let to = x.page.cast::<T>();
    for i in 0..x.layout.head_dim {
        // SAFETY: the place lies in the page.
        unsafe { *to.add(i * x.layout.page_size + x.place) = *from.add(i) };
    }
}

#[inline(always)]
unsafe fn write<S: Simd, E: Float>(x: &Fresh) {
    let (d, stride) = (x.layout.head_dim, x.layout.head_stride());
    let mut room = Head::<f32>::uninit();
    let mut rounded = Head::<E>::uninit();
    // SAFETY: `k` and `v` have `d <= MAX_HEAD_DIM` elements; the place lies in the page.
    unsafe {
        let keys = x.page.cast::<E>();
        let k = key::<S>(x, &mut room);
        let values = keys.add(x.layout.values_at() + x.place * stride);
        let rounded = rounded.as_mut_ptr().cast::<E>();
        let mut i = 0;
        while i < d {
            let n = LANES.min(d - i);
            E::store::<S>(rounded.add(i), S::load_n(k.add(i), n));
            E::store::<S>(values.add(i), S::load_n(x.v.add(i), n));
            i += LANES;
        }
        scatter(rounded, x);
    }
}

#[inline(always)]
unsafe fn write_codes<S: Simd>(x: &Fresh) {
    let (d, page_size) = (x.layout.head_dim, x.layout.page_size);
    let mut room = Head::<f32>::uninit();
    let mut codes = Head::<i8>::uninit();
    let codes = codes.as_mut_ptr().cast::<i8>();
    // SAFETY: as above. `encode` fills whole vectors, which `MAX_HEAD_DIM` is a multiple of.
    unsafe {
        let scales = x.page.add(x.layout.scales_at()).cast::<f32>().add(x.place);
        *scales = encode::<S>(key::<S>(x, &mut room), codes, d);
        scatter(codes, x);
        *scales.add(page_size) = encode::<S>(x.v, codes, d);
        let values = x.page.cast::<i8>().add(x.layout.values_at() + x.place * x.layout.head_stride());
        values.copy_from_nonoverlapping(codes, d);
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
    /// Writes to an I8 page.
    pub fn write_i8(x: &Fresh) = write_codes;
    /// Writes to an F16 page.
    pub fn write_f16(x: &Fresh) = write_half;
    /// Writes to an F32 page.
    pub fn write_f32(x: &Fresh) = write_single;
}
