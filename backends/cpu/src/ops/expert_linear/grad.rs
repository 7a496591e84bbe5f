//! Gradients of EXPERT_LINEAR with respect to its input, through the experts' prepared matrices, and to biases.
//!
//! As in the forward op, rows (a token and a rank) are put in order of their experts. What comes back for the ranks of a token is
//! added up in order of ranks.

use super::groups::Groups;
use super::shape::Shape;
use super::turns;
use crate::check::{Checker, fixed};
use crate::kernels::elementwise;
use crate::matmul::backward::{self, Own, Seed};
use crate::matmul::decode::{Decoder, Source, TILE_COLUMNS};
use crate::matmul::dense::{Dense, Rows};
use crate::op::{CompiledOp, Ctx, Step, grain};
use crate::places::Places;
use crate::pool::Worker;
use tern_abi::plugin::{GraphView, OpView, Result};

/// A row of no expert has no place.
const NOWHERE: u32 = u32::MAX;

struct ExpertGrad {
    shape: Shape,
    dy: usize,
    dx: Option<usize>,
    dbias: Option<usize>,
    decoder: Decoder,
    dense: Dense,
    add: unsafe fn(*const f32, *const f32, *mut f32, usize),
    over_rows: unsafe fn(*const f32, *const f32, usize, usize, *mut f32, usize),
    /// In order of experts: gradients of outputs and of inputs; where each row went.
    seeds: usize,
    back: usize,
    places: usize,
    workers: usize,
    per_worker: usize,
    own: Own,
    bytes: usize,
}

/// Compiles the op.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "EXPERT_LINEAR's gradient");
    let shape = Shape::read(&c, op)?;
    let dy = c.f32_in(4, "gradient of the output")?;
    c.no_gradient(1)?;
    c.shaped(dy, &shape.output(), "gradient of the output")?;
    let (dx, dbias) = (c.gradient(0, "gradient of x")?, c.gradient(2, "gradient of bias")?);
    if let Some(bias) = dbias {
        c.shaped(bias, &[fixed(shape.experts), fixed(shape.rows)], "gradient of bias")?;
    }
    c.elements(dy)?;
    let (mut all, mut each, max) = (Places::default(), Places::default(), c.elements(shape.ids)?);
    let mut places = || {
        each.take(Groups::bytes(max, shape.experts)?, 1)?;
        let own = Own::take(&mut each)?;
        let seeds = all.take(max, shape.rows.checked_mul(4)?)?;
        let back = all.take(max, shape.columns.checked_mul(4)?)?;
        Some((seeds, back, all.take(max, 4)?, own, all.with_workers(&each, ctx.threads)?))
    };
    let (seeds, back, places, own, bytes) = places().ok_or_else(|| c.wrong("scratch is too large"))?;
    Ok(Box::new(ExpertGrad {
        shape,
        dy,
        dx,
        dbias,
        decoder: Decoder::new(shape.format, shape.columns, ctx.tier),
        dense: Dense::of(ctx.tier),
        add: elementwise::add(ctx.tier),
        over_rows: elementwise::over_rows(ctx.tier),
        seeds,
        back,
        places,
        workers: all.bytes(),
        per_worker: each.bytes(),
        own,
        bytes,
    }))
}

impl CompiledOp for ExpertGrad {
    fn scratch_bytes(&self) -> usize {
        self.bytes
    }

    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        // SAFETY: shapes were checked; the scratch has the places that were counted; the tier is available; each item writes
        // places of its own.
        unsafe {
            let ids = step.i32s(self.shape.ids);
            let mine = step.scratch().add(self.workers + worker.index() * self.per_worker);
            // Every worker sorts for itself: cheaper than waiting for one that does.
            let groups = Groups::sort(ids, self.shape.experts, mine);
            // Biases need no matrices.
            let paged = self.dx.and_then(|_| self.shape.matrix(step)).and_then(|m| Some((m, m.as_paged()?)));
            if let Some((_, paged)) = paged.filter(|_| worker.index() == 0) {
                paged.begin(groups.active());
            }
            let seeds = step.scratch().add(self.seeds).cast::<f32>();
            while let Some(range) = worker.claim(ids.len(), 8) {
                for place in range {
                    let row = groups.order()[place] as usize;
                    let known = place < groups.of(self.shape.experts).start;
                    let from = step.f32(self.dy).add(row * self.shape.rows).cast_const();
                    seeds.add(place * self.shape.rows).copy_from_nonoverlapping(from, self.shape.rows);
                    self.places(step).add(row).write(if known { place as u32 } else { NOWHERE });
                }
            }
            worker.barrier();

            match paged {
                None => self.multiply(step, worker, &groups, (groups.active(), true), mine),
                Some(paged) => turns::in_turns(paged, step, worker, |experts, last| {
                    self.multiply(step, worker, &groups, (experts, last), mine);
                }),
            }
            worker.barrier();
            self.give_back(step, worker);
        }
    }
}

