//! Checked, borrowed views of the structs that a host passes.

use super::{Device, PluginError, Result};
use crate::graph::{Graph, NONE, Op, Tensor, dim, place};
use crate::ops::Params;
use crate::run::RunArgs;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// An op of a [`GraphView`].
#[derive(Clone, Copy, Debug)]
pub struct OpView<'a> {
    /// Id, with [`crate::ops::GRAD`] for a gradient.
    pub op: u32,
    /// Tensor indices or [`NONE`].
    pub inputs: &'a [u32],
    /// Tensor indices or [`NONE`].
    pub outputs: &'a [u32],
    params: &'a [u8],
}

impl OpView<'_> {
    /// The parameters; a missing tail is zero.
    pub fn params<P: Params>(&self) -> P {
        let mut value = std::mem::MaybeUninit::<P>::zeroed();
        let len = self.params.len().min(size_of::<P>());
        // SAFETY: `len` fits both sides; `Params` types accept every bit pattern, zeros included.
        unsafe {
            std::ptr::copy_nonoverlapping(self.params.as_ptr(), value.as_mut_ptr().cast::<u8>(), len);
            value.assume_init()
        }
    }
    /// Index of input `i`, or `None` where absent.
    pub fn input(&self, i: usize) -> Option<usize> {
        self.inputs.get(i).filter(|&&t| t != NONE).map(|&t| t as usize)
    }
    /// Index of output `i`, or `None` where absent.
    pub fn output(&self, i: usize) -> Option<usize> {
        self.outputs.get(i).filter(|&&t| t != NONE).map(|&t| t as usize)
    }
}

/// A graph whose indices, ranks, places and slots have been checked.
#[derive(Debug)]
pub struct GraphView<'a> {
    /// All tensors.
    pub tensors: Vec<Tensor>,
    /// Ops in order.
    pub ops: Vec<OpView<'a>>,
    /// Largest sizes of dynamic dimensions.
    pub dim_max: [u64; dim::COUNT],
    /// Slots of the bind set.
    pub n_fixed: usize,
    /// Slots of the step's bindings.
    pub n_steps: usize,
    /// Bytes of arena.
    pub arena_bytes: u64,
}

impl<'a> GraphView<'a> {
    /// Reads and checks a host's graph.
    ///
    /// # Safety
    /// `graph` and everything it points to are readable for `'a`, with the sizes it states.
    pub unsafe fn new(graph: *const Graph) -> Result<GraphView<'a>> {
        // SAFETY: vouched for by the caller; sizes are checked before anything behind them is read.
        unsafe {
            let Some(g) = graph.as_ref() else { return Err(PluginError::argument("graph is null")) };
            if (g.header.struct_size as usize) < size_of::<Graph>()
                || (g.tensor_size as usize) < size_of::<Tensor>()
                || (g.op_size as usize) < size_of::<Op>()
            {
                return Err(PluginError::new(crate::status::ABI, "graph structs are smaller than version 1.0"));
            }
            let mut tensors = Vec::with_capacity(g.n_tensors as usize);
            for i in 0..g.n_tensors as usize {
                let t = *g.tensors.cast::<u8>().add(i * g.tensor_size as usize).cast::<Tensor>();
                check_tensor(i, &t, g)?;
                tensors.push(t);
            }
            let mut ops = Vec::with_capacity(g.n_ops as usize);
            for i in 0..g.n_ops as usize {
                let o = *g.ops.cast::<u8>().add(i * g.op_size as usize).cast::<Op>();
                let view = OpView {
                    op: o.op,
                    inputs: slice(o.inputs, o.n_inputs as usize),
                    outputs: slice(o.outputs, o.n_outputs as usize),
                    params: slice(o.params.cast::<u8>(), o.params_len as usize),
                };
                if view.inputs.iter().chain(view.outputs).any(|&t| t != NONE && t as usize >= tensors.len()) {
                    return Err(PluginError::argument(format!("op {i} names a tensor that is not there")));
                }
                ops.push(view);
            }
            Ok(GraphView {
                tensors,
                ops,
                dim_max: g.dim_max,
                n_fixed: g.n_fixed as usize,
                n_steps: g.n_steps as usize,
                arena_bytes: g.arena_bytes,
            })
        }
    }
}

unsafe fn slice<'a, T>(ptr: *const T, len: usize) -> &'a [T] {
    if len == 0 || ptr.is_null() {
        return &[];
    }
    // SAFETY: the caller of `GraphView::new` vouches for pointer and length.
    unsafe { std::slice::from_raw_parts(ptr, len) }
}

fn check_tensor(i: usize, t: &Tensor, g: &Graph) -> Result<()> {
    let bad = |what: &str| Err(PluginError::argument(format!("tensor {i}: {what}")));
    if !(1..=4).contains(&t.rank) {
        return bad("rank is not 1 to 4");
    }
    if t.dims.iter().any(|&d| d as usize >= dim::COUNT) {
        return bad("unknown dynamic dimension");
    }
    if t.shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d)).is_none() {
        return bad("element count overflows");
    }
    match t.place {
        place::ARENA => Ok(()),
        place::STEP if t.slot < g.n_steps => Ok(()),
        place::FIXED | place::WEIGHT | place::STATE if t.slot < g.n_fixed => Ok(()),
        _ => bad("slot is outside the bindings"),
    }
}

/// What a slot holds.
pub enum Resolved<'a, D: Device> {
    /// A buffer, the offset and the length bound.
    Buffer(&'a D::Buffer, u64, u64),
    /// A prepared weight.
    Weight(&'a D::Weight),
    /// Nothing.
    Empty,
}

impl<D: Device> Clone for Resolved<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<D: Device> Copy for Resolved<'_, D> {}

/// One step, with its handles resolved and lengths checked against the buffers.
pub struct RunView<'a, D: Device> {
    /// Bind set.
    pub fixed: &'a [Resolved<'a, D>],
    /// Step bindings.
    pub steps: Vec<Resolved<'a, D>>,
    /// Arena: buffer, offset, length.
    pub arena: Resolved<'a, D>,
    /// Scratch: buffer, offset, length.
    pub scratch: Resolved<'a, D>,
    /// Sizes of the dynamic dimensions, none above its maximum is guaranteed by the host.
    pub dims: [u64; dim::COUNT],
    /// See [`RunArgs::kv_bucket`].
    pub kv_bucket: u64,
    pub(super) args: &'a RunArgs,
}

impl<D: Device> RunView<'_, D> {
    /// Has the caller given up?
    pub fn cancelled(&self) -> bool {
        // SAFETY: the host keeps the flag alive for the step; it is only accessed atomically.
        !self.args.cancel.is_null()
            && unsafe { AtomicU32::from_ptr(self.args.cancel.cast_mut()) }.load(Ordering::Relaxed) != 0
    }
    /// Are op times wanted?
    pub fn profiling(&self) -> bool {
        !self.args.profile.is_null()
    }
    /// Adds to op `i`'s time; `i` is below the graph's op count.
    pub fn add_profile(&self, i: usize, ns: u64) {
        if self.profiling() {
            // SAFETY: the host gives one counter per op and keeps them alive for the step.
            unsafe { AtomicU64::from_ptr(self.args.profile.add(i)) }.fetch_add(ns, Ordering::Relaxed);
        }
    }
}
