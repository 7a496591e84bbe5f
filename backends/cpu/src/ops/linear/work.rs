//! Products by strips, and everything that follows them.

use super::inner::{adapter, runs};
use super::input::Input;
use super::{Linear, Lora, Part};
use crate::matmul::finish::{Adapter, Results, Target};
use crate::matmul::share;
use crate::matmul::strip::{RESULTS, Strip};
use crate::matmul::tokens::{Tile, Tiling};
use crate::op::Step;
use crate::pool::Worker;
use crate::simd::LANES;
use crate::weight::STRIP;
use std::ops::Range;

/// So many tokens wait for memory rather than for arithmetic.
const FEW: usize = 8;
/// Bytes of the next op's weights that a worker asks for: what memory brings while workers meet and prepare the input, and a
/// small part of a second-level cache.
const WARM: usize = 32 << 10;
/// Strips between two looks at the cancel flag, and of a gate before those of the up, with few tokens.
const PIECE: usize = 64;

/// A strip of a weight, ready to be multiplied.
struct Job<'a> {
    part: &'a Part,
    strip: Strip,
    first_row: usize,
    rows: usize,
    tiling: Tiling,
    input: &'a Input,
    worker: &'a Worker<'a>,
    x: *const u8,
    scratch: *mut u8,
    inner: *const f32,
}

impl Job<'_> {
    /// The tile's rows in a `[tokens][rows]` tensor.
    fn rows_of(&self, tensor: Target, tile: Tile) -> Target {
        if tensor.at.is_null() {
            return tensor;
        }
        Target { at: tensor.at.wrapping_add(tile.first * tensor.stride + self.first_row), stride: tensor.stride }
    }
}

/// A tile's results, aligned.
#[repr(align(64))]
struct Buffer([std::mem::MaybeUninit<f32>; RESULTS]);

impl Buffer {
    fn new() -> Self {
        Self([std::mem::MaybeUninit::uninit(); RESULTS])
    }
}

impl Linear {
    /// Strips to share out: of all weights, or pairs of strips under a gate.
    fn strips(&self) -> usize {
        let parts = if self.gate.is_some() { &self.parts[..1] } else { &self.parts[..] };
        parts.iter().map(|p| p.rows.div_ceil(STRIP)).sum()
    }

    /// Asks for what this worker reads first in a step with few tokens.
    ///
    /// # Safety
    /// As for [`crate::op::CompiledOp::warm`].
    pub(super) unsafe fn ask_ahead(&self, step: &Step<'_>, worker: &Worker<'_>) {
        if step.rows(self.x) > FEW {
            return;
        }
        let mut left = WARM;
        for (part, ranks) in self.ranks_of_parts(self.own_ranks(worker)) {
            let Some(lora) = self.parts[part].lora else { continue };
            // SAFETY: tensors of the step; any address may be asked for; the tier is available.
            unsafe {
                let Some((bank, _)) = self.adapters.and_then(|of| adapter(step, of, 0, lora.banks)) else { continue };
                let a = step.f32(lora.a).add((bank * lora.rank + ranks.start) * self.columns);
                let bytes = (ranks.len() * self.columns * 4).min(left);
                (self.ask)(a.cast(), bytes);
                left -= bytes;
            }
        }
        for (part, strips) in self.parts_of(share::run(worker, self.strips())) {
            let part = &self.parts[part];
            let Some(matrix) = step.weight(part.w).and_then(|w| w.matrix()) else { return };
            for strip in strips {
                let (at, bytes) = part.multiplier.strip(matrix, 0, strip).bytes();
                // SAFETY: the tier is available.
                unsafe { (self.ask)(at, bytes.min(left)) };
                left = left.saturating_sub(bytes);
                if left == 0 {
                    return;
                }
            }
        }
    }

    /// The strips that some items of [`strips`](Self::strips) stand for, part by part.
    fn parts_of(&self, items: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
        let mut before = 0;
        self.parts.iter().enumerate().filter_map(move |(i, part)| {
            let first = if self.gate.is_some() { 0 } else { before };
            before = first + part.rows.div_ceil(STRIP);
            let some = items.start.max(first)..items.end.min(before);
            (!some.is_empty()).then(|| (i, some.start - first..some.end - first))
        })
    }

    /// Multiplies strips until none is left.
    ///
    /// # Safety
    /// As for [`crate::op::CompiledOp::run`]; `input` is ready.
    pub(super) unsafe fn work(&self, step: &Step<'_>, worker: &Worker<'_>, input: &Input) {
        let strips = self.strips();
        if input.tokens <= FEW {
            // Every weight in the order of memory: an up after each gate would be half as fast on a Zen 4.
            share::streams(worker, strips, PIECE, |some| {
                for (part, strips) in self.parts_of(some) {
                    // SAFETY: passed on; every strip is one worker's alone.
                    strips.for_each(|strip| unsafe { self.strip(step, worker, input, (part, strip), 0..input.tokens) });
                }
                !step.cancelled()
            });
            return;
        }
        let block = share::block(input.tokens, self.layout.token_bytes);
        while let Some(range) = worker.claim(strips * input.tokens.div_ceil(block), 1) {
            if step.cancelled() {
                return;
            }
            for item in range {
                let (first, item) = (item / strips * block, item % strips);
                let tokens = first..(first + block).min(input.tokens);
                // SAFETY: as above.
                unsafe {
                    match self.gate {
                        Some(activation) => self.gated(step, worker, input, item, tokens, activation),
                        None => self
                            .parts_of(item..item + 1)
                            .for_each(|(part, s)| self.strip(step, worker, input, (part, s.start), tokens.clone())),
                    }
                }
            }
        }
    }

