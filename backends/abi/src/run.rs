//! What is bound to a compiled graph for one step.

use crate::{BindSet, Header, graph::dim};

/// Memory or a weight in a slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Binding {
    /// A buffer, or a weight where the graph says so.
    pub handle: u64,
    /// Bytes from the buffer's start; 0 for a weight.
    pub offset: u64,
    /// Bytes bound, at least 1; 0 for a weight. An empty slot is all zeros.
    pub len: u64,
}

/// One step.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RunArgs {
    /// Size of this struct.
    pub header: Header,
    /// Weights, states and other bindings that stay.
    pub bind_set: BindSet,
    /// Bindings of this step, one per step slot.
    pub steps: *const Binding,
    /// Number of `steps`.
    pub n_steps: u32,
    /// Bytes from one binding to the next.
    pub binding_size: u32,
    /// At least the graph's `arena_bytes`.
    pub arena: Binding,
    /// At least the `scratch_bytes` of the compiled graph.
    pub scratch: Binding,
    /// Sizes of the dynamic dimensions, indexed by [`dim`].
    pub dims: [u64; dim::COUNT],
    /// No sequence of the step has more KV positions than this.
    pub kv_bucket: u64,
    /// Becomes non-zero when the caller gives up; read with relaxed atomic loads; may be null.
    pub cancel: *const u32,
    /// One counter per op, to which its nanoseconds are added; may be null.
    pub profile: *mut u64,
    /// Called once when the step ends, from any thread, with `done_user` and its status; may be absent.
    pub done: Option<unsafe extern "C" fn(user: *mut core::ffi::c_void, status: crate::Status)>,
    /// First argument of `done`.
    pub done_user: *mut core::ffi::c_void,
}
