//! A compiled graph with its memory.

use super::memory::{DeviceMemory, Step, run};
use super::{ContextSize, Rows};
use crate::backend::{Bound, CancelFlag};
use crate::error::Error;
use crate::graph::{ExternalKind, Graph};
use crate::model::Model;
use crate::plan::{Plan, externals};
use std::collections::HashMap;

/// See the module.
pub struct Runner {
    plan: Plan,
    memory: Vec<DeviceMemory>,
}

impl Runner {
    /// Memory for `plan`, which was made of the graph beside it; `banks` are the factors' constants for each device.
    ///
    /// # Errors
    /// Backend errors; memory that is not there.
    pub fn new(
        model: &Model,
        (plan, graph): (Plan, Graph),
        banks: &[HashMap<String, Bound>],
        size: ContextSize,
    ) -> Result<Self, Error> {
        let devices = model.devices();
        let used = externals(devices, &graph, size.class())?;
        let last = plan.segments.iter().map(|s| s.device).max().unwrap_or(0);
        let mut memory = Vec::new();
        for (d, device) in devices.iter().enumerate().take(last + 1) {
            let mut bound = Vec::new();
            for (e, external) in graph.externals.iter().enumerate() {
                let known = || banks[d].get(&external.name).or_else(|| model.fixed()[d].get(&external.name));
                let unbound = || Error::Internal { what: format!("nothing is bound to {}", external.name) };
                bound.push(match external.kind {
                    ExternalKind::Input => continue,
                    _ if !used[d][e] => Bound::Empty,
                    _ => known().cloned().ok_or_else(unbound)?,
                });
            }
            let mut own = DeviceMemory::new(device, d, &plan, &graph, size)?;
            own.bind(bound)?;
            memory.push(own);
        }
        Ok(Self { plan, memory })
    }

    /// One run.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; backend errors.
    pub fn run(&mut self, rows: &Rows, cancel: &CancelFlag) -> Result<(), Error> {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        run(&self.plan, &mut self.memory, &Step { rows, cancel, profile: None })
            .map_err(|e| if e.is_cancelled() { Error::Cancelled } else { e })
    }

    /// The first numbers of an output, as the last run left them.
    pub fn read(&self, output: usize, into: &mut [f32]) -> Result<(), Error> {
        let out = self.plan.outputs.get(output);
        let out = out.ok_or_else(|| Error::Internal { what: format!("a plan has no output {output}") })?;
        self.memory[out.device].read(out, 0, into)
    }
}
