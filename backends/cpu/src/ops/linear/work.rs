//! Products by strips, and everything that follows them.

use super::input::{Input, OWN};
use super::{Linear, Part};
use crate::matmul::finish::{Results, Target};
use crate::matmul::share;
use crate::matmul::strip::{RESULTS, Strip, token_bytes};
use crate::matmul::tokens::{Tile, Tiling};
use crate::op::Step;
use crate::pool::Worker;
use crate::weight::STRIP;

/// So many tokens wait for memory rather than for arithmetic.
const FEW: usize = 8;
/// Strips between two looks at the cancel flag, with few tokens.
const CANCEL: usize = 64;

/// Places in the scratch.
#[derive(Clone, Debug)]
pub struct Layout {
    /// All bytes.
    pub bytes: usize,
    /// Tiles of block formats and of floats.
    pub quantized: Option<usize>,
    pub floats: Option<usize>,
    /// Per weight, inner values of its adapters `[token][rank]`.
    pub inner: Vec<usize>,
    /// Where workers' own memory begins, and how much each has.
    workers: usize,
    per_worker: usize,
    /// In a worker's memory: a normed row, tiles of few tokens, an adapter's rows, decoded strips.
    pub row: usize,
    pub own: usize,
    pub own_quantized: Option<usize>,
    pub own_floats: Option<usize>,
    bank: usize,
    strips: Vec<usize>,
    /// Full tiles of block formats and of floats.
    full: [usize; 2],
    /// Tokens that workers may prepare for themselves.
    own_tokens: usize,
}

impl Layout {
    /// `None` where sizes overflow.
    pub(super) fn new(
        parts: &[Part],
        columns: usize,
        tokens: usize,
        threads: usize,
        adapters: bool,
        norm: bool,
        gated: bool,
    ) -> Option<Self> {
        let mut end = 0usize;
        let mut take = |n: usize, size: usize| -> Option<usize> {
            let at = end;
            end = n.checked_mul(size)?.checked_next_multiple_of(64)?.checked_add(end)?;
            Some(at)
        };
        let of = |float: bool| parts.iter().find(|p| p.multiplier.is_float() == float);
        // Where gate and up are of different kinds, tiles must still go together.
        let mixed = gated && of(false).is_some() && of(true).is_some();
        let full = [false, true].map(|float| of(float).map_or(4, |p| if mixed { 4 } else { p.multiplier.tile() }));
        let mut tiles = |float: bool, tokens: usize| -> Option<Option<usize>> {
            if of(float).is_none() { Some(None) } else { take(tokens, token_bytes(columns, float)).map(Some) }
        };
        let (quantized, floats) = (tiles(false, tokens)?, tiles(true, tokens)?);
        let inner = parts.iter().map(|p| take(tokens, p.lora.map_or(0, |l| l.rank * 4)));
        let inner = inner.collect::<Option<Vec<_>>>()?;
        let workers = end;

        let mut end = 0usize;
        let mut take = |bytes: usize| -> Option<usize> {
            let at = end;
            end = bytes.checked_next_multiple_of(64)?.checked_add(end)?;
            Some(at)
        };
        let row = take(if norm { columns.checked_mul(4)? } else { 0 })?;
        let own_tokens = if adapters { 0 } else { (OWN / columns).min(tokens) };
        let mut own_tiles = |float: bool| -> Option<Option<usize>> {
            if of(float).is_none() { Some(None) } else { take(own_tokens * token_bytes(columns, float)).map(Some) }
        };
        let (own_quantized, own_floats) = (own_tiles(false)?, own_tiles(true)?);
        let rank = parts.iter().filter_map(|p| p.lora).map(|l| l.rank).max().unwrap_or(0);
        let bank = take(rank.checked_mul(STRIP * 4)?)?;
        let strips = parts.iter().map(|p| take(p.multiplier.scratch_bytes())).collect::<Option<Vec<_>>>()?;
        let bytes = threads.checked_mul(end)?.checked_add(workers).filter(|&n| n <= isize::MAX as usize)?;
        let per_worker = end;
        let own = 0;
        Some(Self {
            bytes,
            quantized,
            floats,
            inner,
            workers,
            per_worker,
            row,
            own,
            own_quantized,
            own_floats,
            bank,
            strips,
            full,
            own_tokens,
        })
    }

    /// A worker's own memory.
    ///
    /// # Safety
    /// The step's scratch has [`bytes`](Self::bytes).
    pub unsafe fn worker(&self, step: &Step<'_>, index: usize) -> *mut u8 {
        // SAFETY: inside the scratch.
        unsafe { step.scratch().add(self.workers + index * self.per_worker) }
    }
    /// Does every worker prepare so many tokens itself?
    pub fn is_own(&self, tokens: usize) -> bool {
        tokens <= self.own_tokens
    }
    /// How tokens are cut for block formats or floats.
    pub fn tiling(&self, float: bool, tokens: usize) -> Tiling {
        Tiling::new(tokens, self.full[usize::from(float)])
    }
}

