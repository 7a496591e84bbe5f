//! An opened device.

use super::bind::{BindSet, Bound};
use super::budget::{Budget, Reserved};
use super::buffer::Buffer;
use super::call::ErrorSpace;
use super::cancel::CancelFlag;
use super::error::{BackendError, Result};
use super::exec::{Exec, StepArgs};
use super::graph::GraphDesc;
use super::info::{DeviceInfo, MemoryInfo, Peaks, StateLayout, WeightInfo};
use super::table::Backend;
use super::weight::{Weight, WeightBytes, WeightSpec};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tern_abi::state::StateDesc;
use tern_abi::{Backend as Table, ErrorBuffer, Header, Status, Ticket, status};

/// The device's own queue.
pub(super) const QUEUE: tern_abi::Queue = 0;
/// How long one wait for a ticket lasts; the loop around it goes on until the work has ended.
const WAIT: Duration = Duration::from_millis(50);

/// An opened device. It closes when the last thing made on it is dropped.
///
/// Calls that use its queue take turns: the ABI allows one thread per queue at a time.
pub struct Device {
    backend: Backend,
    handle: tern_abi::Device,
    info: DeviceInfo,
    lost: AtomicBool,
    queue: Mutex<()>,
    budget: Arc<Budget>,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({} on {})", self.info.name, self.backend.name())
    }
}

