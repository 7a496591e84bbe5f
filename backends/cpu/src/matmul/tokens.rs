//! Activations as the kernels read them: tiles of a few tokens, so that one pointer and constant offsets reach all.
//!
//! Which form a tile has is the weights' choice, see [`Form`].
//!
//! [`Form::Blocks`], for block formats: a tile has one record per block of 32 columns, 64 bytes per token: first 32 codes of every
//! token, then one field after another, each for all tokens (see [`Field`]). Codes are `round(x / scale)` with
//! `scale = max|x| / 127` of the block, ties to even.
//!
//! [`Form::Whole`], for ternary weights: a tile has one record per group of 256 columns: first 256 codes of every token,
//! then, for all tokens, minus the sum of its codes as i32. After the last record, for all tokens, their scales as f32.
//! Codes are `round(x * 127 / max|x|)` over the whole token, ties to even, as BitNet b1.58 has it (arXiv 2402.17764, section 2);
//! places beyond the last column are zero.
//!
//! [`Form::Floats`]: a tile has the tokens' rows.

use crate::kernels::quantize::{steps, top};
use crate::simd::{LANES, Simd};
use crate::tier::Tier;
use crate::weight::BLOCK;

/// Bytes of a block's record per token.
const RECORD: usize = 64;
/// Columns that integer sums of ternary weights go over before they become floats.
pub const GROUP: usize = 256;
/// Bytes of a group's record per token.
const GROUP_RECORD: usize = GROUP + 4;

/// The form in which kernels take activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// 8-bit codes with a scale per block of 32.
    Blocks,
    /// 8-bit codes with one scale per token.
    Whole,
    /// As they are.
    Floats,
}

/// Puts a row into a tile: row, columns, tile, width, token.
pub type Put = unsafe fn(*const f32, usize, *mut u8, usize, usize);

impl Form {
    /// All forms, each at the place of its number.
    pub const ALL: [Self; 3] = [Self::Blocks, Self::Whole, Self::Floats];

    /// Bytes of a token.
    pub fn bytes(self, columns: usize) -> usize {
        match self {
            Self::Blocks => columns / BLOCK * RECORD,
            Self::Whole => columns.div_ceil(GROUP) * GROUP_RECORD + 4,
            Self::Floats => columns * 4,
        }
    }
    /// What puts a row into a tile.
    pub fn put(self, tier: Tier) -> Put {
        match self {
            Self::Blocks => quantize(tier),
            Self::Whole => quantize_whole(tier),
            Self::Floats => copy,
        }
    }
}

/// Bytes from the record of one block to the next in a tile of `width`.
#[inline(always)]
pub const fn record_bytes(width: usize) -> usize {
    width * RECORD
}

/// Where things are in a tile of [`Form::Whole`].
#[derive(Clone, Copy)]
pub struct Whole {
    tile: *const u8,
    width: usize,
    columns: usize,
}

impl Whole {
    /// The tile at `tile`.
    #[inline(always)]
    pub fn new(tile: *const u8, width: usize, columns: usize) -> Self {
        Self { tile, width, columns }
    }
    /// Codes of a token in a group.
    #[inline(always)]
    pub fn codes(self, group: usize, token: usize) -> *const i8 {
        self.tile.wrapping_add(group * self.width * GROUP_RECORD + token * GROUP).cast()
    }
    /// Minus the sum of those codes.
    #[inline(always)]
    pub fn minus_sum(self, group: usize, token: usize) -> *const i32 {
        self.tile.wrapping_add(group * self.width * GROUP_RECORD + self.width * GROUP + token * 4).cast()
    }
    /// A token's scale.
    #[inline(always)]
    pub fn scale(self, token: usize) -> *const f32 {
        self.tile.wrapping_add(self.columns.div_ceil(GROUP) * self.width * GROUP_RECORD + token * 4).cast()
    }
}

