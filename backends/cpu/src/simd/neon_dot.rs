//! Integer dot products in 128-bit registers: four rows, four columns each.
//!
//! I8MM also has `usmmla`, which multiplies two rows by two tokens, eight columns at a time, and so does twice the work of
//! `usdot`. Its operands are two rows of eight columns and two tokens of eight, its sums belong to two tokens: two quads
//! would have to be zipped by 32-bit words when a panel is unpacked for full tiles, tokens' codes be stored by pairs,
//! and sums be kept per pair of tokens. That is a layout of its own, which nothing here has.

// Which intrinsics are unsafe to call depends on the compiler's version.
#![allow(unused_unsafe)]

use super::neon::{B, I};
use std::arch::aarch64::*;
use std::arch::asm;

/// Running dot products of unsigned codes below `2^BITS` and signed numbers in -127..=127, as
/// [`Simd::dot`](super::Simd::dot) has them.
///
/// # Safety
/// As for [`Simd`](super::Simd).
#[allow(clippy::missing_safety_doc)] // Stated once, above.
pub trait Dot: Copy + Send + Sync + 'static {
    /// Name of the tier.
    const NAME: &'static str;
    /// Sums on the way.
    type Acc: Copy;
    /// Sums that begin at `bias`, or at zero where `sums` adds it.
    unsafe fn start<const BITS: u32>(bias: i32) -> Self::Acc;
    /// Adds `w0 · x0 + w1 · x1`.
    unsafe fn add<const BITS: u32>(acc: Self::Acc, w0: B, w1: B, x0: *const i8, x1: *const i8) -> Self::Acc;
    /// The sums in 32 bits, for the `bias` of `start`.
    unsafe fn sums<const BITS: u32>(acc: Self::Acc, bias: i32) -> I;
}

/// Codes of eight bits, whose offset is half the range, as signed numbers; smaller ones are below 128 as they are.
#[inline(always)]
unsafe fn signed<const BITS: u32>(w: uint8x16_t) -> int8x16_t {
    // SAFETY: the trait's contract.
    unsafe { vreinterpretq_s8_u8(if BITS < 8 { w } else { veorq_u8(w, vdupq_n_u8(0x80)) }) }
}

/// With NEON alone: products of bytes in 16 bits.
///
/// Up to five bits: each byte of a row has 16 bits of its own for a whole running sum. That is a fourth of its products, at
/// most 8 * 31 * 127 = 31496 < 2^15 of five bits (ternary sums are longer: 32 * 3 * 127).
///
/// Six bits: four products added in 16 bits are at most 4 * 63 * 127 = 32004 < 2^15; then 32 bits.
///
/// Eight bits: with the offset taken off, |w| <= 128, and two products are at most 2 * 128 * 127 = 32512 < 2^15.
#[derive(Clone, Copy, Debug)]
pub struct Widening;

/// Four numbers, in every 32-bit lane. Assembly, since a compiler that knows that both halves are equal no longer finds the
/// instructions that multiply upper halves, and moves those of the codes down instead, one instruction each.
#[inline(always)]
unsafe fn four_times(x: *const i8) -> int8x16_t {
    // SAFETY: the caller's pointer has four bytes.
    unsafe {
        let out: int8x16_t;
        asm!("ld1r {{{0:v}.4s}}, [{1}]", out(vreg) out, in(reg) x, options(pure, readonly, nostack, preserves_flags));
        out
    }
}

/// Two registers per four rows: the first two rows, the last two. With six bits, one: a lane per row.
type Wide = [int32x4_t; 8];

