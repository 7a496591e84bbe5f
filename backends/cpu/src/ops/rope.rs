//! ROPE_TABLE and ROPE.

use crate::check::{Checker, fixed};
use crate::kernels::rope::{self, Row};
use crate::op::{CompiledOp, Ctx, Step, grain};
use crate::pool::Worker;
use tern_abi::ops::{RopeParams, RopeTableParams, rope_layout};
use tern_abi::plugin::{GraphView, OpView, Result};

struct Table {
    positions: usize,
    frequencies: usize,
    out: usize,
    half: usize,
    params: RopeTableParams,
}

/// Compiles ROPE_TABLE.
pub fn compile_table(view: &GraphView<'_>, op: &OpView<'_>, _ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "ROPE_TABLE");
    let (positions, frequencies) = (c.i32_in(0, "positions")?, c.f32_in(1, "inv_freq")?);
    let out = c.f32_out(0, "output")?;
    let half = c.last(frequencies, "inv_freq")?;
    c.ensure(c.dims(positions).len() == 1, "positions is not a vector")?;
    c.shaped(frequencies, &[fixed(half)], "inv_freq")?;
    c.shaped(out, &[c.first(positions), fixed(2 * half)], "output")?;
    Ok(Box::new(Table { positions, frequencies, out, half, params: op.params() }))
}

impl CompiledOp for Table {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        // SAFETY: shapes were checked; workers write rows of their own.
        unsafe {
            let positions = step.i32s(self.positions);
            let frequencies = step.f32(self.frequencies);
            let magnitude = f64::from(self.params.magnitude);
            let period = i32::try_from(self.params.period).unwrap_or(i32::MAX);
            for t in worker.split(positions.len(), 1) {
                let row = step.f32(self.out).add(t * 2 * self.half);
                let position = if period > 0 { positions[t].rem_euclid(period) } else { positions[t] };
                for i in 0..self.half {
                    let (sin, cos) = (f64::from(position) * f64::from(*frequencies.add(i))).sin_cos();
                    *row.add(2 * i) = (cos * magnitude) as f32;
                    *row.add(2 * i + 1) = (sin * magnitude) as f32;
                }
            }
        }
    }
}

struct Rope {
    x: usize,
    table: usize,
    out: usize,
    params: RopeParams,
    kernel: unsafe fn(&Row),
}

/// Compiles ROPE.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    compile_as(view, op, ctx, "ROPE", 0, op.params())
}

/// Compiles ROPE's gradient: the inverse rotation. A magnitude in the table applies in both directions.
pub fn compile_grad(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let p = op.params::<RopeParams>();
    compile_as(view, op, ctx, "ROPE's gradient", 2, RopeParams { inverse: u32::from(p.inverse == 0), ..p })
}

/// A rotation of input `x`.
fn compile_as(
    view: &GraphView<'_>,
    op: &OpView<'_>,
    ctx: &Ctx,
    name: &'static str,
    x: usize,
    params: RopeParams,
) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, name);
    let (x, table, out) = (c.f32_in(x, "x")?, c.f32_in(1, "table")?, c.f32_out(0, "output")?);
    c.ensure(c.dims(x).len() == 2, "x is not a matrix")?;
    let width = c.last(x, "x")? as u64;
    c.ensure(
        u64::from(params.heads) * u64::from(params.head_dim) == width,
        format!("{} heads of {} do not make a row of {width}", params.heads, params.head_dim),
    )?;
    check_rotation(&c, params.n_rot, params.head_dim, params.layout)?;
    c.shaped(table, &[c.first(x), fixed(params.n_rot as usize)], "table")?;
    c.same(x, out, "output")?;
    Ok(Box::new(Rope { x, table, out, params, kernel: rope::rotate(ctx.tier) }))
}

/// Checks the sizes of a rotation.
pub fn check_rotation(c: &Checker<'_>, n_rot: u32, head_dim: u32, layout: u32) -> Result<()> {
    c.ensure(
        n_rot.is_multiple_of(2) && n_rot <= head_dim,
        format!("n_rot {n_rot} is odd or above head_dim {head_dim}"),
    )?;
    c.ensure(layout <= rope_layout::HALVES, format!("unknown rope layout {layout}"))
}

impl CompiledOp for Rope {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let p = &self.params;
        let (width, n_rot) = (p.heads as usize * p.head_dim as usize, p.n_rot as usize);
        for t in worker.split(step.rows(self.x), grain(width)) {
            // SAFETY: shapes were checked; the tier is available; workers write rows of their own.
            unsafe {
                (self.kernel)(&Row {
                    x: step.f32(self.x).add(t * width),
                    table: step.f32(self.table).add(t * n_rot),
                    out: step.f32(self.out).add(t * width),
                    heads: p.heads as usize,
                    head_dim: p.head_dim as usize,
                    n_rot,
                    layout: p.layout,
                    sign: if p.inverse != 0 { -1.0 } else { 1.0 },
                });
            }
        }
    }
}
