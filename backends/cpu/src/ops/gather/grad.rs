//! Gradients of GATHER and ROWS: what rows were given away is added up in order, row by row.

use crate::check::Checker;
use crate::kernels::elementwise;
use crate::op::{CompiledOp, Ctx, Step, grain};
use crate::pool::Worker;
use tern_abi::graph::place;
use tern_abi::ops::{self, GRAD};
use tern_abi::plugin::{GraphView, OpView, PluginError, Result};

struct RowsGrad {
    ids: usize,
    dy: usize,
    out: usize,
    width: usize,
    /// An index that is not there is a mistake; an id is not.
    strict: bool,
    add: unsafe fn(*const f32, *const f32, *mut f32, usize),
}

/// Compiles either gradient.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let strict = op.op & !GRAD == ops::ROWS;
    let c = Checker::new(view, op, if strict { "ROWS's gradient" } else { "GATHER's gradient" });
    let table = op.input(0).ok_or_else(|| c.wrong("the table is missing"))?;
    c.ensure(c.tensor(table).place != place::WEIGHT, "a prepared weight has no gradient")?;
    let (from, ids, dy) = (c.f32_in(0, "table")?, c.i32_in(1, "ids")?, c.f32_in(2, "gradient of the output")?);
    let out = c.f32_out(0, "gradient of the table")?;
    c.same(from, out, "gradient of the table")?;
    c.ensure(c.dims(from).len() == 2, "the table is not a matrix")?;
    let width = c.last(from, "table")?;
    c.ensure(c.dims(ids).len() == 1, "ids is not a vector")?;
    c.shaped(dy, &[c.first(ids), c.dims(from)[1]], "gradient of the output")?;
    Ok(Box::new(RowsGrad { ids, dy, out, width, strict, add: elementwise::add(ctx.tier) }))
}

impl CompiledOp for RowsGrad {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let rows = step.rows(self.out);
        let share = worker.split(rows, grain(self.width));
        // SAFETY: shapes were checked; ids are checked here; workers write rows of their own.
        unsafe {
            let (dy, out) = (step.f32(self.dy).cast_const(), step.f32(self.out));
            out.add(share.start * self.width).write_bytes(0, share.len() * self.width);
            for (r, &id) in step.i32s(self.ids).iter().enumerate() {
                match usize::try_from(id).ok().filter(|&id| id < rows) {
                    Some(id) if share.contains(&id) => {
                        let to = out.add(id * self.width);
                        (self.add)(to, dy.add(r * self.width), to, self.width);
                    }
                    None if self.strict => {
                        return step.fail(PluginError::argument(format!("ROWS: row {id} of {rows} is wanted")));
                    }
                    _ => {}
                }
            }
        }
    }
}
