//! FAST_WEIGHT with a gated inner model, which learns at the end of a mini-batch. A head of a sequence is one worker's.

use super::POLL;
use super::heads::{Head, HeadByHead, Heads};
use super::shape::{MAX_CHUNK, MAX_HEAD_DIM, MAX_HIDDEN};
use super::state_slots;
use crate::check::{Checker, fixed};
use crate::kernels::fast_weight::gated::{self as kernel, GROUP, Group, Model, Rows, Settle, work_len};
use crate::kernels::fast_weight::muon;
use crate::op::{CompiledOp, Ctx, Step};
use crate::ops::sequences::Sequences;
use crate::state::gated_head_len;
use std::ops::Range;
use tern_abi::ops::{FastWeightParams, MUON};
use tern_abi::plugin::{OpView, Result};

/// The inner models of the op, and how they learn.
pub struct Inner {
    /// q, k, v, lr.
    pub real: [usize; 4],
    /// w0, w1, w2.
    pub first: [usize; 3],
    pub momentum: Option<usize>,
    pub heads: Heads,
    pub f: usize,
    pub m: usize,
    pub n: usize,
    pub chunk: usize,
    pub eps: f32,
    pub muon: bool,
    take_in: unsafe fn(&Rows),
    gradients: unsafe fn(&Group),
    settle: unsafe fn(&Settle),
    start: unsafe fn(&muon::Step),
    round: unsafe fn(&muon::Step),
}

struct Gated {
    inner: Inner,
    out: usize,
    answer: unsafe fn(&Rows),
}

/// Compiles the op.
pub fn compile(c: &Checker<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let inner = Inner::new(c, op, ctx)?;
    let out = c.f32_out(0, "output")?;
    c.same(inner.real[2], out, "output")?;
    Ok(Box::new(Gated { inner, out, answer: kernel::answer(ctx.tier) }))
}

impl HeadByHead for Gated {
    fn heads(&self) -> &Heads {
        &self.inner.heads
    }

    unsafe fn head(&self, step: &Step<'_>, head: &Head) {
        let (inner, rows) = (&self.inner, &head.rows);
        let model = inner.model(head.w);
        // SAFETY: shapes and contents were checked; the head's state and memory are this worker's.
        unsafe {
            let mut first = 0;
            if head.fresh {
                inner.begin(step, head.index, &model);
                first = head.start % inner.chunk;
            }
            let mut t = rows.start;
            while t < rows.end && !step.cancelled() {
                let at = (head.start + t - rows.start) % inner.chunk;
                let count = POLL.min(inner.chunk - at).min(rows.end - t);
                let out = (t * inner.heads.count + head.index) * inner.n;
                (self.answer)(&Rows {
                    out: step.f32(self.out).add(out),
                    work: head.work,
                    ..inner.rows(step, head.index, model, t..t + count, at)
                });
                t += count;
                if at + count == inner.chunk {
                    inner.commit(step, head.index, &model, first, head.work);
                    first = 0;
                }
            }
        }
    }
}

