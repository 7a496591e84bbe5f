//! FAST_WEIGHT's gradient: through the inner updates, from a sequence's last mini-batch to its first.
//!
//! A mini-batch needs the weights that it began with. Those of every group of mini-batches are kept on a first walk along the
//! sequence, and those within a group are made again when its turn has come: with groups as long as there are groups, memory
//! grows with the square root of the text. A head is one worker's for all sequences, so every sum has one order.

use super::shape::Shape;
use crate::check::Checker;
use crate::kernels::fast_weight::grad::{self as kernel, MiniBatch, Stack, stack_work_len, work_len};
use crate::kernels::fast_weight::{Layer, Row, relearn};
use crate::op::{CompiledOp, Ctx, Step};
use crate::pool::Worker;
use crate::state::{fast_head_len, fast_layer_len};
use std::ops::Range;
use tern_abi::ops::{FastWeightParams, fast_weight_rule};
use tern_abi::plugin::{GraphView, OpView, Result};

/// Inputs of the op, before the gradients of its outputs.
const INPUTS: usize = 18;
/// Weights of a second layer, before its biases.
const SECOND: usize = 14;

struct FastWeightGrad {
    shape: Shape,
    dout: usize,
    /// Gradients of q, k, v, lr, w0, b0, ln_w, ln_b, token_scale; w1, b1.
    out: [Option<usize>; 11],
    scratch: Scratch,
    relearn: unsafe fn(&Row),
    back: unsafe fn(&MiniBatch),
    back_stack: unsafe fn(&Stack),
}

/// Where things are in a worker's part of the scratch memory, in floats.
struct Scratch {
    /// Mini-batches of a group.
    group: usize,
    /// Weights at the start of each group, behind the head on its way.
    groups: usize,
    /// Weights at the start of each mini-batch of the group at hand.
    within: usize,
    /// Gradients of weights, biases, and the norm.
    gradients: usize,
    work: usize,
    worker: usize,
    /// All workers, then the scales' gradients by head.
    all: usize,
}

impl Scratch {
    /// `None` where it exceeds the address space.
    fn new(s: &Shape, tokens: usize, workers: usize) -> Option<Self> {
        // One more, since a sequence may begin in the midst of a mini-batch.
        let batches = tokens.div_ceil(s.chunk).checked_add(1)?;
        let group = batches.isqrt() + 1;
        let weights = s.layers().map(|[inputs, outputs]| inputs * outputs + outputs).sum::<usize>();
        let groups = fast_head_len(s.f, s.hidden, s.f, s.chunk);
        let back = if s.hidden > 0 { stack_work_len(s.f, s.hidden, s.chunk) } else { work_len(s.f, s.chunk) };
        let within = groups.checked_add(weights.checked_mul(batches.div_ceil(group))?)?;
        let gradients = within.checked_add(weights.checked_mul(group)?)?;
        let work = gradients.checked_add(weights + 2 * s.f)?;
        let worker = work.checked_add(back.max(2 * (s.f + s.hidden)))?.checked_next_multiple_of(16)?;
        let all = worker.checked_mul(workers)?;
        all.checked_add(s.heads * s.chunk)?.checked_mul(4).filter(|&n| n <= isize::MAX as usize)?;
        Some(Self { group, groups, within, gradients, work, worker, all })
    }
}

/// Compiles the op.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "FAST_WEIGHT's gradient");
    match op.params::<FastWeightParams>().rule {
        fast_weight_rule::DELTA => return super::delta_grad::compile(&c, op, ctx),
        fast_weight_rule::INNER_PRODUCT => return super::gated_grad::compile(&c, op, ctx),
        _ => {}
    }
    if op.input(11).is_some() {
        return Err(c.lacking("only of the form without state"));
    }
    let shape = Shape::new(&c, op)?;
    let dout = c.f32_in(INPUTS, "gradient of the output")?;
    c.same(shape.real[0], dout, "gradient of the output")?;
    let mut out = [None; 11];
    for (i, what) in Shape::NAMES.iter().enumerate() {
        out[i] = c.gradient(i, what)?;
    }
    (9..SECOND).chain(SECOND + 2..INPUTS).try_for_each(|i| c.no_gradient(i))?;
    (out[9], out[10]) = (c.gradient(SECOND, "w1")?, c.gradient(SECOND + 1, "b1")?);
    c.elements(shape.real[0])?;
    let scratch = Scratch::new(&shape, c.max_of(c.first(shape.real[0])), ctx.threads)
        .ok_or_else(|| c.lacking("its scratch memory exceeds the address space"))?;
    let (relearn, back, back_stack) = (relearn(ctx.tier), kernel::back(ctx.tier), kernel::back_stack(ctx.tier));
    Ok(Box::new(FastWeightGrad { shape, dout, out, scratch, relearn, back, back_stack }))
}

/// A head at work: what its sequences share.
struct Head<'a> {
    op: &'a FastWeightGrad,
    step: &'a Step<'a>,
    head: usize,
    /// The worker's scratch.
    own: *mut f32,
    /// `[chunk]`, the scales' gradient.
    dscale: *mut f32,
}

