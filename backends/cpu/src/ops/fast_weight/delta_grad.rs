//! The gated delta rule's gradient: from a sequence's last row to its first.
//!
//! A row needs the weights before it. Those of every stretch of rows are kept on a first walk along the sequence, and those within a
//! stretch are made again when its turn has come: with stretches as long as there are stretches, memory grows with the square
//! root of the text. Heads that share a key are one worker's, in order, and so are all sequences, so every sum has one order.

use super::delta::Shape;
use crate::check::Checker;
use crate::kernels::fast_weight::delta_grad::{self as kernel, Row, work_len};
use crate::op::{CompiledOp, Ctx, Step};
use crate::pool::Worker;
use std::ops::Range;
use std::ptr::null_mut;
use tern_abi::plugin::{OpView, Result};

/// Inputs of the op, before the gradients of its outputs.
const INPUTS: usize = 18;

struct DeltaGrad {
    shape: Shape,
    dout: usize,
    /// Gradients of q, k, v, lr, w0, decay.
    out: [Option<usize>; 6],
    /// Rows of a stretch.
    stretch: usize,
    /// Where weights at the start of stretches, those within one, and the rest begin in a worker's memory, and its length.
    parts: [usize; 4],
    threads: usize,
    follow: unsafe fn(&Row),
    back: unsafe fn(&Row),
}

/// Compiles the op.
pub fn compile(c: &Checker<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    if op.input(11).is_some() {
        return Err(c.lacking("only of the form without state"));
    }
    let shape = Shape::new(c, op)?;
    let dout = c.f32_in(INPUTS, "gradient of the output")?;
    c.same(shape.real[2], dout, "gradient of the output")?;
    let named = [(0, "q"), (1, "k"), (2, "v"), (3, "lr"), (4, "w0"), (13, "decay")];
    let mut out = [None; 6];
    for (to, (i, what)) in out.iter_mut().zip(named) {
        *to = c.gradient(i, what)?;
    }
    (0..INPUTS).filter(|i| !named.iter().any(|(n, _)| n == i)).try_for_each(|i| c.no_gradient(i))?;
    c.elements(shape.real[2])?;
    let rows = c.max_of(c.first(shape.real[0]));
    let (stretch, weights) = (rows.isqrt() + 1, shape.f * shape.n);
    let parts = (|| {
        let within = weights.checked_mul(rows.div_ceil(stretch) + 1)?;
        let rest = within.checked_add(weights.checked_mul(stretch)?)?;
        let all = rest.checked_add(weights + 2 * shape.f + work_len(shape.n))?.checked_next_multiple_of(16)?;
        all.checked_mul(ctx.threads)?.checked_mul(4).filter(|&n| n <= isize::MAX as usize)?;
        Some([weights, within, rest, all])
    })();
    let parts = parts.ok_or_else(|| c.lacking("its scratch memory exceeds the address space"))?;
    let (threads, follow, back) = (ctx.threads, kernel::follow(ctx.tier), kernel::back(ctx.tier));
    Ok(Box::new(DeltaGrad { shape, dout, out, stretch, parts, threads, follow, back }))
}

/// A head at work.
struct Head<'a> {
    op: &'a DeltaGrad,
    step: &'a Step<'a>,
    head: usize,
    key_head: usize,
    /// The worker's memory; weights on their way are its first part.
    own: *mut f32,
}

