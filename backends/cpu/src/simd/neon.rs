//! NEON tiers: four 128-bit registers per vector. They need NEON, and whatever their integer dot products do.

// Which intrinsics are unsafe to call depends on the compiler's version.
#![allow(unused_unsafe)]

use super::neon_dot::Dot;
use super::{LANES, Simd};
use std::arch::aarch64::*;
use std::arch::asm;
use std::marker::PhantomData;

/// The tiers of 64-bit ARM, which differ in their integer dot products.
#[derive(Clone, Copy, Debug)]
pub struct Quads<D>(PhantomData<D>);

pub(super) type F = [float32x4_t; 4];
pub(super) type I = [int32x4_t; 4];
pub(super) type B = [uint8x16_t; 4];

#[inline(always)]
fn map<T: Copy, U>(a: [T; 4], f: impl Fn(T) -> U) -> [U; 4] {
    [f(a[0]), f(a[1]), f(a[2]), f(a[3])]
}
#[inline(always)]
fn zip<T: Copy, U>(a: [T; 4], b: [T; 4], f: impl Fn(T, T) -> U) -> [U; 4] {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}
/// One function per register's first lane.
#[inline(always)]
fn each<U>(f: impl Fn(usize) -> U) -> [U; 4] {
    [f(0), f(4), f(8), f(12)]
}

/// Eight halves as floats. Assembly, since the intrinsics' element type is not stable.
#[inline(always)]
unsafe fn halves(p: *const u16) -> [float32x4_t; 2] {
    // SAFETY: the trait's contract.
    unsafe {
        let h = vld1q_u16(p);
        let (low, high): (float32x4_t, float32x4_t);
        asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) low, in(vreg) h, options(pure, nomem, nostack));
        asm!("fcvtl2 {0:v}.4s, {1:v}.8h", out(vreg) high, in(vreg) h, options(pure, nomem, nostack));
        [low, high]
    }
}

/// Eight floats as halves, to nearest, ties to even.
#[inline(always)]
unsafe fn to_halves(low: float32x4_t, high: float32x4_t) -> uint16x8_t {
    // SAFETY: the trait's contract.
    unsafe {
        let mut h: uint16x8_t;
        asm!("fcvtn {0:v}.4h, {1:v}.4s", out(vreg) h, in(vreg) low, options(pure, nomem, nostack));
        asm!("fcvtn2 {0:v}.8h, {1:v}.4s", inout(vreg) h, in(vreg) high, options(pure, nomem, nostack));
        h
    }
}

/// Up to four floats; the other lanes are zero.
#[inline(always)]
unsafe fn load_part(p: *const f32, n: usize) -> float32x4_t {
    // SAFETY: the trait's contract.
    unsafe {
        match n {
            0 => vdupq_n_f32(0.0),
            1 => vld1q_lane_f32::<0>(p, vdupq_n_f32(0.0)),
            2 => vcombine_f32(vld1_f32(p), vdup_n_f32(0.0)),
            3 => vcombine_f32(vld1_f32(p), vld1_lane_f32::<0>(p.add(2), vdup_n_f32(0.0))),
            _ => vld1q_f32(p),
        }
    }
}

/// Up to four lanes.
#[inline(always)]
unsafe fn store_part(p: *mut f32, a: float32x4_t, n: usize) {
    // SAFETY: the trait's contract.
    unsafe {
        match n {
            0 => {}
            1 => vst1q_lane_f32::<0>(p, a),
            2 => vst1_f32(p, vget_low_f32(a)),
            3 => {
                vst1_f32(p, vget_low_f32(a));
                vst1q_lane_f32::<2>(p.add(2), a);
            }
            _ => vst1q_f32(p, a),
        }
    }
}

/// Sums of lanes eight and then four apart.
#[inline(always)]
unsafe fn fold(a: F) -> float32x4_t {
    // SAFETY: the trait's contract.
    unsafe { vaddq_f32(vaddq_f32(a[0], a[2]), vaddq_f32(a[1], a[3])) }
}
/// Of folded vectors, sums of lanes two apart: two of `a`, two of `b`.
#[inline(always)]
unsafe fn pairs(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    // SAFETY: the trait's contract.
    unsafe {
        let (a, b) = (vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b));
        let (low, high) = (vzip1q_f64(a, b), vzip2q_f64(a, b));
        vaddq_f32(vreinterpretq_f32_f64(low), vreinterpretq_f32_f64(high))
    }
}
/// The larger; `b` where either is NaN.
#[inline(always)]
unsafe fn larger(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    // SAFETY: the trait's contract. (The instruction for it would give NaN.)
    unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
}

