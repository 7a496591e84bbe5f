//! GATHER: rows of a weight by id.

pub mod grad;

use crate::check::{Checker, fixed};
use crate::op::{CompiledOp, Ctx, Step, grain};
use crate::pool::Worker;
use crate::weight::Format;
use tern_abi::dtype;
use tern_abi::graph::place;
use tern_abi::plugin::{GraphView, OpView, Result};

struct Gather {
    table: usize,
    ids: usize,
    out: usize,
    rows: usize,
    width: usize,
}

/// Compiles the op.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, _ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "GATHER");
    let table = op.input(0).ok_or_else(|| c.wrong("table is missing"))?;
    let (ids, out) = (c.i32_in(1, "ids")?, c.f32_out(0, "output")?);
    let width = c.last(table, "table")?;
    let dims = c.dims(table);
    c.ensure(dims.len() == 2, "table is not a matrix")?;
    let rows = c.max_of(dims[0]);
    c.shaped(table, &[fixed(rows), fixed(width)], "table")?;
    let tensor = c.tensor(table);
    if tensor.place == place::WEIGHT {
        Format::for_columns(tensor.dtype, width as u64)?;
    } else if tensor.dtype != dtype::F32 {
        return Err(c.lacking(format!("a table of dtype {} that is not prepared", tensor.dtype)));
    }
    c.ensure(c.dims(ids).len() == 1, "ids is not a vector")?;
    c.shaped(out, &[c.first(ids), fixed(width)], "output")?;
    Ok(Box::new(Gather { table, ids, out, rows, width }))
}

impl CompiledOp for Gather {
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        // SAFETY: sizes were checked; ids are checked here; workers write rows of their own.
        unsafe {
            let ids = step.i32s(self.ids);
            for r in worker.split(ids.len(), grain(self.width)) {
                let out = std::slice::from_raw_parts_mut(step.f32(self.out).add(r * self.width), self.width);
                let id = usize::try_from(ids[r]).ok().filter(|&id| id < self.rows);
                let matrix = step.weight(self.table).and_then(|w| w.matrix());
                match (id, matrix) {
                    (None, _) => out.fill(0.0),
                    (Some(id), Some(matrix)) => matrix.read_row(id, out),
                    (Some(id), None) => {
                        let row = step.f32(self.table).add(id * self.width);
                        out.copy_from_slice(std::slice::from_raw_parts(row, self.width));
                    }
                }
            }
        }
    }
}
