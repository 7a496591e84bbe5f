//! Gradients of products `y = W x`: `dx = dy W` and `dW = dyᵀ x`, in pieces that workers share out.

use super::decode::{Decoder, SLICE_STRIDE, Scratch, Source, TILE, TILE_COLUMNS, TILE_ROWS};
use super::dense::{Dense, Operands, Rows, SLICE, transpose};
use crate::places::Places;
use crate::pool::Worker;
use std::ops::Range;

/// Rows of a weight's gradient that are computed together, over so many tokens at a time.
pub const WEIGHT_ROWS: usize = 48;
const WEIGHT_TOKENS: usize = 96;

/// Tokens for which decoding a tile anew costs little beside multiplying with it.
const BLOCK: usize = 96;
/// Tokens whose rows of `dy` stay in a second-level cache.
const LONGEST: usize = 1536;
/// Pieces per worker that keep all busy to the end.
const PIECES: usize = 3;

/// Where a worker keeps decoded weights and a transposed piece of `dy`, in its memory.
#[derive(Clone, Copy)]
pub struct Own {
    tile: usize,
    decode: usize,
    across: usize,
}

impl Own {
    /// Takes the places.
    pub fn take(places: &mut Places) -> Option<Self> {
        Some(Self {
            tile: places.take(TILE, 4)?,
            decode: places.take(1, size_of::<Scratch>())?,
            across: places.take(WEIGHT_ROWS * WEIGHT_TOKENS, 4)?,
        })
    }
    /// A full tile's floats, in the worker's memory `own`.
    pub fn tile(self, own: *mut u8) -> *mut f32 {
        own.wrapping_add(self.tile).cast()
    }
}

/// Piece `i` of `0 .. n` in pieces of `size`.
pub fn piece(i: usize, n: usize, size: usize) -> Range<usize> {
    i * size..((i + 1) * size).min(n)
}

/// Tokens that go through a tile of `columns` columns at once.
pub fn block(columns: usize, tokens: usize, worker: &Worker<'_>) -> usize {
    let tiles = columns.div_ceil(TILE_COLUMNS);
    let blocks = (PIECES * worker.count()).div_ceil(tiles).min(tokens / BLOCK).max(tokens.div_ceil(LONGEST)).max(1);
    // Whole rows of the multiplier's blocks.
    tokens.div_ceil(blocks).next_multiple_of(6)
}

/// Some rows of a weight, and gradients of what they yield: column `i` of `dy` belongs to row `first + i`.
#[derive(Clone, Copy)]
pub struct Seed<'a> {
    /// The weight.
    pub source: Source<'a>,
    /// The first of its rows, a multiple of 16, and how many.
    pub first: usize,
    /// See above.
    pub rows: usize,
    /// Gradients, from the first token on.
    pub dy: Rows,
}

/// `dx = dy W`: the columns of tile `tile`, for `tokens` tokens. Each sum goes over rows in order, and goes on where `resume`
/// says so. `dx` is the first token's element in the tile's first column.
///
/// # Safety
/// Weight and gradients are there, the decoder is theirs; `own` is this worker's memory; the tier is available.
pub unsafe fn input(
    (dense, decoder): (&Dense, &Decoder),
    seed: &Seed<'_>,
    (tile, tokens): (usize, usize),
    (dx, stride): (*mut f32, usize),
    resume: bool,
    (own, places): (*mut u8, Own),
) {
    let (decoded, width) = (places.tile(own), decoder.width(tile));
    for first in (0..seed.rows).step_by(TILE_ROWS) {
        let count = (seed.rows - first).min(TILE_ROWS);
        // SAFETY: passed on.
        unsafe {
            let scratch = own.add(places.decode).cast();
            decoder.tile(seed.source, (seed.first + first, count), tile, scratch, decoded);
            for column in (0..width).step_by(SLICE) {
                dense.multiply(&Operands {
                    a: seed.dy.right(first),
                    b: Rows { at: decoded.add(column / SLICE * SLICE_STRIDE), stride: SLICE },
                    c: dx.add(column),
                    c_stride: stride,
                    rows: tokens,
                    columns: (width - column).min(SLICE),
                    terms: count,
                    resume: resume || first > 0,
                });
            }
        }
    }
}

/// `dW = dyᵀ x` for at most [`WEIGHT_ROWS`] rows: `dy` begins with the column of the first. Sums go over tokens in order.
///
/// # Safety
/// Rows of `x` can be read up to the next multiple of 16; the rest as for [`input`].
pub unsafe fn weight(
    dense: &Dense,
    (dy, rows): (Rows, usize),
    (x, columns): (Rows, usize),
    tokens: usize,
    dw: *mut f32,
    (own, places): (*mut u8, Own),
) {
    // SAFETY: passed on; a piece has at most so many rows and tokens as there is room for.
    unsafe {
        if tokens == 0 {
            dw.write_bytes(0, rows * columns);
        }
        let across = own.add(places.across).cast::<f32>();
        for first in (0..tokens).step_by(WEIGHT_TOKENS) {
            let n = (tokens - first).min(WEIGHT_TOKENS);
            transpose(dy.from(first), n, rows, across, WEIGHT_TOKENS);
            dense.multiply(&Operands {
                a: Rows { at: across, stride: WEIGHT_TOKENS },
                b: x.from(first),
                c: dw,
                c_stride: columns,
                rows,
                columns,
                terms: n,
                resume: first > 0,
            });
        }
    }
}
