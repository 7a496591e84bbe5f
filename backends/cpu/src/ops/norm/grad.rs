//! Gradients of RMS_NORM and LAYER_NORM: rows first, then, over all rows, columns of weight and bias.

use crate::check::{Checker, fixed};
use crate::kernels::norm::grad::{self, Columns, Rows};
use crate::op::{CompiledOp, Ctx, Step, grain};
use crate::pool::Worker;
use crate::simd::LANES;
use tern_abi::ops::{self, GRAD, NormParams};
use tern_abi::plugin::{GraphView, OpView, Result};

struct NormGrad {
    x: usize,
    w: Option<usize>,
    dy: usize,
    dx: Option<usize>,
    dw: Option<usize>,
    db: Option<usize>,
    /// Elements that are normed together, and how many times they stand in a row.
    n: usize,
    groups: usize,
    eps: f32,
    scratch: usize,
    rows: unsafe fn(&Rows),
    columns: unsafe fn(&Columns),
}

/// Compiles either gradient.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let rms = op.op & !GRAD == ops::RMS_NORM;
    let c = Checker::new(view, op, if rms { "RMS_NORM's gradient" } else { "LAYER_NORM's gradient" });
    let (x, w) = (c.f32_in(0, "x")?, c.f32_maybe(1, "w")?);
    let dy = c.f32_in(if rms { 2 } else { 3 }, "gradient of the output")?;
    let params = op.params::<NormParams>();
    let groups = if rms { params.groups.max(1) as usize } else { 1 };
    let width = c.last(x, "x")?;
    c.ensure(width.is_multiple_of(groups), "x is not so many equal groups")?;
    let n = width / groups;
    c.same(x, dy, "gradient of the output")?;
    let dx = c.gradient(0, "gradient of x")?;
    let (dw, db) =
        (c.f32_out_maybe(1, "gradient of w")?, if rms { None } else { c.f32_out_maybe(2, "gradient of b")? });
    for (t, what) in [(w, "w"), (dw, "gradient of w"), (db, "gradient of b")] {
        if let Some(t) = t {
            c.shaped(t, &[fixed(n)], what)?;
        }
    }
    let scratch = c.elements(x)? / n * size_of::<[f32; 2]>();
    let rows = if rms { grad::rms_norm(ctx.tier) } else { grad::layer_norm(ctx.tier) };
    let columns = grad::parameters(ctx.tier);
    Ok(Box::new(NormGrad { x, w, dy, dx, dw, db, n, groups, eps: params.eps, scratch, rows, columns }))
}

impl CompiledOp for NormGrad {
    fn scratch_bytes(&self) -> usize {
        self.scratch.next_multiple_of(64)
    }

    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let all = step.rows(self.x) * self.groups;
        let share = worker.split(all, grain(self.n));
        let at = share.start * self.n;
        // SAFETY: shapes were checked; the tier is available; workers write rows, then columns, of their own.
        unsafe {
            let stats = step.scratch().cast::<[f32; 2]>();
            let (x, dy) = (step.f32(self.x), step.f32(self.dy));
            (self.rows)(&Rows {
                x: x.add(at),
                w: step.f32_or_null(self.w),
                dy: dy.add(at),
                dx: self.dx.map_or(std::ptr::null_mut(), |dx| step.f32(dx).add(at)),
                stats: stats.add(share.start),
                rows: share.len(),
                n: self.n,
                eps: self.eps,
            });
            if self.dw.is_none() && self.db.is_none() {
                return;
            }
            worker.barrier();
            let share = worker.split(self.n, LANES);
            let of = |t: Option<usize>| t.map_or(std::ptr::null_mut(), |t| step.f32(t).add(share.start));
            (self.columns)(&Columns {
                x: x.add(share.start),
                dy: dy.add(share.start),
                stats,
                rows: all,
                stride: self.n,
                n: share.len(),
                dw: of(self.dw),
                db: of(self.db),
            });
        }
    }
}