impl Head<'_> {
    /// Elements of weights and biases.
    fn weights(&self) -> usize {
        self.op.shape.layers().map(|[inputs, outputs]| inputs * outputs + outputs).sum()
    }
    /// The head's layers on their way along the sequence, and where each one's weights are among those that are kept.
    fn layers(&self) -> impl Iterator<Item = (Layer, usize)> {
        let (mut at, mut kept, chunk) = (self.own, 0, self.op.shape.chunk);
        self.op.shape.layers().map(move |[inputs, outputs]| {
            let found = (Layer::new(at, inputs, outputs), kept);
            at = at.wrapping_add(fast_layer_len(inputs, outputs, chunk));
            kept += inputs * outputs + outputs;
            found
        })
    }
    /// Copies weights and biases from the layers to `kept`.
    unsafe fn keep(&self, kept: *mut f32) {
        for (layer, at) in self.layers() {
            // SAFETY: weights and biases lie together in both.
            unsafe { kept.add(at).copy_from_nonoverlapping(layer.w, layer.inputs * layer.outputs + layer.outputs) }
        }
    }
    /// The other way round.
    unsafe fn put_back(&self, kept: *const f32) {
        for (layer, at) in self.layers() {
            // SAFETY: as there.
            unsafe { layer.w.copy_from_nonoverlapping(kept.add(at), layer.inputs * layer.outputs + layer.outputs) }
        }
    }
    fn part(&self, at: usize) -> *mut f32 {
        self.own.wrapping_add(at)
    }
    /// Real input `i` at the head's first element in row `t`, which has `width` a head.
    fn input(&self, i: usize, t: usize, width: usize) -> *const f32 {
        self.step.f32(self.op.shape.real[i]).wrapping_add((t * self.op.shape.heads + self.head) * width)
    }
    /// The same of a gradient; null where it is not wanted.
    fn wanted(&self, i: usize, t: usize, width: usize) -> *mut f32 {
        let at = (t * self.op.shape.heads + self.head) * width;
        self.op.out[i].map_or(std::ptr::null_mut(), |out| self.step.f32(out).wrapping_add(at))
    }

    /// Takes the weights past the rows of a mini-batch, the first of which is at place `first`.
    unsafe fn relearn(&self, rows: Range<usize>, first: usize) {
        let s = &self.op.shape;
        let f = s.f;
        let mut layers = [Layer::NONE; 2];
        layers.iter_mut().zip(self.layers()).for_each(|(to, (layer, _))| *to = layer);
        for t in rows.clone() {
            let at = first + t - rows.start;
            // SAFETY: shapes and contents were checked; the head's memory is the worker's.
            unsafe {
                (self.op.relearn)(&Row {
                    f,
                    q: self.input(0, t, f),
                    k: self.input(1, t, f),
                    v: self.input(2, t, f),
                    lr: *self.input(3, t, 1),
                    scale: (*self.step.f32(s.real[8]).add(at)).max(0.0),
                    ln_w: self.input(6, 0, f),
                    ln_b: self.input(7, 0, f),
                    eps: s.eps,
                    layers,
                    first,
                    at,
                    chunk: s.chunk,
                    out: self.part(self.op.scratch.work),
                    work: self.part(self.op.scratch.work),
                });
            }
        }
    }

    /// Back through a mini-batch that began with the weights `w`.
    unsafe fn back(&self, rows: Range<usize>, first: usize, w: *mut f32) {
        let s = &self.op.shape;
        let (f, weights) = (s.f, self.weights());
        let outputs = if s.hidden > 0 { s.hidden } else { f };
        let n = f * outputs;
        let gradients = self.part(self.op.scratch.gradients);
        // SAFETY: shapes and contents were checked; all that is written is the head's own.
        unsafe {
            let work = self.part(self.op.scratch.work);
            let m = MiniBatch {
                f,
                heads: s.heads,
                rows: rows.len(),
                full: first + rows.len() == s.chunk,
                q: self.input(0, rows.start, f),
                k: self.input(1, rows.start, f),
                v: self.input(2, rows.start, f),
                lr: self.input(3, rows.start, 1),
                dout: self.step.f32(self.op.dout).add((rows.start * s.heads + self.head) * f),
                scale: self.step.f32(s.real[8]).add(first),
                ln_w: self.input(6, 0, f),
                ln_b: self.input(7, 0, f),
                eps: s.eps,
                w,
                b: w.add(n),
                dw: gradients,
                db: gradients.add(n),
                dln_w: gradients.add(weights),
                dln_b: gradients.add(weights + f),
                dscale: self.dscale.add(first),
                dq: self.wanted(0, rows.start, f),
                dk: self.wanted(1, rows.start, f),
                dv: self.wanted(2, rows.start, f),
                dlr: self.wanted(3, rows.start, 1),
                work,
            };
            if s.hidden == 0 {
                return (self.op.back)(&m);
            }
            let (second, hidden) = (n + outputs, s.hidden);
            let (w, dw) = (w.add(second), gradients.add(second));
            (self.op.back_stack)(&Stack { m, hidden, w, b: w.add(n), dw, db: dw.add(n), work });
        }
    }

    /// One sequence, whose first row is at `position`.
    unsafe fn sequence(&self, rows: Range<usize>, position: usize) {
        let (s, scratch) = (&self.op.shape, &self.op.scratch);
        let (chunk, n) = (s.chunk, self.weights());
        let place = position % chunk;
        let batches = (place + rows.len()).div_ceil(chunk);
        // Rows of mini-batch `i` and the place of the first.
        let batch = |i: usize| {
            let from = (rows.start + i * chunk).saturating_sub(place).max(rows.start);
            let to = (rows.start + (i + 1) * chunk - place).min(rows.end);
            (from..to, if i == 0 { place } else { 0 })
        };
        // SAFETY: there is room for the weights of every group and of every mini-batch of a group.
        unsafe {
            let starts = [Some([s.real[4], s.real[5]]), s.second];
            for ((layer, _), [w, b]) in self.layers().zip(starts.into_iter().flatten()) {
                let (n, outputs) = (layer.inputs * layer.outputs, layer.outputs);
                layer.w.copy_from_nonoverlapping(self.step.f32(w).add(self.head * n), n);
                layer.b.copy_from_nonoverlapping(self.step.f32(b).add(self.head * outputs), outputs);
            }
            for i in 0..batches {
                if i % scratch.group == 0 {
                    self.keep(self.part(scratch.groups + i / scratch.group * n));
                }
                let (rows, first) = batch(i);
                self.relearn(rows, first);
            }
            self.part(scratch.gradients).write_bytes(0, n);
            for group in (0..batches.div_ceil(scratch.group)).rev() {
                if self.step.cancelled() {
                    return;
                }
                self.put_back(self.part(scratch.groups + group * n));
                let members = group * scratch.group..((group + 1) * scratch.group).min(batches);
                for (i, member) in members.clone().enumerate() {
                    self.keep(self.part(scratch.within + i * n));
                    let (rows, first) = batch(member);
                    self.relearn(rows, first);
                }
                for (i, member) in members.enumerate().rev() {
                    let (rows, first) = batch(member);
                    self.back(rows, first, self.part(scratch.within + i * n));
                }
            }
        }
    }

    /// Outputs of what sequences share: which, elements of a head, and where they are among its gradients.
    fn shared(&self) -> Vec<(usize, usize, usize)> {
        let of = |((layer, at), w): ((Layer, usize), usize)| {
            let n = layer.inputs * layer.outputs;
            [(w, n, at), (w + 1, layer.outputs, at + n)]
        };
        self.layers().zip([4, 9]).flat_map(of).collect()
    }

    /// All sequences; gradients of what they share are their sums.
    unsafe fn run(&self) {
        let s = &self.op.shape;
        let (f, n) = (s.f, self.weights());
        // SAFETY: shapes and contents were checked; outputs are written for this head only.
        unsafe {
            self.dscale.write_bytes(0, s.chunk);
            let gradients = self.part(self.op.scratch.gradients);
            gradients.add(n).write_bytes(0, 2 * f);
            let shared = self.shared();
            for &(i, width, _) in &shared {
                let out = self.wanted(i, 0, width);
                if !out.is_null() {
                    out.write_bytes(0, width);
                }
            }
            for sequence in 0..s.sequences.count(self.step) {
                let rows = s.sequences.rows(self.step, sequence);
                if rows.is_empty() {
                    continue;
                }
                let position = self.step.i32s(s.sequences.positions)[rows.start] as usize;
                self.sequence(rows, position);
                for &(i, width, from) in &shared {
                    let out = self.wanted(i, 0, width);
                    if !out.is_null() {
                        (0..width).for_each(|e| *out.add(e) += *gradients.add(from + e));
                    }
                }
            }
            for (i, from) in [(6, n), (7, n + f)] {
                let out = self.wanted(i, 0, f);
                if !out.is_null() {
                    out.copy_from_nonoverlapping(gradients.add(from), f);
                }
            }
        }
    }
}

impl CompiledOp for FastWeightGrad {
    fn scratch_bytes(&self) -> usize {
        4 * (self.scratch.all + self.shape.heads * self.shape.chunk)
    }

    fn check(&self, step: &Step<'_>) -> Result<()> {
        self.shape.sequences.check(step, "FAST_WEIGHT's gradient")
    }

    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let (s, scratch) = (&self.shape, &self.scratch);
        // SAFETY: scratch has a part for every worker, and one for the scales' gradients of every head.
        unsafe {
            let memory = step.scratch().cast::<f32>();
            let dscales = memory.add(scratch.all);
            while let Some(heads) = worker.claim(s.heads, 1) {
                for head in heads {
                    let (own, dscale) = (memory.add(worker.index() * scratch.worker), dscales.add(head * s.chunk));
                    Head { op: self, step, head, own, dscale }.run();
                }
            }
            let Some(out) = self.out[8] else { return };
            worker.barrier();
            for place in worker.split(s.chunk, 16) {
                let by_head = (0..s.heads).map(|head| *dscales.add(head * s.chunk + place));
                *step.f32(out).add(place) = by_head.fold(0.0, |sum, x| sum + x);
            }
        }
    }
}
