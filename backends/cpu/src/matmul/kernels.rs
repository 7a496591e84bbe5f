//! The table of kernels: one row per format, filled for a tier.

use super::floats::{self, BF16, F16, F32};
use super::{Product, Unpacked};
use super::{blocks, ternary};
use crate::simd::Simd;
use crate::tier::{Tier, of_tier, tier_fn};
use crate::weight::blocks::with_blocks;
use crate::weight::{Format, has_group_scales};

/// Kernels of a format on a tier. All give the same bits for the same row and token.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// How tiles are multiplied.
    pub products: Products,
    /// Tokens of a full tile.
    pub tile: usize,
}

/// How tiles are multiplied.
#[derive(Clone, Copy)]
pub enum Products {
    /// With float weights, tiles of any width.
    Floats(unsafe fn(&Product)),
    /// With ternary weights, tiles of 1, 2, 4 and all tokens.
    Ternary([unsafe fn(&Product); 4]),
    /// With block formats.
    Blocks {
        /// From packed weights, for tiles of 1, 2 and 4 tokens.
        small: [unsafe fn(&Product); 3],
        /// Decodes weights once for all full tiles.
        unpack: unsafe fn(&Product, &Unpacked),
        /// Multiplies a full tile.
        full: unsafe fn(&Product, &Unpacked),
    },
}

/// The kernels of block format `$B`, which must be an item in scope.
macro_rules! block_kernels {
    ($B:ident, $tier:expr, $one:expr) => {{
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
        unsafe fn tile<S: Simd>(a: &Product, w: &Unpacked) {
            // SAFETY: passed on.
            unsafe { blocks::tile::<S, $B>(a, w) }
        }
        tier_fn! {
            fn small1(a: &Product) = one;
            fn small2(a: &Product) = two;
            fn small4(a: &Product) = four;
            fn unpack(a: &Product, to: &Unpacked) = decode;
            fn full(a: &Product, w: &Unpacked) = tile;
        }
        Products::Blocks {
            small: [small1($one), small2($tier), small4($tier)],
            unpack: unpack($tier),
            full: full($tier),
        }
    }};
}

macro_rules! ternary_kernels {
    ($($name:ident: $grouped:literal,)+) => {$(
        mod $name {
            use super::*;
            #[inline(always)]
            unsafe fn one<S: Simd>(a: &Product) {
                // SAFETY: passed on.
                unsafe { ternary::product::<S, 1, $grouped>(a) }
            }
            #[inline(always)]
            unsafe fn two<S: Simd>(a: &Product) {
                // SAFETY: passed on.
                unsafe { ternary::product::<S, 2, $grouped>(a) }
            }
            #[inline(always)]
            unsafe fn four<S: Simd>(a: &Product) {
                // SAFETY: passed on.
                unsafe { ternary::product::<S, 4, $grouped>(a) }
            }
            #[inline(always)]
            unsafe fn eight<S: Simd>(a: &Product) {
                // SAFETY: passed on.
                unsafe { ternary::product::<S, 8, $grouped>(a) }
            }
            tier_fn! {
                pub fn product1(a: &Product) = self::one;
                pub fn product2(a: &Product) = self::two;
                pub fn product4(a: &Product) = self::four;
                pub fn product8(a: &Product) = self::eight;
            }
        }
    )+};
}
ternary_kernels! {
    ternary_groups: true,
    ternary_whole: false,
}

tier_fn! {
    fn f32s(a: &Product) = f32_product;
    fn f16s(a: &Product) = f16_product;
    fn bf16s(a: &Product) = bf16_product;
}
#[inline(always)]
unsafe fn f32_product<S: Simd>(a: &Product) {
    // SAFETY: passed on.
    unsafe { floats::product::<S, F32>(a) }
}
#[inline(always)]
unsafe fn f16_product<S: Simd>(a: &Product) {
    // SAFETY: passed on.
    unsafe { floats::product::<S, F16>(a) }
}
#[inline(always)]
unsafe fn bf16_product<S: Simd>(a: &Product) {
    // SAFETY: passed on.
    unsafe { floats::product::<S, BF16>(a) }
}

impl Kernels {
    /// The kernels of a format; those for blocks and one token are of the tier `one_token`.
    pub fn of(format: Format, tier: Tier, one_token: Tier) -> Self {
        let (tile, float_tile) = tiles(tier);
        macro_rules! ternaries {
            ($m:ident) => {{
                let full = if tile == 8 { $m::product8(tier) } else { $m::product4(tier) };
                let products = [$m::product1(tier), $m::product2(tier), $m::product4(tier), full];
                Self { products: Products::Ternary(products), tile }
            }};
        }
        let floats = |product| Self { products: Products::Floats(product), tile: float_tile };
        match format {
            Format::Blocks(format) => {
                Self { products: with_blocks!(format, |B| block_kernels!(B, tier, one_token)), tile }
            }
            Format::Ternary(dtype) if has_group_scales(dtype) => ternaries!(ternary_groups),
            Format::Ternary(_) => ternaries!(ternary_whole),
            Format::F32 => floats(f32s(tier)),
            Format::F16 => floats(f16s(tier)),
            Format::BF16 => floats(bf16s(tier)),
        }
    }
}

/// Tokens of full tiles, for block formats and for floats.
fn tiles(tier: Tier) -> (usize, usize) {
    fn of<S: Simd>() -> (usize, usize) {
        (S::TILE, S::FLOAT_TILE)
    }
    of_tier!(tier, of)
}
