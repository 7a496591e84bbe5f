//! What a context takes, before it takes it.

use super::{ContextSize, inputs, states};
use crate::backend::Device;
use crate::error::Error;
use crate::graph::{ExternalKind, Graph};
use crate::models::PAGE_SIZE;
use crate::plan::Plan;
use std::sync::Arc;
use tern_abi::state::kind;

/// Positions are i32 on the device.
pub const MAX_POSITIONS: u64 = 1 << 30;

/// Device memory of a context, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContextCost {
    /// Keys and values, and recurrent states.
    pub states: u64,
    /// What each KV page adds to them, over all layers.
    pub per_page: u64,
    /// The largest single state.
    pub largest_state: u64,
    /// Intermediates of a step.
    pub arena: u64,
    /// What the plugins' kernels work in.
    pub scratch: u64,
    /// A step's inputs.
    pub inputs: u64,
}

impl ContextCost {
    /// Of a context of `size` for `plan`, which was made from `graph`.
    ///
    /// # Errors
    /// Backend errors.
    pub fn of(devices: &[Arc<Device>], graph: &Graph, plan: &Plan, size: ContextSize) -> Result<Self, Error> {
        let mut cost = Self::default();
        for external in &graph.externals {
            let ExternalKind::State(desc) = external.kind else { continue };
            // The device that runs it knows; those before it do not have the op.
            let layout = devices.iter().rev().find_map(|d| d.state_layout(&desc).ok());
            let layout =
                layout.ok_or_else(|| Error::Internal { what: format!("no device holds {}", external.name) })?;
            let bytes = states::units(&desc, size.pages, size.sequences).saturating_mul(layout.unit_bytes);
            cost.states = cost.states.saturating_add(bytes);
            cost.largest_state = cost.largest_state.max(bytes);
            if desc.kind == kind::KV_PAGE {
                cost.per_page += layout.unit_bytes;
            }
        }
        for d in 0..devices.len() {
            let own = plan.segments.iter().filter(|s| s.device == d);
            let Some(scratch) = own.map(|s| s.exec.scratch_bytes()).max() else { continue };
            cost.scratch = cost.scratch.saturating_add(scratch);
            cost.arena = cost.arena.saturating_add(plan.arena_bytes + plan.crossing_bytes);
            cost.inputs += inputs::bytes(graph, size);
        }
        Ok(cost)
    }

    /// All but the states.
    pub fn working(&self) -> u64 {
        self.arena.saturating_add(self.scratch).saturating_add(self.inputs)
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.states.saturating_add(self.working())
    }

    /// Tokens of context that each sequence could have if `bytes` were there for all of this; 0 where none.
    pub fn fitting_positions(&self, bytes: u64, size: ContextSize) -> u64 {
        let paged = self.per_page.saturating_mul(size.pages);
        let fixed = self.working().saturating_add(self.states.saturating_sub(paged));
        let pages = bytes.saturating_sub(fixed) / self.per_page.max(1) / size.sequences.max(1);
        pages.saturating_mul(u64::from(PAGE_SIZE)).min(MAX_POSITIONS)
    }

    /// Is there room for `needed` more bytes?
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn check(&self, devices: &[Arc<Device>], needed: u64, size: ContextSize) -> Result<(), Error> {
        let Some(available) = devices.first().map(|d| d.available()).transpose()?.flatten() else { return Ok(()) };
        if needed <= available {
            return Ok(());
        }
        let what = match size.sequences {
            1 => format!("a context of {} tokens", size.positions),
            n => format!("{n} sequences of up to {} tokens", size.positions),
        };
        Err(Error::Memory { what, needed, available, fits: self.fitting_positions(available, size) })
    }
}
