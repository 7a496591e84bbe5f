//! Recurrent states (fast weights): a live unit per sequence, and snapshots to go back to.
//!
//! A unit at position p holds the weights at the start of p's mini-batch and the rows of the open one, so it
//! also serves every earlier position of the same mini-batch. A snapshot is kept for each of the last
//! few mini-batches; going back further starts again at position 0, which needs no state.

use super::states::State;
use crate::error::Error;
use tern_abi::state::StateDesc;

/// Snapshots kept per sequence, for mini-batches of so many rows. Where these are many, a unit is mostly rows, and fewer of them reach as
/// far back: with two, no more is computed again than one mini-batch and what was there of the next.
const fn snapshots(chunk: u64) -> u64 {
    if chunk > 256 { 2 } else { 4 }
}

/// Where the units of each sequence are, and what they are good for. The units themselves are in [`State`]s.
pub struct Recurrent {
    /// Rows of a mini-batch; the least common multiple over layers. 0: the model has no recurrent state.
    chunk: u64,
    /// Snapshots that a sequence may have.
    places: u64,
    /// Per sequence, oldest first.
    snapshots: Vec<Vec<Snapshot>>,
}

#[derive(Clone, Copy)]
struct Snapshot {
    position: u64,
    /// Which of the sequence's places.
    place: u64,
}

impl Recurrent {
    /// Units that `sequences` need of a state: the live ones come first, then each sequence's places for snapshots.
    pub fn units(desc: &StateDesc, sequences: u64) -> u64 {
        sequences * (1 + snapshots(desc.dims[2]))
    }

    /// For so many sequences over the recurrent ones of `states`.
    pub fn new(states: &[State], sequences: u64) -> Self {
        let chunks = || states.iter().filter(|s| !s.is_paged()).map(|s| s.desc.dims[2].max(1));
        let (chunk, places) = (chunks().reduce(lcm).unwrap_or(0), chunks().map(snapshots).min().unwrap_or(0));
        Self { chunk, places, snapshots: vec![Vec::new(); sequences as usize] }
    }

    /// Does the model have recurrent states?
    pub fn any(&self) -> bool {
        self.chunk > 0
    }

    /// A step took `sequence` from `start` to `end`: keeps a snapshot where a new mini-batch was entered.
    pub fn advanced(&mut self, states: &[State], sequence: usize, start: u64, end: u64) -> Result<(), Error> {
        if !self.any() || start / self.chunk == end / self.chunk {
            return Ok(());
        }
        let kept = &mut self.snapshots[sequence];
        kept.retain(|s| s.position < end);
        let place = match (0..self.places).find(|p| kept.iter().all(|s| s.place != *p)) {
            Some(place) => place,
            None => kept.remove(0).place,
        };
        kept.push(Snapshot { position: end, place });
        copy(states, sequence as u64, self.unit(sequence, place))
    }

    /// How many drafts a step that ends at `position` may compute beyond it, so that they stay in its mini-batch and no
    /// snapshot holds them; `None` for any number.
    pub fn undoable(&self, position: u64) -> Option<u64> {
        // Where `position` begins a mini-batch, the step keeps a snapshot of what it ends with.
        let into = |position: u64| position % self.chunk;
        self.any().then(|| if into(position) == 0 { 0 } else { self.chunk - 1 - into(position) })
    }

    /// Brings the live unit of `sequence`, valid at `now`, to where it can go on from at or before `target`: that position.
    pub fn rewind(&mut self, states: &[State], sequence: usize, now: u64, target: u64) -> Result<u64, Error> {
        if !self.any() {
            return Ok(target);
        }
        if target >= now / self.chunk * self.chunk {
            // Later ones hold rows of what is taken back.
            self.snapshots[sequence].retain(|s| s.position <= target);
            return Ok(target);
        }
        self.restore(states, sequence, target)
    }

    /// The live unit of `sequence` is unusable: restores the last snapshot at or before `target`.
    pub fn recover(&mut self, states: &[State], sequence: usize, target: u64) -> Result<u64, Error> {
        if self.any() { self.restore(states, sequence, target) } else { Ok(target) }
    }

    /// `to` becomes what `from` is.
    pub fn fork(&mut self, states: &[State], from: usize, to: usize) -> Result<(), Error> {
        if !self.any() {
            return Ok(());
        }
        self.snapshots[to] = self.snapshots[from].clone();
        copy(states, from as u64, to as u64)?;
        for s in self.snapshots[from].clone() {
            copy(states, self.unit(from, s.place), self.unit(to, s.place))?;
        }
        Ok(())
    }

    /// The live unit of `sequence` was written from outside.
    pub fn replaced(&mut self, sequence: usize) {
        self.snapshots[sequence].clear();
    }

    /// Room for so many sequences: which units move where, old number and new, in order.
    pub fn resize(&mut self, sequences: u64) -> Vec<(u64, u64)> {
        let (old, new) = (self.snapshots.len() as u64, sequences);
        let both = old.min(new);
        self.snapshots.resize(new as usize, Vec::new());
        let live = (0..both).map(|i| (i, i));
        live.chain((0..both * self.places).map(|i| (old + i, new + i))).collect()
    }

    fn restore(&mut self, states: &[State], sequence: usize, target: u64) -> Result<u64, Error> {
        let kept = &mut self.snapshots[sequence];
        kept.retain(|s| s.position <= target);
        let Some(&last) = kept.last() else { return Ok(0) };
        copy(states, self.unit(sequence, last.place), sequence as u64)?;
        Ok(last.position)
    }

    fn unit(&self, sequence: usize, place: u64) -> u64 {
        (self.snapshots.len() + sequence * self.places as usize) as u64 + place
    }
}

fn copy(states: &[State], from: u64, to: u64) -> Result<(), Error> {
    states.iter().filter(|s| !s.is_paged()).try_for_each(|s| s.copy(from, to))
}

fn lcm(a: u64, b: u64) -> u64 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}