impl Linear {
    /// Claims strips until none is left.
    ///
    /// # Safety
    /// As for [`crate::op::CompiledOp::run`]; `input` is ready.
    pub(super) unsafe fn work(&self, step: &Step<'_>, worker: &Worker<'_>, input: &Input) {
        let strips: usize = if self.gate.is_some() {
            self.parts[0].rows.div_ceil(STRIP)
        } else {
            self.parts.iter().map(|p| p.rows.div_ceil(STRIP)).sum()
        };
        let float = self.parts.iter().any(|p| p.multiplier.is_float());
        let block = share::block(input.tokens, token_bytes(self.columns, float));
        let items = strips * input.tokens.div_ceil(block);
        // SAFETY: passed on; every strip is one worker's alone.
        let one = |item: usize| unsafe {
            let first = item / strips * block;
            let tokens = first..(first + block).min(input.tokens);
            self.strip(step, worker, input, item % strips, tokens);
        };
        if input.tokens <= FEW {
            let mut done = 0;
            share::streams(worker, items, |item| {
                one(item);
                done += 1;
                done % CANCEL != 0 || !step.cancelled()
            });
            return;
        }
        while let Some(range) = worker.claim(items, 1) {
            if step.cancelled() {
                return;
            }
            range.for_each(one);
        }
    }

    unsafe fn strip(
        &self,
        step: &Step<'_>,
        worker: &Worker<'_>,
        input: &Input,
        mut strip: usize,
        tokens: std::ops::Range<usize>,
    ) {
        // SAFETY: passed on.
        unsafe {
            if let Some(activation) = self.gate {
                return self.gated(step, worker, input, strip, tokens, activation);
            }
            for (i, part) in self.parts.iter().enumerate() {
                let strips = part.rows.div_ceil(STRIP);
                if strip >= strips {
                    strip -= strips;
                    continue;
                }
                let residual = Target { at: step.f32_or_null(self.residual), stride: part.rows };
                let job = self.open(step, worker, input, i, strip);
                let mut y = Buffer::new();
                for tile in job.tiling.tiles(tokens.start, tokens.end) {
                    let results = self.multiply(step, &job, tile, &mut y);
                    let to = Target { at: step.f32(part.out), stride: part.rows };
                    (self.finish.write)(&results, job.rows_of(to, tile), job.rows_of(residual, tile));
                }
                return;
            }
        }
    }

    unsafe fn gated(
        &self,
        step: &Step<'_>,
        worker: &Worker<'_>,
        input: &Input,
        strip: usize,
        tokens: std::ops::Range<usize>,
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
}

/// A strip of a weight, ready to be multiplied.
struct Job<'a> {
    part: &'a Part,
    strip: Strip,
    first_row: usize,
    rows: usize,
    tiling: Tiling,
    x: *const u8,
    scratch: *mut u8,
    /// The strip's rows of an adapter's B, `[rank][32]`, and whose they are.
    bank: *mut f32,
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
    unsafe fn open<'a>(
        &'a self,
        step: &Step<'_>,
        worker: &Worker<'_>,
        input: &Input,
        part: usize,
        strip: usize,
    ) -> Job<'a> {
        let (l, p) = (&self.layout, &self.parts[part]);
        let float = p.multiplier.is_float();
        let tiling = l.tiling(float, input.tokens);
        let first_row = strip * STRIP;
        let rows = (p.rows - first_row).min(STRIP);
        // SAFETY: places of the layout; the matrix has the type and shape of the tensor, as bound.
        unsafe {
            let mine = l.worker(step, worker.index());
            let scratch = mine.add(l.strips[part]);
            let strip = match step.weight(p.w).and_then(|w| w.matrix()) {
                Some(matrix) => p.multiplier.strip(matrix, 0, strip),
                None => p.multiplier.pack_rows(step.f32(p.w).add(first_row * self.columns), rows, scratch),
            };
            p.multiplier.open(strip, tiling, scratch);
            Job {
                part: p,
                strip,
                first_row,
                rows,
                tiling,
                x: if float { input.floats } else { input.quantized },
                scratch,
                bank: mine.add(l.bank).cast(),
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
        let mut loaded = None;
        for t in 0..tile.width {
            // SAFETY: banks were checked to be in range; B has `rows` x `rank` elements per bank.
            unsafe {
                let Some((bank, scale)) = self.adapter(step, tile.first + t, lora.banks) else { continue };
                if loaded != Some(bank) {
                    let b = step.f32(lora.b).add((bank * job.part.rows + job.first_row) * lora.rank);
                    for j in 0..lora.rank {
                        for r in 0..STRIP {
                            let value = if r < job.rows { b.add(r * lora.rank + j).read() } else { 0.0 };
                            job.bank.add(j * STRIP + r).write(value);
                        }
                    }
                    loaded = Some(bank);
                }
                let u = job.inner.add((tile.first + t) * lora.rank);
                (self.finish.adapter)(results, t, job.bank, u, lora.rank, scale);
            }
        }
    }
}
