//! Gradients of CROSS_ENTROPY and SUM.

use super::target_of;
use crate::check::{Checker, fixed};
use crate::kernels::loss;
use crate::op::{CompiledOp, Ctx, Step, grain};
use crate::pool::Worker;
use tern_abi::ops::ScaleParams;
use tern_abi::plugin::{GraphView, OpView, Result};

struct CrossEntropy {
    logits: usize,
    targets: usize,
    dy: usize,
    out: usize,
    n: usize,
    kernel: unsafe fn(*const f32, usize, i32, f32, *mut f32),
}

/// Compiles CROSS_ENTROPY's gradient.
pub fn compile_cross_entropy(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "CROSS_ENTROPY's gradient");
    let (logits, targets) = (c.f32_in(0, "logits")?, c.i32_in(1, "targets")?);
    let (dy, out) = (c.f32_in(2, "gradient of the output")?, c.f32_out(0, "gradient of logits")?);
    c.ensure(c.dims(logits).len() == 2, "logits is not a matrix")?;
    let n = c.last(logits, "logits")?;
    c.shaped(targets, &[c.first(logits)], "targets")?;
    c.shaped(dy, &[c.first(logits)], "gradient of the output")?;
    c.same(logits, out, "gradient of logits")?;
    Ok(Box::new(CrossEntropy { logits, targets, dy, out, n, kernel: loss::cross_entropy_grad(ctx.tier) }))
}

impl CompiledOp for CrossEntropy {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        // SAFETY: shapes were checked, targets are checked before use; the tier is available; workers write rows of their own.
        unsafe {
            let targets = step.i32s(self.targets);
            for r in worker.split(targets.len(), 1) {
                let Some(target) = target_of(step, targets[r], self.n) else { return };
                let (x, out) = (step.f32(self.logits).add(r * self.n), step.f32(self.out).add(r * self.n));
                (self.kernel)(x, self.n, target, step.f32(self.dy).add(r).read(), out);
            }
        }
    }
}

struct Sum {
    dy: usize,
    out: usize,
    factor: f32,
}

/// Compiles SUM's gradient.
pub fn compile_sum(view: &GraphView<'_>, op: &OpView<'_>, _ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "SUM's gradient");
    let (x, dy, out) = (c.f32_in(0, "x")?, c.f32_in(1, "gradient of the output")?, c.f32_out(0, "gradient of x")?);
    c.shaped(dy, &[fixed(1)], "gradient of the output")?;
    c.same(x, out, "gradient of x")?;
    Ok(Box::new(Sum { dy, out, factor: op.params::<ScaleParams>().factor }))
}

impl CompiledOp for Sum {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let share = worker.split(step.len(self.out), grain(1));
        // SAFETY: shapes were checked; workers write elements of their own.
        unsafe {
            let out = std::slice::from_raw_parts_mut(step.f32(self.out).add(share.start), share.len());
            out.fill(self.factor * step.f32(self.dy).read());
        }
    }
}
