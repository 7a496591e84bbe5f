//! Gradients of ADD, MUL, SCALE, ACTIVATION and GLU.

use super::{GRAIN, Kernel2, Scale, activation_of, glu_params};
use crate::check::Checker;
use crate::kernels::activation::grad::{self, Gated};
use crate::kernels::elementwise;
use crate::op::{CompiledOp, Ctx, Step};
use crate::pool::Worker;
use crate::simd::LANES;
use tern_abi::ops::{self, GRAD, GluParams, ScaleParams};
use tern_abi::plugin::{GraphView, OpView, Result};

struct Binary {
    /// Factors of MUL; a sum has none.
    factors: Option<(usize, usize)>,
    b: usize,
    dy: usize,
    da: Option<usize>,
    db: Option<usize>,
    mul: Kernel2,
    over_rows: unsafe fn(*const f32, *const f32, usize, usize, *mut f32, usize),
}

/// Compiles ADD's or MUL's gradient.
pub fn compile_binary(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let add = op.op & !GRAD == ops::ADD;
    let c = Checker::new(view, op, if add { "ADD's gradient" } else { "MUL's gradient" });
    let (a, b, dy) = (c.f32_in(0, "a")?, c.f32_in(1, "b")?, c.f32_in(2, "gradient of the output")?);
    c.same(a, dy, "gradient of the output")?;
    c.ensure(c.dims(a).ends_with(&c.dims(b)), "b's dimensions are not the last ones of a")?;
    Ok(Box::new(Binary {
        factors: (!add).then_some((a, b)),
        b,
        dy,
        da: c.gradient(0, "gradient of a")?,
        db: c.gradient(1, "gradient of b")?,
        mul: elementwise::mul(ctx.tier),
        over_rows: elementwise::over_rows(ctx.tier),
    }))
}

impl CompiledOp for Binary {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let (n, period) = (step.len(self.dy), step.len(self.b));
        if period == 0 {
            return;
        }
        // SAFETY: shapes were checked, b's length divides a's; the tier is available; workers write elements of their own.
        unsafe {
            let dy = step.f32(self.dy);
            if let Some(da) = self.da {
                let mut share = worker.split(n, GRAIN);
                while !share.is_empty() {
                    let (at, within) = (share.start, share.start % period);
                    let len = (period - within).min(share.len());
                    let to = step.f32(da).add(at);
                    match self.factors {
                        Some((_, b)) => (self.mul)(dy.add(at), step.f32(b).add(within), to, len),
                        None => to.copy_from_nonoverlapping(dy.add(at), len),
                    }
                    share.start += len;
                }
            }
            if let Some(db) = self.db {
                let share = worker.split(period, LANES);
                let a = self.factors.map_or(std::ptr::null_mut(), |(a, _)| step.f32(a).add(share.start));
                (self.over_rows)(
                    dy.add(share.start),
                    a,
                    n / period,
                    period,
                    step.f32(db).add(share.start),
                    share.len(),
                );
            }
        }
    }
}

/// Compiles SCALE's gradient: the same factor.
pub fn compile_scale(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "SCALE's gradient");
    let (x, out) = (c.f32_in(1, "gradient of the output")?, c.f32_out(0, "gradient of x")?);
    c.same(x, out, "gradient of x")?;
    let factor = op.params::<ScaleParams>().factor;
    Ok(Box::new(Scale { x, out, factor, kernel: elementwise::scale(ctx.tier) }))
}

struct Activation {
    x: usize,
    dy: usize,
    dx: usize,
    activation: u32,
    kernel: unsafe fn(*const f32, *const f32, *mut f32, usize, u32),
}

/// Compiles ACTIVATION's gradient.
pub fn compile_activation(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "ACTIVATION's gradient");
    let (x, dy, dx) = (c.f32_in(0, "x")?, c.f32_in(1, "gradient of the output")?, c.f32_out(0, "gradient of x")?);
    c.same(x, dy, "gradient of the output")?;
    c.same(x, dx, "gradient of x")?;
    Ok(Box::new(Activation { x, dy, dx, activation: activation_of(&c, op)?, kernel: grad::activation(ctx.tier) }))
}

impl CompiledOp for Activation {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let share = worker.split(step.len(self.x), GRAIN);
        // SAFETY: shapes were checked; the tier is available; workers write elements of their own.
        unsafe {
            let at = |t: usize| step.f32(t).add(share.start);
            (self.kernel)(at(self.x), at(self.dy), at(self.dx), share.len(), self.activation);
        }
    }
}

struct Glu {
    gate: usize,
    up: usize,
    dy: usize,
    dgate: Option<usize>,
    dup: Option<usize>,
    params: GluParams,
    kernel: unsafe fn(&Gated),
}

/// Compiles GLU's gradient.
pub fn compile_glu(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "GLU's gradient");
    let (gate, up, dy) = (c.f32_in(0, "gate")?, c.f32_in(1, "up")?, c.f32_in(2, "gradient of the output")?);
    c.same(gate, up, "up")?;
    c.same(gate, dy, "gradient of the output")?;
    let (dgate, dup) = (c.gradient(0, "gradient of gate")?, c.gradient(1, "gradient of up")?);
    Ok(Box::new(Glu { gate, up, dy, dgate, dup, params: glu_params(&c, op)?, kernel: grad::glu(ctx.tier) }))
}

impl CompiledOp for Glu {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let share = worker.split(step.len(self.gate), GRAIN);
        // SAFETY: shapes were checked; the tier is available; workers write elements of their own.
        unsafe {
            let at = |t: usize| step.f32(t).add(share.start);
            let maybe = |t: Option<usize>| t.map_or(std::ptr::null_mut(), at);
            (self.kernel)(&Gated {
                gate: at(self.gate),
                up: at(self.up),
                dy: at(self.dy),
                dgate: maybe(self.dgate),
                dup: maybe(self.dup),
                n: share.len(),
                params: self.params,
            });
        }
    }
}
