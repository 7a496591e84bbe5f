//! The table of kernels: one row per format, filled for a tier.

use super::blocks;
use super::floats::{self, BF16, F16, F32};
use super::{Product, Unpacked};
use crate::simd::Simd;
use crate::tier::{Tier, tier_fn};
use crate::weight::{Format, Q4_0, Q4_1, Q4K, Q5_0, Q6K, Q8_0};

/// Kernels of a format on a tier. All give the same bits for the same row and token.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// From packed weights, for tiles of 1, 2 and 4 tokens.
    pub small: [unsafe fn(&Product); 3],
    /// For full tiles.
    pub full: Full,
    /// Tokens of a full tile.
    pub tile: usize,
}

/// How full tiles are multiplied.
#[derive(Clone, Copy)]
pub enum Full {
    /// From packed weights.
    Packed(unsafe fn(&Product)),
    /// From weights decoded once for all tiles.
    Unpacked {
        /// Decodes.
        unpack: unsafe fn(&Product, &Unpacked),
        /// Multiplies.
        tile: unsafe fn(&Product, &Unpacked),
    },
}

macro_rules! block_kernels {
    ($($name:ident: $B:ty,)+) => {$(
        mod $name {
            use super::*;
            #[inline(always)]
            unsafe fn one<S: Simd>(a: &Product) {
                // SAFETY: passed on.
                unsafe { blocks::small::<S, $B, 1>(a) }
            }
            #[inline(always)]
            unsafe fn two<S: Simd>(a: &Product) {
                // SAFETY: passed on.
                unsafe { blocks::small::<S, $B, 2>(a) }
            }
            #[inline(always)]
            unsafe fn four<S: Simd>(a: &Product) {
                // SAFETY: passed on.
                unsafe { blocks::small::<S, $B, 4>(a) }
            }
            #[inline(always)]
            unsafe fn decode<S: Simd>(a: &Product, to: &Unpacked) {
                // SAFETY: passed on.
                unsafe { blocks::unpack::<S, $B>(a, to) }
            }
            #[inline(always)]
            unsafe fn full<S: Simd>(a: &Product, w: &Unpacked) {
                // SAFETY: passed on.
                unsafe { blocks::tile::<S, $B>(a, w) }
            }
            tier_fn! {
                pub fn small1(a: &Product) = self::one;
                pub fn small2(a: &Product) = self::two;
                pub fn small4(a: &Product) = self::four;
                pub fn unpack(a: &Product, to: &Unpacked) = self::decode;
                pub fn tile(a: &Product, w: &Unpacked) = self::full;
            }
        }
    )+};
}
block_kernels! {
    q4_0: Q4_0,
    q4_1: Q4_1,
    q5_0: Q5_0,
    q8_0: Q8_0,
    q4_k: Q4K,
    q6_k: Q6K,
}

macro_rules! float_kernels {
    ($($name:ident: $E:ty,)+) => {$(
        mod $name {
            use super::*;
            #[inline(always)]
            unsafe fn one<S: Simd>(a: &Product) {
                // SAFETY: passed on.
                unsafe { floats::small::<S, $E, 1>(a) }
            }
            #[inline(always)]
            unsafe fn two<S: Simd>(a: &Product) {
                // SAFETY: passed on.
                unsafe { floats::small::<S, $E, 2>(a) }
            }
            #[inline(always)]
            unsafe fn four<S: Simd>(a: &Product) {
                // SAFETY: passed on.
                unsafe { floats::small::<S, $E, 4>(a) }
            }
            #[inline(always)]
            unsafe fn many<S: Simd>(a: &Product) {
                // SAFETY: passed on.
                unsafe { floats::full::<S, $E>(a) }
            }
            tier_fn! {
                pub fn small1(a: &Product) = self::one;
                pub fn small2(a: &Product) = self::two;
                pub fn small4(a: &Product) = self::four;
                pub fn full(a: &Product) = self::many;
            }
        }
    )+};
}
float_kernels! {
    f32s: F32,
    f16s: F16,
    bf16s: BF16,
}

impl Kernels {
    /// The kernels of a format.
    pub fn of(format: Format, tier: Tier) -> Self {
        let (tile, float_tile) = tiles(tier);
        macro_rules! table {
            (block $m:ident) => {
                Self {
                    small: [$m::small1(tier), $m::small2(tier), $m::small4(tier)],
                    full: Full::Unpacked { unpack: $m::unpack(tier), tile: $m::tile(tier) },
                    tile,
                }
            };
            (float $m:ident) => {
                Self {
                    small: [$m::small1(tier), $m::small2(tier), $m::small4(tier)],
                    full: Full::Packed($m::full(tier)),
                    tile: float_tile,
                }
            };
        }
        match format {
            Format::Q4_0 => table!(block q4_0),
            Format::Q4_1 => table!(block q4_1),
            Format::Q5_0 => table!(block q5_0),
            Format::Q8_0 => table!(block q8_0),
            Format::Q4K => table!(block q4_k),
            Format::Q6K => table!(block q6_k),
            Format::F32 => table!(float f32s),
            Format::F16 => table!(float f16s),
            Format::BF16 => table!(float bf16s),
        }
    }
}

/// Tokens of full tiles, for block formats and for floats.
fn tiles(tier: Tier) -> (usize, usize) {
    fn of<S: Simd>() -> (usize, usize) {
        (S::TILE, S::FLOAT_TILE)
    }
    match tier {
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => of::<crate::simd::Avx512>(),
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => of::<crate::simd::Avx2>(),
        _ => of::<crate::simd::Scalar>(),
    }
}
