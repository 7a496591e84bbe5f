//! Graphs as a plugin compiles them: ops in order over tensors that already have their place.

use crate::Header;
use core::ffi::c_void;

/// Stands for an absent tensor in an op's inputs and outputs.
pub const NONE: u32 = u32::MAX;

/// Where a tensor's memory is.
pub mod place {
    /// In the step's arena, at `offset`. The host gives tensors that live at the same time different ranges.
    pub const ARENA: u32 = 0;
    /// `slot` of the step's bindings, at `offset`.
    pub const STEP: u32 = 1;
    /// `slot` of the bind set: a buffer, at `offset`.
    pub const FIXED: u32 = 2;
    /// `slot` of the bind set: a prepared weight.
    pub const WEIGHT: u32 = 3;
    /// `slot` of the bind set: a state buffer. Input and output state of an op name the same slot.
    pub const STATE: u32 = 4;
}

/// Dimensions whose size a step decides. [`Graph::dim_max`] has their maxima, `RunArgs::dims` their sizes.
pub mod dim {
    /// Not dynamic: the size is in `shape`.
    pub const FIXED: u32 = 0;
    /// Token rows of the step.
    pub const TOKENS: u32 = 1;
    /// Sequences of the step.
    pub const SEQUENCES: u32 = 2;
    /// Rows whose logits are wanted.
    pub const OUTPUTS: u32 = 3;
    /// Number of ids, [`FIXED`] included.
    pub const COUNT: usize = 4;
}

/// A tensor. Row-major and contiguous, outermost dimension first.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tensor {
    /// Element type.
    pub dtype: u32,
    /// One of [`place`].
    pub place: u32,
    /// Index into the bindings that `place` names.
    pub slot: u32,
    /// Dimensions used, 1 to 4.
    pub rank: u32,
    /// Sizes; a dynamic dimension's maximum. Unused entries are 1.
    pub shape: [u64; 4],
    /// One of [`dim`] per dimension.
    pub dims: [u32; 4],
    /// Bytes from the start of the binding.
    pub offset: u64,
}

/// An op. Its id and parameters are in [`crate::ops`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Op {
    /// Id; with [`crate::ops::GRAD`] its gradient.
    pub op: u32,
    /// Bytes of `params` as the host knows them; a missing tail reads as zero.
    pub params_len: u32,
    /// Number of `inputs`.
    pub n_inputs: u32,
    /// Number of `outputs`.
    pub n_outputs: u32,
    /// Tensor indices, or [`NONE`].
    pub inputs: *const u32,
    /// Tensor indices, or [`NONE`].
    pub outputs: *const u32,
    /// The op's parameter struct.
    pub params: *const c_void,
}

/// A graph. Valid for the call only; a plugin copies what it needs.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Graph {
    /// Size of this struct.
    pub header: Header,
    /// Bytes from one tensor to the next.
    pub tensor_size: u32,
    /// Bytes from one op to the next.
    pub op_size: u32,
    /// All tensors.
    pub tensors: *const Tensor,
    /// Number of tensors.
    pub n_tensors: u64,
    /// Ops in the order in which they run.
    pub ops: *const Op,
    /// Number of ops.
    pub n_ops: u64,
    /// Largest size of each dynamic dimension, indexed by [`dim`].
    pub dim_max: [u64; dim::COUNT],
    /// Slots of the bind set.
    pub n_fixed: u32,
    /// Slots of the step's bindings.
    pub n_steps: u32,
    /// Bytes of arena the graph needs.
    pub arena_bytes: u64,
}
