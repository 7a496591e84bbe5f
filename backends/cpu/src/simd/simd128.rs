//! SIMD128 tiers of WebAssembly: four 128-bit registers per vector.
//!
//! Without relaxed SIMD there is no fused multiply-add: two roundings, as in the scalar tier.

// Which intrinsics are unsafe to call depends on the compiler's version.
#![allow(unused_unsafe)]

use super::simd128_dot::Flavour;
use super::{LANES, Simd};
use std::arch::wasm32::*;
use std::marker::PhantomData;

/// The tiers of WebAssembly: strict, and relaxed.
#[derive(Clone, Copy, Debug)]
pub struct Wasm<X>(PhantomData<X>);

/// Four registers, whatever is in them.
pub(super) type V = [v128; 4];

#[inline(always)]
fn map(a: V, f: impl Fn(v128) -> v128) -> V {
    [f(a[0]), f(a[1]), f(a[2]), f(a[3])]
}
#[inline(always)]
fn zip(a: V, b: V, f: impl Fn(v128, v128) -> v128) -> V {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}
/// One function per register's first lane.
#[inline(always)]
fn each<U>(f: impl Fn(usize) -> U) -> [U; 4] {
    [f(0), f(4), f(8), f(12)]
}

/// The larger; `b` where either is NaN.
#[inline(always)]
fn larger(a: v128, b: v128) -> v128 {
    f32x4_pmax(b, a)
}

/// Halves in 32-bit lanes as floats: moved into place, then scaled, which is exact and makes subnormals right.
#[inline(always)]
fn from_half(h: v128) -> v128 {
    let magnitude = i32x4_shl(v128_and(h, u32x4_splat(0x7fff)), 13);
    let finite = f32x4_mul(magnitude, f32x4_splat(f32::from_bits((127 + 127 - 15) << 23)));
    // The top exponent stays the top one.
    let special = i32x4_gt(magnitude, u32x4_splat((0x7c00 << 13) - 1));
    let value = v128_or(finite, v128_and(special, u32x4_splat(0x7f80_0000)));
    v128_or(value, i32x4_shl(v128_and(h, u32x4_splat(0x8000)), 16))
}

/// The reverse, to nearest, ties to even, as [`tern_quant::f32_to_f16`] explains it.
#[inline(always)]
fn to_half(a: v128) -> v128 {
    const BIAS: u32 = (127 - 15) << 23;
    let magnitude = v128_and(a, u32x4_splat(0x7fff_ffff));
    let below = |bits: u32, yes, no| v128_bitselect(yes, no, i32x4_lt(magnitude, u32x4_splat(bits)));

    let odd = v128_and(u32x4_shr(magnitude, 13), u32x4_splat(1));
    let rounded = i32x4_add(i32x4_add(magnitude, odd), u32x4_splat(0x0fffu32.wrapping_sub(BIAS)));
    let subnormal = i32x4_sub(f32x4_add(magnitude, f32x4_splat(0.5)), f32x4_splat(0.5));
    let finite = below((127 - 14) << 23, subnormal, u32x4_shr(rounded, 13));
    let clamped = below(65520f32.to_bits(), finite, u32x4_splat(0x7c00));
    let nan = v128_or(v128_and(u32x4_shr(magnitude, 13), u32x4_splat(0x03ff)), u32x4_splat(0x7e00));
    let half = below(0x7f80_0001, clamped, nan);
    v128_or(half, v128_and(u32x4_shr(a, 16), u32x4_splat(0x8000)))
}

/// Up to four floats; the other lanes are zero.
#[inline(always)]
unsafe fn load_part(p: *const f32, n: usize) -> v128 {
    // SAFETY: the trait's contract.
    unsafe {
        match n {
            0 => f32x4_splat(0.0),
            1 => v128_load32_zero(p.cast()),
            2 => v128_load64_zero(p.cast()),
            3 => v128_load32_lane::<2>(v128_load64_zero(p.cast()), p.add(2).cast()),
            _ => v128_load(p.cast()),
        }
    }
}

/// Up to four lanes.
#[inline(always)]
unsafe fn store_part(p: *mut f32, a: v128, n: usize) {
    // SAFETY: the trait's contract.
    unsafe {
        match n {
            0 => {}
            1 => v128_store32_lane::<0>(a, p.cast()),
            2 => v128_store64_lane::<0>(a, p.cast()),
            3 => {
                v128_store64_lane::<0>(a, p.cast());
                v128_store32_lane::<2>(a, p.add(2).cast());
            }
            _ => v128_store(p.cast(), a),
        }
    }
}