/// Numbers of a record, besides its codes. Offsets are undone from sums of codes, which are exact.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Field {
    /// f32: the scale.
    Scale = 0,
    /// f32: scale times the sum of codes, for minima.
    Sum = 1,
    /// i32: -8 times the sum of codes.
    Minus8 = 2,
    /// i32: -16 times.
    Minus16 = 3,
    /// i32: -128 times.
    Minus128 = 4,
    /// i32: -32 times the sum of the first 16 codes.
    Minus32Low = 5,
    /// i32: -32 times the sum of the last 16.
    Minus32High = 6,
    /// f32: scale times the sum of the first 16 codes, for minima of halves.
    SumLow = 7,
}

impl Field {
    /// The field that undoes `offset`, and how many times it must be taken; with halves, that of one of them.
    #[inline(always)]
    pub const fn undoing(offset: u32, half: Option<usize>) -> Option<(Self, i32)> {
        match (offset, half) {
            (8, None) => Some((Self::Minus8, 1)),
            (16, None) => Some((Self::Minus16, 1)),
            (128, None) => Some((Self::Minus128, 1)),
            (_, Some(0)) if offset.is_multiple_of(32) => Some((Self::Minus32Low, (offset / 32) as i32)),
            (_, Some(_)) if offset.is_multiple_of(32) => Some((Self::Minus32High, (offset / 32) as i32)),
            _ => None,
        }
    }
    /// Its place in a record of a tile of `width` tokens.
    #[inline(always)]
    pub const fn at(self, width: usize, token: usize) -> usize {
        width * BLOCK + 4 * (width * self as usize + token)
    }
}

/// How tokens are cut into tiles: full ones, then 4, 2 and 1. Any cut gives the same results.
#[derive(Clone, Copy, Debug)]
pub struct Tiling {
    tokens: usize,
    full: usize,
    many: bool,
}

impl Tiling {
    /// Tiles of up to `full` tokens, which pay only where weights can be unpacked once for two of them.
    pub fn new(tokens: usize, full: usize) -> Self {
        let many = tokens >= 2 * full;
        Self { tokens, full: if many { full } else { 4.min(full) }, many }
    }
    /// Are there full tiles, of `tile` tokens?
    pub fn is_many(&self, tile: usize) -> bool {
        self.many && self.full == tile
    }
    /// The tile that begins at `first`, a place where one does.
    pub fn width(&self, first: usize) -> usize {
        let left = self.tokens - first;
        [self.full, 4, 2].into_iter().find(|&w| w <= left && w <= self.full).unwrap_or(1)
    }
    /// The tile of a token.
    pub fn tile_of(&self, token: usize) -> Tile {
        let mut first = (token / self.full).min(self.tokens / self.full) * self.full;
        loop {
            let width = self.width(first);
            if token < first + width {
                return Tile { first, width };
            }
            first += width;
        }
    }
    /// Tiles from token `first` up to `end`, both between tiles.
    pub fn tiles(self, first: usize, end: usize) -> impl Iterator<Item = Tile> {
        let mut at = first;
        std::iter::from_fn(move || {
            (at < end).then(|| {
                let tile = Tile { first: at, width: self.width(at) };
                at += tile.width;
                tile
            })
        })
    }
}

/// Consecutive tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// First token.
    pub first: usize,
    /// Number of tokens.
    pub width: usize,
}

/// Bits of infinity as f32, above which there are NaNs, and of 1e-36.
const INFINITY: u32 = f32::INFINITY.to_bits();
const SMALLEST: u32 = 1e-36f32.to_bits();

