//! What is bound to the slots of a compiled graph.

use super::buffer::Buffer;
use super::device::Device;
use super::error::{Result, argument};
use super::weight::Weight;
use std::fmt;
use std::sync::Arc;
use tern_abi::run::Binding;

/// Memory or a weight in a slot.
#[derive(Debug, Clone, Default)]
pub enum Bound {
    /// `len` bytes of a buffer from an offset: `(buffer, offset, len)`.
    Buffer(Arc<Buffer>, u64, u64),
    /// A prepared weight.
    Weight(Arc<Weight>),
    /// Nothing.
    #[default]
    Empty,
}

impl Bound {
    /// All of a buffer.
    pub fn whole(buffer: &Arc<Buffer>) -> Self {
        Self::Buffer(Arc::clone(buffer), 0, buffer.len())
    }

    /// The ABI's form, checked to belong to `device`.
    pub(super) fn to_abi(&self, call: &'static str, device: &Device) -> Result<Binding> {
        match self {
            Self::Buffer(buffer, offset, len) => range(call, device, buffer, *offset, *len),
            Self::Weight(weight) if std::ptr::eq(Arc::as_ptr(weight.device()), device) => {
                Ok(Binding { handle: weight.handle(), offset: 0, len: 0 })
            }
            Self::Weight(weight) => argument(call, format!("{weight:?} is bound on {device:?}")),
            Self::Empty => Ok(Binding::default()),
        }
    }
}

/// A range of a buffer as binding. An empty range is an empty slot: a length of 0 would say "weight".
pub(super) fn range(call: &'static str, device: &Device, buffer: &Buffer, offset: u64, len: u64) -> Result<Binding> {
    if !std::ptr::eq(Arc::as_ptr(buffer.device()), device) {
        return argument(call, format!("{buffer:?} is bound on {device:?}"));
    }
    buffer.check(call, offset, len)?;
    let alignment = device.info().alignment;
    if !offset.is_multiple_of(alignment) {
        return argument(call, format!("offset {offset} of a binding is not a multiple of {alignment}"));
    }
    Ok(if len == 0 { Binding::default() } else { Binding { handle: buffer.handle(), offset, len } })
}

/// Bindings that stay from step to step. Keeps what it names alive.
pub struct BindSet {
    device: Arc<Device>,
    handle: tern_abi::BindSet,
    bindings: Vec<Bound>,
}

impl fmt::Debug for BindSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BindSet({} slots on {})", self.bindings.len(), self.device.info().name)
    }
}

impl BindSet {
    pub(super) fn new(device: &Arc<Device>, bindings: Vec<Bound>) -> Result<Self> {
        const CALL: &str = "bind_set_create";
        let raw = bindings.iter().map(|b| b.to_abi(CALL, device)).collect::<Result<Vec<_>>>()?;
        let mut handle = 0;
        // A graph without fixed slots runs without a set.
        if !raw.is_empty() {
            let function = device.need(CALL, device.table().bind_set_create)?;
            let size = size_of::<Binding>() as u32;
            device.call(CALL, |err| {
                // SAFETY: a live device; the array lives for the call, what it names as long as the set.
                unsafe { function(device.handle(), raw.as_ptr(), raw.len() as u64, size, &mut handle, err) }
            })?;
            handle = device.backend().handle(CALL, handle)?;
        }
        Ok(Self { device: Arc::clone(device), handle, bindings })
    }

    /// What is bound, by slot.
    pub fn bindings(&self) -> &[Bound] {
        &self.bindings
    }

    pub(super) fn device(&self) -> &Arc<Device> {
        &self.device
    }

    pub(super) fn handle(&self) -> tern_abi::BindSet {
        self.handle
    }
}

impl Drop for BindSet {
    fn drop(&mut self) {
        if self.handle != 0
            && let Some(free) = self.device.table().bind_set_free
        {
            // SAFETY: live handles; a step ends before `run` returns, so nothing uses the set any more.
            unsafe { free(self.device.handle(), self.handle) }
        }
    }
}
