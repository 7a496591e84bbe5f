//! What LINEAR and its gradient take alike, checked.

use super::{COMMON, PER_WEIGHT};
use crate::check::{Checker, Dim, fixed};
use crate::weight::Format;
use tern_abi::dtype;
use tern_abi::graph::place;
use tern_abi::plugin::{OpView, Result};

/// A weight's matrix.
pub(super) struct Matrix {
    pub w: usize,
    pub rows: usize,
    pub format: Format,
}

/// A weight's adapters.
#[derive(Clone, Copy)]
pub(super) struct Lora {
    pub a: usize,
    pub b: usize,
    pub rank: usize,
    pub banks: usize,
}

/// Each token's adapter and the adapters' scales.
pub(super) fn adapters(c: &Checker<'_>, op: &OpView<'_>, tokens: Dim) -> Result<Option<(usize, usize)>> {
    if op.input(3).is_none() {
        return Ok(None);
    }
    let (index, scale) = (c.i32_in(3, "adapter_index")?, c.f32_in(4, "adapter_scale")?);
    c.shaped(index, &[tokens], "adapter_index")?;
    c.ensure(c.dims(scale).len() == 1, "adapter_scale is not a vector")?;
    Ok(Some((index, scale)))
}

/// The matrix of weight `i`.
pub(super) fn matrix(c: &Checker<'_>, op: &OpView<'_>, i: usize, columns: usize) -> Result<Matrix> {
    let w = op.input(COMMON + i * PER_WEIGHT).ok_or_else(|| c.wrong(format!("weight {i} is missing")))?;
    let (tensor, dims) = (c.tensor(w), c.dims(w));
    c.ensure(dims.len() == 2, format!("weight {i} is not a matrix"))?;
    let rows = c.max_of(dims[0]);
    c.shaped(w, &[fixed(rows), fixed(columns)], "weight")?;
    if tensor.place != place::WEIGHT && tensor.dtype != dtype::F32 {
        return Err(c.lacking(format!("weight {i} has dtype {} and is not prepared", tensor.dtype)));
    }
    Ok(Matrix { w, rows, format: Format::for_columns(tensor.dtype, columns as u64)? })
}

/// The adapters of weight `i`, where it has some.
pub(super) fn lora(
    c: &Checker<'_>,
    op: &OpView<'_>,
    i: usize,
    (rows, columns): (usize, usize),
    adapters: Option<(usize, usize)>,
) -> Result<Option<Lora>> {
    let first = COMMON + i * PER_WEIGHT;
    match (op.input(first + 2), op.input(first + 3), adapters) {
        (Some(_), Some(_), Some((_, scale))) => {
            let banks = c.dims(scale)[0];
            let (a, b) = (c.f32_in(first + 2, "lora_a")?, c.f32_in(first + 3, "lora_b")?);
            c.ensure(c.dims(a).len() == 3, "lora_a is not [banks, rank, columns]")?;
            let rank = c.dims(a)[1];
            c.shaped(a, &[banks, rank, fixed(columns)], "lora_a")?;
            c.shaped(b, &[banks, rank, fixed(rows)], "lora_b")?;
            let (rank, banks) = (c.max_of(rank), c.max_of(banks));
            c.shaped(a, &[fixed(banks), fixed(rank), fixed(columns)], "lora_a")?;
            Ok(Some(Lora { a, b, rank, banks }))
        }
        (None, None, _) => Ok(None),
        _ => Err(c.wrong(format!("adapters of weight {i} are incomplete"))),
    }
}
