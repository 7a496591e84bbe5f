//! Portable tier: plain loops over arrays, which compilers turn into whatever vectors the target has.

use super::{LANES, Simd};
use tern_quant::{bf16_to_f32, f16_to_f32, f32_to_f16};

/// The tier without intrinsics.
#[derive(Clone, Copy, Debug)]
pub struct Scalar;

/// 16 numbers.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Lanes<T>([T; LANES]);

/// 64 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Bytes([u8; 64]);

#[inline(always)]
fn map<T: Copy, U: Copy>(a: Lanes<T>, f: impl Fn(T) -> U) -> Lanes<U> {
    Lanes(std::array::from_fn(|i| f(a.0[i])))
}

#[inline(always)]
fn zip<T: Copy, U: Copy>(a: Lanes<T>, b: Lanes<T>, f: impl Fn(T, T) -> U) -> Lanes<U> {
    Lanes(std::array::from_fn(|i| f(a.0[i], b.0[i])))
}

#[inline(always)]
fn tree<T: Copy>(a: Lanes<T>, f: impl Fn(T, T) -> T) -> T {
    let mut v = a.0;
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            v[i] = f(v[i], v[i + half]);
        }
    }
    v[0]
}

#[inline(always)]
fn words(a: Bytes, f: impl Fn(u16) -> u16) -> Bytes {
    let mut out = [0; 64];
    for i in 0..32 {
        let w = f(u16::from_le_bytes([a.0[2 * i], a.0[2 * i + 1]])).to_le_bytes();
        out[2 * i] = w[0];
        out[2 * i + 1] = w[1];
    }
    Bytes(out)
}

/// 1.5 * 2^23: adding and subtracting it rounds to an integer, ties to even, for magnitudes below 2^22.
const ROUNDER: f32 = 12_582_912.0;

/// All bits of an f32 but the sign.
const MAGNITUDE: u32 = 0x7fff_ffff;

#[inline(always)]
fn round(x: f32) -> f32 {
    // Beyond 2^22 a float may still have a half; `round_ties_even` is slow on baseline x86 but rare there.
    if x.abs() < 4_194_304.0 { ((x + ROUNDER) - ROUNDER).copysign(x) } else { x.round_ties_even() }
}

