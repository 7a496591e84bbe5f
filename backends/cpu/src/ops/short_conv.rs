//! SHORT_CONV. Some channels of a sequence are one worker's, for all rows and for the state.

pub mod grad;

use super::sequences::Sequences;
use super::state_slots;
use crate::check::{Checker, fixed};
use crate::kernels::short_conv::{self as kernel, Row};
use crate::op::{CompiledOp, Ctx, Step};
use crate::pool::Worker;
use std::ops::Range;
use tern_abi::ops::ShortConvParams;
use tern_abi::plugin::{GraphView, OpView, Result};

/// Rows that an output sees at most.
const MAX_WIDTH: usize = 16;
const MAX_CHUNK: usize = 1 << 14;

/// Channels that are one worker's.
const BLOCK: usize = 256;

/// Rows between two looks at the cancel flag.
const POLL: usize = 64;

/// What the op and its gradient take alike: checked inputs and sizes.
struct Shape {
    x: usize,
    w: usize,
    bias: Option<usize>,
    sequences: Sequences,
    channels: usize,
    width: usize,
    chunk: usize,
}

impl Shape {
    fn new(c: &Checker<'_>, op: &OpView<'_>) -> Result<Self> {
        let p: ShortConvParams = op.params();
        let (width, chunk) = (p.width as usize, p.chunk as usize);
        c.ensure(width > 0 && chunk > 0, "width or chunk is 0")?;
        if width > MAX_WIDTH || chunk > MAX_CHUNK {
            return Err(c.lacking(format!("width {width}, chunk {chunk}; expected up to {MAX_WIDTH} and {MAX_CHUNK}")));
        }
        let (x, w, bias) = (c.f32_in(0, "x")?, c.f32_in(1, "w")?, c.f32_maybe(2, "bias")?);
        let channels = c.last(x, "x")?;
        c.shaped(x, &[c.first(x), fixed(channels)], "x")?;
        c.shaped(w, &[fixed(channels), fixed(width)], "w")?;
        if let Some(bias) = bias {
            c.shaped(bias, &[fixed(channels)], "bias")?;
        }
        c.given(&[(3, "positions"), (4, "seq_start"), (6, "state_slots")])?;
        let sequences = Sequences::new(c, c.i32_in(3, "positions")?, c.i32_in(4, "seq_start")?, c.first(x))?;
        Ok(Self { x, w, bias, sequences, channels, width, chunk })
    }
}

struct ShortConv {
    x: usize,
    w: usize,
    bias: Option<usize>,
    sequences: Sequences,
    /// State and its slots.
    state: Option<(usize, usize)>,
    out: usize,
    channels: usize,
    width: usize,
    chunk: usize,
    threads: usize,
    kernel: unsafe fn(&Row<'_>),
}

/// Compiles the op.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "SHORT_CONV");
    let Shape { x, w, bias, sequences, channels, width, chunk } = Shape::new(&c, op)?;
    let state = state_slots::compile(&c, &sequences, 5, 6)?;
    let out = c.f32_out(0, "output")?;
    c.same(x, out, "output")?;
    let (threads, kernel) = (ctx.threads, kernel::convolve(ctx.tier));
    Ok(Box::new(ShortConv { x, w, bias, sequences, state, out, channels, width, chunk, threads, kernel }))
}

/// Channels of a sequence: where their rows are.
struct Known {
    /// First row of the step, at position `start`.
    x: *const f32,
    start: usize,
    /// The unit, where it holds something; its first row is `before` ahead of position `opened`.
    unit: Option<*mut f32>,
    before: usize,
    opened: usize,
    zeros: *const f32,
    stride: usize,
}

impl Known {
    /// The row at `position + before`, which is the count of positions from `before` ahead of 0 on.
    unsafe fn row(&self, counted: usize) -> *const f32 {
        // SAFETY: rows of the step, of the unit, or zeros.
        unsafe {
            match (counted.checked_sub(self.start + self.before), self.unit) {
                (Some(own), _) => self.x.add(own * self.stride),
                (None, Some(unit)) => unit.add((counted - self.opened) * self.stride),
                (None, None) => self.zeros,
            }
        }
    }
}