impl Head<'_> {
    /// Output `i` at element `at`; null where it is not wanted.
    fn wanted(&self, i: usize, at: usize) -> *mut f32 {
        self.op.out[i].map_or(null_mut(), |out| self.step.f32(out).wrapping_add(at))
    }

    /// Row `t`, before which the weights are `w`.
    unsafe fn row(&self, t: usize, w: *mut f32) -> Row {
        let (s, rest) = (&self.op.shape, self.own.wrapping_add(self.op.parts[2]));
        let (f, n) = (s.f, s.n);
        let (at, key) = (t * s.heads + self.head, (t * s.key_heads + self.key_head) * f);
        let [q, k, v, rate] = s.real.map(|i| self.step.f32(i));
        let or = |wanted: *mut f32, other: *mut f32| if wanted.is_null() { other } else { wanted };
        let spare = rest.wrapping_add(f * n);
        // SAFETY: shapes were checked.
        unsafe {
            Row {
                f,
                n,
                q: q.add(key),
                k: k.add(key),
                v: v.add(at * n),
                rate: *rate.add(at),
                fade: s.decay.map_or(1.0, |decay| (*self.step.f32(decay).add(at)).exp()),
                w,
                dout: self.step.f32(self.op.dout).add(at * n),
                dw: rest,
                dq: or(self.wanted(0, key), spare),
                dk: or(self.wanted(1, key), spare.wrapping_add(f)),
                dv: self.wanted(2, at * n),
                drate: self.wanted(3, at),
                ddecay: self.wanted(5, at),
                work: spare.wrapping_add(2 * f),
            }
        }
    }

    unsafe fn sequence(&self, rows: Range<usize>) {
        let (op, s) = (self.op, &self.op.shape);
        let weights = s.f * s.n;
        let [starts, within, rest, _] = op.parts;
        let part = |at: usize| self.own.wrapping_add(at);
        // SAFETY: there is room for the weights at the start of every stretch and of every row of one.
        unsafe {
            match s.w0 {
                Some(w0) => {
                    part(0).copy_from_nonoverlapping(self.step.f32(w0).add(self.head * weights), weights);
                }
                None => part(0).write_bytes(0, weights),
            }
            for (i, t) in rows.clone().enumerate() {
                if i % op.stretch == 0 {
                    part(starts + i / op.stretch * weights).copy_from_nonoverlapping(part(0), weights);
                }
                (op.follow)(&self.row(t, part(0)));
            }
            part(rest).write_bytes(0, weights);
            for stretch in (0..rows.len().div_ceil(op.stretch)).rev() {
                if self.step.cancelled() {
                    return;
                }
                let first = rows.start + stretch * op.stretch;
                let own = first..(first + op.stretch).min(rows.end);
                part(0).copy_from_nonoverlapping(part(starts + stretch * weights), weights);
                for (i, t) in own.clone().enumerate() {
                    part(within + i * weights).copy_from_nonoverlapping(part(0), weights);
                    (op.follow)(&self.row(t, part(0)));
                }
                for (i, t) in own.enumerate().rev() {
                    (op.back)(&self.row(t, part(within + i * weights)));
                }
            }
        }
    }

    /// All sequences; the gradient of the first weights is their sum.
    unsafe fn run(&self) {
        let s = &self.op.shape;
        let weights = s.f * s.n;
        let dw0 = self.wanted(4, self.head * weights);
        // SAFETY: shapes and contents were checked; outputs are written for this head only.
        unsafe {
            if !dw0.is_null() {
                dw0.write_bytes(0, weights);
            }
            for sequence in 0..s.sequences.count(self.step) {
                let rows = s.sequences.rows(self.step, sequence);
                if rows.is_empty() {
                    continue;
                }
                self.sequence(rows);
                if !dw0.is_null() {
                    let dw = self.own.add(self.op.parts[2]);
                    (0..weights).for_each(|e| *dw0.add(e) += *dw.add(e));
                }
            }
        }
    }
}

impl CompiledOp for DeltaGrad {
    fn scratch_bytes(&self) -> usize {
        4 * self.threads * self.parts[3]
    }

    fn check(&self, step: &Step<'_>) -> Result<()> {
        self.shape.sequences.check(step, "FAST_WEIGHT's gradient")
    }

    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let s = &self.shape;
        // SAFETY: scratch has a part for every worker; heads of a key are claimed once.
        unsafe {
            let own = step.scratch().cast::<f32>().add(worker.index() * self.parts[3]);
            while let Some(keys) = worker.claim(s.key_heads, 1) {
                for key_head in keys {
                    // Heads add to the gradients of what they share.
                    for out in [self.out[0], self.out[1]].into_iter().flatten() {
                        for t in 0..step.rows(s.real[0]) {
                            step.f32(out).add((t * s.key_heads + key_head) * s.f).write_bytes(0, s.f);
                        }
                    }
                    for head in s.heads_of(key_head) {
                        Head { op: self, step, head, key_head, own }.run();
                    }
                }
            }
        }
    }
}