// SAFETY of all functions: the trait's contract gives the features and the pointers' validity.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Dot for Widening {
    const NAME: &'static str = "neon";
    type Acc = Wide;

    #[inline(always)]
    unsafe fn start<const BITS: u32>(_bias: i32) -> Wide {
        unsafe { [vdupq_n_s32(0); 8] }
    }
    #[inline(always)]
    unsafe fn add<const BITS: u32>(acc: Wide, w0: B, w1: B, x0: *const i8, x1: *const i8) -> Wide {
        unsafe {
            let (words, longs) = (|a| vreinterpretq_s16_s32(a), |a| vreinterpretq_s32_s16(a));
            let (x0, x1) = (four_times(x0), four_times(x1));
            let (x0_low, x1_low) = (vget_low_s8(x0), vget_low_s8(x1));
            let mut out = acc;
            for i in 0..4 {
                let (w0, w1) = (signed::<BITS>(w0[i]), signed::<BITS>(w1[i]));
                let (w0_low, w1_low) = (vget_low_s8(w0), vget_low_s8(w1));
                if BITS <= 5 {
                    let low = vmlal_s8(vmlal_s8(words(acc[2 * i]), w0_low, x0_low), w1_low, x1_low);
                    let high = vmlal_high_s8(vmlal_high_s8(words(acc[2 * i + 1]), w0, x0), w1, x1);
                    (out[2 * i], out[2 * i + 1]) = (longs(low), longs(high));
                    continue;
                }
                let low = vmlal_s8(vmull_s8(w0_low, x0_low), w1_low, x1_low);
                let high = vmlal_high_s8(vmull_high_s8(w0, x0), w1, x1);
                if BITS <= 6 {
                    out[i] = vpadalq_s16(acc[i], vpaddq_s16(low, high));
                } else {
                    out[2 * i] = vpadalq_s16(acc[2 * i], low);
                    out[2 * i + 1] = vpadalq_s16(acc[2 * i + 1], high);
                }
            }
            out
        }
    }
    #[inline(always)]
    unsafe fn sums<const BITS: u32>(acc: Wide, bias: i32) -> I {
        unsafe {
            let mut out = [vdupq_n_s32(0); 4];
            for (i, out) in out.iter_mut().enumerate() {
                let rows = |a| if BITS <= 5 { vpaddlq_s16(vreinterpretq_s16_s32(a)) } else { a };
                let sums = if BITS == 6 { acc[i] } else { vpaddq_s32(rows(acc[2 * i]), rows(acc[2 * i + 1])) };
                // Eight-bit sums are of signed codes already: their bias, which undoes the offset, is not wanted.
                *out = if BITS < 8 { vaddq_s32(sums, vdupq_n_s32(bias)) } else { sums };
            }
            out
        }
    }
}

/// Four numbers, to be named as one 32-bit lane: a plain load, where one that fills all lanes takes an arithmetic unit, too.
#[inline(always)]
unsafe fn quad(x: *const i8) -> f32 {
    // SAFETY: the caller's pointer has four bytes.
    unsafe { x.cast::<f32>().read_unaligned() }
}

/// Four products per lane and instruction. Assembly, since the intrinsics are not stable.
macro_rules! dots {
    ($instruction:literal, $acc:expr, $w:expr, $x:expr) => {{
        let (mut acc, w, x): (I, [_; 4], f32) = ($acc, $w, $x);
        for i in 0..4 {
            asm!(
                concat!($instruction, " {0:v}.4s, {1:v}.16b, {2:v}.4b[0]"),
                inout(vreg) acc[i],
                in(vreg) w[i],
                in(vreg) x,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        acc
    }};
}

/// With `sdot`: sums in 32 bits, where nothing saturates.
#[derive(Clone, Copy, Debug)]
pub struct Signed;

// SAFETY of all functions: the trait's contract gives the features and the pointers' validity.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Dot for Signed {
    const NAME: &'static str = "neon-dotprod";
    type Acc = I;

    #[inline(always)]
    unsafe fn start<const BITS: u32>(bias: i32) -> I {
        // Eight-bit sums are of signed codes: their bias, which undoes the offset, is not wanted.
        unsafe { [vdupq_n_s32(if BITS < 8 { bias } else { 0 }); 4] }
    }
    #[inline(always)]
    unsafe fn add<const BITS: u32>(acc: I, w0: B, w1: B, x0: *const i8, x1: *const i8) -> I {
        unsafe {
            let acc = dots!("sdot", acc, w0.map(|w| signed::<BITS>(w)), quad(x0));
            dots!("sdot", acc, w1.map(|w| signed::<BITS>(w)), quad(x1))
        }
    }
    #[inline(always)]
    unsafe fn sums<const BITS: u32>(acc: I, _bias: i32) -> I {
        acc
    }
}

/// With `usdot`: the same for unsigned codes of any size.
#[derive(Clone, Copy, Debug)]
pub struct Mixed;

// SAFETY of all functions: the trait's contract gives the features and the pointers' validity.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Dot for Mixed {
    const NAME: &'static str = "neon-i8mm";
    type Acc = I;

    #[inline(always)]
    unsafe fn start<const BITS: u32>(bias: i32) -> I {
        unsafe { [vdupq_n_s32(bias); 4] }
    }
    #[inline(always)]
    unsafe fn add<const BITS: u32>(acc: I, w0: B, w1: B, x0: *const i8, x1: *const i8) -> I {
        unsafe { dots!("usdot", dots!("usdot", acc, w0, quad(x0)), w1, quad(x1)) }
    }
    #[inline(always)]
    unsafe fn sums<const BITS: u32>(acc: I, _bias: i32) -> I {
        acc
    }
}