/// Quantizes a row of `columns` values to place `token` of a tile of `width`.
///
/// A NaN or an infinity makes the block's scale NaN, and so every output; beneath 1e-36 a block counts as zero,
/// because the inverse of its scale would not be finite.
///
/// # Safety
/// As for [`Simd`]; `tile` has `width * columns / 32` records; `columns` is a multiple of 32.
#[inline(always)]
unsafe fn quantize_row<S: Simd>(x: *const f32, columns: usize, tile: *mut u8, width: usize, token: usize) {
    // SAFETY: reads `columns` floats, writes into the records of the tile.
    unsafe {
        for block in 0..columns / BLOCK {
            let record = tile.add(block * width * RECORD);
            let (a, b) = (S::load(x.add(BLOCK * block)), S::load(x.add(BLOCK * block + LANES)));
            let top = S::top_magnitude(a, b);
            let scale = f32::from_bits(top) * (1.0 / 127.0);
            let (inverse, scale) = match top {
                INFINITY.. => (0.0, f32::NAN),
                SMALLEST.. => (1.0 / scale, scale),
                _ => (0.0, scale),
            };
            let inverse = S::splat(inverse);
            let (a, b) = (S::to_i32(S::mul(a, inverse)), S::to_i32(S::mul(b, inverse)));
            let (low, high) = S::store_codes(record.add(BLOCK * token).cast(), a, b);
            let sum = low + high;
            let put = |field: Field, bits: u32| {
                record.add(field.at(width, token)).cast::<u32>().write(bits);
            };
            let times = |sum: i32, factor: i32| (sum * factor).cast_unsigned();
            put(Field::Scale, scale.to_bits());
            put(Field::Sum, (scale * sum as f32).to_bits());
            put(Field::Minus8, times(sum, -8));
            put(Field::Minus16, times(sum, -16));
            put(Field::Minus128, times(sum, -128));
            put(Field::Minus32Low, times(low, -32));
            put(Field::Minus32High, times(high, -32));
            put(Field::SumLow, (scale * low as f32).to_bits());
        }
    }
}

/// Quantizes a row of `columns` values to place `token` of a tile of `width`, with one scale.
///
/// A NaN or an infinity makes the scale NaN; a token whose magnitudes are all beneath 1e-36 counts as zero.
///
/// # Safety
/// As for [`Simd`]; `tile` has `width` tokens of [`Form::Whole`]; `columns` is a multiple of 32.
#[inline(always)]
unsafe fn quantize_row_whole<S: Simd>(x: *const f32, columns: usize, tile: *mut u8, width: usize, token: usize) {
    // SAFETY: reads `columns` floats, writes the token's places of the tile.
    unsafe {
        let pair = |at: usize| (S::load(x.add(at)), S::load(x.add(at + LANES)));
        let (inverse, scale) = steps(top::<S>(x, columns));
        let inverse = S::splat(inverse);
        let places = Whole::new(tile, width, columns);
        for (group, start) in (0..columns).step_by(GROUP).enumerate() {
            let codes = places.codes(group, token).cast_mut();
            let len = (columns - start).min(GROUP);
            let mut sum = 0;
            for at in (0..len).step_by(BLOCK) {
                let (a, b) = pair(start + at);
                let (a, b) = (S::to_i32(S::mul(a, inverse)), S::to_i32(S::mul(b, inverse)));
                let (low, high) = S::store_codes(codes.add(at), a, b);
                sum += low + high;
            }
            codes.add(len).write_bytes(0, GROUP - len);
            places.minus_sum(group, token).cast_mut().write_unaligned(-sum);
        }
        places.scale(token).cast_mut().write_unaligned(scale);
    }
}

/// Copies a row of `columns` values to place `token` of a tile for float weights.
///
/// # Safety
/// `x` has `columns` floats, `tile` more than `token` times as many.
unsafe fn copy(x: *const f32, columns: usize, tile: *mut u8, _width: usize, token: usize) {
    // SAFETY: reads `columns` floats, writes `columns` places of the tile.
    unsafe { tile.cast::<f32>().add(token * columns).copy_from_nonoverlapping(x, columns) }
}

crate::tier::tier_fn! {
    /// Quantizes a row into a tile: row, columns, tile, width, token.
    fn quantize(x: *const f32, columns: usize, tile: *mut u8, width: usize, token: usize) = quantize_row;
    /// The same with one scale for the whole row.
    fn quantize_whole(x: *const f32, columns: usize, tile: *mut u8, width: usize, token: usize) = quantize_row_whole;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_all_tokens_once() {
        for full in [3, 4, 6, 8] {
            for tokens in 0..70 {
                let tiling = Tiling::new(tokens, full);
                let mut at = 0;
                for tile in tiling.tiles(0, tokens) {
                    assert_eq!(tile.first, at);
                    assert!([full, 4, 2, 1].contains(&tile.width));
                    assert!((tile.first..tile.first + tile.width).all(|t| tiling.tile_of(t) == tile));
                    at += tile.width;
                }
                assert_eq!(at, tokens);
            }
        }
    }
}
