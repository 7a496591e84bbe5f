//! What all rules share: heads of sequences, each one worker's, and where their states are.

use super::state_slots;
use crate::op::{CompiledOp, Step};
use crate::ops::sequences::Sequences;
use crate::pool::Worker;
use std::ops::Range;
use tern_abi::plugin::Result;

/// Heads of all sequences.
pub struct Heads {
    pub sequences: Sequences,
    /// State and its slots.
    pub state: Option<(usize, usize)>,
    /// Of a sequence.
    pub count: usize,
    /// Floats of a head's state.
    pub len: usize,
    /// Floats that a worker needs besides.
    pub work: usize,
    pub threads: usize,
}

/// One head of one sequence.
pub struct Head {
    pub index: usize,
    /// Rows of the step, at least one.
    pub rows: Range<usize>,
    /// Position of the first of them.
    pub start: usize,
    /// Its state; where the step has none, the worker's own memory.
    pub w: *mut f32,
    /// What is there begins here: nothing was learned before.
    pub fresh: bool,
    pub work: *mut f32,
}

/// An op that goes through its heads one by one, each with all its rows.
pub trait HeadByHead: Send + Sync {
    fn heads(&self) -> &Heads;

    /// All rows of one head of one sequence.
    ///
    /// # Safety
    /// As for [`CompiledOp::run`]; the head is the caller's alone.
    unsafe fn head(&self, step: &Step<'_>, head: &Head);
}

impl<T: HeadByHead> CompiledOp for T {
    fn scratch_bytes(&self) -> usize {
        self.heads().scratch_bytes()
    }

    fn check(&self, step: &Step<'_>) -> Result<()> {
        self.heads().check(step)
    }

    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>) {
        // SAFETY: passed on; each head comes once.
        unsafe { self.heads().each(step, worker, |head| self.head(step, &head)) }
    }
}

impl Heads {
    fn worker_len(&self) -> usize {
        let own = if self.state.is_some() { 0 } else { self.len };
        (own + self.work).next_multiple_of(16)
    }

    pub fn scratch_bytes(&self) -> usize {
        4 * self.threads * self.worker_len()
    }

    pub fn check(&self, step: &Step<'_>) -> Result<()> {
        self.sequences.check(step, "FAST_WEIGHT")?;
        state_slots::check(step, &self.sequences, self.state, self.count * self.len, "FAST_WEIGHT")
    }

    /// Calls `run` with heads until none is left.
    ///
    /// # Safety
    /// As for [`CompiledOp::run`].
    pub unsafe fn each(&self, step: &Step<'_>, worker: &Worker<'_>, run: impl Fn(Head)) {
        let n = self.sequences.count(step) * self.count;
        while let Some(items) = worker.claim(n, 1) {
            for item in items {
                // SAFETY: shapes and contents were checked; a head of a sequence is claimed once, scratch has a part for every
                // worker.
                if let Some(head) = unsafe { self.head(step, item / self.count, item % self.count, worker.index()) } {
                    run(head);
                }
            }
        }
    }

    unsafe fn head(&self, step: &Step<'_>, sequence: usize, index: usize, worker: usize) -> Option<Head> {
        // SAFETY: passed on.
        unsafe {
            let rows = self.sequences.rows(step, sequence);
            let start = *step.i32s(self.sequences.positions).get(rows.start)? as usize;
            if rows.is_empty() {
                return None;
            }
            let work = step.scratch().cast::<f32>().add(worker * self.worker_len());
            let w = match self.state {
                Some((state, slots)) => {
                    let slot = step.i32s(slots)[sequence] as usize;
                    step.f32(state).add((slot * self.count + index) * self.len)
                }
                None => work.add(self.work),
            };
            Some(Head { index, rows, start, w, fresh: start == 0 || self.state.is_none(), work })
        }
    }
}
