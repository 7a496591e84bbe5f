//! Recurrent states (fast weights): a live unit per sequence, and snapshots to go back to.
//!
//! A unit at position p holds the weights at the start of p's mini-batch and the rows of the open one, so it
//! also serves every earlier position of the same mini-batch. A snapshot is kept for each of the last
//! few mini-batches; going back further starts again at position 0, which needs no state.

use crate::backend::Buffer;
use crate::error::Error;
use std::sync::Arc;

/// Snapshots kept per sequence.
const SNAPSHOTS: u64 = 4;

#[derive(Default)]
pub struct Recurrent {
    buffers: Vec<(Arc<Buffer>, u64)>,
    /// Rows of a mini-batch; the least common multiple over layers.
    chunk: u64,
    /// Per sequence, oldest first: position and unit.
    snapshots: Vec<Vec<(u64, u64)>>,
}

impl Recurrent {
    /// Units that `sequences` need: the live ones come first.
    pub fn units(sequences: u64) -> u64 {
        sequences * (1 + SNAPSHOTS)
    }

    /// Adds a layer's state.
    pub fn add(&mut self, buffer: Arc<Buffer>, unit_bytes: u64, chunk: u64) {
        let chunk = chunk.max(1);
        self.chunk = if self.buffers.is_empty() { chunk } else { lcm(self.chunk, chunk) };
        self.buffers.push((buffer, unit_bytes));
    }

    /// A step took `sequence` from `start` to `end`: keeps a snapshot where a new mini-batch was entered.
    pub fn advanced(&mut self, sequence: usize, start: u64, end: u64) -> Result<(), Error> {
        if self.buffers.is_empty() || start / self.chunk == end / self.chunk {
            return Ok(());
        }
        let sequences = self.sequence_count();
        let kept = self.kept(sequence);
        kept.retain(|&(p, _)| p < end);
        let taken: Vec<u64> = kept.iter().map(|s| s.1).collect();
        let first = sequences + sequence as u64 * SNAPSHOTS;
        let unit = match (first..first + SNAPSHOTS).find(|u| !taken.contains(u)) {
            Some(unit) => unit,
            None => kept.remove(0).1,
        };
        kept.push((end, unit));
        self.copy(sequence as u64, unit)
    }

    /// Brings the live unit of `sequence`, valid at `now`, to where it can go on from at or before `target`: that position.
    pub fn rewind(&mut self, sequence: usize, now: u64, target: u64) -> Result<u64, Error> {
        if self.buffers.is_empty() || target >= now / self.chunk * self.chunk {
            return Ok(target);
        }
        self.restore(sequence, target)
    }

    /// The live unit of `sequence` is unusable: restores the last snapshot at or before `target`.
    pub fn recover(&mut self, sequence: usize, target: u64) -> Result<u64, Error> {
        if self.buffers.is_empty() { Ok(target) } else { self.restore(sequence, target) }
    }

    fn restore(&mut self, sequence: usize, target: u64) -> Result<u64, Error> {
        let kept = self.kept(sequence);
        kept.retain(|&(p, _)| p <= target);
        let Some(&(position, unit)) = kept.last() else { return Ok(0) };
        self.copy(unit, sequence as u64)?;
        Ok(position)
    }

    fn kept(&mut self, sequence: usize) -> &mut Vec<(u64, u64)> {
        if self.snapshots.len() <= sequence {
            self.snapshots.resize_with(sequence + 1, Vec::new);
        }
        &mut self.snapshots[sequence]
    }

    fn sequence_count(&self) -> u64 {
        self.buffers.first().map_or(0, |(b, unit)| b.len() / unit.max(&1) / (1 + SNAPSHOTS))
    }

    fn copy(&self, from: u64, to: u64) -> Result<(), Error> {
        for (buffer, bytes) in &self.buffers {
            buffer.copy_from(to * bytes, buffer, from * bytes, *bytes)?;
        }
        Ok(())
    }
}

fn lcm(a: u64, b: u64) -> u64 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}
