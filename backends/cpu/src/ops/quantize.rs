//! QUANTIZE_TOKENS. One worker does a whole row.

use crate::check::Checker;
use crate::kernels::quantize::{self as kernel, Rows};
use crate::op::{CompiledOp, Ctx, Step, grain};
use crate::pool::Worker;
use tern_abi::plugin::{GraphView, OpView, Result};

struct Quantize {
    x: usize,
    out: usize,
    n: usize,
    kernel: unsafe fn(&Rows),
}

/// Compiles the op.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "QUANTIZE_TOKENS");
    let (x, out) = (c.f32_in(0, "x")?, c.f32_out(0, "output")?);
    c.same(x, out, "output")?;
    let n = c.last(x, "x")?;
    Ok(Box::new(Quantize { x, out, n, kernel: kernel::round(ctx.tier) }))
}

impl CompiledOp for Quantize {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let share = worker.split(step.len(self.x) / self.n, grain(self.n));
        let at = share.start * self.n;
        // SAFETY: shapes were checked; the tier is available; workers write rows of their own.
        unsafe {
            let (x, out) = (step.f32(self.x).add(at), step.f32(self.out).add(at));
            (self.kernel)(&Rows { x, out, rows: share.len(), n: self.n });
        }
    }
}
