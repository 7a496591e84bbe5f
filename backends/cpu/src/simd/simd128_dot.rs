//! What strict and relaxed SIMD do differently: products.

// Which intrinsics are unsafe to call depends on the compiler's version.
#![allow(unused_unsafe)]

use std::arch::wasm32::*;

/// Products of one register: four rows, four columns each.
pub trait Flavour: Copy + Send + Sync + 'static {
    /// Name of the tier.
    const NAME: &'static str;
    /// `a * b + c`.
    fn fma(a: v128, b: v128, c: v128) -> v128;
    /// Adds `w0 · x0 + w1 · x1` of unsigned codes below `2^BITS` and signed numbers in -127..=127, which are there four times.
    fn dot<const BITS: u32>(acc: v128, w0: v128, w1: v128, x0: v128, x1: v128) -> v128;
    /// Sums in 32 bits.
    fn sums<const BITS: u32>(acc: v128) -> v128;
}

/// Even and odd unsigned bytes, in 16 bits: a row's two stay in its 32-bit lane.
#[inline(always)]
fn unsigned_halves(w: v128) -> [v128; 2] {
    [v128_and(w, u16x8_splat(0xff)), u16x8_shr(w, 8)]
}
/// The same of signed ones.
#[inline(always)]
fn signed_halves(x: v128) -> [v128; 2] {
    [i16x8_shr(i16x8_shl(x, 8), 8), i16x8_shr(x, 8)]
}

/// SIMD128 has no products of bytes that stay in their place, so bytes become 16-bit numbers, even and odd ones apart.
///
/// Up to four bits: sums stay in 16 bits, two per row. A running sum has 32 products per row:
/// 16 * 15 * 127 = 30480 < 2^15 (ternary sums are longer: 64 * 3 * 127).
///
/// Five and six bits: the four products added in 16 bits are at most 4 * 63 * 127 = 32004 < 2^15; then 32 bits.
///
/// Eight bits: pairs of products are added in 32 bits.
#[derive(Clone, Copy, Debug)]
pub struct Strict;

impl Flavour for Strict {
    const NAME: &'static str = "simd128";

    #[inline(always)]
    fn fma(a: v128, b: v128, c: v128) -> v128 {
        f32x4_add(f32x4_mul(a, b), c)
    }
    #[inline(always)]
    fn dot<const BITS: u32>(acc: v128, w0: v128, w1: v128, x0: v128, x1: v128) -> v128 {
        let (w0, w1) = (unsigned_halves(w0), unsigned_halves(w1));
        let (x0, x1) = (signed_halves(x0), signed_halves(x1));
        let factors = [(w0[0], x0[0]), (w0[1], x0[1]), (w1[0], x1[0]), (w1[1], x1[1])];
        if BITS > 6 {
            return factors.into_iter().fold(acc, |acc, (w, x)| i32x4_add(acc, i32x4_dot_i16x8(w, x)));
        }
        let add = |sum, (w, x)| i16x8_add(sum, i16x8_mul(w, x));
        if BITS <= 4 {
            return factors.into_iter().fold(acc, add);
        }
        let first = i16x8_mul(factors[0].0, factors[0].1);
        let four = factors[1..].iter().copied().fold(first, add);
        i32x4_add(acc, i32x4_extadd_pairwise_i16x8(four))
    }
    #[inline(always)]
    fn sums<const BITS: u32>(acc: v128) -> v128 {
        if BITS <= 4 { i32x4_extadd_pairwise_i16x8(acc) } else { acc }
    }
}

/// Relaxed SIMD multiplies bytes, one of which must be below 128: codes of up to seven bits are. Two products fit
/// 16 bits, so that engines which add them there agree with those that do not: only `fma` differs between them.
#[cfg(target_feature = "relaxed-simd")]
#[derive(Clone, Copy, Debug)]
pub struct Relaxed;

#[cfg(target_feature = "relaxed-simd")]
impl Flavour for Relaxed {
    const NAME: &'static str = "relaxed-simd";

    #[inline(always)]
    fn fma(a: v128, b: v128, c: v128) -> v128 {
        f32x4_relaxed_madd(a, b, c)
    }
    #[inline(always)]
    fn dot<const BITS: u32>(acc: v128, w0: v128, w1: v128, x0: v128, x1: v128) -> v128 {
        if BITS > 6 {
            return Strict::dot::<BITS>(acc, w0, w1, x0, x1);
        }
        let acc = i32x4_relaxed_dot_i8x16_i7x16_add(x0, w0, acc);
        i32x4_relaxed_dot_i8x16_i7x16_add(x1, w1, acc)
    }
    #[inline(always)]
    fn sums<const BITS: u32>(acc: v128) -> v128 {
        acc
    }
}
