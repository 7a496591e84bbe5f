//! FAST_WEIGHT. A head of a sequence is one worker's, row after row.

pub mod grad;
mod shape;

use super::sequences::Sequences;
use crate::check::Checker;
use crate::kernels::fast_weight::{self as kernel, Row};
use crate::op::{CompiledOp, Ctx, Step};
use crate::pool::Worker;
use crate::state::fast_head_len;
use shape::Shape;
use tern_abi::graph::place;
use tern_abi::plugin::{GraphView, OpView, PluginError, Result};

/// Rows between two looks at the cancel flag.
const POLL: usize = 16;

struct FastWeight {
    /// q, k, v, lr, w0, b0, ln_w, ln_b, token_scale.
    real: [usize; 9],
    sequences: Sequences,
    /// State and its slots.
    state: Option<(usize, usize)>,
    out: usize,
    heads: usize,
    f: usize,
    chunk: usize,
    eps: f32,
    threads: usize,
    kernel: unsafe fn(&Row),
}

/// Compiles the op.
pub fn compile(view: &GraphView<'_>, op: &OpView<'_>, ctx: &Ctx) -> Result<Box<dyn CompiledOp>> {
    let c = Checker::new(view, op, "FAST_WEIGHT");
    let Shape { real, sequences, heads, f, chunk, eps } = Shape::new(&c, op)?;
    let state = match c.state(11, 1)? {
        None => None,
        Some(state) => {
            let slots = c.i32_in(12, "state_slots")?;
            let room = c.dims(slots).len() == 1 && c.max_of(c.first(slots)) >= sequences.max(&c);
            c.ensure(room, "state_slots does not have an element for each sequence")?;
            Some((state, slots))
        }
    };
    if op.input(12).is_some_and(|t| c.tensor(t).place == place::ARENA) {
        return Err(c.lacking("state_slots is computed by the graph"));
    }
    let out = c.f32_out(0, "output")?;
    c.same(real[0], out, "output")?;
    let (threads, kernel) = (ctx.threads, kernel::learn(ctx.tier));
    Ok(Box::new(FastWeight { real, sequences, state, out, heads, f, chunk, eps, threads, kernel }))
}

impl FastWeight {
    fn head_len(&self) -> usize {
        fast_head_len(self.f, self.chunk)
    }
    /// Floats of a worker: a head, for where there is no state, and two rows.
    fn worker_len(&self) -> usize {
        (self.head_len() + 2 * self.f).next_multiple_of(16)
    }

    /// All rows of one head of one sequence.
    unsafe fn head(&self, step: &Step<'_>, sequence: usize, head: usize, worker: usize) {
        let (f, n) = (self.f, self.f * self.f);
        let [q, k, v, lr, w0, b0, ln_w, ln_b, token_scale] = self.real.map(|t| step.f32(t));
        // SAFETY: shapes and contents were checked; scratch has a part for every worker.
        unsafe {
            let rows = self.sequences.rows(step, sequence);
            if rows.is_empty() {
                return;
            }
            let positions = step.i32s(self.sequences.positions);
            let own = step.scratch().cast::<f32>().add(worker * self.worker_len());
            let w = match self.state {
                Some((state, slots)) => {
                    let slot = step.i32s(slots)[sequence] as usize;
                    step.f32(state).add((slot * self.heads + head) * self.head_len())
                }
                None => own.add(2 * f),
            };
            let start = positions[rows.start] as usize;
            let mut first = 0;
            if start == 0 || self.state.is_none() {
                w.copy_from_nonoverlapping(w0.add(head * n), n);
                w.add(n).copy_from_nonoverlapping(b0.add(head * f), f);
                w.add(n + f).write_bytes(0, self.chunk * (2 * f + 1));
                first = start % self.chunk;
            }
            for t in rows {
                if t % POLL == 0 && step.cancelled() {
                    return;
                }
                let at = positions[t] as usize % self.chunk;
                let row = (t * self.heads + head) * f;
                (self.kernel)(&Row {
                    f,
                    q: q.add(row),
                    k: k.add(row),
                    v: v.add(row),
                    lr: *lr.add(t * self.heads + head),
                    scale: (*token_scale.add(at)).max(0.0),
                    ln_w: ln_w.add(head * f),
                    ln_b: ln_b.add(head * f),
                    eps: self.eps,
                    w,
                    b: w.add(n),
                    places: w.add(n + f),
                    first,
                    at,
                    chunk: self.chunk,
                    out: step.f32(self.out).add(row),
                    work: own,
                });
                if at + 1 == self.chunk {
                    first = 0;
                }
            }
        }
    }
}

impl CompiledOp for FastWeight {
    fn scratch_bytes(&self) -> usize {
        4 * self.threads * self.worker_len()
    }

    fn check(&self, step: &Step<'_>) -> Result<()> {
        self.sequences.check(step, "FAST_WEIGHT")?;
        let Some((state, slots)) = self.state else { return Ok(()) };
        let units = step.bytes(state) / (4 * self.heads * self.head_len());
        // SAFETY: an I32 input, which nothing writes now.
        let slots = unsafe { step.i32s(slots) };
        let Some(slots) = slots.get(..self.sequences.count(step)) else {
            return Err(PluginError::argument("FAST_WEIGHT: state_slots is shorter than the step's sequences"));
        };
        for (i, &slot) in slots.iter().enumerate() {
            if slot < 0 || slot as usize >= units {
                return Err(PluginError::argument(format!("FAST_WEIGHT: state slot {slot} of {units} is wanted")));
            }
            if slots[..i].contains(&slot) {
                return Err(PluginError::argument(format!("FAST_WEIGHT: two sequences share state slot {slot}")));
            }
        }
        Ok(())
    }

    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        let n = self.sequences.count(step) * self.heads;
        while let Some(items) = worker.claim(n, 1) {
            for item in items {
                // SAFETY: passed on; a head of a sequence is claimed once.
                unsafe { self.head(step, item / self.heads, item % self.heads, worker.index()) };
            }
        }
    }
}