/// Sixteen numbers that fit a byte, as bytes.
#[inline(always)]
unsafe fn bytes(a: I) -> int8x16_t {
    // SAFETY: the trait's contract.
    unsafe {
        let words = |a, b| vuzp1q_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b));
        vuzp1q_s8(vreinterpretq_s8_s16(words(a[0], a[1])), vreinterpretq_s8_s16(words(a[2], a[3])))
    }
}

// SAFETY of all functions: the trait's contract gives the features and the pointers' validity.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<D: Dot> Simd for Quads<D> {
    type F = F;
    type I = I;
    type B = B;
    type Acc = D::Acc;

    const NAME: &'static str = D::NAME;
    const TILE: usize = 4;
    const FLOAT_TILE: usize = 3;
    const PAIR: bool = false;

    #[inline(always)]
    unsafe fn zero() -> F {
        unsafe { [vdupq_n_f32(0.0); 4] }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> F {
        unsafe { [vdupq_n_f32(x); 4] }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F {
        each(|i| unsafe { vld1q_f32(p.add(i)) })
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, a: F) {
        each(|i| unsafe { vst1q_f32(p.add(i), a[i / 4]) });
    }
    #[inline(always)]
    unsafe fn load_n(p: *const f32, n: usize) -> F {
        // A register without lanes is not read, so its address may run past the end: hence the wrapping step.
        each(|i| unsafe { load_part(p.wrapping_add(i), n.saturating_sub(i)) })
    }
    #[inline(always)]
    unsafe fn store_n(p: *mut f32, a: F, n: usize) {
        each(|i| unsafe { store_part(p.wrapping_add(i), a[i / 4], n.saturating_sub(i)) });
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> F {
        unsafe {
            let ([a, b], [c, d]) = (halves(p), halves(p.add(8)));
            [a, b, c, d]
        }
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, a: F) {
        unsafe {
            vst1q_u16(p, to_halves(a[0], a[1]));
            vst1q_u16(p.add(8), to_halves(a[2], a[3]));
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> F {
        unsafe {
            let (zero, a, b) = (vdupq_n_u16(0), vld1q_u16(p), vld1q_u16(p.add(8)));
            // Zeros below, the number above.
            map([vzip1q_u16(zero, a), vzip2q_u16(zero, a), vzip1q_u16(zero, b), vzip2q_u16(zero, b)], |x| {
                vreinterpretq_f32_u16(x)
            })
        }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> F {
        unsafe {
            let a = vld1q_s8(p);
            let (low, high) = (vmovl_s8(vget_low_s8(a)), vmovl_high_s8(a));
            let wide = [
                vmovl_s16(vget_low_s16(low)),
                vmovl_high_s16(low),
                vmovl_s16(vget_low_s16(high)),
                vmovl_high_s16(high),
            ];
            map(wide, |a| vcvtq_f32_s32(a))
        }
    }

    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        zip(a, b, |a, b| unsafe { vaddq_f32(a, b) })
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        zip(a, b, |a, b| unsafe { vsubq_f32(a, b) })
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        zip(a, b, |a, b| unsafe { vmulq_f32(a, b) })
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        zip(a, b, |a, b| unsafe { vdivq_f32(a, b) })
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        each(|i| unsafe { vfmaq_f32(c[i / 4], a[i / 4], b[i / 4]) })
    }
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        zip(a, b, |a, b| unsafe { larger(a, b) })
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        zip(a, b, |a, b| unsafe { vbslq_f32(vcltq_f32(a, b), a, b) })
    }
    #[inline(always)]
    unsafe fn abs(a: F) -> F {
        map(a, |a| unsafe { vabsq_f32(a) })
    }
    #[inline(always)]
    unsafe fn sqrt(a: F) -> F {
        map(a, |a| unsafe { vsqrtq_f32(a) })
    }
    #[inline(always)]
    unsafe fn copysign(a: F, sign: F) -> F {
        zip(a, sign, |a, sign| unsafe { vbslq_f32(vdupq_n_u32(1 << 31), sign, a) })
    }
    #[inline(always)]
    unsafe fn select_lt(a: F, b: F, yes: F, no: F) -> F {
        each(|i| unsafe { vbslq_f32(vcltq_f32(a[i / 4], b[i / 4]), yes[i / 4], no[i / 4]) })
    }
    #[inline(always)]
    unsafe fn round(a: F) -> F {
        map(a, |a| unsafe { vrndnq_f32(a) })
    }
    #[inline(always)]
    unsafe fn floor(a: F) -> F {
        map(a, |a| unsafe { vrndmq_f32(a) })
    }
    #[inline(always)]
    unsafe fn reduce_add(a: F) -> f32 {
        unsafe {
            let a = fold(a);
            vpadds_f32(vadd_f32(vget_low_f32(a), vget_high_f32(a)))
        }
    }
    #[inline(always)]
    unsafe fn sum_each(a: &[F; LANES]) -> F {
        // Each step adds halves of what is left of two vectors, side by side.
        each(|i| unsafe { vpaddq_f32(pairs(fold(a[i]), fold(a[i + 1])), pairs(fold(a[i + 2]), fold(a[i + 3]))) })
    }
    #[inline(always)]
    unsafe fn reduce_max(a: F) -> f32 {
        unsafe {
            let a = larger(larger(a[0], a[2]), larger(a[1], a[3]));
            let a = larger(a, vextq_f32::<2>(a, a));
            vgetq_lane_f32::<0>(larger(a, vdupq_laneq_f32::<1>(a)))
        }
    }

    #[inline(always)]
    unsafe fn to_i32(a: F) -> I {
        map(a, |a| unsafe { vcvtnq_s32_f32(a) })
    }
    #[inline(always)]
    unsafe fn from_i32(a: I) -> F {
        map(a, |a| unsafe { vcvtq_f32_s32(a) })
    }
    #[inline(always)]
    unsafe fn pow2(a: I) -> F {
        map(a, |a| unsafe { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(a, vdupq_n_s32(127)))) })
    }
    #[inline(always)]
    unsafe fn top_magnitude(a: F, b: F) -> u32 {
        unsafe {
            // Without their sign bits, floats are in the order of their bits.
            let larger = |a, b| vmaxq_u32(a, b);
            let magnitudes = |a: F| map(a, |a| vreinterpretq_u32_f32(vabsq_f32(a)));
            let x = zip(magnitudes(a), magnitudes(b), larger);
            vmaxvq_u32(larger(larger(x[0], x[1]), larger(x[2], x[3])))
        }
    }
    #[inline(always)]
    unsafe fn store_codes(p: *mut i8, a: I, b: I) -> (i32, i32) {
        unsafe {
            let (a, b) = (bytes(a), bytes(b));
            vst1q_s8(p, a);
            vst1q_s8(p.add(16), b);
            (i32::from(vaddlvq_s8(a)), i32::from(vaddlvq_s8(b)))
        }
    }

    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> B {
        each(|i| unsafe { vld1q_u8(p.add(4 * i)) })
    }
    #[inline(always)]
    unsafe fn store_bytes(p: *mut u8, a: B) {
        each(|i| unsafe { vst1q_u8(p.add(4 * i), a[i / 4]) });
    }
    #[inline(always)]
    unsafe fn splat_bytes(x: u8) -> B {
        unsafe { [vdupq_n_u8(x); 4] }
    }
    #[inline(always)]
    unsafe fn and_bytes(a: B, b: B) -> B {
        zip(a, b, |a, b| unsafe { vandq_u8(a, b) })
    }
    #[inline(always)]
    unsafe fn or_bytes(a: B, b: B) -> B {
        zip(a, b, |a, b| unsafe { vorrq_u8(a, b) })
    }
    #[inline(always)]
    unsafe fn shr_bytes<const N: u32>(a: B) -> B {
        // The count is a constant, which the compiler folds; const generics of the intrinsics are i32. Of bytes, so that a mask
        // for what is left is none: the compiler drops it.
        map(a, |a| unsafe { vshlq_u8(a, vdupq_n_s8(-(N as i8))) })
    }
    #[inline(always)]
    unsafe fn shl_bytes<const N: u32>(a: B) -> B {
        map(a, |a| unsafe { vshlq_u8(a, vdupq_n_s8(N as i8)) })
    }

    #[inline(always)]
    unsafe fn dot_start<const BITS: u32>(bias: i32) -> D::Acc {
        unsafe { D::start::<BITS>(bias) }
    }
    #[inline(always)]
    unsafe fn dot<const BITS: u32>(acc: D::Acc, w0: B, w1: B, x0: *const i8, x1: *const i8) -> D::Acc {
        unsafe { D::add::<BITS>(acc, w0, w1, x0, x1) }
    }
    #[inline(always)]
    unsafe fn dot_finish<const BITS: u32>(acc: D::Acc, bias: i32) -> F {
        map(unsafe { D::sums::<BITS>(acc, bias) }, |a| unsafe { vcvtq_f32_s32(a) })
    }

    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        // Not declared to be free of effects, so that it is not dropped; it touches no memory that anyone sees.
        unsafe { asm!("prfm pldl2keep, [{}]", in(reg) p, options(nomem, nostack, preserves_flags)) }
    }
}
