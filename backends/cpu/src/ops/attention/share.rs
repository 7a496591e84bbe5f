//! How the workers share a step's attention. None of this touches the arithmetic of a row; what a worker does with
//! its share is in `share/tile.rs`.
//!
//! Work comes in tiles: some tokens of a sequence with the query heads of one key/value head. For one token
//! over a long past there are few tiles; then every group of pages of a tile is work of its own, and the
//! parts are merged after a barrier.

mod tile;

use super::{Attention, Past, SPLIT_TOKENS, TILE_ROWS};
use crate::kernels::attention::{Ahead, Tile, group_pages};
use crate::op::Step;
use crate::pool::Worker;
use std::ops::Range;

/// A tile's place in the step.
#[derive(Clone, Copy)]
struct Place {
    sequence: usize,
    first: usize,
    tokens: usize,
    kv_head: usize,
}

/// What a step's items are.
struct Plan<'a> {
    op: &'a Attention,
    step: &'a Step<'a>,
    sequences: usize,
    tile_tokens: usize,
    /// Tile by tile, or group of pages by group.
    split: bool,
}

impl Attention {
    fn group(&self) -> usize {
        (self.p.heads / self.p.kv_heads) as usize
    }

    /// # Safety
    /// As [`run`](crate::op::CompiledOp::run).
    pub(super) unsafe fn share(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let tokens = step.rows(self.q);
        if tokens == 0 {
            return;
        }
        // SAFETY: shapes and contents were checked; barriers order what one worker writes and others read.
        unsafe {
            let plan = Plan::new(self, step, tokens, worker.count());
            let alone = plan.only_reader(tokens);
            if !alone {
                let kv_heads = self.p.kv_heads as usize;
                for item in worker.split(tokens * kv_heads, kv_heads) {
                    plan.write(plan.sequence_of(item / kv_heads), item / kv_heads, item % kv_heads);
                }
                worker.barrier();
            }
            let n = plan.items();
            while let Some(items) = worker.claim(n, 1) {
                if step.cancelled() {
                    break;
                }
                for item in items {
                    let (place, groups) = plan.item(item);
                    plan.attend(place, groups, alone, worker.index());
                }
            }
            if plan.split {
                worker.barrier();
                for item in worker.split(tokens * self.p.kv_heads as usize, 1) {
                    plan.join(item / self.p.kv_heads as usize, item % self.p.kv_heads as usize);
                }
            }
        }
    }
}

impl<'a> Plan<'a> {
    unsafe fn new(op: &'a Attention, step: &'a Step<'a>, tokens: usize, workers: usize) -> Self {
        let most = (TILE_ROWS / op.group()).max(1);
        // Several tiles for each worker even out what they cost; a tile of few rows wastes conversions.
        let even = (tokens * op.p.kv_heads as usize).div_ceil(4 * workers).max(4);
        let sequences = op.sequences.count(step);
        let mut plan = Self { op, step, sequences, tile_tokens: most.min(even), split: false };
        if workers > 1 && tokens <= SPLIT_TOKENS && matches!(op.past, Past::State { .. }) {
            // SAFETY: passed on.
            let tiles = unsafe { plan.items() };
            if tiles < 4 * workers {
                plan.split = true;
                plan.tile_tokens = 1;
                // SAFETY: passed on.
                plan.split = unsafe { plan.items() } > tokens * op.p.kv_heads as usize;
                if !plan.split {
                    plan.tile_tokens = most.min(even);
                }
            }
        }
        plan
    }

    unsafe fn rows(&self, sequence: usize) -> Range<usize> {
        // SAFETY: contents were checked.
        unsafe { self.op.sequences.rows(self.step, sequence) }
    }
    /// Position of a row: its place in the sequence where there is no state, since pages then begin with it.
    unsafe fn position(&self, sequence: usize, row: usize) -> usize {
        // SAFETY: contents were checked.
        unsafe {
            match self.op.past {
                Past::State { .. } => self.step.i32s(self.op.sequences.positions)[row] as usize,
                Past::Own => row - self.rows(sequence).start,
            }
        }
    }
    unsafe fn sequence_of(&self, row: usize) -> usize {
        // SAFETY: contents were checked: sequences cover the rows in order.
        (0..self.sequences).find(|&s| unsafe { self.rows(s) }.contains(&row)).unwrap_or(0)
    }

