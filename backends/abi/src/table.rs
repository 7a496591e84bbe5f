//! The functions of a plugin.
//!
//! Every function may be called from any thread; calls on one queue come from one thread at a time. None
//! aborts, exits, prints or unwinds. All but those of [`Backend::score`] to [`Backend::device_open`] and
//! the compile/run core may be absent (null): the host treats an absent function as
//! [`status::UNSUPPORTED`](crate::status::UNSUPPORTED).

use crate::graph::Graph;
use crate::run::{Binding, RunArgs};
use crate::state::{StateDesc, StateLayout};
use crate::weight::{WeightDesc, WeightInfo, WeightSource};
use crate::{BindSet, Buffer, Device, ErrorBuffer, Exec, Header, Queue, Status, Str, Ticket, Weight};
use core::ffi::c_void;

/// What the host offers a plugin.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Size of this struct.
    pub header: Header,
    /// Minor version of the host.
    pub minor: u32,
    /// Must be zero.
    pub reserved: u32,
    /// Takes a log line; `level` 1 error, 2 warning, 3 information, 4 debug.
    pub log: Option<unsafe extern "C" fn(user: *mut c_void, level: u32, line: Str)>,
    /// First argument of `log`.
    pub user: *mut c_void,
}

/// The entry function: stores a pointer to a table that lives as long as the process.
pub type Entry = unsafe extern "C" fn(host: *const Host, out: *mut *const Backend, err: *mut ErrorBuffer) -> Status;

/// Kinds of device.
pub mod device_kind {
    /// Processor.
    pub const CPU: u32 = 1;
    /// Graphics processor with its own memory.
    pub const GPU: u32 = 2;
    /// Graphics processor that shares the processor's memory.
    pub const INTEGRATED_GPU: u32 = 3;
    /// Anything else.
    pub const ACCELERATOR: u32 = 4;
}

/// Bits of [`DeviceInfo::flags`].
pub mod device_flags {
    /// Results do not depend on threads, chunking or the rest of the batch.
    pub const DETERMINISTIC: u32 = 1;
    /// Buffers are host memory.
    pub const UNIFIED: u32 = 2;
}

/// A device, before it is opened.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DeviceInfo {
    /// Size of this struct.
    pub header: Header,
    /// One of [`device_kind`].
    pub kind: u32,
    /// Bits of [`device_flags`].
    pub flags: u32,
    /// UTF-8, zero-padded.
    pub name: [u8; 64],
    /// The instruction set in use, UTF-8, zero-padded: "avx512-vnni", "sm_90".
    pub tier: [u8; 32],
    /// All memory in bytes; 0 where unknown.
    pub memory_total: u64,
    /// Largest single buffer in bytes; 0 where unlimited.
    pub max_buffer: u64,
    /// Alignment that offsets into buffers must have.
    pub alignment: u64,
}

/// How to open a device.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DeviceOptions {
    /// Size of this struct.
    pub header: Header,
    /// Worker threads; 0 lets the plugin choose.
    pub threads: u32,
    /// Must be zero.
    pub reserved: u32,
    /// Forces an instruction-set tier by name; empty lets the plugin choose.
    pub tier: Str,
}

/// A device's memory now.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MemoryInfo {
    /// Size of this struct.
    pub header: Header,
    /// Bytes free; 0 where unknown.
    pub free: u64,
    /// Bytes in all; 0 where unknown.
    pub total: u64,
    /// Bytes this plugin holds.
    pub used: u64,
}

/// How much arithmetic a device does at best, measured.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Peaks {
    /// Size of this struct.
    pub header: Header,
    /// Multiplications and additions of 32-bit floats a second; 0 where unknown.
    pub f32_ops: f64,
    /// Multiplications of bytes, and additions of their products in 32 bits, a second; 0 where unknown.
    pub i8_ops: f64,
}

/// What a compiled graph needs.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ExecInfo {
    /// Size of this struct.
    pub header: Header,
    /// Scratch memory the host must bind for a step.
    pub scratch_bytes: u64,
}

