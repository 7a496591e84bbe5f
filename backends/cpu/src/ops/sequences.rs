//! The sequences of a step, as `seq_start` and `positions` give them.

use crate::check::{Checker, Dim};
use crate::op::Step;
use std::ops::Range;
use tern_abi::graph::dim;
use tern_abi::plugin::{PluginError, Result};

/// The tensors that say where sequences are.
#[derive(Clone, Copy, Debug)]
pub struct Sequences {
    /// i32 `[T]`.
    pub positions: usize,
    seq_start: usize,
    /// Sequences of a step without a dynamic count.
    fixed: Option<usize>,
}

impl Sequences {
    /// Checks the tensors of an op over rows of `tokens`.
    pub fn new(c: &Checker<'_>, positions: usize, seq_start: usize, tokens: Dim) -> Result<Self> {
        c.shaped(positions, &[tokens], "positions")?;
        c.ensure(c.dims(seq_start).len() == 1, "seq_start is not a vector")?;
        let room = c.max_of(c.first(seq_start));
        let most = c.max_of((dim::SEQUENCES, 0));
        c.ensure(room > most, format!("seq_start has {room} elements, {most} sequences need one more"))?;
        Ok(Self { positions, seq_start, fixed: (most == 0).then(|| room - 1) })
    }
    /// Sequences at most.
    pub fn max(&self, c: &Checker<'_>) -> usize {
        self.fixed.unwrap_or_else(|| c.max_of((dim::SEQUENCES, 0)))
    }
    /// Their number in a step.
    pub fn count(&self, step: &Step<'_>) -> usize {
        self.fixed.unwrap_or_else(|| step.dim(dim::SEQUENCES))
    }
    /// The rows of sequence `s`.
    ///
    /// # Safety
    /// [`check`](Self::check) has passed.
    pub unsafe fn rows(&self, step: &Step<'_>, s: usize) -> Range<usize> {
        // SAFETY: an I32 input.
        let starts = unsafe { step.i32s(self.seq_start) };
        starts[s] as usize..starts[s + 1] as usize
    }
    /// Checks the contents: sequences cover all rows in order, at consecutive positions.
    pub fn check(&self, step: &Step<'_>, op: &str) -> Result<()> {
        // SAFETY: I32 inputs, which nothing writes now.
        let (starts, positions) = unsafe { (step.i32s(self.seq_start), step.i32s(self.positions)) };
        let n = self.count(step);
        let wrong = |what: String| Err(PluginError::argument(format!("{op}: {what}")));
        let Some(starts) = starts.get(..n + 1) else {
            return wrong(format!("seq_start has {} elements for {n} sequences", starts.len()));
        };
        if starts[0] != 0 || starts[n] as usize != positions.len() {
            let (first, last) = (starts[0], starts[n]);
            return wrong(format!("seq_start runs from {first} to {last}, the step has {} rows", positions.len()));
        }
        for s in 0..n {
            if starts[s] > starts[s + 1] {
                return wrong(format!("seq_start falls from {} to {}", starts[s], starts[s + 1]));
            }
            let rows = &positions[starts[s] as usize..starts[s + 1] as usize];
            if let Some(&first) = rows.first()
                && (first < 0 || rows.iter().enumerate().any(|(i, &p)| i64::from(p) != i64::from(first) + i as i64))
            {
                return wrong(format!("the positions of sequence {s} are not consecutive from 0 or above"));
            }
        }
        Ok(())
    }
}
