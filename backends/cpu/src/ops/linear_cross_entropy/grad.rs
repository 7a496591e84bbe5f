//! Gradients of LINEAR_CROSS_ENTROPY, block by block of the vocabulary.
//!
//! First the sums of exponentials, as for the loss. Then, for one block of the weight's rows after the other, the gradients of its
//! products, and with these `dx += dlogits W` and the rows' own gradients. Sums over rows are chains in order.

use super::head::Head;
use crate::check::Checker;
use crate::kernels::loss::head::{self, Slopes};
use crate::matmul::backward::{self, Own, Seed, WEIGHT_ROWS, piece};
use crate::matmul::decode::{Decoder, TILE_COLUMNS};
use crate::matmul::dense::{Dense, Rows, pad};
use crate::matmul::finish::Target;
use crate::matmul::share;
use crate::op::{CompiledOp, Ctx, Step};
use crate::places::Places;
use crate::pool::Worker;
use crate::simd::LANES;
use std::ops::Range;
use tern_abi::graph::place;
use tern_abi::plugin::{GraphView, OpView, Result};

/// Rows of the weight whose logits there are at a time, for all tokens.
const BLOCK: usize = 2048;
/// Rows whose products a worker computes at a time.
const ROWS: usize = 128;

struct LossGrad {
    head: Head,
    dy: usize,
    dx: Option<usize>,
    dw: Option<usize>,
    decoder: Decoder,
    dense: Dense,
    slopes: unsafe fn(&Slopes),
    /// `[token][2048]`: products of a block, then their gradients.
    logits: usize,
    /// `x` with rows of whole vectors, where it is multiplied with and its own are not.
    x: Option<usize>,
    workers: usize,
    per_worker: usize,
    own: Own,
    bytes: usize,
}

/// Compiles the op.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "LINEAR_CROSS_ENTROPY's gradient");
    let head = Head::new(&c, op, ctx)?;
    let dy = c.f32_in(3, "gradient of the output")?;
    c.shaped(dy, &[c.first(head.x)], "gradient of the output")?;
    let (dx, dw) = (c.gradient(0, "gradient of x")?, c.gradient(1, "gradient of w")?);
    c.ensure(dw.is_none() || c.tensor(head.w).place != place::WEIGHT, "a prepared weight has no gradient")?;
    let mut all = head.end;
    let mut each = Places::default();
    let row = head.columns.next_multiple_of(LANES);
    let mut places = || {
        let logits = all.take(head.max_tokens, BLOCK * 4)?;
        let padded = dw.is_some() && row != head.columns;
        let x = if padded { Some(all.take(head.max_tokens, row * 4)?) } else { None };
        Some((logits, x, Own::take(&mut each)?, all.with_workers(&each, ctx.threads)?))
    };
    let (logits, x, own, bytes) = places().ok_or_else(|| c.wrong("scratch is larger than the address space"))?;
    let decoder = Decoder::new(head.format, head.columns, ctx.tier);
    let (workers, per_worker) = (all.bytes(), each.bytes());
    let (dense, slopes) = (Dense::of(ctx.tier), head::gradients(ctx.tier));
    Ok(Box::new(LossGrad { head, dy, dx, dw, decoder, dense, slopes, logits, x, workers, per_worker, own, bytes }))
}

impl CompiledOp for LossGrad {
    fn scratch_bytes(&self) -> usize {
        self.bytes
    }

    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        // SAFETY: shapes were checked, the scratch has what was asked for; all workers pass the same barriers.
        unsafe {
            let tokens = self.head.tokens(step);
            if let Some(dx) = self.dx {
                // What has no target and is not computed.
                let (all, n) = (step.rows(self.head.x), self.head.columns);
                for t in worker.split(all - tokens, 16) {
                    step.f32(dx).add((tokens + t) * n).write_bytes(0, n);
                }
            }
            self.head.prepare(step, worker);
            self.head.reduce(step, worker);
            for t in worker.split(tokens, 16) {
                // In place of the first part: the largest logit, and the loss's gradient over the sum.
                let (top, total) = self.head.partition(step, t);
                self.head.keep(step, t, [top, (f64::from(step.f32(self.dy).add(t).read()) / total) as f32]);
                if let Some(to) = self.x {
                    let (n, stride) = (self.head.columns, self.head.columns.next_multiple_of(LANES));
                    let x = Rows { at: step.f32(self.head.x), stride: n }.from(t);
                    pad(x, 1, n, step.scratch().add(to).cast::<f32>().add(t * stride), stride);
                }
            }
            worker.barrier();
            for first in (0..self.head.rows).step_by(BLOCK) {
                if worker.stopped() {
                    return;
                }
                let rows = first..(first + BLOCK).min(self.head.rows);
                self.logits(step, worker, rows.clone());
                worker.barrier();
                self.products(step, worker, rows);
                worker.barrier();
            }
        }
    }
}

