//! COLUMNS, and its gradient, which puts columns back.

use crate::check::{Checker, fixed};
use crate::op::{CompiledOp, Ctx, Step, grain};
use crate::pool::Worker;
use tern_abi::ops::{ColumnsParams, GRAD};
use tern_abi::plugin::{GraphView, OpView, Result};

struct Columns {
    /// Rows with all columns, and rows with some.
    whole: usize,
    part: usize,
    back: bool,
    width: usize,
    count: usize,
    first: usize,
    run: usize,
    step: usize,
}

/// Compiles either.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, _ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let back = op.op & GRAD != 0;
    let c = Checker::new(view, op, if back { "COLUMNS' gradient" } else { "COLUMNS" });
    let p: ColumnsParams = op.params();
    let [first, run, step, count] = [p.first, p.run, p.step, p.count].map(|n| n as usize);
    let x = c.f32_in(0, "x")?;
    let width = c.last(x, "x")?;
    let (whole, part) = if back {
        (c.f32_out(0, "gradient of x")?, c.f32_in(1, "gradient of the output")?)
    } else {
        (x, c.f32_out(0, "output")?)
    };
    c.same(x, whole, "gradient of x")?;
    c.ensure(run > 0 && step >= run && count > 0, format!("runs of {run}, {step} apart, {count} columns in all"))?;
    let last = ((count - 1) / run).checked_mul(step).and_then(|n| n.checked_add(first)?.checked_add((count - 1) % run));
    c.ensure(last.is_some_and(|last| last < width), format!("{count} columns are past the last of {width}"))?;
    c.shaped(part, &[c.first(x), fixed(count)], "output")?;
    c.ensure(c.dims(x).len() == 2, "x is not a matrix")?;
    Ok(Box::new(Columns { whole, part, back, width, count, first, run, step }))
}

impl CompiledOp for Columns {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        for t in worker.split(step.rows(self.whole), grain(self.width)) {
            // SAFETY: columns were checked; workers write rows of their own.
            unsafe {
                let whole = step.f32(self.whole).add(t * self.width);
                let part = step.f32(self.part).add(t * self.count);
                if self.back {
                    whole.write_bytes(0, self.width);
                }
                for at in (0..self.count).step_by(self.run) {
                    let n = self.run.min(self.count - at);
                    let (whole, part) = (whole.add(self.first + at / self.run * self.step), part.add(at));
                    if self.back {
                        whole.copy_from_nonoverlapping(part, n);
                    } else {
                        part.copy_from_nonoverlapping(whole, n);
                    }
                }
            }
        }
    }
}
