//! Numbers of a head as codes of 8 bits. The rule is that of
//! [`KV_PAGE`](tern_abi::state::kind::KV_PAGE), the same bits on every tier.

use crate::simd::{LANES, Simd};

/// Writes the codes of `n` numbers and yields their scale.
///
/// # Safety
/// `x` has `n` elements, `codes` as many rounded up to a multiple of 32; see [`Simd`].
#[inline(always)]
pub(super) unsafe fn encode<S: Simd>(x: *const f32, codes: *mut i8, n: usize) -> f32 {
    // SAFETY: passed on.
    unsafe {
        let (mut top, mut i) = (0, 0);
        while i < n {
            let (a, b) = pair::<S>(x, i, n);
            top = top.max(S::top_magnitude(a, b));
            i += 2 * LANES;
        }
        let top = f32::from_bits(top);
        if top == 0.0 || !top.is_finite() {
            codes.write_bytes(0, n);
            return if top == 0.0 { 0.0 } else { f32::NAN };
        }
        i = 0;
        while i < n {
            let (a, b) = pair::<S>(x, i, n);
            S::store_codes(codes.add(i), round::<S>(a, top), round::<S>(b, top));
            i += 2 * LANES;
        }
        top / 127.0
    }
}

/// 32 numbers from `i` on, with zeros past the end.
#[inline(always)]
unsafe fn pair<S: Simd>(x: *const f32, i: usize, n: usize) -> (S::F, S::F) {
    let second = (i + LANES).min(n);
    // SAFETY: both parts end at `n`.
    unsafe { (S::load_n(x.add(i), LANES.min(n - i)), S::load_n(x.add(second), LANES.min(n - second))) }
}

#[inline(always)]
unsafe fn round<S: Simd>(x: S::F, top: f32) -> S::I {
    // SAFETY: passed on.
    unsafe { S::to_i32(S::mul(S::div(x, S::splat(top)), S::splat(127.0))) }
}
