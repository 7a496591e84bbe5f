//! The table of kernels: one row per format, filled for a tier.

use super::floats::{self, BF16, F16, F32};
use super::{Product, Unpacked};
use super::{blocks, ternary};
use crate::simd::Simd;
use crate::tier::{Tier, of_tier, one_token_fn, tier_fn};
use crate::weight::blocks::with_blocks;
use crate::weight::{BLOCK, Blocks, Format, LONGEST, has_group_scales};

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
    /// With float weights, one token and tiles of any width.
    Floats([unsafe fn(&Product); 2]),
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
    ($B:ident, $tier:expr) => {{
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
        one_token_fn! {
            fn small1(a: &Product) = one;
        }
        tier_fn! {
            fn small2(a: &Product) = two;
            fn small4(a: &Product) = four;
            fn unpack(a: &Product, to: &Unpacked) = decode;
            fn full(a: &Product, w: &Unpacked) = tile;
        }
        Products::Blocks {
            small: [small1(of_one_token::<$B>($tier)), small2($tier), small4($tier)],
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
            one_token_fn! {
                pub fn product1(a: &Product) = self::one;
            }
            tier_fn! {
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
one_token_fn! {
    fn f32_one(a: &Product) = f32_row;
    fn f16_one(a: &Product) = f16_row;
    fn bf16_one(a: &Product) = bf16_row;
}
#[inline(always)]
unsafe fn f32_row<S: Simd>(a: &Product) {
    // SAFETY: passed on.
    unsafe { floats::one::<S, F32>(a) }
}
#[inline(always)]
unsafe fn f16_row<S: Simd>(a: &Product) {
    // SAFETY: passed on.
    unsafe { floats::one::<S, F16>(a) }
}
#[inline(always)]
unsafe fn bf16_row<S: Simd>(a: &Product) {
    // SAFETY: passed on.
    unsafe { floats::one::<S, BF16>(a) }
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
    /// The kernels of a format.
    pub fn of(format: Format, tier: Tier) -> Self {
        let (tile, float_tile) = tiles(tier);
        macro_rules! ternaries {
            ($m:ident) => {{
                let full = if tile == 8 { $m::product8(tier) } else { $m::product4(tier) };
                let products = [$m::product1(tier), $m::product2(tier), $m::product4(tier), full];
                Self { products: Products::Ternary(products), tile }
            }};
        }
        let floats = |products| Self { products: Products::Floats(products), tile: float_tile };
        match format {
            Format::Blocks(format) => Self { products: with_blocks!(format, |B| block_kernels!(B, tier)), tile },
            Format::Ternary(dtype) if has_group_scales(dtype) => ternaries!(ternary_groups),
            Format::Ternary(_) => ternaries!(ternary_whole),
            Format::F32 => floats([f32_one(tier), f32s(tier)]),
            Format::F16 => floats([f16_one(tier), f16s(tier)]),
            Format::BF16 => floats([bf16_one(tier), bf16s(tier)]),
        }
    }
}

/// The tier whose kernel multiplies one token. On a Zen 4, formats whose scales take computing are 3 to 7% faster with AVX2's (1024 and
/// 2048 columns of K-quants; the others 4 to 8% slower, and SmolLM2's Q8_0 by 15).
fn of_one_token<B: Blocks>(tier: Tier) -> Tier {
    if tier == Tier::Avx512Ymm && B::GROUP * BLOCK == LONGEST { Tier::Avx2 } else { tier }
}

/// Tokens of full tiles, for block formats and for floats.
fn tiles(tier: Tier) -> (usize, usize) {
    fn of<S: Simd>() -> (usize, usize) {
        (S::TILE, S::FLOAT_TILE)
    }
    of_tier!(tier, of)
}
