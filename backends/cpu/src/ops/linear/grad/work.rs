//! The products, in items that workers claim.

use super::{LinearGrad, Lora};
use crate::matmul::backward::{self, Seed, WEIGHT_ROWS, piece};
use crate::matmul::decode::{Source, TILE_COLUMNS};
use crate::matmul::dense::{Operands, Rows};
use crate::op::Step;
use crate::ops::linear::inner::runs;
use crate::pool::Worker;
use std::ops::Range;

/// Tokens of a residual's gradient that are copied at a time.
const BLOCK: usize = 96;

/// What one worker computes without others.
enum Item {
    /// Columns of `dx` for some tokens.
    Input { tile: usize, tokens: Range<usize> },
    /// Columns of a bank of lora_a's gradient.
    A { part: usize, bank: usize, columns: Range<usize> },
    /// Columns of a bank of lora_b's gradient, which are rows of the weight.
    B { part: usize, bank: usize, rows: Range<usize> },
    /// Elements of a bias's gradient.
    Bias { part: usize, rows: Range<usize> },
    /// Rows of a weight's gradient.
    Weight { part: usize, rows: Range<usize> },
    /// Tokens of a residual's gradient.
    Residual { tokens: Range<usize> },
}

impl LinearGrad {
    /// Claims items until none is left.
    ///
    /// # Safety
    /// As for [`crate::op::CompiledOp::run`]; everything is prepared.
    pub(super) unsafe fn work(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let tokens = step.rows(self.x);
        let block = backward::block(self.columns, tokens, worker);
        let n = self.items(tokens, block).count();
        // The list is short beside any item's work, so whoever claims one looks it up.
        while let Some(range) = worker.claim(n, 1) {
            if step.cancelled() {
                return;
            }
            for item in self.items(tokens, block).skip(range.start).take(range.len()) {
                // SAFETY: items write places of their own.
                unsafe { self.item(step, worker, item) }
            }
        }
    }

