//! The gated inner model's gradient: from a sequence's last mini-batch to its first.
//!
//! A mini-batch needs the weights that it began with, and the momentum. As for the other rules, those of every group of mini-batches are
//! kept on a first walk along the sequence, and those within a group are made again when its turn has come. A head is one worker's for
//! all sequences, so every sum has one order.

use super::gated::Inner;
use crate::check::Checker;
use crate::kernels::fast_weight::gated::{GROUP, Model};
use crate::kernels::fast_weight::gated_grad::{self as kernel, Lesson, Momentum, Rows, Settle, work_len};
use crate::kernels::fast_weight::{muon, muon_grad};
use crate::op::{CompiledOp, Ctx, Step};
use crate::pool::Worker;
use std::ops::Range;
use std::ptr::null_mut;
use tern_abi::ops::MUON;
use tern_abi::plugin::{OpView, Result};

/// Inputs of the op, before the gradients of its outputs.
const INPUTS: usize = 18;
/// Inputs that have gradients.
const NAMED: [(usize, &str); 8] =
    [(0, "q"), (1, "k"), (2, "v"), (3, "lr"), (4, "w0"), (14, "w1"), (16, "w2"), (17, "momentum")];

struct GatedGrad {
    inner: Inner,
    dout: usize,
    /// Gradients, as [`NAMED`].
    out: [Option<usize>; 8],
    /// Mini-batches of a group.
    group: usize,
    places: Places,
    answers: unsafe fn(&Rows, *const f32),
    lesson: unsafe fn(&Lesson),
    unsettle: unsafe fn(&Settle),
    momentum: unsafe fn(&Momentum),
    unshrink: unsafe fn(&muon_grad::Step),
    unround: unsafe fn(&muon_grad::Step),
}

/// Where things are in a worker's memory, in floats. The model on its way is the first.
#[derive(Default)]
struct Places {
    /// Weights and momentum at the start of every group.
    groups: usize,
    /// The same of every mini-batch of the group at hand.
    within: usize,
    /// D of the weights.
    dw: usize,
    /// D of those that the sequence began with, of which columns have their lengths.
    dfirst: usize,
    /// D of what a mini-batch learned, and of what it left of that to the next one.
    dg: usize,
    carried: usize,
    /// Matrices, and what was learned, transposed.
    transposed: usize,
    dg_transposed: usize,
    /// What enters each of the rounds that make a step orthogonal.
    rounds: usize,
    /// Work memory of kernels here, and of the op itself.
    work: usize,
    forward: usize,
    /// All of it.
    all: usize,
}

impl Places {
    /// `None` where it exceeds the address space.
    fn new(inner: &Inner, kept: usize, batches: usize, group: usize, threads: usize) -> Option<Self> {
        let (f, m, n) = (inner.f, inner.m, inner.n);
        let (elements, largest) = (m * (2 * f + n), m * f.max(n));
        let (rounds, turning) = match inner.muon {
            true => (MUON.len() * largest, muon_grad::work_len(f, m).max(muon_grad::work_len(m, n))),
            false => (0, 0),
        };
        let mut end = inner.heads.len;
        let mut take = |n: usize| -> Option<usize> {
            let at = end;
            end = end.checked_add(n)?;
            Some(at)
        };
        let mut places = Self {
            groups: take(kept.checked_mul(batches.div_ceil(group))?)?,
            within: take(kept.checked_mul(group)?)?,
            dw: take(elements)?,
            dfirst: take(elements)?,
            dg: take(elements)?,
            carried: take(elements)?,
            transposed: take(elements)?,
            dg_transposed: take(elements)?,
            rounds: take(rounds)?,
            work: take(work_len(f, m, n).max(turning))?,
            forward: take(inner.heads.work)?,
            all: 0,
        };
        places.all = end.checked_next_multiple_of(16)?;
        places.all.checked_mul(threads)?.checked_mul(4).filter(|&n| n <= isize::MAX as usize)?;
        Some(places)
    }
}