// SAFETY of all functions: they touch memory only through the pointers, for the lanes that the trait names.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Scalar {
    type F = Lanes<f32>;
    type I = Lanes<i32>;
    type B = Bytes;
    type Acc = Lanes<i32>;

    const NAME: &'static str = "scalar";
    const TILE: usize = 4;
    const FLOAT_TILE: usize = 3;
    const PAIR: bool = false;

    #[inline(always)]
    unsafe fn zero() -> Self::F {
        Lanes([0.0; LANES])
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::F {
        Lanes([x; LANES])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::F {
        Lanes(unsafe { p.cast::<[f32; LANES]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, a: Self::F) {
        unsafe { p.cast::<[f32; LANES]>().write_unaligned(a.0) }
    }
    #[inline(always)]
    unsafe fn load_n(p: *const f32, n: usize) -> Self::F {
        Lanes(std::array::from_fn(|i| if i < n { unsafe { p.add(i).read_unaligned() } } else { 0.0 }))
    }
    #[inline(always)]
    unsafe fn store_n(p: *mut f32, a: Self::F, n: usize) {
        for (i, &x) in a.0.iter().enumerate().take(n) {
            unsafe { p.add(i).write_unaligned(x) }
        }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self::F {
        let h = Lanes(unsafe { p.cast::<[u16; LANES]>().read_unaligned() });
        map(h, f16_to_f32)
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, a: Self::F) {
        unsafe { p.cast::<[u16; LANES]>().write_unaligned(map(a, f32_to_f16).0) }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self::F {
        let h = Lanes(unsafe { p.cast::<[u16; LANES]>().read_unaligned() });
        map(h, bf16_to_f32)
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self::F {
        let b = Lanes(unsafe { p.cast::<[i8; LANES]>().read_unaligned() });
        map(b, f32::from)
    }

    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // Two roundings: a fused one is a library call per lane on targets without the instruction.
        Lanes(std::array::from_fn(|i| a.0[i] * b.0[i] + c.0[i]))
    }
    #[inline(always)]
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn abs(a: Self::F) -> Self::F {
        map(a, f32::abs)
    }
    #[inline(always)]
    unsafe fn sqrt(a: Self::F) -> Self::F {
        map(a, f32::sqrt)
    }
    #[inline(always)]
    unsafe fn copysign(a: Self::F, sign: Self::F) -> Self::F {
        zip(a, sign, f32::copysign)
    }
    #[inline(always)]
    unsafe fn select_lt(a: Self::F, b: Self::F, yes: Self::F, no: Self::F) -> Self::F {
        Lanes(std::array::from_fn(|i| if a.0[i] < b.0[i] { yes.0[i] } else { no.0[i] }))
    }
    #[inline(always)]
    unsafe fn round(a: Self::F) -> Self::F {
        map(a, round)
    }
    #[inline(always)]
    unsafe fn floor(a: Self::F) -> Self::F {
        map(a, f32::floor)
    }
    #[inline(always)]
    unsafe fn reduce_add(a: Self::F) -> f32 {
        tree(a, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sum_each(a: &[Self::F; LANES]) -> Self::F {
        Lanes(a.map(|a| tree(a, |a, b| a + b)))
    }
    #[inline(always)]
    unsafe fn reduce_max(a: Self::F) -> f32 {
        tree(a, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn to_i32(a: Self::F) -> Self::I {
        map(a, |x| round(x) as i32)
    }
    #[inline(always)]
    unsafe fn from_i32(a: Self::I) -> Self::F {
        map(a, |x| x as f32)
    }
    #[inline(always)]
    unsafe fn pow2(a: Self::I) -> Self::F {
        map(a, |n| f32::from_bits((n.wrapping_add(127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn top_magnitude(a: Self::F, b: Self::F) -> u32 {
        // Below the sign bit, floats are in the order of their bits.
        tree(zip(a, b, |a, b| f32::from_bits((a.to_bits() & MAGNITUDE).max(b.to_bits() & MAGNITUDE))), |a, b| {
            f32::from_bits(a.to_bits().max(b.to_bits()))
        })
        .to_bits()
    }
    #[inline(always)]
    unsafe fn store_codes(p: *mut i8, a: Self::I, b: Self::I) -> (i32, i32) {
        let (p, narrow) = (p.cast::<[i8; LANES]>(), |x: i32| x as i8);
        unsafe {
            p.write_unaligned(map(a, narrow).0);
            p.add(1).write_unaligned(map(b, narrow).0);
        }
        let sum = |a| tree(map(a, |x: i32| i32::from(x as i8)), i32::wrapping_add);
        (sum(a), sum(b))
    }

    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> Self::B {
        Bytes(unsafe { p.cast::<[u8; 64]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store_bytes(p: *mut u8, a: Self::B) {
        unsafe { p.cast::<[u8; 64]>().write_unaligned(a.0) }
    }
    #[inline(always)]
    unsafe fn splat_bytes(x: u8) -> Self::B {
        Bytes([x; 64])
    }
    #[inline(always)]
    unsafe fn and_bytes(a: Self::B, b: Self::B) -> Self::B {
        Bytes(std::array::from_fn(|i| a.0[i] & b.0[i]))
    }
    #[inline(always)]
    unsafe fn or_bytes(a: Self::B, b: Self::B) -> Self::B {
        Bytes(std::array::from_fn(|i| a.0[i] | b.0[i]))
    }
    #[inline(always)]
    unsafe fn shr_bytes<const N: u32>(a: Self::B) -> Self::B {
        words(a, |w| w >> N)
    }
    #[inline(always)]
    unsafe fn shl_bytes<const N: u32>(a: Self::B) -> Self::B {
        words(a, |w| w << N)
    }

    #[inline(always)]
    unsafe fn dot_start<const BITS: u32>(bias: i32) -> Self::Acc {
        Lanes([bias; LANES])
    }
    #[inline(always)]
    unsafe fn dot<const BITS: u32>(
        acc: Self::Acc,
        w0: Self::B,
        w1: Self::B,
        x0: *const i8,
        x1: *const i8,
    ) -> Self::Acc {
        let (x0, x1) = unsafe { (x0.cast::<[i8; 4]>().read_unaligned(), x1.cast::<[i8; 4]>().read_unaligned()) };
        Lanes(std::array::from_fn(|i| {
            let product = |w: &Bytes, x: &[i8; 4], j: usize| i32::from(w.0[4 * i + j]) * i32::from(x[j]);
            (0..4).fold(acc.0[i], |sum, j| sum + product(&w0, &x0, j) + product(&w1, &x1, j))
        }))
    }
    #[inline(always)]
    unsafe fn dot_finish<const BITS: u32>(acc: Self::Acc, _bias: i32) -> Self::F {
        map(acc, |x| x as f32)
    }

    #[inline(always)]
    unsafe fn prefetch(_p: *const u8) {}
}
