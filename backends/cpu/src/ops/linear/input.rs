//! What comes before the products: norm, quantization, the adapters' inner values.

use super::Linear;
use super::inner::{Values, runs};
use super::layout::TOGETHER;
use crate::kernels::norm::Rows;
use crate::matmul::tokens::Form;
use crate::op::Step;
use crate::pool::{Announced, Worker};
use std::cell::Cell;
use std::ops::Range;

/// Ranks that a worker computes at least: fewer take as long.
const RANKS: usize = 4;

/// Prepared activations.
pub struct Input {
    pub tokens: usize,
    /// Where tiles of each of [`Form::ALL`] are; null where no weight wants them. Floats are the norm's, which are ours, or
    /// `x` itself.
    tiles: [*mut u8; Form::ALL.len()],
    /// Until other workers' inner values are waited for.
    announced: Cell<Option<Announced>>,
}

impl Input {
    /// Tiles of a form that some weight wants.
    pub fn tiles(&self, form: Form) -> *mut u8 {
        self.tiles[form as usize]
    }

    /// Waits for inner values, the first time it is called.
    pub fn inner_values(&self, worker: &Worker<'_>) {
        if let Some(announced) = self.announced.take() {
            worker.all_announced(announced);
        }
    }
}

impl Linear {
    /// Prepares all tokens. After it, this worker may read them all, but for [`Input::inner_values`].
    ///
    /// # Safety
    /// As for [`crate::op::CompiledOp::run`].
    pub(super) unsafe fn prepare(&self, step: &Step<'_>, worker: &Worker<'_>, tokens: usize) -> Input {
        let l = &self.layout;
        // SAFETY: the layout's places lie in the scratch.
        unsafe {
            let own = l.is_own(tokens);
            let base = if own { l.worker(step, worker.index()) } else { step.scratch() };
            let places = if own { l.own_tiles } else { l.tiles };
            let mut tiles = places.map(|at| at.map_or(std::ptr::null_mut(), |at| base.add(at)));
            if places[Form::Floats as usize].is_none() {
                tiles[Form::Floats as usize] = step.f32(self.x).cast();
            }
            let input = Input { tokens, tiles, announced: Cell::new(None) };
            let adapted = self.adapters.is_some() && self.ranks() > 0;
            if places.iter().all(Option::is_none) && !adapted {
                return input;
            }
            if own {
                let h = self.prepare_tokens(step, worker, &input, 0..tokens);
                if adapted {
                    self.inner_values(step, 0..tokens, h, self.own_ranks(worker));
                    input.announced.set(Some(worker.announce()));
                }
            } else {
                // Whole tiles of all forms, so that two workers rarely write to one cache line.
                let chunk = (tokens / (4 * worker.count())).max(1).next_multiple_of(TOGETHER);
                while let Some(range) = worker.claim(tokens, chunk) {
                    for first in range.clone().step_by(TOGETHER) {
                        let some = first..(first + TOGETHER).min(range.end);
                        let h = self.prepare_tokens(step, worker, &input, some.clone());
                        if adapted {
                            self.inner_values(step, some, h, 0..self.ranks());
                        }
                    }
                }
                worker.barrier();
            }
            input
        }
    }

    /// Norms and quantizes tokens; yields where the rows begin that are multiplied.
    ///
    /// # Safety
    /// As [`prepare`](Self::prepare); `input` has room for the tokens, which the layout has rows for.
    unsafe fn prepare_tokens(
        &self,
        step: &Step<'_>,
        worker: &Worker<'_>,
        input: &Input,
        tokens: Range<usize>,
    ) -> *const f32 {
        let l = &self.layout;
        // SAFETY: the tokens' rows of x, and their places in the scratch.
        unsafe {
            let x = step.f32(self.x).add(tokens.start * self.columns).cast_const();
            let (rows, kept) = match (self.norm, l.tiles[Form::Floats as usize]) {
                (None, _) => (x.cast_mut(), true),
                (_, Some(_)) => (input.tiles(Form::Floats).cast::<f32>().add(tokens.start * self.columns), true),
                (_, None) => (l.worker(step, worker.index()).add(l.rows).cast(), self.adapters.is_some()),
            };
            for (i, token) in tokens.enumerate() {
                // Where a row is not needed any more, the next one takes its place, in the cache.
                let h = if kept { rows.add(i * self.columns) } else { rows };
                if let Some(norm) = self.norm {
                    (norm.kernel)(&Rows {
                        x: x.add(i * self.columns),
                        w: Self::vector(step, norm.w),
                        b: std::ptr::null(),
                        out: h,
                        rows: 1,
                        n: self.columns,
                        eps: norm.eps,
                    });
                }
                for (form, put) in [Form::Blocks, Form::Whole].into_iter().zip(self.quantize) {
                    if l.tiles[form as usize].is_some() {
                        let tile = l.tiling(form, input.tokens).tile_of(token);
                        let to = input.tiles(form).add(tile.first * form.bytes(self.columns));
                        put(h, self.columns, to, tile.width, token - tile.first);
                    }
                }
            }
            rows
        }
    }

    /// Ranks of all weights' adapters.
    fn ranks(&self) -> usize {
        self.parts.iter().filter_map(|p| p.lora).map(|l| l.rank).sum()
    }

    /// Some of all weights' ranks, as parts and ranks of them.
    pub(super) fn ranks_of_parts(&self, ranks: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
        let mut before = 0;
        self.parts.iter().enumerate().filter_map(move |(i, part)| {
            let (first, end) = (before, before + part.lora?.rank);
            before = end;
            let some = ranks.start.max(first)..ranks.end.min(end);
            (!some.is_empty()).then(|| (i, some.start - first..some.end - first))
        })
    }

    /// This worker's share of the ranks, in a step with few tokens.
    pub(super) fn own_ranks(&self, worker: &Worker<'_>) -> Range<usize> {
        worker.split(self.ranks(), RANKS)
    }

    /// Inner values of tokens whose rows begin at `h`, for some of the ranks.
    unsafe fn inner_values(&self, step: &Step<'_>, tokens: Range<usize>, h: *const f32, ranks: Range<usize>) {
        for (i, ranks) in self.ranks_of_parts(ranks) {
            let Some(lora) = self.parts[i].lora else { continue };
            // SAFETY: banks were checked to be in range; the layout has the values of all tokens.
            unsafe {
                for (run, adapter) in runs(step, self.adapters, tokens.clone(), lora) {
                    let Some((bank, scale)) = adapter else { continue };
                    let u = step.scratch().add(self.layout.inner[i]).cast::<f32>();
                    self.inner.compute(&Values {
                        a: step.f32(lora.a).add((bank * lora.rank + ranks.start) * self.columns),
                        ranks: ranks.len(),
                        h: h.add((run.start - tokens.start) * self.columns),
                        tokens: run.len(),
                        scale,
                        u: u.add(run.start * lora.rank + ranks.start),
                        stride: lora.rank,
                    });
                }
            }
        }
    }
}
