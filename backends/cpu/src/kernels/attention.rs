//! Attention of a tile of query rows over pages of keys and values.
//!
//! The arithmetic of a row depends on its absolute position only. Every page is a block with its own
//! maximum; pages are merged in order into groups of fixed positions, groups in order into the result. A row
//! never multiplies what it may not see, so nothing that lies there, not even NaN, can reach it. One token
//! or many, one worker or many, half-precision pages and codes or their copy in f32: the same operations on the same
//! numbers.
//!
//! Of pages with codes, the codes are multiplied as they are, which is exact, and the scale of a key or value is a factor on its
//! score or its weight (not on the sum of weights): one multiplication for a whole head.

mod codes;
pub mod grad;
mod merge;
mod page;
mod softmax;
mod write;

pub use merge::{Finish, Merge, finish, merge};
pub use page::{attend_f16, attend_f32, attend_i8};
pub use write::{Fresh, MAX_HEAD_DIM, write_f16, write_f32, write_i8};

use super::product::{MAX_ROWS, Products};
use crate::state::{KvLayout, LANES};

/// Positions of a group of pages, or one page if that is larger. Fixed, because the order of merging
/// is part of the result.
pub const GROUP: usize = 512;

/// From this many query rows on, converting a page to f32 once beats converting in every product.
const CONVERT_ROWS: usize = 12;

/// Running softmax of rows, relative to their maxima.
#[derive(Clone, Copy)]
pub struct State {
    /// `[rows]`; minus infinity while nothing was seen.
    pub m: *mut f32,
    /// `[rows, state_stride]`: weighted values, then 16 sums of weights.
    pub acc: *mut f32,
}

/// Floats of a row of a [`State`].
pub fn state_stride(layout: &KvLayout) -> usize {
    layout.head_stride() + LANES
}

impl State {
    /// Floats that a state of `rows` rows takes.
    pub fn floats(rows: usize, stride: usize) -> usize {
        rows.next_multiple_of(LANES) + rows * stride
    }
    /// A state in memory of [`State::floats`].
    ///
    /// # Safety
    /// `at` has as many elements.
    pub unsafe fn at(at: *mut f32, rows: usize) -> Self {
        // SAFETY: within `floats`.
        unsafe { Self { m: at, acc: at.add(rows.next_multiple_of(LANES)) } }
    }
    /// Makes `rows` rows empty.
    ///
    /// # Safety
    /// The state has them.
    pub unsafe fn clear(&self, rows: usize, stride: usize) {
        // SAFETY: passed on.
        unsafe {
            for r in 0..rows {
                *self.m.add(r) = f32::NEG_INFINITY;
            }
            self.acc.write_bytes(0, rows * stride);
        }
    }
}

/// Consecutive tokens of one sequence, with the query heads of one key/value head. Row `i * group + h` is
/// token `i`, head `h`.
#[derive(Clone, Copy)]
pub struct Tile {
    /// `[rows, head_dim]`, rotated.
    pub q: *const f32,
    /// Tokens.
    pub tokens: usize,
    /// Query heads per key/value head.
    pub group: usize,
    /// Position of the first token.
    pub position: usize,
    /// 0: none.
    pub window: usize,
    /// What a row sees from its own position on.
    pub ahead: Ahead,
    /// Factor on scores.
    pub scale: f32,
    /// 0: none.
    pub softcap: f32,
    /// Of a page.
    pub layout: KvLayout,
    /// This key/value head in page 0.
    pub base: *const u8,
    /// Page numbers of the sequence. Only those with a position that a row sees are read.
    pub pages: *const i32,
    /// Result so far.
    pub total: State,
    /// Kernels of the tier.
    pub products: Products,
    /// Worker's own memory, see [`Work`].
    pub work: Work,
}

/// Where a kernel keeps what is in progress.
#[derive(Clone, Copy)]
pub struct Work {
    /// State of the current group.
    part: State,
    /// `[MAX_ROWS, page_size]`.
    scores: *mut f32,
    /// `[MAX_ROWS, state_stride]`.
    out: *mut f32,
    /// `[MAX_ROWS]`.
    m: *mut f32,
    /// `[head_dim, page_size]`.
    keys: *mut f32,
    /// `[page_size, head_stride]`.
    values: *mut f32,
}

impl Work {
    /// Floats for tiles of up to `rows` rows.
    pub fn floats(rows: usize, layout: &KvLayout) -> usize {
        let stride = state_stride(layout);
        let block = MAX_ROWS * (layout.page_size + stride) + LANES;
        (State::floats(rows, stride) + block + layout.head_elements()).next_multiple_of(LANES)
    }
    /// In memory of [`Work::floats`].
    ///
    /// # Safety
    /// `at` has as many elements.
    pub unsafe fn at(at: *mut f32, rows: usize, layout: &KvLayout) -> Self {
        let (page, stride) = (layout.page_size, state_stride(layout));
        // SAFETY: within `floats`, in the same order.
        unsafe {
            let scores = at.add(State::floats(rows, stride));
            let out = scores.add(MAX_ROWS * page);
            let m = out.add(MAX_ROWS * stride);
            let keys = m.add(LANES);
            Self { part: State::at(at, rows), scores, out, m, keys, values: keys.add(layout.values_at()) }
        }
    }
}

/// How far rows see ahead.
#[derive(Clone, Copy)]
pub struct Ahead {
    /// Positions from a row's own on: 1 where attention is causal.
    pub reach: usize,
    /// Positions of the sequence.
    pub end: usize,
}

impl Ahead {
    /// Of causal attention.
    pub const CAUSAL: Self = Self { reach: 1, end: usize::MAX };

    /// Of rows that see all of a sequence of `end` positions, within a window of that many before and after them, if it is not 0.
    pub fn both_ways(window: usize, end: usize) -> Self {
        Self { reach: if window > 0 { window } else { end }, end }
    }

    /// The position after the last one that the token at `position` sees.
    #[inline(always)]
    pub fn end_seen(&self, position: usize) -> usize {
        (position + self.reach).min(self.end)
    }
}

impl Tile {
    /// Query rows.
    pub fn rows(&self) -> usize {
        self.tokens * self.group
    }
    /// First position that the token at `position` sees.
    pub fn first_seen(position: usize, window: usize) -> usize {
        if window > 0 { (position + 1).saturating_sub(window) } else { 0 }
    }
    /// Pages that any row sees.
    pub fn seen_pages(&self) -> std::ops::Range<usize> {
        let page = self.layout.page_size;
        let first = Self::first_seen(self.position, self.window) / page;
        first..self.ahead.end_seen(self.position + self.tokens - 1).div_ceil(page)
    }
    /// Places in the page at position `start` that row `row` sees: `from..to`.
    #[inline(always)]
    fn seen(&self, row: usize, start: usize) -> (usize, usize) {
        let position = self.position + row / self.group;
        let to = self.ahead.end_seen(position).saturating_sub(start).min(self.layout.page_size);
        (Self::first_seen(position, self.window).saturating_sub(start), to)
    }
}

/// Pages of a group.
pub fn group_pages(page_size: usize) -> usize {
    (GROUP / page_size).max(1)
}
