//! EXPERT_LINEAR: rows go through the matrix of the expert that was chosen for them.
//!
//! A row is a token and a rank. Rows are put in order of their experts, so that each chosen expert's weights are read
//! once for all its rows, and experts that nobody chose are not read at all. The order changes no result.

pub mod grad;
mod groups;
mod shape;
mod turns;

use crate::check::{Checker, fixed};
use crate::matmul::finish::{Finish, Results, Target};
use crate::matmul::strip::{Multiplier, RESULTS};
use crate::matmul::tokens::{Put, Tiling};
use crate::op::{CompiledOp, Ctx, Step};
use crate::pool::Worker;
use crate::weight::STRIP;
use groups::Groups;
use shape::Shape;
use std::mem::MaybeUninit;
use tern_abi::plugin::{GraphView, OpView, Result};

struct ExpertLinear {
    shape: Shape,
    x: usize,
    bias: Option<usize>,
    out: usize,
    multiplier: Multiplier,
    put: Put,
    finish: Finish,
    /// Most rows of a step, and places in the scratch: tiles; then per worker the groups and a decoded strip.
    max: usize,
    workers: usize,
    strip: usize,
    per_worker: usize,
    bytes: usize,
}

/// Compiles the op.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "EXPERT_LINEAR");
    let shape = Shape::read(&c, op)?;
    let (x, bias, out) = (c.f32_in(0, "x")?, c.f32_maybe(2, "bias")?, c.f32_out(0, "output")?);
    if let Some(b) = bias {
        c.shaped(b, &[fixed(shape.experts), fixed(shape.rows)], "bias")?;
    }
    c.shaped(out, &shape.output(), "output")?;
    c.elements(out)?;

    let multiplier = Multiplier::new(shape.format, shape.columns, ctx.tier);
    let max = c.elements(shape.ids)?;
    let sizes = || {
        let workers = max.checked_mul(multiplier.token_bytes())?.checked_next_multiple_of(64)?;
        let strip = Groups::bytes(max, shape.experts)?.checked_next_multiple_of(64)?;
        let per_worker = strip.checked_add(multiplier.scratch_bytes())?.checked_next_multiple_of(64)?;
        let bytes = per_worker.checked_mul(ctx.threads)?.checked_add(workers)?;
        (bytes <= isize::MAX as usize).then_some((workers, strip, per_worker, bytes))
    };
    let (workers, strip, per_worker, bytes) = sizes().ok_or_else(|| c.wrong("scratch is too large"))?;
    let put = multiplier.form().put(ctx.tier);
    Ok(Box::new(ExpertLinear {
        shape,
        x,
        bias,
        out,
        multiplier,
        put,
        finish: Finish::new(ctx.tier),
        max,
        workers,
        strip,
        per_worker,
        bytes,
    }))
}

impl CompiledOp for ExpertLinear {
    fn scratch_bytes(&self) -> usize {
        self.bytes
    }

    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        // SAFETY: shapes were checked; the scratch has the places that were counted; the tier is available.
        unsafe {
            let ids = step.i32s(self.shape.ids);
            let ids = &ids[..ids.len().min(self.max)];
            let mine = step.scratch().add(self.workers + worker.index() * self.per_worker);
            // Every worker sorts for itself: cheaper than waiting for one that does.
            let groups = Groups::sort(ids, self.shape.experts, mine);
            let paged = self.shape.matrix(step).and_then(|m| Some((m, m.as_paged()?)));
            if let Some((_, paged)) = paged.filter(|_| worker.index() == 0) {
                paged.begin(groups.active());
            }
            while let Some(range) = worker.claim(ids.len(), 8) {
                for place in range {
                    self.prepare(step, &groups, place);
                }
            }
            worker.barrier();

            match paged {
                None => self.multiply(step, worker, &groups, groups.active(), mine),
                Some(paged) => turns::in_turns(paged, step, worker, |experts, _| {
                    self.multiply(step, worker, &groups, experts, mine);
                }),
            }
            if worker.index() == 0 {
                // Rows whose expert does not exist.
                for &row in &groups.order()[groups.of(self.shape.experts)] {
                    step.f32(self.out).add(row as usize * self.shape.rows).write_bytes(0, self.shape.rows);
                }
            }
        }
    }
}

impl ExpertLinear {
    /// Puts the row at `place` of the order into its tile.
    unsafe fn prepare(&self, step: &Step<'_>, groups: &Groups<'_>, place: usize) {
        let Some(group) = groups.around(place) else { return };
        let row = groups.order()[place] as usize;
        let from = if self.shape.own_input { row } else { row / self.shape.ranks };
        let tile = self.tiling(group.len()).tile_of(place - group.start);
        // SAFETY: the row's input, and its place among the tiles.
        unsafe {
            let to = step.scratch().add((group.start + tile.first) * self.multiplier.token_bytes());
            let x = step.f32(self.x).add(from * self.shape.columns);
            (self.put)(x, self.shape.columns, to, tile.width, place - group.start - tile.first);
        }
    }

    fn tiling(&self, rows: usize) -> Tiling {
        Tiling::new(rows, self.multiplier.tile())
    }

    /// These experts' matrices times their rows, shared among workers.
    unsafe fn multiply(
        &self,
        step: &Step<'_>,
        worker: &Worker<'_>,
        groups: &Groups<'_>,
        experts: &[u32],
        mine: *mut u8,
    ) {
        let strips = self.shape.rows.div_ceil(STRIP);
        let chunk = (experts.len() * strips / (6 * worker.count())).clamp(1, 16);
        while let Some(range) = worker.claim(experts.len() * strips, chunk) {
            if step.cancelled() {
                return;
            }
            for item in range {
                let expert = experts[item / strips] as usize;
                // SAFETY: passed on.
                unsafe { self.work(step, groups, expert, item % strips, mine.add(self.strip)) };
            }
        }
    }

    /// A strip of an expert's matrix times all its rows.
    unsafe fn work(&self, step: &Step<'_>, groups: &Groups<'_>, expert: usize, strip: usize, scratch: *mut u8) {
        let Some(matrix) = self.shape.matrix(step) else { return };
        let group = groups.of(expert);
        let tiling = self.tiling(group.len());
        let first = strip * STRIP;
        let mut y = Results16([MaybeUninit::uninit(); RESULTS]);
        // SAFETY: the matrix has the tensor's shape; the group's tiles are ready; outputs of a row and a strip belong
        // to one worker.
        unsafe {
            let strip = self.multiplier.strip(matrix, expert, strip);
            self.multiplier.open(strip, tiling, scratch);
            let x = step.scratch().add(group.start * self.multiplier.token_bytes());
            for tile in tiling.tiles(0, group.len()) {
                let y = y.0.as_mut_ptr().cast::<f32>();
                self.multiplier.multiply(strip, tiling, scratch, x, tile, y);
                let all =
                    Results { y, pitch: tile.width, width: tile.width, rows: (self.shape.rows - first).min(STRIP) };
                if let Some(bias) = self.bias {
                    (self.finish.bias)(&all, step.f32(bias).add(expert * self.shape.rows + first));
                }
                for t in 0..tile.width {
                    let row = groups.order()[group.start + tile.first + t] as usize;
                    let one = Results { y: y.add(16 * t), width: 1, ..all };
                    let to = Target { at: step.f32(self.out).add(row * self.shape.rows + first), stride: 0 };
                    (self.finish.write)(&one, to, Target { at: std::ptr::null_mut(), stride: 0 });
                }
            }
        }
    }
}

/// A tile's results, aligned.
#[repr(align(64))]
struct Results16([MaybeUninit<f32>; RESULTS]);