impl Device {
    pub(super) fn new(
        backend: Backend,
        handle: tern_abi::Device,
        info: DeviceInfo,
        budget: Arc<Budget>,
    ) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { backend, handle, info, lost: AtomicBool::new(false), queue: Mutex::new(()), budget }))
    }

    /// What buffers and weights count against.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Bytes that may still be taken, as far as anyone knows: what the device has free, and what the budget leaves.
    pub fn available(&self) -> Result<Option<u64>> {
        let memory = self.memory()?;
        let free = [memory.free, memory.total].into_iter().find(|&n| n > 0);
        let left = (self.budget.limit() < u64::MAX).then(|| self.budget.left());
        Ok(free.into_iter().chain(left).min())
    }

    /// Takes bytes of the budget.
    pub(super) fn reserve(&self, call: &'static str, bytes: u64) -> Result<Reserved> {
        self.budget.take(bytes).map_err(|left| {
            let limit = self.budget.limit();
            let message = format!("{bytes} bytes, where {left} of the limit of {limit} are left");
            BackendError::OutOfMemory { backend: self.backend.name().to_owned(), call, message }
        })
    }

    /// What a weight would take, whose bytes stay where they are (`lasting`) or not. Where the plugin cannot tell, as much as
    /// in the file.
    pub fn weight_layout(&self, spec: &WeightSpec<'_>, file_bytes: u64, lasting: bool) -> Result<WeightInfo> {
        super::weight::layout(self, spec, file_bytes, lasting)
    }

    /// What it is.
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Whose it is.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Its memory now.
    pub fn memory(&self) -> Result<MemoryInfo> {
        let function = self.need("memory", self.table().memory)?;
        let mut raw = tern_abi::MemoryInfo { header: Header::of::<tern_abi::MemoryInfo>(), free: 0, total: 0, used: 0 };
        // SAFETY: a live device; the struct lives for the call.
        self.call("memory", |err| unsafe { function(self.handle, &mut raw, err) })?;
        Ok(MemoryInfo { free: raw.free, total: raw.total, used: raw.used })
    }

    /// How much arithmetic it does at best: measured now, which takes a second at most.
    pub fn peaks(&self) -> Result<Peaks> {
        let Some(function) = self.table().peaks else { return Ok(Peaks::default()) };
        let mut raw = tern_abi::Peaks { header: Header::of::<tern_abi::Peaks>(), f32_ops: 0.0, i8_ops: 0.0 };
        // SAFETY: a live device; the struct lives for the call.
        match self.call("peaks", |err| unsafe { function(self.handle, &mut raw, err) }) {
            Err(BackendError::Unsupported { .. }) => Ok(Peaks::default()),
            called => {
                let known = |ops: f64| Some(ops).filter(|&ops| ops > 0.0 && ops.is_finite());
                called.map(|()| Peaks { f32_ops: known(raw.f32_ops), i8_ops: known(raw.i8_ops) })
            }
        }
    }

    /// One [`tern_abi::table::verdict`] per op of `graph`, whose tensors may lack their final offsets.
    pub fn supports(&self, graph: &GraphDesc) -> Result<Vec<u8>> {
        let function = self.need("supports", self.table().supports)?;
        graph.check_indices("supports")?;
        let mut verdicts = vec![0; graph.ops.len()];
        graph.with_abi(|abi| {
            self.call("supports", |err| {
                // SAFETY: a live device; the graph and `verdicts` live for the call.
                unsafe { function(self.handle, abi, verdicts.as_mut_ptr(), verdicts.len() as u64, err) }
            })
        })?;
        Ok(verdicts)
    }

    /// Zeroed memory.
    pub fn alloc(self: &Arc<Self>, len: u64) -> Result<Buffer> {
        Buffer::new(self, len)
    }

    /// Hands over a weight, whose bytes may go afterwards.
    pub fn prepare(self: &Arc<Self>, spec: &WeightSpec<'_>, data: &[u8], cancel: &CancelFlag) -> Result<Weight> {
        Weight::prepare(self, spec, data, cancel)
    }

    /// Hands over a weight whose bytes stay where they are as long as the plugin works on them.
    pub fn prepare_shared(
        self: &Arc<Self>,
        spec: &WeightSpec<'_>,
        data: WeightBytes,
        cancel: &CancelFlag,
    ) -> Result<Weight> {
        Weight::prepare_shared(self, spec, data, cancel)
    }

    /// How large a unit of a state is.
    pub fn state_layout(&self, desc: &StateDesc) -> Result<StateLayout> {
        let function = self.need("state_layout", self.table().state_layout)?;
        let desc = own_header(desc);
        let mut raw = tern_abi::state::StateLayout {
            header: Header::of::<tern_abi::state::StateLayout>(),
            unit_bytes: 0,
            canonical_bytes: 0,
        };
        // SAFETY: a live device; the structs live for the call.
        self.call("state_layout", |err| unsafe { function(self.handle, &desc, &mut raw, err) })?;
        Ok(StateLayout { unit_bytes: raw.unit_bytes, canonical_bytes: raw.canonical_bytes })
    }

    /// Compiles a graph.
    pub fn compile(self: &Arc<Self>, graph: &GraphDesc) -> Result<Exec> {
        Exec::compile(self, graph)
    }

    /// Binds what stays from step to step: one [`Bound`] per fixed slot.
    pub fn bind_set(self: &Arc<Self>, bindings: Vec<Bound>) -> Result<BindSet> {
        BindSet::new(self, bindings)
    }

    /// Runs one step to its end.
    pub fn run(&self, exec: &Exec, set: &BindSet, step: &StepArgs<'_>) -> Result<()> {
        exec.run(self, set, step)
    }

    pub(super) fn table(&self) -> &Table {
        self.backend.table()
    }

    pub(super) fn handle(&self) -> tern_abi::Device {
        self.handle
    }

    pub(super) fn need<F>(&self, name: &'static str, function: Option<F>) -> Result<F> {
        self.backend.need(name, function)
    }

    /// Makes a call that does not use the queue.
    pub(super) fn call(&self, name: &'static str, function: impl FnOnce(*mut ErrorBuffer) -> Status) -> Result<()> {
        self.check_alive(name)?;
        let mut space = ErrorSpace::new();
        let status = function(space.as_ptr());
        self.settle(name, status, &space)
    }

    /// Makes a call on the queue.
    pub(super) fn call_queued(
        &self,
        name: &'static str,
        function: impl FnOnce(*mut ErrorBuffer) -> Status,
    ) -> Result<()> {
        let _turn = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        self.call(name, function)
    }

    /// Makes a call on the queue that may go on after it returned, and waits for its end: until then the
    /// plugin may use what the caller lent it.
    pub(super) fn call_to_end(
        &self,
        name: &'static str,
        function: impl FnOnce(*mut Ticket, *mut ErrorBuffer) -> Status,
    ) -> Result<()> {
        let _turn = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_alive(name)?;
        let mut space = ErrorSpace::new();
        let mut ticket = 0;
        let mut status = function(&mut ticket, space.as_ptr());
        if status == status::PENDING {
            status = self.wait(name, ticket, &mut space)?;
        }
        self.settle(name, status, &space)
    }

    fn wait(&self, name: &'static str, ticket: Ticket, space: &mut ErrorSpace) -> Result<Status> {
        let (poll, wait) = (self.table().ticket_poll, self.table().ticket_wait);
        loop {
            let status = match (wait, poll) {
                // SAFETY: a live device and its ticket, which is not used again once it is spent.
                (Some(wait), _) => unsafe { wait(self.handle, ticket, WAIT.as_nanos() as u64, space.as_ptr()) },
                (None, Some(poll)) => {
                    // SAFETY: as above.
                    let status = unsafe { poll(self.handle, ticket, space.as_ptr()) };
                    pause();
                    status
                }
                (None, None) => {
                    // Nobody can tell when it ends, so nothing on this device can be relied on any more.
                    self.lost.store(true, Ordering::Relaxed);
                    return Err(self.backend.bad(name, "it is pending, and there is no ticket function".to_owned()));
                }
            };
            if status != status::PENDING {
                return Ok(status);
            }
        }
    }

    fn settle(&self, name: &'static str, status: Status, space: &ErrorSpace) -> Result<()> {
        if status == status::OK {
            return Ok(());
        }
        if status == status::DEVICE_LOST {
            self.lost.store(true, Ordering::Relaxed);
        }
        Err(space.error(self.backend.name(), name, status))
    }

    fn check_alive(&self, call: &'static str) -> Result<()> {
        if self.lost.load(Ordering::Relaxed) {
            let (backend, message) = (self.backend.name().to_owned(), format!("{} was lost before", self.info.name));
            return Err(BackendError::DeviceLost { backend, call, message });
        }
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(close) = self.table().device_close {
            // SAFETY: everything made on the device held it, so this is the last call.
            unsafe { close(self.handle) }
        }
    }
}

/// The description with this host's header: extensions of a caller's are not passed on.
pub(super) fn own_header(desc: &StateDesc) -> StateDesc {
    StateDesc { header: Header::of::<StateDesc>(), ..*desc }
}

/// Between two polls. A browser's main thread must not sleep.
fn pause() {
    #[cfg(not(target_family = "wasm"))]
    std::thread::sleep(Duration::from_micros(50));
    #[cfg(target_family = "wasm")]
    std::hint::spin_loop();
}
