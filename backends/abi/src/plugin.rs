//! Safe scaffolding for plugins written in Rust.
//!
//! Implement [`Plugin`] and [`Device`] and call [`export_plugin!`](crate::export_plugin): it makes the
//! table and the entry function. Panics stop at the boundary, handles are boxed values, graphs arrive
//! checked. Work is synchronous: a call returns when it is done.

mod glue;
mod view;

pub use glue::Glue;
pub use view::{GraphView, OpView, Resolved, RunView};

use crate::status;
use crate::table::DeviceInfo;
use crate::weight::WeightInfo;
use std::ffi::c_void;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginError {
    /// One of [`status`].
    pub status: crate::Status,
    /// One line for people: what was found and what was expected.
    pub message: String,
}

/// Result of a plugin's functions.
pub type Result<T> = std::result::Result<T, PluginError>;

impl PluginError {
    /// An error with `status`.
    pub fn new(status: crate::Status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
    /// The caller's argument is wrong.
    pub fn argument(message: impl Into<String>) -> Self {
        Self::new(status::ARGUMENT, message)
    }
    /// The plugin lacks this.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(status::UNSUPPORTED, message)
    }
    /// Memory could not be had.
    pub fn out_of_memory(message: impl Into<String>) -> Self {
        Self::new(status::OUT_OF_MEMORY, message)
    }
    /// The caller's cancel flag was seen.
    pub fn cancelled() -> Self {
        Self::new(status::CANCELLED, "cancelled")
    }
}

/// Options to open a device with, see [`crate::DeviceOptions`].
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Worker threads; 0 lets the plugin choose.
    pub threads: u32,
    /// Forced tier; empty lets the plugin choose.
    pub tier: String,
}

/// A weight as handed over, see [`crate::weight::WeightDesc`].
#[derive(Debug, Clone)]
pub struct WeightSpec<'a> {
    /// Element type code.
    pub dtype: u32,
    /// Outermost first, 1 to 4 dimensions, none zero, product checked.
    pub shape: &'a [u64],
    /// Bits of [`crate::weight::usage`].
    pub usage: u32,
    /// For messages.
    pub name: &'a str,
    /// See [`crate::weight::WeightDesc::cache_bytes`].
    pub cache_bytes: u64,
}

/// Tells the host what was read of a lasting source and is not needed any more, see [`crate::weight::WeightSource::release`].
#[derive(Debug, Clone, Copy)]
pub struct Release {
    function: Option<unsafe extern "C" fn(user: *mut c_void, offset: u64, len: u64)>,
    user: *mut c_void,
}

// SAFETY: the ABI lets any thread call the function.
unsafe impl Send for Release {}
// SAFETY: as above.
unsafe impl Sync for Release {}

impl Release {
    /// Of a host that has nothing to let go.
    pub const NONE: Self = Self { function: None, user: std::ptr::null_mut() };

    /// `len` bytes from `offset` on were read and are not needed soon.
    ///
    /// # Safety
    /// The weight has not been freed.
    pub unsafe fn call(&self, offset: u64, len: u64) {
        if let Some(function) = self.function {
            // SAFETY: the host's function and its argument, which live as long as the weight.
            unsafe { function(self.user, offset, len) }
        }
    }
}

/// A plugin.
pub trait Plugin: 'static {
    /// Its devices.
    type Device: Device;
    /// Short name: "cpu".
    const NAME: &'static str;
    /// Version of the plugin.
    const VERSION: &'static str;
    /// See [`crate::Backend::score`].
    fn score() -> Result<i32>;
    /// See [`crate::Backend::device_count`].
    fn device_count() -> u32 {
        1
    }
    /// Kind, flags, tier and name of a device: fills `info`, whose header is set.
    fn device_info(index: u32, info: &mut DeviceInfo) -> Result<()>;
    /// Opens a device.
    fn open(index: u32, options: &OpenOptions) -> Result<Self::Device>;
}

