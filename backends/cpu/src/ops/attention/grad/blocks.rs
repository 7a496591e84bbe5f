//! The work of a step, block by block.

use super::AttentionGrad;
use super::layout::Of;
use crate::kernels::attention::grad::{BLOCK, KeyRow, QueryRow, Stats};
use crate::matmul::dense::{Operands, Rows, pad, transpose};
use crate::op::Step;
use crate::pool::Worker;
use std::ops::Range;

/// Rows of a sequence.
#[derive(Clone, Copy)]
struct Block {
    /// Number among all blocks of the step, and within its sequence.
    nth: usize,
    own: usize,
    /// First row, and rows.
    first: usize,
    rows: usize,
    /// Rows of its sequence.
    of: usize,
}

impl AttentionGrad {
    /// Block `nth` of the step; `None` behind the last.
    ///
    /// # Safety
    /// The sequences have been checked.
    unsafe fn block(&self, step: &Step<'_>, nth: usize) -> Option<Block> {
        let mut before = 0;
        for s in 0..self.sequences.count(step) {
            // SAFETY: passed on.
            let rows = unsafe { self.sequences.rows(step, s) };
            let blocks = rows.len().div_ceil(BLOCK);
            if nth < before + blocks {
                let own = nth - before;
                let first = rows.start + own * BLOCK;
                return Some(Block { nth, own, first, rows: (rows.end - first).min(BLOCK), of: rows.len() });
            }
            before += blocks;
        }
        None
    }

    /// All blocks' work, in three parts.
    ///
    /// # Safety
    /// As for [`crate::op::CompiledOp::run`].
    pub(super) unsafe fn share(&self, step: &Step<'_>, worker: &Worker<'_>) {
        // SAFETY: sequences were checked; each item is one worker's, and parts are barriers apart.
        unsafe {
            let rows = |s| self.sequences.rows(step, s).len().div_ceil(BLOCK);
            let blocks: usize = (0..self.sequences.count(step)).map(rows).sum();
            while let Some(range) = worker.claim(blocks, 1) {
                range.filter_map(|nth| self.block(step, nth)).for_each(|block| self.pack(step, block));
            }
            worker.barrier();
            // The longest come first.
            let from_last = |item: usize, heads: usize| (self.block(step, blocks - 1 - item / heads), item % heads);
            while let Some(range) = worker.claim(blocks * self.heads, 1) {
                if step.cancelled() {
                    break;
                }
                for item in range {
                    if let (Some(block), head) = from_last(item, self.heads) {
                        self.queries(step, worker, block, head);
                    }
                }
            }
            worker.barrier();
            if worker.index() == 0 {
                self.sinks(step, blocks);
            }
            while let Some(range) = worker.claim(blocks * self.kv_heads, 1) {
                if step.cancelled() {
                    break;
                }
                for item in range {
                    if let Some(block) = self.block(step, item / self.kv_heads) {
                        self.keys(step, worker, block, item % self.kv_heads);
                    }
                }
            }
        }
    }

    /// A tensor's rows of a head, from row `first` on.
    fn rows_of(&self, step: &Step<'_>, of: Of, first: usize, head: usize) -> Rows {
        let tensor = [self.q, self.k, self.v, self.dout][of as usize];
        let stride = self.layout.heads(of) * self.head_dim;
        Rows { at: step.f32(tensor), stride }.from(first).right(head * self.head_dim)
    }

    /// The same, rows of whole vectors.
    fn whole_rows(&self, step: &Step<'_>, of: Of, block: Block, head: usize) -> Rows {
        match self.layout.rows(step, of, block.nth, head) {
            Some(at) => Rows { at, stride: self.layout.row() },
            None => self.rows_of(step, of, block.first, head),
        }
    }

    unsafe fn pack(&self, step: &Step<'_>, block: Block) {
        let d = self.head_dim;
        for of in Of::ALL {
            for head in 0..self.layout.heads(of) {
                let from = self.rows_of(step, of, block.first, head);
                // SAFETY: rows of the tensors, places of the layout.
                unsafe {
                    let to = self.layout.across(step, of, block.nth, head);
                    if block.rows < BLOCK {
                        to.write_bytes(0, BLOCK * d);
                    }
                    transpose(from, block.rows, d, to, BLOCK);
                    if let Some(to) = self.layout.rows(step, of, block.nth, head) {
                        pad(from, block.rows, d, to, self.layout.row());
                    }
                }
            }
        }
    }

    /// The keys that a query at `position` sees, of a sequence of `rows` rows.
    fn seen(&self, position: usize, rows: usize) -> Range<usize> {
        let reach = if self.window == 0 { rows } else { self.window };
        let end = if self.bidirectional { position + reach } else { position + 1 };
        (position + 1).saturating_sub(reach)..end.min(rows)
    }

    /// The queries that see a key at `position`.
    fn seeing(&self, position: usize, rows: usize) -> Range<usize> {
        let reach = if self.window == 0 { rows } else { self.window };
        let first = if self.bidirectional { (position + 1).saturating_sub(reach) } else { position };
        first..(position + reach).min(rows)
    }