/// Answers of [`Backend::supports`].
pub mod verdict {
    /// The plugin lacks the op.
    pub const NO: u8 = 0;
    /// It has it, but another device is likely faster.
    pub const SLOW: u8 = 1;
    /// It has it.
    pub const YES: u8 = 2;
}

/// The table of a plugin.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the docs of a function stand above it; arguments are named")]
pub struct Backend {
    pub header: Header,
    pub minor: u32,
    pub reserved: u32,
    pub name: Str,
    pub version: Str,

    /// How well the plugin fits this machine: 0 = not usable (why: `err`), CPU plugins below 100, GPU above.
    pub score: Option<unsafe extern "C" fn(err: *mut ErrorBuffer) -> i32>,
    pub device_count: Option<unsafe extern "C" fn() -> u32>,
    pub device_info: Option<unsafe extern "C" fn(index: u32, out: *mut DeviceInfo, err: *mut ErrorBuffer) -> Status>,
    pub device_open: Option<
        unsafe extern "C" fn(
            index: u32,
            options: *const DeviceOptions,
            out: *mut Device,
            err: *mut ErrorBuffer,
        ) -> Status,
    >,
    /// Everything made on the device has been freed before.
    pub device_close: Option<unsafe extern "C" fn(dev: Device)>,
    pub memory: Option<unsafe extern "C" fn(dev: Device, out: *mut MemoryInfo, err: *mut ErrorBuffer) -> Status>,

    /// Writes one [`verdict`] per op of a real graph (its tensors may lack their final offsets).
    pub supports: Option<
        unsafe extern "C" fn(
            dev: Device,
            graph: *const Graph,
            out: *mut u8,
            n_out: u64,
            err: *mut ErrorBuffer,
        ) -> Status,
    >,

    pub queue_create: Option<unsafe extern "C" fn(dev: Device, out: *mut Queue, err: *mut ErrorBuffer) -> Status>,
    pub queue_free: Option<unsafe extern "C" fn(dev: Device, queue: Queue)>,
    /// OK once done, PENDING, or the work's error. A ticket is spent once this returns anything but PENDING.
    pub ticket_poll: Option<unsafe extern "C" fn(dev: Device, ticket: Ticket, err: *mut ErrorBuffer) -> Status>,
    /// Like `ticket_poll`, but waits up to `timeout_ns`.
    pub ticket_wait:
        Option<unsafe extern "C" fn(dev: Device, ticket: Ticket, timeout_ns: u64, err: *mut ErrorBuffer) -> Status>,

    pub buffer_alloc:
        Option<unsafe extern "C" fn(dev: Device, len: u64, out: *mut Buffer, err: *mut ErrorBuffer) -> Status>,
    pub buffer_free: Option<unsafe extern "C" fn(dev: Device, buffer: Buffer)>,
    /// `src` has been consumed on return.
    pub buffer_write: Option<
        unsafe extern "C" fn(
            dev: Device,
            queue: Queue,
            buffer: Buffer,
            offset: u64,
            src: *const u8,
            len: u64,
            err: *mut ErrorBuffer,
        ) -> Status,
    >,
    /// OK: `dst` is filled. PENDING: it is once the ticket is done.
    pub buffer_read: Option<
        unsafe extern "C" fn(
            dev: Device,
            queue: Queue,
            buffer: Buffer,
            offset: u64,
            dst: *mut u8,
            len: u64,
            ticket: *mut Ticket,
            err: *mut ErrorBuffer,
        ) -> Status,
    >,
    pub buffer_copy: Option<
        unsafe extern "C" fn(
            dev: Device,
            queue: Queue,
            dst: Buffer,
            dst_offset: u64,
            src: Buffer,
            src_offset: u64,
            len: u64,
            err: *mut ErrorBuffer,
        ) -> Status,
    >,
    pub buffer_fill: Option<
        unsafe extern "C" fn(
            dev: Device,
            queue: Queue,
            buffer: Buffer,
            offset: u64,
            len: u64,
            byte: u32,
            err: *mut ErrorBuffer,
        ) -> Status,
    >,