impl Inner {
    /// Checks parameters and inputs.
    pub fn new(c: &Checker<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Self> {
        let p: FastWeightParams = op.params();
        let (heads, f, m, chunk) = (p.heads as usize, p.head_dim as usize, p.hidden as usize, p.chunk as usize);
        let n = if p.value_dim > 0 { p.value_dim as usize } else { f };
        c.ensure(heads > 0 && f > 0 && m > 0 && chunk > 0, "heads, head_dim, hidden or chunk is 0")?;
        c.ensure(p.inner == 2 && p.muon <= 1, "an inner model without a gate, or muon above 1")?;
        let own_keys = p.in_turns == 0 && (p.key_heads == 0 || p.key_heads == p.heads);
        c.ensure(own_keys, "fewer heads of keys under this rule")?;
        if f.max(n) > MAX_HEAD_DIM || m > MAX_HIDDEN || chunk.max(heads) > MAX_CHUNK {
            return Err(c.lacking(format!("{heads} heads of {f}, {m} and {n}, chunk {chunk}")));
        }
        for (i, what) in [(5, "b0"), (6, "ln_w"), (7, "ln_b"), (8, "token_scale"), (13, "decay"), (15, "b1")] {
            c.ensure(op.input(i).is_none(), format!("{what} has no place under this rule"))?;
        }
        let real = [c.f32_in(0, "q")?, c.f32_in(1, "k")?, c.f32_in(2, "v")?, c.f32_in(3, "lr")?];
        let (tokens, h) = (c.first(real[0]), fixed(heads));
        for ((t, what), width) in real.into_iter().zip(["q", "k", "v", "lr"]).zip([f, f, n, 3]) {
            c.shaped(t, &[tokens, fixed(heads * width)], what)?;
        }
        let first = [c.f32_in(4, "w0")?, c.f32_in(14, "w1")?, c.f32_in(16, "w2")?];
        for ((t, what), [rows, columns]) in first.into_iter().zip(["w0", "w1", "w2"]).zip([[f, m], [m, n], [f, m]]) {
            c.shaped(t, &[h, fixed(rows), fixed(columns)], what)?;
        }
        let momentum = c.f32_maybe(17, "momentum")?;
        if let Some(momentum) = momentum {
            c.shaped(momentum, &[tokens, h], "momentum")?;
        }
        c.given(&[(9, "positions"), (10, "seq_start"), (12, "state_slots")])?;
        let sequences = Sequences::new(c, c.i32_in(9, "positions")?, c.i32_in(10, "seq_start")?, tokens)?;
        let state = state_slots::compile(c, &sequences, 11, 12)?;
        let largest = f.max(n) * m;
        let len = gated_head_len(f, m, n, chunk, momentum.is_some());
        let orthogonal = if p.muon == 1 { largest + muon::work_len(f, m).max(muon::work_len(m, n)) } else { 0 };
        let sums = if momentum.is_none() { m * (2 * f + n) } else { 0 };
        let heads = Heads {
            sequences,
            state,
            count: heads,
            len,
            work: work_len(f, m, n) + sums + orthogonal + m.max(n),
            threads: ctx.threads,
        };
        Ok(Self {
            real,
            first,
            momentum,
            heads,
            f,
            m,
            n,
            chunk,
            eps: p.eps,
            muon: p.muon == 1,
            take_in: kernel::take_in(ctx.tier),
            gradients: kernel::gradients(ctx.tier),
            settle: kernel::settle(ctx.tier),
            start: muon::start(ctx.tier),
            round: muon::round(ctx.tier),
        })
    }

    /// A head's model, as it lies at `w`: matrices, those of the momentum, places.
    pub fn model(&self, w: *mut f32) -> Model {
        let (f, m, n) = (self.f, self.m, self.n);
        let three = m * (2 * f + n) * (1 + usize::from(self.momentum.is_some()));
        Model { f, m, n, w, places: w.wrapping_add(three), eps: self.eps }
    }

    /// Nothing was learned yet.
    pub unsafe fn begin(&self, step: &Step<'_>, head: usize, model: &Model) {
        // SAFETY: the model's memory, and first weights of every head.
        unsafe {
            model.w.write_bytes(0, self.heads.len);
            for (&own, [rows, columns, at]) in self.first.iter().zip(model.matrices()) {
                let n = rows * columns;
                model.w.add(at).copy_from_nonoverlapping(step.f32(own).add(head * n), n);
            }
        }
    }

    /// Rows of the step that become places from `at` on; without an output and work memory.
    pub unsafe fn rows(&self, step: &Step<'_>, head: usize, model: Model, rows: Range<usize>, at: usize) -> Rows {
        let heads = self.heads.count;
        let row = rows.start * heads + head;
        let [q, k, v, lr] = self.real.map(|t| step.f32(t));
        // SAFETY: rows of the step.
        unsafe {
            Rows {
                model,
                rows: rows.len(),
                q: q.add(row * self.f),
                k: k.add(row * self.f),
                v: v.add(row * self.n),
                out: std::ptr::null_mut(),
                heads,
                rates: lr.add(3 * row),
                momentum: self.momentum.map_or(std::ptr::null(), |m| step.f32(m).add(row)),
                at,
                work: std::ptr::null_mut(),
            }
        }
    }

    /// Takes rows in as places from `at` on, without answering them.
    pub unsafe fn take_in(&self, step: &Step<'_>, head: usize, model: &Model, rows: Range<usize>, at: usize) {
        // SAFETY: passed on.
        unsafe { (self.take_in)(&self.rows(step, head, *model, rows, at)) }
    }

    /// The momentum's share in a mini-batch whose places begin at `first`.
    pub unsafe fn share(&self, model: &Model, first: usize) -> f32 {
        // SAFETY: places of the mini-batch.
        let shares = (first..self.chunk).map(|j| unsafe { *model.place(j).add(self.f + self.n + 3) });
        shares.sum::<f32>() / (self.chunk - first) as f32
    }

    /// What places from `first` on have to teach, with the momentum, which becomes it; `None` if the step is cancelled. Yields where it
    /// is, and the work memory that is left.
    pub unsafe fn learn(
        &self,
        step: &Step<'_>,
        model: &Model,
        first: usize,
        work: *mut f32,
    ) -> Option<(*mut f32, *mut f32)> {
        let (kernel_len, len) = (work_len(self.f, self.m, self.n), model.elements());
        // SAFETY: the work memory is as long as `new` says; places are the mini-batch's.
        unsafe {
            let rest = work.add(kernel_len);
            let (sums, rest) = match self.momentum {
                Some(_) => {
                    let (share, momentum) = (self.share(model, first), model.w.add(len));
                    (0..len).for_each(|i| *momentum.add(i) *= share);
                    (momentum, rest)
                }
                None => {
                    rest.write_bytes(0, len);
                    (rest, rest.add(len))
                }
            };
            for first in (first..self.chunk).step_by(GROUP) {
                if step.cancelled() {
                    return None;
                }
                let count = GROUP.min(self.chunk - first);
                (self.gradients)(&Group { model: *model, first, count, sums, work });
            }
            Some((sums, rest))
        }
    }

    /// Makes `x` orthogonal; `before` is called with what each of [`MUON`]'s rounds begins with. Is it done? If not, the step is cancelled.
    pub unsafe fn orthogonal(&self, step: &Step<'_>, x: muon::Step, mut before: impl FnMut(*const f32)) -> bool {
        // SAFETY: passed on.
        unsafe {
            (self.start)(&x);
            for factors in MUON {
                if step.cancelled() {
                    return false;
                }
                before(x.x);
                (self.round)(&muon::Step { factors, ..x });
            }
        }
        true
    }

    /// A mini-batch is full: what places from `first` on have to teach becomes part of the matrices. A step that is cancelled may end
    /// anywhere in it, since its states are not used.
    pub unsafe fn commit(&self, step: &Step<'_>, head: usize, model: &Model, first: usize, work: *mut f32) {
        // SAFETY: the work memory is as long as `new` says.
        unsafe {
            let Some((sums, rest)) = self.learn(step, model, first, work) else { return };
            for (&own, [rows, columns, at]) in self.first.iter().zip(model.matrices()) {
                let n = rows * columns;
                let mut add = sums.add(at).cast_const();
                let lengths = rest;
                if self.muon {
                    let x = rest.add(columns);
                    x.copy_from_nonoverlapping(add, n);
                    if !self.orthogonal(
                        step,
                        muon::Step { x, rows, columns, work: x.add(n), factors: [0.0; 3] },
                        |_| {},
                    ) {
                        return;
                    }
                    add = x;
                }
                (self.settle)(&Settle {
                    w: model.w.add(at),
                    rows,
                    columns,
                    step: add,
                    first: step.f32(own).add(head * n),
                    eps: self.eps,
                    work: lengths,
                });
            }
            model.places.write_bytes(0, self.chunk * model.place_len());
        }
    }
}
