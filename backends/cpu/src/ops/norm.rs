//! RMS_NORM and LAYER_NORM. One worker does a whole row, so that sums do not depend on the number of workers.

pub mod grad;

use crate::check::{Checker, fixed};
use crate::kernels::norm::{self, Rows};
use crate::op::{CompiledOp, Ctx, Step, grain};
use crate::pool::Worker;
use tern_abi::ops::{self, NormParams};
use tern_abi::plugin::{GraphView, OpView, Result};

struct Norm {
    x: usize,
    w: Option<usize>,
    b: Option<usize>,
    out: usize,
    /// Elements that are normed together, and how many times they stand in a row.
    n: usize,
    groups: usize,
    eps: f32,
    kernel: unsafe fn(&Rows),
}

/// Compiles either op.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let rms = op.op == ops::RMS_NORM;
    let c = Checker::new(view, op, if rms { "RMS_NORM" } else { "LAYER_NORM" });
    let (x, w, out) = (c.f32_in(0, "x")?, c.f32_maybe(1, "w")?, c.f32_out(0, "output")?);
    let b = if rms { None } else { c.f32_maybe(2, "b")? };
    let params = op.params::<NormParams>();
    let groups = if rms { params.groups.max(1) as usize } else { 1 };
    let width = c.last(x, "x")?;
    c.ensure(width.is_multiple_of(groups), "x is not so many equal groups")?;
    let n = width / groups;
    c.same(x, out, "output")?;
    for (t, what) in [(w, "w"), (b, "b")] {
        if let Some(t) = t {
            c.shaped(t, &[fixed(n)], what)?;
        }
    }
    let kernel = if rms { norm::rms_norm(ctx.tier) } else { norm::layer_norm(ctx.tier) };
    Ok(Box::new(Norm { x, w, b, out, n, groups, eps: params.eps, kernel }))
}

impl CompiledOp for Norm {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let share = worker.split(step.rows(self.x) * self.groups, grain(self.n));
        let at = share.start * self.n;
        // SAFETY: shapes were checked; the tier is available; workers write rows of their own.
        unsafe {
            (self.kernel)(&Rows {
                x: step.f32(self.x).add(at),
                w: step.f32_or_null(self.w),
                b: step.f32_or_null(self.b),
                out: step.f32(self.out).add(at),
                rows: share.len(),
                n: self.n,
                eps: self.eps,
            });
        }
    }
}
