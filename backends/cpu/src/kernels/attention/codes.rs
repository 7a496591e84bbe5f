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
        let pair = |i: usize| {
            let second = (i + LANES).min(n);
            (S::load_n(x.add(i), LANES.min(n - i)), S::load_n(x.add(second), LANES.min(n - second)))
        };
        let mut top = 0;
        for i in (0..n).step_by(2 * LANES) {
            let (a, b) = pair(i);
            top = top.max(S::top_magnitude(a, b));
        }
        let top = f32::from_bits(top);
        if top == 0.0 || !top.is_finite() {
            codes.write_bytes(0, n);
            return if top == 0.0 { 0.0 } else { f32::NAN };
        }
        let code = |x| S::to_i32(S::mul(S::div(x, S::splat(top)), S::splat(127.0)));
        for i in (0..n).step_by(2 * LANES) {
            let (a, b) = pair(i);
            S::store_codes(codes.add(i), code(a), code(b));
        }
        top / 127.0
    }
}