    /// A strip's results to their place; those of an up on what is there, which is the gate's.
    unsafe fn strip(
        &self,
        step: &Step<'_>,
        worker: &Worker<'_>,
        input: &Input,
        (i, strip): (usize, usize),
        tokens: Range<usize>,
    ) {
        // SAFETY: passed on.
        unsafe {
            let part = &self.parts[i];
            let out = Target { at: step.f32(part.out), stride: part.rows };
            let residual = Target { at: step.f32_or_null(self.residual), stride: part.rows };
            let job = self.open(step, worker, input, i, strip);
            let mut y = Buffer::new();
            for tile in job.tiling.tiles(tokens.start, tokens.end) {
                let results = self.multiply(step, &job, tile, &mut y);
                let to = job.rows_of(out, tile);
                let Some(activation) = self.gate.filter(|_| i == 1) else {
                    (self.finish.write)(&results, to, job.rows_of(residual, tile));
                    continue;
                };
                for t in 0..tile.width {
                    let to = Target { at: to.at.add(t * to.stride), stride: 0 };
                    let gate = Results { y: to.at, pitch: 1, width: 1, rows: results.rows };
                    let up = Results { y: results.y.add(t * LANES), ..results };
                    (self.finish.write_gated)(&gate, &up, activation, to);
                }
            }
        }
    }

    /// Strips of gate and up, for tokens that they are decoded for once.
    unsafe fn gated(
        &self,
        step: &Step<'_>,
        worker: &Worker<'_>,
        input: &Input,
        strip: usize,
        tokens: Range<usize>,
        activation: u32,
    ) {
        // SAFETY: passed on.
        unsafe {
            let gate = self.open(step, worker, input, 0, strip);
            let up = self.open(step, worker, input, 1, strip);
            let (mut y0, mut y1) = (Buffer::new(), Buffer::new());
            let out = Target { at: step.f32(self.parts[0].out), stride: self.parts[0].rows };
            let mut put = |tile: Tile| {
                let a = self.multiply(step, &gate, tile, &mut y0);
                let b = self.multiply(step, &up, tile, &mut y1);
                (self.finish.write_gated)(&a, &b, activation, gate.rows_of(out, tile));
            };
            gate.tiling.tiles(tokens.start, tokens.end).for_each(&mut put);
        }
    }

    unsafe fn open<'a>(
        &'a self,
        step: &Step<'_>,
        worker: &'a Worker<'_>,
        input: &'a Input,
        part: usize,
        strip: usize,
    ) -> Job<'a> {
        let (l, p) = (&self.layout, &self.parts[part]);
        let form = p.multiplier.form();
        let tiling = l.tiling(form, input.tokens);
        let first_row = strip * STRIP;
        let rows = (p.rows - first_row).min(STRIP);
        // SAFETY: places of the layout; the matrix has the type and shape of the tensor, as bound.
        unsafe {
            let mine = l.worker(step, worker.index());
            let scratch = mine.add(l.strips[part]);
            let strip = match step.weight(p.w).and_then(|w| w.matrix()) {
                Some(matrix) => p.multiplier.strip(matrix, 0, strip),
                None => p.multiplier.plain_strip(step.f32(p.w).add(first_row * self.columns), rows),
            };
            p.multiplier.open(strip, tiling, scratch);
            if let Some((lora, (bank, _))) = p.lora.zip(p.lora.and_then(|l| adapter(step, self.adapters?, 0, l.banks)))
            {
                (self.finish.ask_ranks)(self.lora_b(step, p, lora, bank, first_row), p.rows, lora.rank);
            }
            Job {
                part: p,
                strip,
                first_row,
                rows,
                tiling,
                input,
                worker,
                x: input.tiles(form),
                scratch,
                inner: step.scratch().add(l.inner[part]).cast(),
            }
        }
    }

    /// A tile's product, with bias and adapters.
    unsafe fn multiply(&self, step: &Step<'_>, job: &Job<'_>, tile: Tile, y: &mut Buffer) -> Results {
        let p = job.part;
        // SAFETY: the buffer takes any tile; the bias has the part's rows.
        unsafe {
            let y = y.0.as_mut_ptr().cast::<f32>();
            p.multiplier.multiply(job.strip, job.tiling, job.scratch, job.x, tile, y);
            let results = Results { y, pitch: tile.width, width: tile.width, rows: job.rows };
            let bias = Self::vector(step, p.bias);
            if !bias.is_null() {
                (self.finish.bias)(&results, bias.add(job.first_row));
            }
            if p.lora.is_some() {
                self.adapt(step, job, tile, &results);
            }
            results
        }
    }

    unsafe fn adapt(&self, step: &Step<'_>, job: &Job<'_>, tile: Tile, results: &Results) {
        let Some(lora) = job.part.lora else { return };
        // SAFETY: banks were checked to be in range; there are inner values of all tokens.
        unsafe {
            for (run, adapter) in runs(step, self.adapters, tile.first..tile.first + tile.width, lora) {
                let Some((bank, _)) = adapter else { continue };
                job.input.inner_values(job.worker);
                (self.finish.adapter)(
                    results,
                    &Adapter {
                        b: self.lora_b(step, job.part, lora, bank, job.first_row),
                        stride: job.part.rows,
                        u: job.inner.add(tile.first * lora.rank),
                        rank: lora.rank,
                        tokens: (run.start - tile.first, run.end - tile.first),
                    },
                );
            }
        }
    }

    /// A bank of a weight's B from a row of the weight on.
    unsafe fn lora_b(&self, step: &Step<'_>, part: &Part, lora: Lora, bank: usize, row: usize) -> *const f32 {
        // SAFETY: B has `rank` x `rows` elements per bank, which the caller's bank is one of.
        unsafe { step.f32(lora.b).add(bank * lora.rank * part.rows + row) }
    }
}