    /// Sums of the softmax, and gradients of a block of queries.
    unsafe fn queries(&self, step: &Step<'_>, worker: &Worker<'_>, block: Block, head: usize) {
        let (d, kv_head) = (self.head_dim, head * self.kv_heads / self.heads);
        let first = block.own * BLOCK;
        let low = self.seen(first, block.of).start / BLOCK;
        let end = self.seen(first + block.rows - 1, block.of).end.div_ceil(BLOCK);
        let (span, seen_blocks) = (self.layout.span, end - low);
        let (scores, dp) = self.layout.worker(step, worker.index());
        let first_key = block.nth - block.own + low;
        // SAFETY: blocks of this sequence, which are packed; a worker's own memory has the span of keys.
        unsafe {
            for i in 0..seen_blocks {
                for (of, with, c) in [(Of::Q, Of::K, scores), (Of::Dout, Of::V, dp)] {
                    self.dense.multiply(&Operands {
                        a: self.rows_of(step, of, block.first, head),
                        b: Rows { at: self.layout.across(step, with, first_key + i, kv_head), stride: BLOCK },
                        c: c.add(i * BLOCK),
                        c_stride: span,
                        rows: block.rows,
                        columns: BLOCK,
                        terms: d,
                        resume: false,
                    });
                }
            }
            let stats = self.layout.stats(step, block.nth, head);
            // Rows that are not there have weight 0.
            stats.0.write_bytes(0, Stats::FLOATS);
            for row in 0..block.rows {
                let seen = self.seen(first + row, block.of);
                (self.query)(&QueryRow {
                    scores: scores.add(row * span),
                    dp: dp.add(row * span),
                    n: seen_blocks * BLOCK,
                    seen: (seen.start - low * BLOCK, seen.end - low * BLOCK),
                    rule: self.rule,
                    sink: self.sinks.map_or(std::ptr::null(), |s| step.f32(s).add(head)),
                    stats,
                    row,
                });
            }
            let Some(dq) = self.dq else { return };
            for i in 0..seen_blocks {
                let at = (low + i) * BLOCK;
                let terms = (block.of - at).min(BLOCK);
                let keys = Block { nth: first_key + i, first: block.first - first + at, ..block };
                self.dense.multiply(&Operands {
                    a: Rows { at: scores, stride: span }.right(i * BLOCK),
                    b: self.whole_rows(step, Of::K, keys, kv_head),
                    c: step.f32(dq).add(block.first * self.heads * d + head * d),
                    c_stride: self.heads * d,
                    rows: block.rows,
                    columns: d,
                    terms,
                    resume: i > 0,
                });
            }
        }
    }

    /// Gradients of a block of keys and values.
    unsafe fn keys(&self, step: &Step<'_>, worker: &Worker<'_>, block: Block, kv_head: usize) {
        let (d, group) = (self.head_dim, self.heads / self.kv_heads);
        let (weights, slopes) = self.layout.worker(step, worker.index());
        let first = block.own * BLOCK;
        let low = self.seeing(first, block.of).start / BLOCK;
        let end = self.seeing(first + block.rows - 1, block.of).end.div_ceil(BLOCK);
        let mut resume = false;
        for head in kv_head * group..(kv_head + 1) * group {
            for i in low..end {
                // SAFETY: blocks of this sequence, which are packed and whose sums are known; a worker's own memory has
                // squares of a block.
                unsafe {
                    let Some(queries) = self.block(step, block.nth - block.own + i) else { return };
                    for (of, with, c) in [(Of::K, Of::Q, weights), (Of::V, Of::Dout, slopes)] {
                        self.dense.multiply(&Operands {
                            a: self.rows_of(step, of, block.first, kv_head),
                            b: Rows { at: self.layout.across(step, with, queries.nth, head), stride: BLOCK },
                            c,
                            c_stride: BLOCK,
                            rows: block.rows,
                            columns: BLOCK,
                            terms: d,
                            resume: false,
                        });
                    }
                    let stats = self.layout.stats(step, queries.nth, head);
                    for row in 0..block.rows {
                        // Places of the first query that sees the key, and of the first that no longer does.
                        let place = |position: usize| position.saturating_sub(i * BLOCK).min(queries.rows);
                        let seeing = self.seeing(first + row, block.of);
                        (self.key)(&KeyRow {
                            scores: weights.add(row * BLOCK),
                            dp: slopes.add(row * BLOCK),
                            seen: (place(seeing.start), place(seeing.end)),
                            rule: self.rule,
                            stats,
                        });
                    }
                    for (to, with, a) in [(self.dv, Of::Dout, weights), (self.dk, Of::Q, slopes)] {
                        let Some(to) = to else { continue };
                        self.dense.multiply(&Operands {
                            a: Rows { at: a, stride: BLOCK },
                            b: self.whole_rows(step, with, queries, head),
                            c: step.f32(to).add(block.first * self.kv_heads * d + kv_head * d),
                            c_stride: self.kv_heads * d,
                            rows: block.rows,
                            columns: d,
                            terms: queries.rows,
                            resume,
                        });
                    }
                    resume = true;
                }
            }
        }
    }

    /// A sink has a weight and no value: its gradient is `-Σ p Σ p dp`.
    unsafe fn sinks(&self, step: &Step<'_>, blocks: usize) {
        let (Some(sinks), Some(to)) = (self.sinks, self.dsinks) else { return };
        for head in 0..self.heads {
            // SAFETY: one element per head; numbers of rows that are there.
            unsafe {
                let sink = step.f32(sinks).add(head).read();
                let of = |block: Block| {
                    let stats = self.layout.stats(step, block.nth, head);
                    (0..block.rows).map(move |row| stats.sink(row, sink)).sum::<f32>()
                };
                let total: f32 = (0..blocks).filter_map(|nth| self.block(step, nth)).map(of).sum();
                step.f32(to).add(head).write(-total);
            }
        }
    }
}