impl ShortConv {
    fn unit_len(&self) -> usize {
        (self.width - 1 + self.chunk) * self.channels
    }
    /// Floats of a worker: weights turned round, and zeros.
    fn worker_len(&self) -> usize {
        (self.width + 1) * BLOCK
    }

    unsafe fn block(&self, step: &Step<'_>, sequence: usize, channels: Range<usize>, worker: usize) {
        let (width, before, chunk, n) = (self.width, self.width - 1, self.chunk, channels.len());
        // SAFETY: shapes and contents were checked; these channels of the sequence are this worker's.
        unsafe {
            let rows = self.sequences.rows(step, sequence);
            if rows.is_empty() {
                return;
            }
            let own = step.scratch().cast::<f32>().add(worker * self.worker_len());
            let zeros = own.add(width * BLOCK);
            zeros.write_bytes(0, n);
            let w = step.f32(self.w).add(channels.start * width);
            for c in 0..n {
                for j in 0..width {
                    *own.add(j * n + c) = *w.add(c * width + j);
                }
            }
            let start = step.i32s(self.sequences.positions)[rows.start] as usize;
            let unit = self.state.map(|(state, slots)| {
                let slot = step.i32s(slots)[sequence] as usize;
                step.f32(state).add(slot * self.unit_len() + channels.start)
            });
            let known = Known {
                x: step.f32(self.x).add(rows.start * self.channels + channels.start),
                start,
                unit: unit.filter(|_| start > 0),
                before,
                opened: start / chunk * chunk,
                zeros,
                stride: self.channels,
            };
            let bias = self.bias.map_or(std::ptr::null(), |b| step.f32(b).add(channels.start).cast_const());
            let mut seen = [zeros.cast_const(); MAX_WIDTH];
            for t in rows.clone() {
                if t % POLL == 0 && step.cancelled() {
                    return;
                }
                let first = start + t - rows.start;
                for (j, row) in seen[..width].iter_mut().enumerate() {
                    *row = known.row(first + j);
                }
                let out = step.f32(self.out).add(t * self.channels + channels.start);
                (self.kernel)(&Row { seen: &seen[..width], w: own, bias, n, out });
            }
            if let Some(unit) = unit {
                self.keep(&known, unit, start + rows.len(), n);
            }
        }
    }

    /// Keeps the rows that the next step may see, or may see again. In order, since rows move towards the front.
    unsafe fn keep(&self, known: &Known, unit: *mut f32, end: usize, n: usize) {
        let opened = end / self.chunk * self.chunk;
        // Rows of a mini-batch that was open before stay where they are.
        let stays =
            if known.unit.is_some() && opened == known.opened { known.start + known.before - opened } else { 0 };
        // SAFETY: the channels of a unit; a row that moves never lies behind the place it goes to.
        unsafe {
            for place in stays..known.before + end - opened {
                let (from, to) = (known.row(opened + place), unit.add(place * self.channels));
                if !std::ptr::eq(from, to) {
                    to.copy_from_nonoverlapping(from, n);
                }
            }
            if stays == 0 {
                for place in known.before + end - opened..known.before + self.chunk {
                    unit.add(place * self.channels).write_bytes(0, n);
                }
            }
        }
    }
}

impl CompiledOp for ShortConv {
    fn scratch_bytes(&self) -> usize {
        4 * self.threads * self.worker_len()
    }

    fn check(&self, step: &Step<'_>) -> Result<()> {
        self.sequences.check(step, "SHORT_CONV")?;
        state_slots::check(step, &self.sequences, self.state, self.unit_len(), "SHORT_CONV")
    }

    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let blocks = self.channels.div_ceil(BLOCK);
        while let Some(items) = worker.claim(self.sequences.count(step) * blocks, 1) {
            for item in items {
                let first = item % blocks * BLOCK;
                let channels = first..(first + BLOCK).min(self.channels);
                // SAFETY: passed on; channels of a sequence are claimed once.
                unsafe { self.block(step, item / blocks, channels, worker.index()) };
            }
        }
    }
}