impl LossGrad {
    /// Gradients of a block's products.
    unsafe fn logits(&self, step: &Step<'_>, worker: &Worker<'_>, block: Range<usize>) {
        // SAFETY: passed on.
        let tokens = unsafe { self.head.tokens(step) };
        let cut = share::block(tokens, self.head.columns * 4);
        let blocks = tokens.div_ceil(cut);
        while let Some(range) = worker.claim(block.len().div_ceil(ROWS) * blocks, 1) {
            for item in range {
                let within = piece(item / blocks, block.len(), ROWS);
                let some = piece(item % blocks, tokens, cut);
                // SAFETY: rows and columns of the block, which are this item's.
                unsafe {
                    let at = |t: usize| self.row(step, t).add(within.start);
                    let rows = block.start + within.start..block.start + within.end;
                    let to = Target { at: at(some.start), stride: BLOCK };
                    self.head.products(step, worker, rows.clone(), some.clone(), to);
                    let targets = step.i32s(self.head.targets);
                    for t in some {
                        let Ok(target) = usize::try_from(targets[t]) else {
                            at(t).write_bytes(0, rows.len());
                            continue;
                        };
                        let [top, factor] = self.head.kept(step, t);
                        (self.slopes)(&Slopes {
                            x: at(t),
                            n: rows.len(),
                            rule: self.head.rule,
                            top,
                            factor,
                            seed: step.f32(self.dy).add(t).read(),
                            target: rows.contains(&target).then(|| target - rows.start),
                        });
                    }
                }
            }
        }
    }

    /// A token's gradients of a block's products.
    fn row(&self, step: &Step<'_>, token: usize) -> *mut f32 {
        step.scratch().wrapping_add(self.logits).cast::<f32>().wrapping_add(token * BLOCK)
    }

    /// What a block adds to `dx`, and its rows of `dW`.
    unsafe fn products(&self, step: &Step<'_>, worker: &Worker<'_>, block: Range<usize>) {
        // SAFETY: passed on.
        let (tokens, columns) = (unsafe { self.head.tokens(step) }, self.head.columns);
        let cut = backward::block(columns, tokens, worker);
        let blocks = tokens.div_ceil(cut.max(1));
        let inputs = if self.dx.is_some() { self.decoder.tiles() * blocks } else { 0 };
        let weights = if self.dw.is_some() { block.len().div_ceil(WEIGHT_ROWS) } else { 0 };
        let own = (step.scratch().wrapping_add(self.workers + worker.index() * self.per_worker), self.own);
        while let Some(range) = worker.claim(inputs + weights, 1) {
            for item in range {
                // SAFETY: tiles of `dx` and rows of `dW`, each one item's.
                unsafe {
                    if let Some(item) = item.checked_sub(inputs) {
                        let (Some(dw), rows) = (self.dw, piece(item, block.len(), WEIGHT_ROWS)) else { return };
                        let dy = Rows { at: self.row(step, 0), stride: BLOCK }.right(rows.start);
                        let x = match self.x {
                            Some(at) => {
                                Rows { at: step.scratch().add(at).cast(), stride: columns.next_multiple_of(LANES) }
                            }
                            None => Rows { at: step.f32(self.head.x), stride: columns },
                        };
                        let to = step.f32(dw).add((block.start + rows.start) * columns);
                        backward::weight(&self.dense, (dy, rows.len()), (x, columns), tokens, to, own);
                        continue;
                    }
                    let (Some(dx), tile, some) = (self.dx, item / blocks, piece(item % blocks, tokens, cut)) else {
                        return;
                    };
                    let dy = Rows { at: self.row(step, some.start), stride: BLOCK };
                    let seed = Seed { source: self.head.source(step), first: block.start, rows: block.len(), dy };
                    let to = (step.f32(dx).add(some.start * columns + tile * TILE_COLUMNS), columns);
                    let multiplier = (&self.dense, &self.decoder);
                    backward::input(multiplier, &seed, (tile, some.len()), to, block.start > 0, own);
                }
            }
        }
    }
}