    fn items(&self, tokens: usize, block: usize) -> impl Iterator<Item = Item> + '_ {
        let tiles = if self.dx.is_some() { self.columns.div_ceil(TILE_COLUMNS) } else { 0 };
        let blocks = tokens.div_ceil(block.max(1));
        let input = (0..tiles * blocks)
            .map(move |i| Item::Input { tile: i / blocks, tokens: piece(i % blocks, tokens, block) });
        let parts = self.parts.iter().enumerate().flat_map(move |(part, p)| {
            let weight = (0..p.dw.map_or(0, |_| p.rows.div_ceil(WEIGHT_ROWS)))
                .map(move |i| Item::Weight { part, rows: piece(i, p.rows, WEIGHT_ROWS) });
            let bias = (0..p.bias.map_or(0, |_| p.rows.div_ceil(TILE_COLUMNS)))
                .map(move |i| Item::Bias { part, rows: piece(i, p.rows, TILE_COLUMNS) });
            let of = |n: usize, wanted: bool| (n.div_ceil(TILE_COLUMNS), if wanted { n } else { 0 });
            let (a, b) =
                p.lora.map_or(((1, 0), (1, 0)), |l| (of(self.columns, l.da.is_some()), of(p.rows, l.db.is_some())));
            let banks = p.lora.map_or(0, |l| l.of.banks);
            let each = move |(pieces, n): (usize, usize)| {
                (0..if n > 0 { banks * pieces } else { 0 })
                    .map(move |i| (i / pieces, piece(i % pieces, n, TILE_COLUMNS)))
            };
            let a = each(a).map(move |(bank, columns)| Item::A { part, bank, columns });
            let b = each(b).map(move |(bank, rows)| Item::B { part, bank, rows });
            weight.chain(a).chain(b).chain(bias)
        });
        let residual = (0..self.residual.map_or(0, |_| tokens.div_ceil(BLOCK)))
            .map(move |i| Item::Residual { tokens: piece(i, tokens, BLOCK) });
        input.chain(parts).chain(residual)
    }

    unsafe fn item(&self, step: &Step<'_>, worker: &Worker<'_>, item: Item) {
        // SAFETY: passed on.
        unsafe {
            match item {
                Item::Input { tile, tokens } => self.input(step, worker, tile, tokens),
                Item::A { part, bank, columns } => self.lora_a(step, part, bank, columns),
                Item::B { part, bank, rows } => self.lora_b(step, part, bank, rows),
                Item::Bias { part, rows } => self.bias(step, part, rows),
                Item::Weight { part, rows } => self.weight(step, worker, part, rows),
                Item::Residual { tokens } => {
                    let (Some(to), Some(part)) = (self.residual, self.parts.first()) else { return };
                    let (to, n) = (step.f32(to).add(tokens.start * part.rows), tokens.len() * part.rows);
                    match part.dy {
                        Some(dy) => to.copy_from_nonoverlapping(step.f32(dy).add(tokens.start * part.rows), n),
                        None => to.write_bytes(0, n),
                    }
                }
            }
        }
    }

    /// `dx = Σ dy_i W_i + du_i A_i`, columns of one tile.
    unsafe fn input(&self, step: &Step<'_>, worker: &Worker<'_>, tile: usize, tokens: Range<usize>) {
        let Some(dx) = self.dx else { return };
        let first_column = tile * TILE_COLUMNS;
        let width = (self.columns - first_column).min(TILE_COLUMNS);
        // SAFETY: rows and columns of tensors and scratch.
        unsafe {
            let own = self.layout.worker(step, worker.index());
            let to = |token: usize| step.f32(dx).add(token * self.columns + first_column);
            let mut resume = false;
            for part in &self.parts {
                let Some(dy) = part.dy else { continue };
                let source = match step.weight(part.w).and_then(|w| w.matrix()) {
                    Some(matrix) => Source::Prepared(matrix, 0),
                    None => Source::Plain(step.f32(part.w)),
                };
                let dy = Rows { at: step.f32(dy), stride: part.rows }.from(tokens.start);
                backward::input(
                    (&self.dense, &part.decoder),
                    &Seed { source, first: 0, rows: part.rows, dy },
                    (tile, tokens.len()),
                    (to(tokens.start), self.columns),
                    resume,
                    (own, self.layout.own),
                );
                resume = true;
            }
            if !resume {
                tokens.clone().for_each(|t| to(t).write_bytes(0, width));
            }
            for (i, part) in self.parts.iter().enumerate() {
                let (Some(lora), Some(_)) = (part.lora, part.dy) else { continue };
                let place = &self.layout.parts[i];
                let back = Rows { at: step.scratch().add(place.back).cast(), stride: place.rank_stride };
                for (run, adapter) in runs(step, self.adapters, tokens.clone(), lora.of) {
                    let Some((bank, _)) = adapter else { continue };
                    self.dense.multiply(&Operands {
                        a: back.from(run.start),
                        b: self.lora_a_rows(step, i, lora).from(bank * lora.of.rank).right(first_column),
                        c: to(run.start),
                        c_stride: self.columns,
                        rows: run.len(),
                        columns: width,
                        terms: lora.of.rank,
                        resume: true,
                    });
                }
            }
        }
    }

    /// Banks of lora_a, rows of whole vectors.
    unsafe fn lora_a_rows(&self, step: &Step<'_>, part: usize, lora: Lora) -> Rows {
        match self.layout.parts[part].a {
            // SAFETY: a place of the layout.
            Some(at) => Rows { at: unsafe { step.scratch().add(at) }.cast(), stride: self.layout.x_stride },
            None => Rows { at: step.f32(lora.of.a), stride: self.columns },
        }
    }

    /// `x`, rows of whole vectors.
    unsafe fn x_rows(&self, step: &Step<'_>) -> Rows {
        match self.layout.x {
            // SAFETY: a place of the layout.
            Some(at) => Rows { at: unsafe { step.scratch().add(at) }.cast(), stride: self.layout.x_stride },
            None => Rows { at: step.f32(self.x), stride: self.columns },
        }
    }

    /// A part's `dy`, rows of whole vectors, and its tokens: none where it is zero.
    unsafe fn dy_rows(&self, step: &Step<'_>, part: usize) -> (Rows, usize) {
        let (p, place) = (&self.parts[part], &self.layout.parts[part]);
        match (p.dy, place.dy) {
            (None, _) => (Rows { at: std::ptr::null(), stride: 0 }, 0),
            // SAFETY: a place of the layout.
            (_, Some(at)) => {
                (Rows { at: unsafe { step.scratch().add(at) }.cast(), stride: place.dy_stride }, step.rows(self.x))
            }
            (Some(dy), None) => (Rows { at: step.f32(dy), stride: p.rows }, step.rows(self.x)),
        }
    }

    /// `dA = duᵀ x` over the bank's tokens.
    unsafe fn lora_a(&self, step: &Step<'_>, part: usize, bank: usize, columns: Range<usize>) {
        let Some(lora) = self.parts[part].lora else { return };
        let Some(da) = lora.da else { return };
        let place = &self.layout.parts[part];
        // SAFETY: rows and columns of tensors and scratch.
        unsafe {
            let across = Rows { at: step.scratch().add(place.back_across).cast(), stride: self.layout.tokens_stride };
            let c = step.f32(da).add(bank * lora.of.rank * self.columns + columns.start);
            let x = self.x_rows(step).right(columns.start);
            self.over_bank(step, part, bank, across, x, (c, self.columns), (lora.of.rank, columns.len()));
        }
    }

    /// `dB = uᵀ dy` over the bank's tokens.
    unsafe fn lora_b(&self, step: &Step<'_>, part: usize, bank: usize, rows: Range<usize>) {
        let Some(lora) = self.parts[part].lora else { return };
        let Some(db) = lora.db else { return };
        let place = &self.layout.parts[part];
        // SAFETY: rows and columns of tensors and scratch.
        unsafe {
            let across = Rows { at: step.scratch().add(place.inner_across).cast(), stride: self.layout.tokens_stride };
            let (dy, _) = self.dy_rows(step, part);
            let n = self.parts[part].rows;
            let c = step.f32(db).add(bank * lora.of.rank * n + rows.start);
            self.over_bank(step, part, bank, across, dy.right(rows.start), (c, n), (lora.of.rank, rows.len()));
        }
    }

    /// `C = across · right` over the tokens of a bank, in order.
    #[allow(clippy::too_many_arguments, reason = "two matrices, a place and its sizes")]
    unsafe fn over_bank(
        &self,
        step: &Step<'_>,
        part: usize,
        bank: usize,
        across: Rows,
        right: Rows,
        (c, c_stride): (*mut f32, usize),
        (rows, columns): (usize, usize),
    ) {
        let p = &self.parts[part];
        let Some(lora) = p.lora else { return };
        let tokens = if p.dy.is_some() { step.rows(self.x) } else { 0 };
        let mut resume = false;
        // SAFETY: passed on.
        unsafe {
            for (run, adapter) in runs(step, self.adapters, 0..tokens, lora.of) {
                if adapter.is_none_or(|(of, _)| of != bank) {
                    continue;
                }
                let (a, b) = (across.right(run.start), right.from(run.start));
                self.dense.multiply(&Operands { a, b, c, c_stride, rows, columns, terms: run.len(), resume });
                resume = true;
            }
            if !resume {
                (0..rows).for_each(|r| c.add(r * c_stride).write_bytes(0, columns));
            }
        }
    }

    /// Sums of `dy` over tokens.
    unsafe fn bias(&self, step: &Step<'_>, part: usize, rows: Range<usize>) {
        let Some(to) = self.parts[part].bias else { return };
        // SAFETY: columns of `dy`, as many ones as tokens.
        unsafe {
            let (dy, tokens) = self.dy_rows(step, part);
            self.dense.multiply(&Operands {
                a: Rows { at: step.scratch().add(self.layout.ones).cast(), stride: 0 },
                b: dy.right(rows.start),
                c: step.f32(to).add(rows.start),
                c_stride: 0,
                rows: 1,
                columns: rows.len(),
                terms: tokens,
                resume: false,
            });
        }
    }

    /// `dW = dyᵀ x`, some of its rows.
    unsafe fn weight(&self, step: &Step<'_>, worker: &Worker<'_>, part: usize, rows: Range<usize>) {
        let p = &self.parts[part];
        let Some(dw) = p.dw else { return };
        // SAFETY: rows and columns of tensors.
        unsafe {
            let own = self.layout.worker(step, worker.index());
            let dy = Rows { at: step.f32_or_null(p.dy), stride: p.rows }.right(rows.start);
            let tokens = if p.dy.is_some() { step.rows(self.x) } else { 0 };
            let to = step.f32(dw).add(rows.start * self.columns);
            let x = (self.x_rows(step), self.columns);
            backward::weight(&self.dense, (dy, rows.len()), x, tokens, to, (own, self.layout.own));
        }
    }
}