/// Compiles the op.
pub fn compile(c: &Checker<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    if op.input(11).is_some() {
        return Err(c.lacking("only of the form without state"));
    }
    let inner = Inner::new(c, op, ctx)?;
    let dout = c.f32_in(INPUTS, "gradient of the output")?;
    c.same(inner.real[2], dout, "gradient of the output")?;
    let mut out = [None; NAMED.len()];
    for (to, (i, what)) in out.iter_mut().zip(NAMED) {
        *to = c.gradient(i, what)?;
    }
    (0..INPUTS).filter(|i| !NAMED.iter().any(|(n, _)| n == i)).try_for_each(|i| c.no_gradient(i))?;
    c.elements(inner.real[2])?;
    // One more, since a sequence may begin in the midst of a mini-batch.
    let batches = c.max_of(c.first(inner.real[0])).div_ceil(inner.chunk) + 1;
    let group = batches.isqrt() + 1;
    let kept = inner.heads.len - inner.chunk * (inner.f + inner.n + 4);
    let places = Places::new(&inner, kept, batches, group, ctx.threads)
        .ok_or_else(|| c.lacking("its scratch memory exceeds the address space"))?;
    Ok(Box::new(GatedGrad {
        inner,
        dout,
        out,
        group,
        places,
        answers: kernel::answers(ctx.tier),
        lesson: kernel::lesson(ctx.tier),
        unsettle: kernel::unsettle(ctx.tier),
        momentum: kernel::momentum(ctx.tier),
        unshrink: muon_grad::start(ctx.tier),
        unround: muon_grad::round(ctx.tier),
    }))
}

/// A head at work.
struct Head<'a> {
    op: &'a GatedGrad,
    step: &'a Step<'a>,
    index: usize,
    /// The worker's memory.
    own: *mut f32,
    model: Model,
}

/// Rows of a mini-batch, and the place of the first.
#[derive(Clone)]
struct Batch {
    rows: Range<usize>,
    first: usize,
}

