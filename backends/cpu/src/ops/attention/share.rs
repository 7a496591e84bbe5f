//! How the workers share a step's attention. None of this touches the arithmetic of a row.
//!
//! Work comes in tiles: some tokens of a sequence with the query heads of one key/value head. For one token
//! over a long past there are few tiles; then every group of pages of a tile is work of its own, and the
//! parts are merged after a barrier.

use super::{Attention, Past, SPLIT_TOKENS, TILE_ROWS, max_rows, part_floats, worker_parts};
use crate::kernels::attention::{Finish, Fresh, Merge, State, Tile, Work, group_pages, state_stride};
use crate::kernels::rope::Row;
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

    /// Page numbers of a sequence.
    unsafe fn pages(&self, sequence: usize) -> *const i32 {
        // SAFETY: the table has a row for every sequence; scratch has numbers for all own pages.
        unsafe {
            match self.op.past {
                Past::State { table, per_sequence, .. } => {
                    self.step.ptr(table).cast::<i32>().add(sequence * per_sequence)
                }
                Past::Own => self.step.scratch().add(self.op.scratch.numbers).cast::<i32>().add(self.own(sequence)),
            }
        }
    }
    /// First own page of a sequence: all before it need no more.
    unsafe fn own(&self, sequence: usize) -> usize {
        // SAFETY: contents were checked.
        unsafe { self.rows(sequence) }.start / self.op.layout.page_size + sequence
    }
    /// Page 0.
    unsafe fn base(&self) -> *mut u8 {
        match self.op.past {
            Past::State { state, .. } => self.step.ptr(state),
            // SAFETY: within scratch.
            Past::Own => unsafe { self.step.scratch().add(self.op.scratch.pages) },
        }
    }

    /// Puts a row's key and value into its page.
    unsafe fn write(&self, sequence: usize, row: usize, kv_head: usize) {
        let (op, step) = (self.op, self.step);
        let (d, page_size) = (op.layout.head_dim, op.layout.page_size);
        let at = (row * op.p.kv_heads as usize + kv_head) * d;
        // SAFETY: shapes and contents were checked.
        unsafe {
            let (page, place) = match op.past {
                Past::State { slots, .. } => {
                    let slot = step.i32s(slots)[row] as usize;
                    (slot / page_size, slot % page_size)
                }
                Past::Own => {
                    let position = self.position(sequence, row);
                    let page = self.own(sequence) + position / page_size;
                    if position.is_multiple_of(page_size) && kv_head == 0 {
                        *self.pages(sequence).cast_mut().add(position / page_size) = page as i32;
                    }
                    (page, position % page_size)
                }
            };
            (op.kernels.write)(&Fresh {
                k: step.f32(op.k).add(at),
                v: step.f32(op.v).add(at),
                table: self.table(row),
                n_rot: op.p.n_rot as usize,
                rope_layout: op.p.rope_layout,
                layout: op.layout,
                page: self.base().add(page * op.layout.page_bytes() + kv_head * op.layout.head_bytes()),
                place,
            });
        }
    }

    unsafe fn table(&self, row: usize) -> *const f32 {
        match self.op.rope {
            // SAFETY: a row of the table.
            Some(table) => unsafe { self.step.f32(table).add(row * self.op.p.n_rot as usize) },
            None => std::ptr::null(),
        }
    }

    /// Groups of pages that a token sees.
    fn groups(&self, position: usize) -> Range<usize> {
        let span = group_pages(self.op.layout.page_size) * self.op.layout.page_size;
        Tile::first_seen(position, self.op.p.window as usize) / span..position / span + 1
    }

    unsafe fn items_of(&self, sequence: usize) -> usize {
        // SAFETY: contents were checked.
        unsafe {
            let rows = self.rows(sequence);
            if self.split {
                rows.map(|row| self.groups(self.position(sequence, row)).len()).sum()
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
                let last = self.groups(self.position(sequence, first + tokens - 1)).end;
                let groups = self.groups(self.position(sequence, first)).start..last;
                return (Place { sequence, first, tokens, kv_head }, groups);
            }
            let mut first = rows.start;
            let mut groups = self.groups(self.position(sequence, first));
            while i >= groups.len() {
                i -= groups.len();
                first += 1;
                groups = self.groups(self.position(sequence, first));
            }
            let group = groups.start + i;
            (Place { sequence, first, tokens: 1, kv_head }, group..group + 1)
        }
    }

    /// A part's memory, in split work.
    unsafe fn part(&self, row: usize, kv_head: usize, group: usize) -> State {
        let Past::State { per_sequence, .. } = self.op.past else { return self.worker_state(0) };
        let groups = per_sequence.div_ceil(group_pages(self.op.layout.page_size));
        let floats = part_floats(self.op.group(), &self.op.layout);
        let index = (row * self.op.p.kv_heads as usize + kv_head) * groups + group;
        // SAFETY: scratch has room for all parts of as many tokens as are split.
        unsafe {
            let parts = self.step.scratch().add(self.op.scratch.parts).cast::<f32>();
            State::at(parts.add(index * floats), self.op.group())
        }
    }
    unsafe fn worker_memory(&self, worker: usize) -> *mut f32 {
        // SAFETY: scratch has a part for every worker.
        unsafe { self.step.scratch().add(worker * self.op.scratch.worker).cast() }
    }
    fn worker_state(&self, worker: usize) -> State {
        let group = self.op.group();
        // SAFETY: see `worker_parts`.
        unsafe { State::at(self.worker_memory(worker).add(worker_parts(group, &self.op.layout).0), max_rows(group)) }
    }

    /// Attends to `groups`, and finishes the rows unless there are other parts.
    unsafe fn attend(&self, place: Place, groups: Range<usize>, fresh: bool, worker: usize) {
        let (op, step) = (self.op, self.step);
        let (d, stride, group) = (op.layout.head_dim, state_stride(&op.layout), op.group());
        // SAFETY: shapes and contents were checked; memory was sized for the largest tile.
        unsafe {
            let position = self.position(place.sequence, place.first);
            if fresh && groups.end == self.groups(position).end {
                self.write(place.sequence, place.first, place.kv_head);
            }
            let q = self.worker_memory(worker);
            for i in 0..place.tokens {
                let row = place.first + i;
                let from = step.f32(op.q).add((row * op.p.heads as usize + place.kv_head * group) * d);
                let to = q.add(i * group * d);
                if op.rope.is_none() {
                    to.copy_from_nonoverlapping(from, group * d);
                    continue;
                }
                (op.kernels.rotate)(&Row {
                    x: from,
                    table: self.table(row),
                    out: to,
                    heads: group,
                    head_dim: d,
                    n_rot: op.p.n_rot as usize,
                    layout: op.p.rope_layout,
                    sign: 1.0,
                });
            }
            let total = if self.split {
                self.part(place.first, place.kv_head, groups.start)
            } else {
                self.worker_state(worker)
            };
            total.clear(place.tokens * group, stride);
            let work = q.add(worker_parts(group, &op.layout).1);
            let tile = Tile {
                q,
                tokens: place.tokens,
                group,
                position,
                window: op.p.window as usize,
                scale: op.p.scale,
                softcap: op.p.softcap,
                layout: op.layout,
                base: self.base().add(place.kv_head * op.layout.head_bytes()),
                pages: self.pages(place.sequence),
                total,
                products: op.kernels.products,
                work: Work::at(work, max_rows(group), &op.layout),
            };
            for g in groups {
                if step.cancelled() {
                    return;
                }
                (op.kernels.attend)(&tile, g);
            }
            if !self.split {
                for i in 0..place.tokens {
                    self.finish(total, i * group, place.first + i, place.kv_head);
                }
            }
        }
    }

    /// Writes the output of a row's heads, whose state begins at `first`.
    unsafe fn finish(&self, state: State, first: usize, row: usize, kv_head: usize) {
        let (op, step) = (self.op, self.step);
        for h in 0..op.group() {
            let head = kv_head * op.group() + h;
            // SAFETY: shapes were checked.
            unsafe {
                let sinks = step.f32_or_null(op.sinks);
                (op.kernels.finish)(&Finish {
                    state,
                    row: first + h,
                    stride: state_stride(&op.layout),
                    sink: if sinks.is_null() { sinks } else { sinks.add(head) },
                    out: step.f32(op.out).add((row * op.p.heads as usize + head) * op.layout.head_dim),
                    n: op.layout.head_dim,
                });
            }
        }
    }

    /// Merges the parts of a row in order and finishes it.
    unsafe fn join(&self, row: usize, kv_head: usize) {
        // SAFETY: all parts were written before the barrier.
        unsafe {
            let groups = self.groups(self.position(self.sequence_of(row), row));
            let to = self.part(row, kv_head, groups.start);
            for g in groups.start + 1..groups.end {
                let part = self.part(row, kv_head, g);
                let (rows, stride) = (self.op.group(), state_stride(&self.op.layout));
                (self.op.kernels.merge)(&Merge { to, part, rows, stride });
            }
            self.finish(to, 0, row, kv_head);
        }
    }
}
