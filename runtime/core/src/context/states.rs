//! State buffers: the KV pages of every layer, and recurrent states.

use super::recurrent::Recurrent;
use crate::backend::{Buffer, Device};
use crate::error::Error;
use std::sync::Arc;
use tern_abi::state::{StateDesc, kind};

/// A layer's state.
pub struct State {
    /// Index of its external.
    pub external: usize,
    /// What a unit is.
    pub desc: StateDesc,
    /// Bytes of a unit on its device.
    pub unit_bytes: u64,
    /// Bytes of a unit in a file.
    pub canonical_bytes: u64,
    /// The units.
    pub buffer: Arc<Buffer>,
}

/// Units of a state.
pub fn units(desc: &StateDesc, pages: u64, sequences: u64) -> u64 {
    if desc.kind == kind::KV_PAGE { pages } else { Recurrent::units(desc, sequences) }
}

impl State {
    /// A zeroed state.
    pub fn new(device: &Arc<Device>, external: usize, desc: StateDesc, units: u64) -> Result<Self, Error> {
        let layout = device.state_layout(&desc)?;
        let buffer = Arc::new(device.alloc(units.saturating_mul(layout.unit_bytes).max(1))?);
        let (unit_bytes, canonical_bytes) = (layout.unit_bytes, layout.canonical_bytes);
        Ok(Self { external, desc, unit_bytes, canonical_bytes, buffer })
    }

    /// Does it hold KV pages?
    pub fn is_paged(&self) -> bool {
        self.desc.kind == kind::KV_PAGE
    }

    /// Copies a unit.
    pub fn copy(&self, from: u64, to: u64) -> Result<(), Error> {
        let n = self.unit_bytes;
        Ok(self.buffer.copy_from(to * n, &self.buffer, from * n, n)?)
    }

    /// Replaces the buffer by one of `units`, with the units that `moves` names: old number, new number, in order.
    pub fn resize(&mut self, units: u64, moves: &[(u64, u64)]) -> Result<(), Error> {
        let n = self.unit_bytes;
        let new = self.buffer.device().alloc(units.saturating_mul(n).max(1))?;
        let mut rest = moves;
        while let Some(&(old, to)) = rest.first() {
            // A run of neighbours that stay neighbours is one copy.
            let run = rest.iter().zip(0..).take_while(|(m, i)| **m == (old + i, to + i)).count();
            new.copy_from(to * n, &self.buffer, old * n, run as u64 * n)?;
            rest = &rest[run..];
        }
        self.buffer = Arc::new(new);
        Ok(())
    }
}