impl ExpertGrad {
    fn places(&self, step: &Step<'_>) -> *mut u32 {
        step.scratch().wrapping_add(self.places).cast()
    }
    fn back(&self, step: &Step<'_>, place: usize) -> *mut f32 {
        step.scratch().wrapping_add(self.back).cast::<f32>().wrapping_add(place * self.shape.columns)
    }

    /// What goes through these experts' matrices, shared among workers, and with the last of them the biases.
    unsafe fn multiply(
        &self,
        step: &Step<'_>,
        worker: &Worker<'_>,
        groups: &Groups<'_>,
        (experts, last): (&[u32], bool),
        mine: *mut u8,
    ) {
        let of_each = if self.dx.is_some() { self.decoder.tiles() } else { 0 };
        let tiles = experts.len() * of_each;
        let biases = if self.dbias.is_some() && last { self.shape.experts } else { 0 };
        while let Some(range) = worker.claim(tiles + biases, 1) {
            if step.cancelled() {
                break;
            }
            for item in range {
                // SAFETY: passed on.
                unsafe {
                    match item.checked_sub(tiles) {
                        None => self.input(step, groups, (experts[item / of_each] as usize, item % of_each), mine),
                        Some(expert) => self.bias(step, groups, expert),
                    }
                }
            }
        }
    }

    /// A tile of an expert's matrix, for all its rows.
    unsafe fn input(&self, step: &Step<'_>, groups: &Groups<'_>, (expert, tile): (usize, usize), mine: *mut u8) {
        let Some(matrix) = self.shape.matrix(step) else { return };
        let group = groups.of(expert);
        let dy = Rows { at: step.scratch().wrapping_add(self.seeds).cast(), stride: self.shape.rows }.from(group.start);
        let seed = Seed { source: Source::Prepared(matrix, expert), first: 0, rows: self.shape.rows, dy };
        let to = (self.back(step, group.start).wrapping_add(tile * TILE_COLUMNS), self.shape.columns);
        // SAFETY: the matrix has the tensor's shape; rows and columns of the scratch.
        unsafe {
            backward::input((&self.dense, &self.decoder), &seed, (tile, group.len()), to, false, (mine, self.own));
        }
    }

    unsafe fn bias(&self, step: &Step<'_>, groups: &Groups<'_>, expert: usize) {
        let Some(to) = self.dbias else { return };
        let group = groups.of(expert);
        // SAFETY: the expert's rows and its bias.
        unsafe {
            let seeds = step.scratch().add(self.seeds).cast::<f32>().add(group.start * self.shape.rows);
            let to = step.f32(to).add(expert * self.shape.rows);
            (self.over_rows)(seeds, std::ptr::null(), group.len(), self.shape.rows, to, self.shape.rows);
        }
    }

    /// From places to rows; ranks of a token are added up.
    unsafe fn give_back(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let Some(dx) = self.dx else { return };
        let ranks = if self.shape.own_input { 1 } else { self.shape.ranks };
        for row in worker.split(step.len(self.shape.ids) / ranks, grain(self.shape.columns * ranks)) {
            // SAFETY: rows of `dx`, places of the scratch.
            unsafe {
                let to = step.f32(dx).add(row * self.shape.columns);
                to.write_bytes(0, self.shape.columns);
                for at in row * ranks..(row + 1) * ranks {
                    let place = self.places(step).add(at).read();
                    if place != NOWHERE {
                        (self.add)(to, self.back(step, place as usize), to, self.shape.columns);
                    }
                }
            }
        }
    }
}
