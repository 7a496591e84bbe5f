//! Where things are in the scratch.

use super::Part;
use crate::matmul::backward::Own;
use crate::op::Step;
use crate::places::Places;
use crate::simd::LANES;

/// Places in the scratch. Strides are in elements.
pub struct Layout {
    pub bytes: usize,
    /// `x` with rows of whole vectors, where it is multiplied with and its own are not.
    pub x: Option<usize>,
    pub x_stride: usize,
    /// As many ones as there are tokens.
    pub ones: usize,
    /// From one row to the next of what has a column per token.
    pub tokens_stride: usize,
    pub parts: Vec<Places1>,
    workers: usize,
    per_worker: usize,
    pub own: Own,
}

/// Places of one weight's values.
pub struct Places1 {
    /// `dy` with rows of whole vectors, where it is multiplied with and its own are not.
    pub dy: Option<usize>,
    pub dy_stride: usize,
    /// Inner values of adapters and their gradients, both with scale: `[token][rank_stride]`, or transposed.
    pub rank_stride: usize,
    pub inner: usize,
    pub inner_across: usize,
    pub back: usize,
    pub back_across: usize,
    /// Banks of lora_b turned round, with rows of whole vectors; of lora_a where its own are not.
    pub b: usize,
    pub a: Option<usize>,
}

impl Layout {
    /// `None` where sizes overflow.
    pub(super) fn new(parts: &[Part], columns: usize, tokens: usize, threads: usize) -> Option<Self> {
        let mut all = Places::default();
        let whole = |n: usize| n.checked_next_multiple_of(LANES);
        let x_stride = whole(columns)?;
        let multiplied = parts.iter().any(|p| p.dw.is_some() || p.lora.is_some_and(|l| l.da.is_some()));
        let x =
            if multiplied && x_stride != columns { Some(all.take(tokens, x_stride.checked_mul(4)?)?) } else { None };
        let tokens_stride = whole(tokens)?;
        let ones = all.take(tokens_stride, 4)?;
        let places = parts.iter().map(|p| {
            let dy_stride = whole(p.rows)?;
            let multiplied = p.dy.is_some() && (p.bias.is_some() || p.lora.is_some_and(|l| l.db.is_some()));
            let dy = if multiplied && dy_stride != p.rows {
                Some(all.take(tokens, dy_stride.checked_mul(4)?)?)
            } else {
                None
            };
            let (rank, banks) = p.lora.map_or((0, 0), |l| (l.of.rank, l.of.banks));
            let rank_stride = whole(rank)?;
            let row = rank_stride.checked_mul(4)?;
            let across = tokens_stride.checked_mul(4)?;
            Some(Places1 {
                dy,
                dy_stride,
                rank_stride,
                inner: all.take(tokens, row)?,
                inner_across: all.take(rank_stride, across)?,
                back: all.take(tokens, row)?,
                back_across: all.take(rank_stride, across)?,
                b: all.take(banks.checked_mul(p.rows)?, row)?,
                a: if p.lora.is_some() && x_stride != columns {
                    Some(all.take(banks.checked_mul(rank)?, x_stride.checked_mul(4)?)?)
                } else {
                    None
                },
            })
        });
        let places = places.collect::<Option<Vec<_>>>()?;
        let mut own = Places::default();
        let places_of_own = Own::take(&mut own)?;
        let (workers, per_worker) = (all.bytes(), own.bytes());
        let bytes = all.with_workers(&own, threads)?;
        Some(Self { bytes, x, x_stride, ones, tokens_stride, parts: places, workers, per_worker, own: places_of_own })
    }

    /// A worker's memory.
    pub fn worker(&self, step: &Step<'_>, index: usize) -> *mut u8 {
        step.scratch().wrapping_add(self.workers + index * self.per_worker)
    }
}