/// An opened device. Its functions may be called from any thread.
pub trait Device: Send + Sync + Sized + 'static {
    /// Device memory.
    type Buffer: Send + Sync + 'static;
    /// A prepared weight.
    type Weight: Send + Sync + 'static;
    /// A compiled graph.
    type Exec: Send + Sync + 'static;

    /// `(free, total, used)` in bytes, 0 where unknown.
    fn memory(&self) -> Result<(u64, u64, u64)>;
    /// See [`crate::table::Peaks`]: with floats, with bytes.
    fn peaks(&self) -> Result<(f64, f64)> {
        Err(PluginError::unsupported("this backend does not measure its arithmetic"))
    }
    /// One [`crate::table::verdict`] per op.
    fn supports(&self, graph: &GraphView<'_>) -> Result<Vec<u8>>;

    /// Zeroed memory; `len` may be 0.
    fn alloc(&self, len: u64) -> Result<Self::Buffer>;
    /// Length of a buffer in bytes.
    fn buffer_len(&self, buffer: &Self::Buffer) -> u64;
    /// Copies in; the range has been checked.
    fn write(&self, buffer: &Self::Buffer, offset: u64, src: &[u8]) -> Result<()>;
    /// Copies out; the range has been checked.
    fn read(&self, buffer: &Self::Buffer, offset: u64, dst: &mut [u8]) -> Result<()>;
    /// Copies between buffers, which may be the same one with ranges apart; the ranges have been checked.
    fn copy(&self, dst: &Self::Buffer, dst_offset: u64, src: &Self::Buffer, src_offset: u64, len: u64) -> Result<()>;
    /// Fills; the range has been checked.
    fn fill(&self, buffer: &Self::Buffer, offset: u64, len: u64, byte: u8) -> Result<()>;

    /// Takes a weight. `source` has the spec's bytes; `cancel` is polled between parts.
    fn prepare(&self, spec: &WeightSpec<'_>, source: &[u8], cancel: &dyn Fn() -> bool) -> Result<Self::Weight>;
    /// Takes a weight, and may work on `source` itself: then [`weight_info`](Self::weight_info) says `keeps_source`.
    ///
    /// # Safety
    /// `source` stays readable and unchanged, and `release` callable, until the weight is dropped.
    unsafe fn prepare_lasting(
        &self,
        spec: &WeightSpec<'_>,
        source: &[u8],
        _release: Release,
        cancel: &dyn Fn() -> bool,
    ) -> Result<Self::Weight> {
        self.prepare(spec, source, cancel)
    }
    /// Takes a weight of [`PAGED`](crate::weight::usage::PAGED) usage, by default like any other whose source lasts.
    ///
    /// # Safety
    /// `source` stays readable and unchanged, and `release` callable, until the weight is dropped.
    unsafe fn prepare_paged(
        &self,
        spec: &WeightSpec<'_>,
        source: &[u8],
        release: Release,
        cancel: &dyn Fn() -> bool,
    ) -> Result<Self::Weight> {
        // SAFETY: passed on.
        unsafe { self.prepare_lasting(spec, source, release, cancel) }
    }
    /// What [`prepare`](Self::prepare), or with `lasting` [`prepare_lasting`](Self::prepare_lasting), would make of such a
    /// weight; the header is set by the caller.
    fn weight_layout(&self, _spec: &WeightSpec<'_>, _lasting: bool, _info: &mut WeightInfo) -> Result<()> {
        Err(PluginError::unsupported("this backend cannot tell what a weight will take"))
    }
    /// What a weight takes; the header is set by the caller.
    fn weight_info(&self, weight: &Self::Weight, info: &mut WeightInfo);
    /// Rows from `first` on, dequantized, as many as `out` holds.
    fn read_rows(&self, weight: &Self::Weight, first: u64, out: &mut [f32]) -> Result<()>;
    /// Replaces rows.
    fn update_rows(&self, _weight: &Self::Weight, _first: u64, _src: &[f32]) -> Result<()> {
        Err(PluginError::unsupported("weights of this backend cannot be updated"))
    }

    /// `(unit_bytes, canonical_bytes)`.
    fn state_layout(&self, desc: &crate::state::StateDesc) -> Result<(u64, u64)>;
    /// Unit to canonical layout; `dst` has `canonical_bytes`.
    fn state_export(
        &self,
        desc: &crate::state::StateDesc,
        buffer: &Self::Buffer,
        unit: u64,
        dst: &mut [u8],
    ) -> Result<()>;
    /// Canonical layout to unit; `src` has `canonical_bytes`.
    fn state_import(&self, desc: &crate::state::StateDesc, buffer: &Self::Buffer, unit: u64, src: &[u8]) -> Result<()>;

    /// Compiles; what the plugin needs of the view must be copied.
    fn compile(&self, graph: &GraphView<'_>) -> Result<Self::Exec>;
    /// Scratch memory of a step.
    fn scratch_bytes(&self, exec: &Self::Exec) -> u64;
    /// Runs one step to its end.
    fn run(&self, exec: &Self::Exec, step: &RunView<'_, Self>) -> Result<()>;
}
