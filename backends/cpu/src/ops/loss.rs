//! CROSS_ENTROPY and SUM.

pub mod grad;

use crate::check::{Checker, fixed};
use crate::kernels::loss;
use crate::op::{CompiledOp, Ctx, Step};
use crate::pool::Worker;
use tern_abi::ops::ScaleParams;
use tern_abi::plugin::{GraphView, OpView, PluginError, Result};

struct CrossEntropy {
    logits: usize,
    targets: usize,
    out: usize,
    n: usize,
    kernel: unsafe fn(*const f32, usize, i32, *mut f32),
}

/// Compiles CROSS_ENTROPY.
pub fn compile_cross_entropy(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "CROSS_ENTROPY");
    let (logits, targets, out) = (c.f32_in(0, "logits")?, c.i32_in(1, "targets")?, c.f32_out(0, "output")?);
    c.ensure(c.dims(logits).len() == 2, "logits is not a matrix")?;
    let n = c.last(logits, "logits")?;
    c.shaped(targets, &[c.first(logits)], "targets")?;
    c.shaped(out, &[c.first(logits)], "output")?;
    Ok(Box::new(CrossEntropy { logits, targets, out, n, kernel: loss::cross_entropy(ctx.tier) }))
}

impl CompiledOp for CrossEntropy {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        // SAFETY: shapes were checked, targets are checked before use; the tier is available; workers write
        // elements of their own.
        unsafe {
            let targets = step.i32s(self.targets);
            for r in worker.split(targets.len(), 1) {
                let Some(target) = target_of(step, targets[r], self.n) else { return };
                (self.kernel)(step.f32(self.logits).add(r * self.n), self.n, target, step.f32(self.out).add(r));
            }
        }
    }
}

/// The target, if it is one of `n` or negative; else the step fails.
fn target_of(step: &Step<'_>, target: i32, n: usize) -> Option<i32> {
    if usize::try_from(target).is_ok_and(|target| target >= n) {
        step.fail(PluginError::argument(format!("CROSS_ENTROPY: target {target} of {n} is wanted")));
        return None;
    }
    Some(target)
}

struct Sum {
    x: usize,
    out: usize,
    factor: f32,
    kernel: unsafe fn(*const f32, usize, f32, *mut f32),
}

/// Compiles SUM.
pub fn compile_sum(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "SUM");
    let (x, out) = (c.f32_in(0, "x")?, c.f32_out(0, "output")?);
    c.shaped(out, &[fixed(1)], "output")?;
    Ok(Box::new(Sum { x, out, factor: op.params::<ScaleParams>().factor, kernel: loss::sum(ctx.tier) }))
}

impl CompiledOp for Sum {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        if worker.index() == 0 {
            // SAFETY: shapes were checked; the tier is available.
            unsafe { (self.kernel)(step.f32(self.x), step.len(self.x), self.factor, step.f32(self.out)) };
        }
    }
}
