//! Device memory.

use super::budget::Reserved;
use super::bytes;
use super::device::{Device, QUEUE, own_header};
use super::error::{BackendError, Result, argument};
use std::fmt;
use std::sync::Arc;
use tern_abi::state::StateDesc;

/// Device memory, freed on drop. Every call checks its range before the plugin sees it.
pub struct Buffer {
    device: Arc<Device>,
    handle: tern_abi::Buffer,
    len: u64,
    _reserved: Reserved,
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes on {})", self.len, self.device.info().name)
    }
}

impl Buffer {
    pub(super) fn new(device: &Arc<Device>, len: u64) -> Result<Self> {
        let backend = device.backend();
        let max = device.info().max_buffer;
        if max != 0 && len > max {
            let message = format!("{len} bytes in one buffer, where {max} is the most");
            return Err(BackendError::OutOfMemory {
                backend: backend.name().to_owned(),
                call: "buffer_alloc",
                message,
            });
        }
        let function = device.need("buffer_alloc", device.table().buffer_alloc)?;
        let reserved = device.reserve("buffer_alloc", len)?;
        let mut handle = 0;
        // SAFETY: a live device; the variable lives for the call.
        device.call("buffer_alloc", |err| unsafe { function(device.handle(), len, &mut handle, err) })?;
        Ok(Self {
            device: Arc::clone(device),
            handle: backend.handle("buffer_alloc", handle)?,
            len,
            _reserved: reserved,
        })
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Has it no bytes?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it is.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Copies in.
    pub fn write(&self, offset: u64, src: &[u8]) -> Result<()> {
        self.check("buffer_write", offset, src.len() as u64)?;
        let function = self.device.need("buffer_write", self.device.table().buffer_write)?;
        let (ptr, len) = (src.as_ptr(), src.len() as u64);
        // SAFETY: live handles; `src` is readable for the call, at whose end it has been consumed.
        self.device.call_queued("buffer_write", |err| unsafe {
            function(self.device.handle(), QUEUE, self.handle, offset, ptr, len, err)
        })
    }

    /// Copies out.
    pub fn read(&self, offset: u64, dst: &mut [u8]) -> Result<()> {
        self.check("buffer_read", offset, dst.len() as u64)?;
        let function = self.device.need("buffer_read", self.device.table().buffer_read)?;
        let (ptr, len) = (dst.as_mut_ptr(), dst.len() as u64);
        // SAFETY: live handles; `dst` is writable until the ticket is done.
        self.device.call_to_end("buffer_read", |ticket, err| unsafe {
            function(self.device.handle(), QUEUE, self.handle, offset, ptr, len, ticket, err)
        })
    }

    /// Copies `len` bytes from `src`, a buffer of the same device; within one buffer the ranges lie apart.
    pub fn copy_from(&self, dst_offset: u64, src: &Buffer, src_offset: u64, len: u64) -> Result<()> {
        if !Arc::ptr_eq(&self.device, &src.device) {
            return argument("buffer_copy", format!("{src:?} and {self:?} are on two devices"));
        }
        self.check("buffer_copy", dst_offset, len)?;
        src.check("buffer_copy", src_offset, len)?;
        if self.handle == src.handle && dst_offset.abs_diff(src_offset) < len {
            return argument("buffer_copy", format!("{len} bytes from {src_offset} to {dst_offset} overlap"));
        }
        let function = self.device.need("buffer_copy", self.device.table().buffer_copy)?;
        // SAFETY: live handles of one device.
        self.device.call_queued("buffer_copy", |err| unsafe {
            function(self.device.handle(), QUEUE, self.handle, dst_offset, src.handle, src_offset, len, err)
        })
    }

    /// Sets `len` bytes to `byte`.
    pub fn fill(&self, offset: u64, len: u64, byte: u8) -> Result<()> {
        self.check("buffer_fill", offset, len)?;
        let function = self.device.need("buffer_fill", self.device.table().buffer_fill)?;
        // SAFETY: live handles.
        self.device.call_queued("buffer_fill", |err| unsafe {
            function(self.device.handle(), QUEUE, self.handle, offset, len, u32::from(byte), err)
        })
    }

    /// Copies integers in; `offset` is in bytes.
    pub fn write_i32(&self, offset: u64, src: &[i32]) -> Result<()> {
        self.write(offset, bytes::of(src))
    }

    /// Copies floats in; `offset` is in bytes.
    pub fn write_f32(&self, offset: u64, src: &[f32]) -> Result<()> {
        self.write(offset, bytes::of(src))
    }

    /// Copies integers out; `offset` is in bytes.
    pub fn read_i32(&self, offset: u64, dst: &mut [i32]) -> Result<()> {
        self.read(offset, bytes::of_mut(dst))
    }

    /// Copies floats out; `offset` is in bytes.
    pub fn read_f32(&self, offset: u64, dst: &mut [f32]) -> Result<()> {
        self.read(offset, bytes::of_mut(dst))
    }

    /// Writes unit `unit` of a state in canonical layout, which `dst` has exactly room for.
    pub fn state_export(&self, desc: &StateDesc, unit: u64, dst: &mut [u8]) -> Result<()> {
        self.check_unit("state_export", desc, unit, dst.len())?;
        let function = self.device.need("state_export", self.device.table().state_export)?;
        let (ptr, len, desc) = (dst.as_mut_ptr(), dst.len() as u64, own_header(desc));
        // SAFETY: live handles; `dst` is writable for the call.
        self.device.call_queued("state_export", |err| unsafe {
            function(self.device.handle(), QUEUE, &desc, self.handle, unit, ptr, len, err)
        })
    }

    /// Reads unit `unit` of a state from canonical layout.
    pub fn state_import(&self, desc: &StateDesc, unit: u64, src: &[u8]) -> Result<()> {
        self.check_unit("state_import", desc, unit, src.len())?;
        let function = self.device.need("state_import", self.device.table().state_import)?;
        let (ptr, len, desc) = (src.as_ptr(), src.len() as u64, own_header(desc));
        // SAFETY: live handles; `src` is readable for the call.
        self.device.call_queued("state_import", |err| unsafe {
            function(self.device.handle(), QUEUE, &desc, self.handle, unit, ptr, len, err)
        })
    }

    pub(super) fn handle(&self) -> tern_abi::Buffer {
        self.handle
    }

    pub(super) fn check(&self, call: &'static str, offset: u64, len: u64) -> Result<()> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => argument(call, format!("{len} bytes at {offset} in a buffer of {}", self.len)),
        }
    }

    fn check_unit(&self, call: &'static str, desc: &StateDesc, unit: u64, canonical: usize) -> Result<()> {
        let layout = self.device.state_layout(desc)?;
        if canonical as u64 != layout.canonical_bytes {
            return argument(call, format!("{canonical} bytes for a unit of {}", layout.canonical_bytes));
        }
        match unit.checked_mul(layout.unit_bytes) {
            Some(offset) => self.check(call, offset, layout.unit_bytes),
            None => argument(call, format!("there is no unit {unit} in a buffer of {} bytes", self.len)),
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(free) = self.device.table().buffer_free {
            // SAFETY: live handles; whatever binds the buffer holds it, so nothing uses it any more.
            unsafe { free(self.device.handle(), self.handle) }
        }
    }
}
