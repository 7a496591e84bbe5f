//! SHORT_CONV's gradient. Some channels are one worker's, for all rows of all sequences, so every sum has one order.

use super::{BLOCK, POLL, Shape};
use crate::check::Checker;
use crate::kernels::short_conv::grad::{self as kernel, Rows};
use crate::op::{CompiledOp, Ctx, Step};
use crate::pool::Worker;
use tern_abi::plugin::{GraphView, OpView, Result};

/// Inputs of the op, before the gradients of its outputs.
const INPUTS: usize = 7;

struct ShortConvGrad {
    shape: Shape,
    dout: usize,
    /// Gradients of x, w, bias.
    out: [Option<usize>; 3],
    threads: usize,
    kernel: unsafe fn(&Rows),
}

/// Compiles the op.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "SHORT_CONV's gradient");
    if op.input(5).is_some() {
        return Err(c.lacking("only of the form without state"));
    }
    let shape = Shape::new(&c, op)?;
    let dout = c.f32_in(INPUTS, "gradient of the output")?;
    c.same(shape.x, dout, "gradient of the output")?;
    let out = [c.gradient(0, "x")?, c.gradient(1, "w")?, c.gradient(2, "bias")?];
    (3..INPUTS).try_for_each(|i| c.no_gradient(i))?;
    Ok(Box::new(ShortConvGrad { shape, dout, out, threads: ctx.threads, kernel: kernel::back(ctx.tier) }))
}

impl ShortConvGrad {
    /// Floats of a worker: weights turned round, their gradient, that of the bias.
    fn worker_len(&self) -> usize {
        (2 * self.shape.width + 1) * BLOCK
    }

    /// Channels `first .. first + n`.
    unsafe fn block(&self, step: &Step<'_>, first: usize, n: usize, own: *mut f32) {
        let (s, stride) = (&self.shape, self.shape.channels);
        let (w, dw, dbias) = (own, own.wrapping_add(s.width * n), own.wrapping_add(2 * s.width * n));
        // SAFETY: shapes and contents were checked; these channels are this worker's.
        unsafe {
            let whole = step.f32(s.w).add(first * s.width);
            for c in 0..n {
                for j in 0..s.width {
                    *w.add(j * n + c) = *whole.add(c * s.width + j);
                }
            }
            dw.write_bytes(0, (s.width + 1) * n);
            for sequence in 0..s.sequences.count(step) {
                let rows = s.sequences.rows(step, sequence);
                for t in rows.clone() {
                    if t % POLL == 0 && step.cancelled() {
                        return;
                    }
                    let at = t * stride + first;
                    (self.kernel)(&Rows {
                        x: step.f32(s.x).add(at),
                        dout: step.f32(self.dout).add(at),
                        before: t - rows.start,
                        behind: rows.end - 1 - t,
                        width: s.width,
                        stride,
                        n,
                        w,
                        dx: self.out[0].map_or(std::ptr::null_mut(), |dx| step.f32(dx).add(at)),
                        dw,
                        dbias,
                    });
                }
            }
            if let Some(out) = self.out[1] {
                for c in 0..n {
                    for j in 0..s.width {
                        *step.f32(out).add((first + c) * s.width + j) = *dw.add(j * n + c);
                    }
                }
            }
            if let Some(out) = self.out[2] {
                step.f32(out).add(first).copy_from_nonoverlapping(dbias, n);
            }
        }
    }
}

impl CompiledOp for ShortConvGrad {
    fn scratch_bytes(&self) -> usize {
        4 * self.threads * self.worker_len()
    }

    fn check(&self, step: &Step<'_>) -> Result<()> {
        self.shape.sequences.check(step, "SHORT_CONV's gradient")
    }

    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let channels = self.shape.channels;
        while let Some(blocks) = worker.claim(channels.div_ceil(BLOCK), 1) {
            for block in blocks {
                let first = block * BLOCK;
                // SAFETY: scratch has a part for every worker; a block is claimed once.
                unsafe {
                    let own = step.scratch().cast::<f32>().add(worker.index() * self.worker_len());
                    self.block(step, first, BLOCK.min(channels - first), own);
                }
            }
        }
    }
}
