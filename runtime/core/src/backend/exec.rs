//! Compiled graphs and their steps.

use super::bind::{self, BindSet, Bound};
use super::buffer::Buffer;
use super::cancel::CancelFlag;
use super::check::Needs;
use super::device::{Device, QUEUE};
use super::error::{BackendError, Result, argument};
use super::graph::GraphDesc;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tern_abi::Header;
use tern_abi::graph::dim;
use tern_abi::run::{Binding, RunArgs};
use tern_abi::table::ExecInfo;

/// A compiled graph, freed on drop.
pub struct Exec {
    device: Arc<Device>,
    handle: tern_abi::Exec,
    needs: Needs,
    n_ops: usize,
    arena_bytes: u64,
    scratch_bytes: u64,
}

impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exec({} ops on {})", self.n_ops, self.device.info().name)
    }
}

/// One step.
#[derive(Debug)]
pub struct StepArgs<'a> {
    /// One per step slot.
    pub steps: &'a [Bound],
    /// At least the graph's `arena_bytes`.
    pub arena: &'a Buffer,
    /// At least [`Exec::scratch_bytes`].
    pub scratch: &'a Buffer,
    /// Sizes of the dynamic dimensions, indexed by [`dim`].
    pub dims: [u64; dim::COUNT],
    /// No sequence of the step has more KV positions than this.
    pub kv_bucket: u64,
    /// Ends the step early.
    pub cancel: &'a CancelFlag,
    /// One counter per op, to which its nanoseconds are added.
    pub profile: Option<&'a [AtomicU64]>,
}

impl Exec {
    pub(super) fn compile(device: &Arc<Device>, graph: &GraphDesc) -> Result<Self> {
        let needs = Needs::of(graph, device.info().alignment)?;
        let function = device.need("compile", device.table().compile)?;
        let mut handle = 0;
        graph.with_abi(|abi| {
            // SAFETY: a live device; the graph lives for the call.
            device.call("compile", |err| unsafe { function(device.handle(), abi, &mut handle, err) })
        })?;
        let mut exec = Self {
            device: Arc::clone(device),
            handle: device.backend().handle("compile", handle)?,
            needs,
            n_ops: graph.ops.len(),
            arena_bytes: graph.arena_bytes,
            scratch_bytes: 0,
        };
        exec.scratch_bytes = exec.ask_scratch()?;
        Ok(exec)
    }

    fn ask_scratch(&self) -> Result<u64> {
        // A plugin without the function needs no scratch.
        let Some(function) = self.device.table().exec_info else { return Ok(0) };
        let mut info = ExecInfo { header: Header::of::<ExecInfo>(), scratch_bytes: 0 };
        self.device.call("exec_info", |err| {
            // SAFETY: live handles; the struct lives for the call.
            unsafe { function(self.device.handle(), self.handle, &mut info, err) }
        })?;
        Ok(info.scratch_bytes)
    }

    /// Scratch memory that a step must bring.
    pub fn scratch_bytes(&self) -> u64 {
        self.scratch_bytes
    }

    /// Arena that a step must bring.
    pub fn arena_bytes(&self) -> u64 {
        self.arena_bytes
    }

    pub(super) fn run(&self, device: &Device, set: &BindSet, step: &StepArgs<'_>) -> Result<()> {
        const CALL: &str = "run";
        let function = device.need(CALL, device.table().run)?;
        for (what, owner) in [("graph", &self.device), ("bind set", set.device())] {
            if !std::ptr::eq(Arc::as_ptr(owner), device) {
                return argument(CALL, format!("the {what} belongs to {owner:?}, not to {device:?}"));
            }
        }
        self.needs.check_dims(&step.dims)?;
        self.needs.check_fixed(set.bindings())?;
        self.needs.check_steps(step.steps, &step.dims)?;
        if let Some(counters) = step.profile.filter(|c| c.len() != self.n_ops) {
            return argument(CALL, format!("{} profile counters for {} ops", counters.len(), self.n_ops));
        }
        let memory = |what: &str, buffer: &Buffer, least: u64| {
            if buffer.len() < least {
                return argument(CALL, format!("{what} of {} bytes, {least} are needed", buffer.len()));
            }
            bind::range(CALL, device, buffer, 0, buffer.len())
        };
        let arena = memory("an arena", step.arena, self.arena_bytes)?;
        let scratch = memory("scratch", step.scratch, self.scratch_bytes)?;
        let steps = step.steps.iter().map(|b| b.to_abi(CALL, device)).collect::<Result<Vec<_>>>()?;
        if step.cancel.is_cancelled() {
            return Err(BackendError::Cancelled { backend: device.backend().name().to_owned(), call: CALL });
        }
        let args = RunArgs {
            header: Header::of::<RunArgs>(),
            bind_set: set.handle(),
            steps: steps.as_ptr(),
            n_steps: steps.len() as u32,
            binding_size: size_of::<Binding>() as u32,
            arena,
            scratch,
            dims: step.dims,
            kv_bucket: step.kv_bucket,
            cancel: step.cancel.as_ptr(),
            // The plugin adds to the counters atomically, through a pointer that atomics may be written by.
            profile: step.profile.map_or(std::ptr::null_mut(), |c| c.as_ptr().cast_mut().cast()),
            done: None,
            done_user: std::ptr::null_mut(),
        };
        // SAFETY: live handles of this device; all that `args` points to lives until the step has ended.
        device.call_to_end(CALL, |ticket, err| unsafe {
            function(device.handle(), QUEUE, self.handle, &args, ticket, err)
        })
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        if let Some(free) = self.device.table().exec_free {
            // SAFETY: live handles; a step ends before `run` returns, so nothing uses the graph any more.
            unsafe { free(self.device.handle(), self.handle) }
        }
    }
}
