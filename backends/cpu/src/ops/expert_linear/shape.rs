//! What EXPERT_LINEAR and its gradient take alike, checked.

use crate::check::{Checker, Dim, fixed};
use crate::op::Step;
use crate::weight::{Format, Matrix};
use tern_abi::graph::place;
use tern_abi::plugin::{OpView, Result};

/// Experts' matrices, and who goes to which.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub w: usize,
    pub ids: usize,
    pub format: Format,
    pub experts: usize,
    pub rows: usize,
    pub columns: usize,
    pub tokens: Dim,
    /// Choices per token, and whether each has an input of its own.
    pub ranks: usize,
    pub own_input: bool,
}

impl Shape {
    pub fn read(c: &Checker<'_>, op: &OpView<'_>) -> Result<Self> {
        let (x, ids) = (c.f32_in(0, "x")?, c.i32_in(3, "ids")?);
        let w = op.input(1).ok_or_else(|| c.wrong("w is missing"))?;
        let (columns, dims) = (c.last(x, "x")?, c.dims(w));
        c.ensure(dims.len() == 3, "w is not [experts, rows, columns]")?;
        let (experts, rows) = (c.max_of(dims[0]), c.max_of(dims[1]));
        c.shaped(w, &[fixed(experts), fixed(rows), fixed(columns)], "w")?;
        if c.tensor(w).place != place::WEIGHT {
            return Err(c.lacking("w is not a prepared weight"));
        }
        c.ensure(c.dims(ids).len() == 2, "ids is not a matrix")?;
        let (tokens, ranks) = (c.first(ids), c.last(ids, "ids")?);
        let own_input = c.dims(x).len() == 3;
        if own_input {
            c.shaped(x, &[tokens, fixed(ranks), fixed(columns)], "x")?;
        } else {
            c.shaped(x, &[tokens, fixed(columns)], "x")?;
        }
        let format = Format::for_columns(c.tensor(w).dtype, columns as u64)?;
        Ok(Self { w, ids, format, experts, rows, columns, tokens, ranks, own_input })
    }

    /// The experts' matrices in a step.
    pub fn matrix<'a>(&self, step: &Step<'a>) -> Option<&'a Matrix> {
        step.weight(self.w)?.matrix()
    }

    /// The dimensions of outputs.
    pub fn output(&self) -> [Dim; 3] {
        [self.tokens, fixed(self.ranks), fixed(self.rows)]
    }
}
