//! What a compiled op is, and what it sees of a step.

use crate::pool::Worker;
use crate::stop::Stop;
use crate::tier::Tier;
use crate::weight::Prepared;
use tern_abi::graph::{Tensor, dim};
use tern_abi::plugin::{GraphView, OpView, PluginError, Result};

/// What an op is compiled for.
#[derive(Clone, Copy, Debug)]
pub struct Ctx {
    /// Kernels to use.
    pub tier: Tier,
    /// Workers that will run it.
    pub threads: usize,
}

/// Compiles an op: cheap and without side effects.
pub type Compile = fn(&GraphView<'_>, &OpView<'_>, &Ctx) -> Result<Box<dyn CompiledOp>>;

/// An op ready to run. It keeps tensor indices and kernels, and no state from step to step.
pub trait CompiledOp: Send + Sync {
    /// Scratch that a step needs at most. Ops use the same memory one after another.
    fn scratch_bytes(&self) -> usize {
        0
    }
    /// Called once per step before any op runs: checks the contents of inputs that would otherwise lead
    /// out of bounds. Only for tensors that no op of the graph writes.
    fn check(&self, _step: &Step<'_>) -> Result<()> {
        Ok(())
    }
    /// Runs the op on one worker; all workers call it. It ends without a barrier: the executor puts one
    /// after every op.
    ///
    /// # Safety
    /// The step is that of the graph the op was compiled from: pointers are valid for the tensors' sizes,
    /// `check` has passed, and all workers of the run make the same calls in the same order.
    unsafe fn run(&self, step: &Step<'_>, worker: &Worker<'_>);
    /// Does the op read weights that are worth asking for before its turn?
    fn streams(&self) -> bool {
        false
    }
    /// Asks for the weights that this worker reads first, while nothing else wants the memory. Changes nothing.
    ///
    /// # Safety
    /// As [`run`](Self::run), but without any order.
    unsafe fn warm(&self, _step: &Step<'_>, _worker: &Worker<'_>) {}
}

/// Rows of `width` elements that are worth a worker of their own: below a few thousand elements another
/// worker's cache misses cost more than it saves.
pub fn grain(width: usize) -> usize {
    (2048 / width.max(1)).max(1)
}

/// A tensor's memory in a step.
#[derive(Clone, Copy)]
pub struct Slot {
    pub(crate) ptr: *mut u8,
    pub(crate) bytes: usize,
    pub(crate) weight: *const Prepared,
}

impl Slot {
    /// Not bound.
    pub(crate) const EMPTY: Self = Self { ptr: std::ptr::null_mut(), bytes: 0, weight: std::ptr::null() };

    /// The prepared weight, where the tensor is one.
    ///
    /// # Safety
    /// The step that the slot was bound for is not over.
    pub(crate) unsafe fn weight<'a>(&self) -> Option<&'a Prepared> {
        // SAFETY: null, or bound for the step.
        unsafe { self.weight.as_ref() }
    }
}

// SAFETY: a slot is only an address; ops see to it that accesses do not race.
unsafe impl Send for Slot {}

/// One step: where tensors are and how large they are now.
pub struct Step<'a> {
    pub(crate) slots: &'a [Slot],
    pub(crate) tensors: &'a [Tensor],
    pub(crate) dims: [usize; dim::COUNT],
    pub(crate) scratch: *mut u8,
    pub(crate) stop: &'a Stop<'a>,
}

// SAFETY: addresses of memory that is valid for the step; ops see to it that accesses do not race.
unsafe impl Sync for Step<'_> {}

impl<'a> Step<'a> {
    /// First byte of a tensor; null for a prepared weight.
    pub fn ptr(&self, tensor: usize) -> *mut u8 {
        self.slots[tensor].ptr
    }
    /// The same, typed.
    pub fn f32(&self, tensor: usize) -> *mut f32 {
        self.ptr(tensor).cast()
    }
    /// The same for an optional tensor: null where absent.
    pub fn f32_or_null(&self, tensor: Option<usize>) -> *mut f32 {
        tensor.map_or(std::ptr::null_mut(), |t| self.f32(t))
    }
    /// An i32 tensor's elements.
    ///
    /// # Safety
    /// The tensor is I32 and nothing writes it meanwhile.
    pub unsafe fn i32s(&self, tensor: usize) -> &'a [i32] {
        // SAFETY: the executor has checked the size against the binding; alignment at compile and bind time.
        unsafe { std::slice::from_raw_parts(self.ptr(tensor).cast_const().cast(), self.len(tensor)) }
    }
    /// Bytes that may be accessed from [`ptr`](Self::ptr) on. For a state: all that is bound.
    pub fn bytes(&self, tensor: usize) -> usize {
        self.slots[tensor].bytes
    }
    /// The prepared weight of a tensor placed as one. Its type and shape are the tensor's.
    pub fn weight(&self, tensor: usize) -> Option<&'a Prepared> {
        // SAFETY: this is the step.
        unsafe { self.slots[tensor].weight() }
    }
    /// Its dimensions in this step.
    pub fn shape(&self, tensor: usize) -> [usize; 4] {
        let t = &self.tensors[tensor];
        std::array::from_fn(|i| match t.dims[i] {
            dim::FIXED => t.shape[i] as usize,
            d => self.dims[d as usize],
        })
    }
    /// Product of all dimensions but the last.
    pub fn rows(&self, tensor: usize) -> usize {
        let shape = self.shape(tensor);
        shape[..self.tensors[tensor].rank as usize - 1].iter().product()
    }
    /// Number of elements.
    pub fn len(&self, tensor: usize) -> usize {
        self.shape(tensor).iter().product()
    }
    /// Bytes of a plain tensor.
    pub(crate) fn size_of(&self, tensor: usize) -> usize {
        self.len(tensor) * tern_abi::dtype::plain_size(self.tensors[tensor].dtype).unwrap_or(0) as usize
    }
    /// Size of a dynamic dimension, see [`dim`].
    pub fn dim(&self, id: u32) -> usize {
        self.dims[id as usize]
    }
    /// Scratch memory: as much as the op asked for, aligned to 64 bytes, contents undefined.
    pub fn scratch(&self) -> *mut u8 {
        self.scratch
    }
    /// Should work stop? Long ops ask every few milliseconds at most and then skip what is left, but
    /// arrive at all their barriers.
    pub fn cancelled(&self) -> bool {
        self.stop.is_set()
    }
    /// Ends the step with an error at the next barrier.
    pub fn fail(&self, error: PluginError) {
        self.stop.fail(error);
    }
}
