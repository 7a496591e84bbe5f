//! ROWS: rows of a tensor by index.

use crate::check::Checker;
use crate::op::{CompiledOp, Ctx, Step, grain};
use crate::pool::Worker;
use tern_abi::plugin::{GraphView, OpView, PluginError, Result};

struct Rows {
    x: usize,
    rows: usize,
    out: usize,
    width: usize,
}

/// Compiles the op.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, _ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "ROWS");
    let (x, rows, out) = (c.f32_in(0, "x")?, c.i32_in(1, "rows")?, c.f32_out(0, "output")?);
    let width = c.last(x, "x")?;
    c.ensure(c.dims(x).len() == 2, "x is not a matrix")?;
    c.ensure(c.dims(rows).len() == 1, "rows is not a vector")?;
    c.shaped(out, &[c.first(rows), c.dims(x)[1]], "output")?;
    Ok(Box::new(Rows { x, rows, out, width }))
}

impl CompiledOp for Rows {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        // SAFETY: sizes were checked; an index is checked before it is used; workers write rows of their own.
        unsafe {
            let rows = step.i32s(self.rows);
            let (x, out) = (step.f32(self.x), step.f32(self.out));
            let n = step.rows(self.x);
            for r in worker.split(rows.len(), grain(self.width)) {
                match usize::try_from(rows[r]) {
                    Ok(from) if from < n => {
                        let from = x.add(from * self.width).cast_const();
                        out.add(r * self.width).copy_from_nonoverlapping(from, self.width);
                    }
                    _ => {
                        step.fail(PluginError::argument(format!("ROWS: row {} of {n} is wanted", rows[r])));
                        return;
                    }
                }
            }
        }
    }
}
