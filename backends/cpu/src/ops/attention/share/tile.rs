//! A worker's share: rows on their way into pages, a tile against groups of pages, parts joined; and where in memory all
//! of that is.

use super::{Place, Plan};
use crate::kernels::attention::{Finish, Fresh, Merge, State, Tile, Work, group_pages, state_stride};
use crate::kernels::rope::Row;
use crate::ops::attention::{Past, max_rows, part_floats, worker_parts};
use std::ops::Range;

impl Plan<'_> {
    /// Puts a row's key and value into its page.
    pub(super) unsafe fn write(&self, sequence: usize, row: usize, kv_head: usize) {
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

    /// Attends to `groups`, and finishes the rows unless there are other parts.
    pub(super) unsafe fn attend(&self, place: Place, groups: Range<usize>, fresh: bool, worker: usize) {
        let (op, step) = (self.op, self.step);
        let (d, stride, group) = (op.layout.head_dim, state_stride(&op.layout), op.group());
        // SAFETY: shapes and contents were checked; memory was sized for the largest tile.
        unsafe {
            let position = self.position(place.sequence, place.first);
            if fresh && groups.end == self.groups(place.sequence, position).end {
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
                ahead: self.ahead(place.sequence),
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
    pub(super) unsafe fn join(&self, row: usize, kv_head: usize) {
        // SAFETY: all parts were written before the barrier.
        unsafe {
            let sequence = self.sequence_of(row);
            let groups = self.groups(sequence, self.position(sequence, row));
            let to = self.part(row, kv_head, groups.start);
            for g in groups.start + 1..groups.end {
                let part = self.part(row, kv_head, g);
                let (rows, stride) = (self.op.group(), state_stride(&self.op.layout));
                (self.op.kernels.merge)(&Merge { to, part, rows, stride });
            }
            self.finish(to, 0, row, kv_head);
        }
    }

    /// Page numbers of a sequence.
    pub(super) unsafe fn pages(&self, sequence: usize) -> *const i32 {
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
}