    /// Is there one fresh token, in the place where its sequence looks for it? Then only the worker that reads
    /// it needs to have written it, and no barrier is needed in between.
    unsafe fn only_reader(&self, tokens: usize) -> bool {
        let Past::State { slots, .. } = self.op.past else { return false };
        if tokens != 1 {
            return false;
        }
        // SAFETY: contents were checked.
        unsafe {
            let sequence = self.sequence_of(0);
            let (position, page_size) = (self.position(sequence, 0), self.op.layout.page_size);
            let page = *self.pages(sequence).add(position / page_size) as usize;
            self.step.i32s(slots)[0] as usize == page * page_size + position % page_size
        }
    }

    /// What rows of a sequence see from their own positions on.
    unsafe fn ahead(&self, sequence: usize) -> Ahead {
        if self.op.p.bidirectional == 0 {
            return Ahead::CAUSAL;
        }
        // SAFETY: contents were checked. Without a state a sequence is its rows.
        Ahead::both_ways(self.op.p.window as usize, unsafe { self.rows(sequence) }.len())
    }

    /// Groups of pages that a token sees.
    unsafe fn groups(&self, sequence: usize, position: usize) -> Range<usize> {
        let span = group_pages(self.op.layout.page_size) * self.op.layout.page_size;
        // SAFETY: passed on.
        let end = unsafe { self.ahead(sequence) }.end_seen(position);
        Tile::first_seen(position, self.op.p.window as usize) / span..end.div_ceil(span)
    }

    unsafe fn items_of(&self, sequence: usize) -> usize {
        // SAFETY: contents were checked.
        unsafe {
            let rows = self.rows(sequence);
            if self.split {
                rows.map(|row| self.groups(sequence, self.position(sequence, row)).len()).sum()
            } else {
                rows.len().div_ceil(self.tile_tokens)
            }
        }
    }
    unsafe fn items(&self) -> usize {
        // SAFETY: passed on.
        (0..self.sequences).map(|s| unsafe { self.items_of(s) }).sum::<usize>() * self.op.p.kv_heads as usize
    }

    /// Item `i`: its tile and the groups to attend to. Long tiles come first, so that no worker begins one when
    /// the others are about to be done.
    unsafe fn item(&self, i: usize) -> (Place, Range<usize>) {
        let kv_heads = self.op.p.kv_heads as usize;
        let kv_head = i % kv_heads;
        let mut i = i / kv_heads;
        // SAFETY: contents were checked.
        unsafe {
            let mut sequence = 0;
            while sequence + 1 < self.sequences && i >= self.items_of(sequence) {
                i -= self.items_of(sequence);
                sequence += 1;
            }
            let rows = self.rows(sequence);
            if !self.split {
                let tile = self.items_of(sequence) - 1 - i;
                let first = rows.start + tile * self.tile_tokens;
                let tokens = self.tile_tokens.min(rows.end - first);
                let last = self.groups(sequence, self.position(sequence, first + tokens - 1)).end;
                let groups = self.groups(sequence, self.position(sequence, first)).start..last;
                return (Place { sequence, first, tokens, kv_head }, groups);
            }
            let mut first = rows.start;
            let mut groups = self.groups(sequence, self.position(sequence, first));
            while i >= groups.len() {
                i -= groups.len();
                first += 1;
                groups = self.groups(sequence, self.position(sequence, first));
            }
            let group = groups.start + i;
            (Place { sequence, first, tokens: 1, kv_head }, group..group + 1)
        }
    }
}
