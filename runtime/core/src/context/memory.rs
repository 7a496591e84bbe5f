//! What a context holds on each device, and how a step goes through the plan's segments.

use super::ContextSize;
use super::inputs::{Rows, StepInputs};
use crate::backend::{BindSet, Bound, Buffer, CancelFlag, Device, StepArgs};
use crate::error::Error;
use crate::graph::Graph;
use crate::plan::{Placed, Plan};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tern_abi::graph::dim;

/// A device with all that steps on it need.
pub struct DeviceMemory {
    device: Arc<Device>,
    /// Comes last, since it holds the states' buffers.
    bind_set: Option<BindSet>,
    arena: Buffer,
    /// Values that cross from one segment to another, where there are several: the last step slot.
    crossing: Option<Arc<Buffer>>,
    scratch: Buffer,
    inputs: StepInputs,
}

/// One step's sizes and flags.
pub struct Step<'a> {
    pub rows: &'a Rows,
    pub cancel: &'a CancelFlag,
    pub profile: Option<&'a [AtomicU64]>,
}

impl DeviceMemory {
    /// Memory for `plan` on its device number `index`.
    pub fn new(
        device: &Arc<Device>,
        index: usize,
        plan: &Plan,
        graph: &Graph,
        size: ContextSize,
    ) -> Result<Self, Error> {
        let own = plan.segments.iter().filter(|s| s.device == index);
        let scratch = own.map(|s| s.exec.scratch_bytes()).max().unwrap_or(0);
        let crossing =
            (plan.crossing_bytes > 0).then(|| device.alloc(plan.crossing_bytes).map(Arc::new)).transpose()?;
        Ok(Self {
            bind_set: None,
            arena: device.alloc(plan.arena_bytes)?,
            scratch: device.alloc(scratch.max(1))?,
            inputs: StepInputs::new(device, graph, size, crossing.as_ref())?,
            crossing,
            device: Arc::clone(device),
        })
    }

    /// Binds what stays from step to step.
    pub fn bind(&mut self, bound: Vec<Bound>) -> Result<(), Error> {
        self.bind_set = Some(self.device.bind_set(bound)?);
        Ok(())
    }

    /// Lets go of what is bound.
    pub fn unbind(&mut self) {
        self.bind_set = None;
    }

    /// Reads floats of an output, from byte `at` on.
    pub fn read(&self, output: &Placed, at: u64, out: &mut [f32]) -> Result<(), Error> {
        let buffer = if output.crosses { self.crossing()? } else { &self.arena };
        Ok(buffer.read_f32(output.offset + at, out)?)
    }

    fn crossing(&self) -> Result<&Buffer, Error> {
        self.crossing.as_deref().ok_or_else(|| Error::Internal { what: "no memory for crossing values".to_owned() })
    }
}

/// Runs a step, segment after segment.
pub fn run(plan: &Plan, memory: &mut [DeviceMemory], step: &Step<'_>) -> Result<(), Error> {
    let dims = step.rows.dims();
    for m in memory.iter_mut() {
        m.inputs.write(step.rows)?;
    }
    let mut staging = Vec::new();
    for segment in &plan.segments {
        let here = &memory[segment.device];
        for value in &segment.carried {
            let offset = value.tensor.offset;
            staging.resize(value.bytes(&dims) as usize, 0);
            memory[value.from].crossing()?.read(offset, &mut staging)?;
            here.crossing()?.write(offset, &staging)?;
        }
        let args = StepArgs {
            steps: here.inputs.bound(),
            arena: &here.arena,
            scratch: &here.scratch,
            dims,
            kv_bucket: step.rows.longest(),
            cancel: step.cancel,
            profile: step.profile.and_then(|p| p.get(segment.ops.clone())),
        };
        let unbound = || Error::Internal { what: "a step before its memory is bound".to_owned() };
        here.device.run(&segment.exec, here.bind_set.as_ref().ok_or_else(unbound)?, &args)?;
    }
    Ok(())
}

impl Rows {
    /// Sizes of the dynamic dimensions.
    fn dims(&self) -> [u64; dim::COUNT] {
        let mut dims = [1; dim::COUNT];
        dims[dim::TOKENS as usize] = self.tokens.len() as u64;
        dims[dim::SEQUENCES as usize] = self.sequences.len() as u64;
        dims[dim::OUTPUTS as usize] = self.outputs.len() as u64;
        dims
    }
}