/// Sums of lanes eight and then four apart.
#[inline(always)]
fn fold(a: V) -> v128 {
    f32x4_add(f32x4_add(a[0], a[2]), f32x4_add(a[1], a[3]))
}
/// Of folded vectors, sums of lanes two apart: two of `a`, two of `b`.
#[inline(always)]
fn pairs(a: v128, b: v128) -> v128 {
    f32x4_add(i64x2_shuffle::<0, 2>(a, b), i64x2_shuffle::<1, 3>(a, b))
}

/// The sum of sixteen bytes.
#[inline(always)]
fn sum(a: v128) -> i32 {
    let a = i32x4_extadd_pairwise_i16x8(i16x8_extadd_pairwise_i8x16(a));
    let a = i32x4_add(a, i64x2_shuffle::<1, 0>(a, a));
    i32x4_extract_lane::<0>(a) + i32x4_extract_lane::<1>(a)
}

// SAFETY of all functions: the trait's contract gives the pointers' validity.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<X: Flavour> Simd for Wasm<X> {
    type F = V;
    type I = V;
    type B = V;
    type Acc = V;

    const NAME: &'static str = X::NAME;
    const TILE: usize = 4;
    const FLOAT_TILE: usize = 3;
    const PAIR: bool = false;

    #[inline(always)]
    unsafe fn zero() -> V {
        [f32x4_splat(0.0); 4]
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> V {
        [f32x4_splat(x); 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> V {
        each(|i| unsafe { v128_load(p.add(i).cast()) })
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, a: V) {
        each(|i| unsafe { v128_store(p.add(i).cast(), a[i / 4]) });
    }
    #[inline(always)]
    unsafe fn load_n(p: *const f32, n: usize) -> V {
        // A register without lanes is not read, so its address may run past the end: hence the wrapping step.
        each(|i| unsafe { load_part(p.wrapping_add(i), n.saturating_sub(i)) })
    }
    #[inline(always)]
    unsafe fn store_n(p: *mut f32, a: V, n: usize) {
        each(|i| unsafe { store_part(p.wrapping_add(i), a[i / 4], n.saturating_sub(i)) });
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> V {
        each(|i| from_half(unsafe { u32x4_load_extend_u16x4(p.add(i)) }))
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, a: V) {
        let h = map(a, to_half);
        unsafe {
            v128_store(p.cast(), u16x8_narrow_i32x4(h[0], h[1]));
            v128_store(p.add(8).cast(), u16x8_narrow_i32x4(h[2], h[3]));
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> V {
        each(|i| i32x4_shl(unsafe { u32x4_load_extend_u16x4(p.add(i)) }, 16))
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> V {
        let (a, b) = unsafe { (i16x8_load_extend_i8x8(p), i16x8_load_extend_i8x8(p.add(8))) };
        let wide = [
            i32x4_extend_low_i16x8(a),
            i32x4_extend_high_i16x8(a),
            i32x4_extend_low_i16x8(b),
            i32x4_extend_high_i16x8(b),
        ];
        map(wide, |a| f32x4_convert_i32x4(a))
    }

    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        zip(a, b, |a, b| f32x4_add(a, b))
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        zip(a, b, |a, b| f32x4_sub(a, b))
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        zip(a, b, |a, b| f32x4_mul(a, b))
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        zip(a, b, |a, b| f32x4_div(a, b))
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        each(|i| X::fma(a[i / 4], b[i / 4], c[i / 4]))
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        zip(a, b, larger)
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        zip(a, b, |a, b| f32x4_pmin(b, a))
    }
    #[inline(always)]
    unsafe fn abs(a: V) -> V {
        map(a, |a| f32x4_abs(a))
    }
    #[inline(always)]
    unsafe fn sqrt(a: V) -> V {
        map(a, |a| f32x4_sqrt(a))
    }
    #[inline(always)]
    unsafe fn copysign(a: V, sign: V) -> V {
        zip(a, sign, |a, sign| v128_bitselect(sign, a, u32x4_splat(1 << 31)))
    }
    #[inline(always)]
    unsafe fn select_lt(a: V, b: V, yes: V, no: V) -> V {
        each(|i| v128_bitselect(yes[i / 4], no[i / 4], f32x4_lt(a[i / 4], b[i / 4])))
    }
    #[inline(always)]
    unsafe fn round(a: V) -> V {
        map(a, |a| f32x4_nearest(a))
    }
    #[inline(always)]
    unsafe fn floor(a: V) -> V {
        map(a, |a| f32x4_floor(a))
    }
    #[inline(always)]
    unsafe fn reduce_add(a: V) -> f32 {
        let a = fold(a);
        let a = f32x4_add(a, i64x2_shuffle::<1, 0>(a, a));
        f32x4_extract_lane::<0>(a) + f32x4_extract_lane::<1>(a)
    }
    #[inline(always)]
    unsafe fn sum_each(a: &[V; LANES]) -> V {
        // Each step adds halves of what is left of two vectors, side by side.
        each(|i| {
            let (a, b) = (pairs(fold(a[i]), fold(a[i + 1])), pairs(fold(a[i + 2]), fold(a[i + 3])));
            f32x4_add(i32x4_shuffle::<0, 2, 4, 6>(a, b), i32x4_shuffle::<1, 3, 5, 7>(a, b))
        })
    }
    #[inline(always)]
    unsafe fn reduce_max(a: V) -> f32 {
        let a = larger(larger(a[0], a[2]), larger(a[1], a[3]));
        let a = larger(a, i64x2_shuffle::<1, 0>(a, a));
        f32x4_extract_lane::<0>(larger(a, i32x4_shuffle::<1, 0, 3, 2>(a, a)))
    }

    #[inline(always)]
    unsafe fn to_i32(a: V) -> V {
        map(a, |a| i32x4_trunc_sat_f32x4(f32x4_nearest(a)))
    }
    #[inline(always)]
    unsafe fn from_i32(a: V) -> V {
        map(a, |a| f32x4_convert_i32x4(a))
    }
    #[inline(always)]
    unsafe fn pow2(a: V) -> V {
        map(a, |a| i32x4_shl(i32x4_add(a, i32x4_splat(127)), 23))
    }
    #[inline(always)]
    unsafe fn top_magnitude(a: V, b: V) -> u32 {
        // Without their sign bits, floats are in the order of their bits.
        let larger = |a, b| i32x4_max(a, b);
        let magnitudes = |a: V| map(a, |a| f32x4_abs(a));
        let x = zip(magnitudes(a), magnitudes(b), larger);
        let x = larger(larger(x[0], x[1]), larger(x[2], x[3]));
        let x = larger(x, i64x2_shuffle::<1, 0>(x, x));
        u32x4_extract_lane::<0>(larger(x, i32x4_shuffle::<1, 0, 3, 2>(x, x)))
    }
    #[inline(always)]
    unsafe fn store_codes(p: *mut i8, a: V, b: V) -> (i32, i32) {
        let bytes = |a: V| i8x16_narrow_i16x8(i16x8_narrow_i32x4(a[0], a[1]), i16x8_narrow_i32x4(a[2], a[3]));
        let (a, b) = (bytes(a), bytes(b));
        unsafe {
            v128_store(p.cast(), a);
            v128_store(p.add(16).cast(), b);
        }
        (sum(a), sum(b))
    }

    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> V {
        each(|i| unsafe { v128_load(p.add(4 * i).cast()) })
    }
    #[inline(always)]
    unsafe fn store_bytes(p: *mut u8, a: V) {
        each(|i| unsafe { v128_store(p.add(4 * i).cast(), a[i / 4]) });
    }
    #[inline(always)]
    unsafe fn splat_bytes(x: u8) -> V {
        [u8x16_splat(x); 4]
    }
    #[inline(always)]
    unsafe fn and_bytes(a: V, b: V) -> V {
        zip(a, b, |a, b| v128_and(a, b))
    }
    #[inline(always)]
    unsafe fn or_bytes(a: V, b: V) -> V {
        zip(a, b, |a, b| v128_or(a, b))
    }
    #[inline(always)]
    unsafe fn shr_bytes<const N: u32>(a: V) -> V {
        map(a, |a| u16x8_shr(a, N))
    }
    #[inline(always)]
    unsafe fn shl_bytes<const N: u32>(a: V) -> V {
        map(a, |a| i16x8_shl(a, N))
    }

    #[inline(always)]
    unsafe fn dot_start<const BITS: u32>(_bias: i32) -> V {
        [i32x4_splat(0); 4]
    }
    #[inline(always)]
    unsafe fn dot<const BITS: u32>(acc: V, w0: V, w1: V, x0: *const i8, x1: *const i8) -> V {
        let (x0, x1) = unsafe { (v128_load32_splat(x0.cast()), v128_load32_splat(x1.cast())) };
        each(|i| X::dot::<BITS>(acc[i / 4], w0[i / 4], w1[i / 4], x0, x1))
    }
    #[inline(always)]
    unsafe fn dot_finish<const BITS: u32>(acc: V, bias: i32) -> V {
        map(acc, |a| f32x4_convert_i32x4(i32x4_add(X::sums::<BITS>(a), i32x4_splat(bias))))
    }

    #[inline(always)]
    unsafe fn prefetch(_p: *const u8) {}
}