impl Head<'_> {
    fn part(&self, at: usize) -> *mut f32 {
        self.own.wrapping_add(at)
    }
    /// Input `i` at the head's first element in row `t`, which has `width` a head.
    fn input(&self, i: usize, t: usize, width: usize) -> *const f32 {
        let at = (t * self.op.inner.heads.count + self.index) * width;
        self.step.f32(self.op.inner.real[i]).wrapping_add(at)
    }
    /// The same of a gradient; null where it is not wanted.
    fn wanted(&self, i: usize, t: usize, width: usize) -> *mut f32 {
        let at = (t * self.op.inner.heads.count + self.index) * width;
        self.op.out[i].map_or(null_mut(), |out| self.step.f32(out).wrapping_add(at))
    }
    /// Elements of weights and momentum.
    fn kept(&self) -> usize {
        self.model.elements() * (1 + usize::from(self.op.inner.momentum.is_some()))
    }
    fn is_full(&self, batch: &Batch) -> bool {
        batch.first + batch.rows.len() == self.op.inner.chunk
    }

    /// Takes the model past a mini-batch.
    unsafe fn relearn(&self, batch: Batch) {
        if !self.is_full(&batch) {
            return;
        }
        let (inner, work) = (&self.op.inner, self.part(self.op.places.forward));
        // SAFETY: the worker's memory.
        unsafe {
            inner.take_in(self.step, self.index, &self.model, batch.rows, batch.first);
            inner.commit(self.step, self.index, &self.model, batch.first, work);
        }
    }

    /// Back through a mini-batch, whose weights and momentum at its start are `kept`.
    unsafe fn back(&self, batch: &Batch, kept: *const f32) {
        let (op, inner, places) = (self.op, &self.op.inner, &self.op.places);
        let heads = inner.heads.count;
        // SAFETY: the worker's memory, and rows of the step.
        unsafe {
            self.model.w.copy_from_nonoverlapping(kept, self.kept());
            let is_full = self.is_full(batch);
            if is_full && !self.back_of_commit(batch, kept) {
                return;
            }
            let (transposed, dg_transposed) = (self.part(places.transposed), self.part(places.dg_transposed));
            self.model.transpose_all(self.model.w, transposed);
            if is_full {
                self.model.transpose_all(self.part(places.dg), dg_transposed);
            }
            for from in batch.rows.clone().step_by(GROUP) {
                let rows = Rows {
                    model: self.model,
                    rows: GROUP.min(batch.rows.end - from),
                    first: batch.first + from - batch.rows.start,
                    heads,
                    transposed,
                    dw: self.part(places.dw),
                    x: self.input(0, from, inner.f),
                    dx: self.wanted(0, from, inner.f),
                    work: self.part(places.work),
                };
                (op.answers)(&rows, self.step.f32(op.dout).add((from * heads + self.index) * inner.n));
                if is_full {
                    (op.lesson)(&Lesson {
                        rows: Rows { x: self.input(1, from, inner.f), dx: self.wanted(1, from, inner.f), ..rows },
                        dg: self.part(places.dg),
                        dg_transposed,
                        dv: self.wanted(2, from, inner.n),
                        drates: self.wanted(3, from, 3),
                    });
                }
            }
        }
    }

    /// Back through the end of a full mini-batch, to what its rows taught. Is it done? If not, the step is cancelled.
    unsafe fn back_of_commit(&self, batch: &Batch, kept: *const f32) -> bool {
        let (op, inner, places, model) = (self.op, &self.op.inner, &self.op.places, &self.model);
        let (dw, dg) = (self.part(places.dw), self.part(places.dg));
        // SAFETY: the worker's memory.
        unsafe {
            inner.take_in(self.step, self.index, model, batch.rows.clone(), batch.first);
            let Some((sums, rest)) = inner.learn(self.step, model, batch.first, self.part(places.forward)) else {
                return false;
            };
            for (&own, [rows, columns, at]) in inner.first.iter().zip(model.matrices()) {
                let (n, learned) = (rows * columns, sums.add(at).cast_const());
                let mut step = learned;
                let mut rounds = self.part(places.rounds);
                if inner.muon {
                    let x = rest;
                    x.copy_from_nonoverlapping(learned, n);
                    let keep = |x: *const f32| {
                        rounds.copy_from_nonoverlapping(x, n);
                        rounds = rounds.add(n);
                    };
                    if !inner.orthogonal(
                        self.step,
                        muon::Step { x, rows, columns, work: x.add(n), factors: [0.0; 3] },
                        keep,
                    ) {
                        return false;
                    }
                    step = x;
                }
                (op.unsettle)(&Settle {
                    w: model.w.add(at),
                    rows,
                    columns,
                    step,
                    first: self.step.f32(own).add(self.index * n),
                    dfirst: self.part(places.dfirst).add(at),
                    dw: dw.add(at),
                    eps: inner.eps,
                });
                let d = dg.add(at);
                d.copy_from_nonoverlapping(dw.add(at), n);
                if inner.muon {
                    let back = |x: *const f32, factors| muon_grad::Step {
                        x,
                        d,
                        rows,
                        columns,
                        work: self.part(places.work),
                        factors,
                    };
                    for factors in MUON.into_iter().rev() {
                        rounds = rounds.sub(n);
                        (op.unround)(&back(rounds, factors));
                    }
                    (op.unshrink)(&back(learned, [0.0; 3]));
                }
            }
            if inner.momentum.is_some() {
                let mut dshare = 0.0;
                (op.momentum)(&Momentum {
                    len: model.elements(),
                    before: kept.add(model.elements()),
                    dg,
                    carried: self.part(places.carried),
                    share: inner.share(model, batch.first),
                    dshare: &raw mut dshare,
                });
                if op.out[7].is_some() {
                    let each = dshare / batch.rows.len() as f32;
                    batch.rows.clone().for_each(|t| *self.wanted(7, t, 1) = each);
                }
            }
        }
        true
    }

    /// One sequence, whose first row is at `position`.
    unsafe fn sequence(&self, rows: Range<usize>, position: usize) {
        let (op, inner, places) = (self.op, &self.op.inner, &self.op.places);
        let (chunk, kept, elements) = (inner.chunk, self.kept(), self.model.elements());
        let place = position % chunk;
        let batches = (place + rows.len()).div_ceil(chunk);
        let batch = |i: usize| {
            let from = (rows.start + i * chunk).saturating_sub(place).max(rows.start);
            let to = (rows.start + (i + 1) * chunk - place).min(rows.end);
            Batch { rows: from..to, first: if i == 0 { place } else { 0 } }
        };
        // SAFETY: there is room for every group, and for every mini-batch of a group.
        unsafe {
            inner.begin(self.step, self.index, &self.model);
            for i in 0..batches {
                if i % op.group == 0 {
                    let to = self.part(places.groups + i / op.group * kept);
                    to.copy_from_nonoverlapping(self.model.w, kept);
                }
                self.relearn(batch(i));
            }
            for part in [places.dw, places.dfirst, places.carried] {
                self.part(part).write_bytes(0, elements);
            }
            for group in (0..batches.div_ceil(op.group)).rev() {
                let start = self.part(places.groups + group * kept);
                self.model.w.copy_from_nonoverlapping(start, kept);
                let members = group * op.group..((group + 1) * op.group).min(batches);
                let within = |i: usize| self.part(places.within + i * kept);
                for (i, member) in members.clone().enumerate() {
                    within(i).copy_from_nonoverlapping(self.model.w, kept);
                    self.relearn(batch(member));
                }
                for (i, member) in members.enumerate().rev() {
                    if self.step.cancelled() {
                        return;
                    }
                    self.back(&batch(member), within(i));
                }
            }
        }
    }

    /// All sequences; gradients of the weights that they begin with are their sums.
    unsafe fn run(&self) {
        let (inner, places) = (&self.op.inner, &self.op.places);
        let matrices = self.model.matrices();
        // SAFETY: shapes and contents were checked; outputs are written for this head only.
        unsafe {
            let own = |i: usize| (self.wanted(4 + i, 0, matrices[i][0] * matrices[i][1]), matrices[i]);
            let wanted = || (0..3).map(own).filter(|(out, _)| !out.is_null());
            wanted().for_each(|(out, [rows, columns, _])| out.write_bytes(0, rows * columns));
            // Rows that nothing was learned from have no part in it.
            for (i, width) in [(1, inner.f), (2, inner.n), (3, 3), (7, 1)] {
                if self.op.out[i].is_some() {
                    (0..self.step.rows(inner.real[0])).for_each(|t| self.wanted(i, t, width).write_bytes(0, width));
                }
            }
            for sequence in 0..inner.heads.sequences.count(self.step) {
                let rows = inner.heads.sequences.rows(self.step, sequence);
                if rows.is_empty() {
                    continue;
                }
                let position = self.step.i32s(inner.heads.sequences.positions)[rows.start] as usize;
                self.sequence(rows, position);
                for (out, [rows, columns, at]) in wanted() {
                    let (dw, dfirst) = (self.part(places.dw + at), self.part(places.dfirst + at));
                    (0..rows * columns).for_each(|e| *out.add(e) += *dw.add(e) + *dfirst.add(e));
                }
            }
        }
    }
}

impl CompiledOp for GatedGrad {
    fn scratch_bytes(&self) -> usize {
        4 * self.inner.heads.threads * self.places.all
    }

    fn check(&self, step: &Step<'_>) -> Result<()> {
        self.inner.heads.sequences.check(step, "FAST_WEIGHT's gradient")
    }

    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        // SAFETY: scratch has a part for every worker.
        unsafe {
            let own = step.scratch().cast::<f32>().add(worker.index() * self.places.all);
            let model = self.inner.model(own);
            while let Some(heads) = worker.claim(self.inner.heads.count, 1) {
                heads.for_each(|index| Head { op: self, step, index, own, model }.run());
            }
        }
    }
}