    pub weight_prepare: Option<
        unsafe extern "C" fn(
            dev: Device,
            desc: *const WeightDesc,
            source: *const WeightSource,
            out: *mut Weight,
            err: *mut ErrorBuffer,
        ) -> Status,
    >,
    pub weight_info: Option<
        unsafe extern "C" fn(dev: Device, weight: Weight, out: *mut WeightInfo, err: *mut ErrorBuffer) -> Status,
    >,
    /// Dequantized rows `first ..`, as many as `out` has room for (rows of the innermost dimension).
    pub weight_read_rows: Option<
        unsafe extern "C" fn(
            dev: Device,
            weight: Weight,
            first: u64,
            out: *mut f32,
            n_out: u64,
            err: *mut ErrorBuffer,
        ) -> Status,
    >,
    /// Replaces rows of a TRAINABLE weight.
    pub weight_update: Option<
        unsafe extern "C" fn(
            dev: Device,
            weight: Weight,
            first: u64,
            src: *const f32,
            n_src: u64,
            err: *mut ErrorBuffer,
        ) -> Status,
    >,
    pub weight_free: Option<unsafe extern "C" fn(dev: Device, weight: Weight)>,

    pub state_layout: Option<
        unsafe extern "C" fn(
            dev: Device,
            desc: *const StateDesc,
            out: *mut StateLayout,
            err: *mut ErrorBuffer,
        ) -> Status,
    >,
    /// Writes unit `unit` of a state buffer to `dst` in canonical layout (`canonical_bytes`).
    pub state_export: Option<
        unsafe extern "C" fn(
            dev: Device,
            queue: Queue,
            desc: *const StateDesc,
            buffer: Buffer,
            unit: u64,
            dst: *mut u8,
            len: u64,
            err: *mut ErrorBuffer,
        ) -> Status,
    >,
    pub state_import: Option<
        unsafe extern "C" fn(
            dev: Device,
            queue: Queue,
            desc: *const StateDesc,
            buffer: Buffer,
            unit: u64,
            src: *const u8,
            len: u64,
            err: *mut ErrorBuffer,
        ) -> Status,
    >,

    pub compile:
        Option<unsafe extern "C" fn(dev: Device, graph: *const Graph, out: *mut Exec, err: *mut ErrorBuffer) -> Status>,
    pub exec_info:
        Option<unsafe extern "C" fn(dev: Device, exec: Exec, out: *mut ExecInfo, err: *mut ErrorBuffer) -> Status>,
    pub exec_free: Option<unsafe extern "C" fn(dev: Device, exec: Exec)>,
    /// A bind set serves every compiled graph that numbers its fixed slots alike.
    pub bind_set_create: Option<
        unsafe extern "C" fn(
            dev: Device,
            bindings: *const Binding,
            n: u64,
            binding_size: u32,
            out: *mut BindSet,
            err: *mut ErrorBuffer,
        ) -> Status,
    >,
    pub bind_set_free: Option<unsafe extern "C" fn(dev: Device, set: BindSet)>,
    /// OK: done. PENDING: `ticket` is under way.
    pub run: Option<
        unsafe extern "C" fn(
            dev: Device,
            queue: Queue,
            exec: Exec,
            args: *const RunArgs,
            ticket: *mut Ticket,
            err: *mut ErrorBuffer,
        ) -> Status,
    >,

    /// Experiments, by name; promoted by appending to this table.
    pub extension: Option<unsafe extern "C" fn(name: Str) -> *const c_void>,

    /// What `weight_prepare` would make of such a weight, whose bytes last (1) or not (0), without making it.
    pub weight_layout: Option<
        unsafe extern "C" fn(
            dev: Device,
            desc: *const WeightDesc,
            lasting: u32,
            out: *mut WeightInfo,
            err: *mut ErrorBuffer,
        ) -> Status,
    >,
    /// Measures; takes a second at most.
    pub peaks: Option<unsafe extern "C" fn(dev: Device, out: *mut Peaks, err: *mut ErrorBuffer) -> Status>,
}

// SAFETY: a table is immutable plain data: function pointers and texts that live as long as the process.
unsafe impl Sync for Backend {}
// SAFETY: as above.
unsafe impl Send for Backend {}
