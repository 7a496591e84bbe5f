//! ADD, MUL, SCALE, ACTIVATION and GLU.

pub mod grad;

use crate::check::Checker;
use crate::kernels::{activation, elementwise};
use crate::op::{CompiledOp, Ctx, Step};
use crate::pool::Worker;
use tern_abi::ops::{self, GluParams, ScaleParams};
use tern_abi::plugin::{GraphView, OpView, Result};

/// Elements that are worth a worker of their own.
const GRAIN: usize = 4096;

type Kernel2 = unsafe fn(*const f32, *const f32, *mut f32, usize);

struct Binary {
    a: usize,
    b: usize,
    out: usize,
    kernel: Kernel2,
}

/// Compiles ADD or MUL.
pub fn compile_binary(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let add = op.op == ops::ADD;
    let c = Checker::new(view, op, if add { "ADD" } else { "MUL" });
    let (a, b, out) = (c.f32_in(0, "a")?, c.f32_in(1, "b")?, c.f32_out(0, "output")?);
    c.same(a, out, "output")?;
    c.ensure(c.dims(a).ends_with(&c.dims(b)), "b's dimensions are not the last ones of a")?;
    let kernel = if add { elementwise::add(ctx.tier) } else { elementwise::mul(ctx.tier) };
    Ok(Box::new(Binary { a, b, out, kernel }))
}

impl CompiledOp for Binary {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let (n, period) = (step.len(self.a), step.len(self.b));
        if n == 0 {
            return;
        }
        // SAFETY: shapes were checked, b's length divides a's; the tier is available; workers write elements
        // of their own.
        unsafe {
            let (a, b, out) = (step.f32(self.a), step.f32(self.b), step.f32(self.out));
            let mut share = worker.split(n, GRAIN);
            while !share.is_empty() {
                let within = share.start % period;
                let len = (period - within).min(share.len());
                (self.kernel)(a.add(share.start), b.add(within), out.add(share.start), len);
                share.start += len;
            }
        }
    }
}

struct Scale {
    x: usize,
    out: usize,
    factor: f32,
    kernel: unsafe fn(*const f32, f32, *mut f32, usize),
}

/// Compiles SCALE.
pub fn compile_scale(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "SCALE");
    let (x, out) = (c.f32_in(0, "x")?, c.f32_out(0, "output")?);
    c.same(x, out, "output")?;
    let factor = op.params::<ScaleParams>().factor;
    Ok(Box::new(Scale { x, out, factor, kernel: elementwise::scale(ctx.tier) }))
}

impl CompiledOp for Scale {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let share = worker.split(step.len(self.x), GRAIN);
        // SAFETY: shapes were checked; the tier is available; workers write elements of their own.
        unsafe {
            let (x, out) = (step.f32(self.x).add(share.start), step.f32(self.out).add(share.start));
            (self.kernel)(x, self.factor, out, share.len());
        }
    }
}

struct Activation {
    x: usize,
    out: usize,
    activation: u32,
    kernel: unsafe fn(*const f32, *mut f32, usize, u32),
}

/// Of an op that says nothing but its activation.
fn activation_of(c: &Checker<'_>, op: &OpView<'_>) -> Result<u32> {
    let GluParams { activation, alpha, limit, offset } = op.params();
    if (alpha, limit, offset) != (0.0, 0.0, 0.0) {
        return Err(c.lacking("bounds of a gated unit"));
    }
    known(c, activation)
}

fn glu_params(c: &Checker<'_>, op: &OpView<'_>) -> Result<GluParams> {
    let params: GluParams = op.params();
    known(c, params.activation)?;
    c.ensure(params.alpha == 0.0 || params.activation == ops::activation::SILU, "alpha is of SILU only")?;
    c.ensure(params.limit >= 0.0, "limit is negative")?;
    Ok(params)
}

fn known(c: &Checker<'_>, activation: u32) -> Result<u32> {
    if activation::known(activation) {
        Ok(activation)
    } else {
        Err(c.lacking(format!("unknown activation {activation}")))
    }
}

/// Compiles ACTIVATION.
pub fn compile_activation(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "ACTIVATION");
    let (x, out) = (c.f32_in(0, "x")?, c.f32_out(0, "output")?);
    c.same(x, out, "output")?;
    let activation = activation_of(&c, op)?;
    Ok(Box::new(Activation { x, out, activation, kernel: activation::activation(ctx.tier) }))
}

impl CompiledOp for Activation {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let share = worker.split(step.len(self.x), GRAIN);
        // SAFETY: shapes were checked; the tier is available; workers write elements of their own.
        unsafe {
            let (x, out) = (step.f32(self.x).add(share.start), step.f32(self.out).add(share.start));
            (self.kernel)(x, out, share.len(), self.activation);
        }
    }
}

struct Glu {
    gate: usize,
    up: usize,
    out: usize,
    params: GluParams,
    kernel: unsafe fn(*const f32, *const f32, *mut f32, usize, u32),
    bounded: unsafe fn(*const f32, *const f32, *mut f32, usize, &GluParams),
}

/// Compiles GLU.
pub fn compile_glu(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "GLU");
    let (gate, up, out) = (c.f32_in(0, "gate")?, c.f32_in(1, "up")?, c.f32_out(0, "output")?);
    c.same(gate, up, "up")?;
    c.same(gate, out, "output")?;
    let params = glu_params(&c, op)?;
    let (kernel, bounded) = (activation::glu(ctx.tier), activation::bounded_glu(ctx.tier));
    Ok(Box::new(Glu { gate, up, out, params, kernel, bounded }))
}

impl CompiledOp for Glu {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let share = worker.split(step.len(self.gate), GRAIN);
        let at = share.start;
        // SAFETY: shapes were checked; the tier is available; workers write elements of their own.
        unsafe {
            let (gate, up, out) = (step.f32(self.gate).add(at), step.f32(self.up).add(at), step.f32(self.out).add(at));
            let p = &self.params;
            if (p.alpha, p.limit, p.offset) == (0.0, 0.0, 0.0) {
                (self.kernel)(gate, up, out, share.len(), p.activation);
            } else {
                (self.bounded)(gate, up, out, share.len(), p);
            }
        }
    }
}
