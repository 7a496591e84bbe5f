//! Compiled graphs: ops checked once, tensors resolved once per step.

use crate::clock::Now;
use crate::device::CpuDevice;
use crate::op::{CompiledOp, Ctx, Slot, Step};
use crate::ops::compile_op;
use crate::stop::Stop;
use std::sync::{Mutex, PoisonError};
use tern_abi::dtype;
use tern_abi::graph::{Tensor, dim, place};
use tern_abi::ops::GRAD;
use tern_abi::plugin::{GraphView, PluginError, Resolved, Result, RunView};

/// A graph ready to run.
pub struct Compiled {
    ops: Vec<Box<dyn CompiledOp>>,
    /// First output of each op but gradients: an op that makes no rows in a step is passed over.
    makes: Vec<Option<usize>>,
    /// The next op that reads weights, for the first op and for those that read weights themselves: between the end of
    /// an op's weights and the beginning of the next one's, memory would otherwise have nothing to do.
    warms: Vec<Option<usize>>,
    tensors: Vec<Tensor>,
    /// Tensors that ops name; the others are never resolved.
    used: Vec<usize>,
    dim_max: [u64; dim::COUNT],
    scratch: usize,
    /// Where tensors are in the current step; kept, so that a step does not allocate.
    slots: Mutex<Vec<Slot>>,
}

type View<'a> = RunView<'a, CpuDevice>;

/// Lets all workers poll the cancel flag.
struct Shared<'a>(&'a View<'a>);
// SAFETY: only `cancelled` is called from several threads, which is one atomic load.
unsafe impl Sync for Shared<'_> {}
impl Shared<'_> {
    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
    fn profile(&self, op: usize, since: Option<Now>) {
        if let Some(since) = since {
            self.0.add_profile(op, since.nanoseconds());
        }
    }
}

impl Compiled {
    /// Checks and compiles every op.
    pub fn new(view: &GraphView<'_>, ctx: &Ctx) -> Result<Self> {
        let mut ops = Vec::with_capacity(view.ops.len());
        let mut is_used = vec![false; view.tensors.len()];
        let mut makes = Vec::with_capacity(view.ops.len());
        for (i, op) in view.ops.iter().enumerate() {
            let compiled = compile_op(view, op, ctx)
                .map_err(|e| PluginError::new(e.status, format!("op {i} of the graph: {}", e.message)))?;
            ops.push(compiled);
            // The gradient of a weight is there without rows, too: zeros.
            makes.push(op.output(0).filter(|_| op.op & GRAD == 0));
            for t in (0..op.inputs.len()).filter_map(|k| op.input(k)) {
                is_used[t] = true;
            }
            for t in (0..op.outputs.len()).filter_map(|k| op.output(k)) {
                is_used[t] = true;
            }
        }
        let used: Vec<usize> = (0..is_used.len()).filter(|&t| is_used[t]).collect();
        for &t in &used {
            check_tensor(t, view)?;
        }
        let next = |i: usize| (i + 1..ops.len()).find(|&j| ops[j].streams());
        let warms = (0..ops.len()).map(|i| next(i).filter(|_| i == 0 || ops[i].streams())).collect();
        Ok(Self {
            warms,
            scratch: ops.iter().map(|op| op.scratch_bytes()).max().unwrap_or(0),
            ops,
            makes,
            slots: Mutex::new(vec![Slot::EMPTY; view.tensors.len()]),
            tensors: view.tensors.clone(),
            used,
            dim_max: view.dim_max,
        })
    }

    /// Scratch that a step needs.
    pub fn scratch_bytes(&self) -> usize {
        self.scratch
    }

    /// Runs a step on the device's pool.
    pub fn run(&self, device: &CpuDevice, view: &View<'_>) -> Result<()> {
        let mut dims = [0; dim::COUNT];
        for (i, d) in dims.iter_mut().enumerate().skip(1) {
            if view.dims[i] > self.dim_max[i] {
                return Err(PluginError::argument(format!(
                    "dynamic dimension {i} is {}, its maximum {}",
                    view.dims[i], self.dim_max[i]
                )));
            }
            *d = view.dims[i] as usize;
        }
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for &t in &self.used {
            slots[t] = resolve(t, &self.tensors[t], view)?;
        }
        // SAFETY: bound for this step.
        let weights = self.used.iter().filter_map(|&t| unsafe { slots[t].weight() });
        device.moving().go_on(device.pool(), dims[dim::TOKENS as usize], weights);
        let shared = Shared(view);
        let poll = || shared.cancelled();
        let stop = Stop::new(&poll);
        let step = Step { slots: &slots, tensors: &self.tensors, dims, scratch: self.bind_scratch(view)?, stop: &stop };
        for (slot, t) in self.used.iter().map(|&t| (&step.slots[t], t)) {
            if slot.weight.is_null() && self.tensors[t].place != place::STATE && step.size_of(t) > slot.bytes {
                return Err(PluginError::argument(format!(
                    "tensor {t} has {} bytes in this step, {} are bound",
                    step.size_of(t),
                    slot.bytes
                )));
            }
        }
        for (op, makes) in self.ops.iter().zip(&self.makes) {
            if makes.is_none_or(|t| step.size_of(t) > 0) {
                op.check(&step)?;
            }
        }
        let profiling = view.profiling();
        device.pool().run(&stop, &|worker| {
            for (i, op) in self.ops.iter().enumerate() {
                if self.makes[i].is_some_and(|t| step.size_of(t) == 0) {
                    continue;
                }
                let started = (profiling && worker.index() == 0).then(Now::read);
                // SAFETY: the step's tensors were resolved and checked above; all workers run this loop.
                unsafe {
                    op.run(&step, worker);
                    if let Some(next) = self.warms[i] {
                        self.ops[next].warm(&step, worker);
                    }
                }
                worker.barrier();
                shared.profile(i, started);
                if worker.stopped() {
                    break;
                }
            }
        })?;
        stop.into_result()
    }

    fn bind_scratch(&self, view: &View<'_>) -> Result<*mut u8> {
        match view.scratch {
            Resolved::Buffer(buffer, offset, len) if len >= self.scratch as u64 => {
                // SAFETY: the range was checked against the buffer.
                let ptr = unsafe { buffer.ptr().add(offset as usize) };
                if ptr.addr() % crate::memory::ALIGN != 0 {
                    return Err(PluginError::argument(format!("scratch at offset {offset} is not aligned to 64")));
                }
                Ok(ptr)
            }
            Resolved::Empty if self.scratch == 0 => Ok(std::ptr::null_mut()),
            _ => Err(PluginError::argument(format!("the graph needs {} bytes of scratch", self.scratch))),
        }
    }
}

fn check_tensor(i: usize, view: &GraphView<'_>) -> Result<()> {
    let t = &view.tensors[i];
    for d in 0..4 {
        if t.dims[d] != dim::FIXED && t.shape[d] < view.dim_max[t.dims[d] as usize] {
            return Err(PluginError::argument(format!("tensor {i}: its shape is below a dynamic dimension's maximum")));
        }
    }
    if t.place == place::WEIGHT || t.place == place::STATE {
        return Ok(());
    }
    let size = dtype::plain_size(t.dtype)
        .ok_or_else(|| PluginError::unsupported(format!("tensor {i}: dtype {} outside a weight", t.dtype)))?;
    let end = t.shape.iter().product::<u64>().checked_mul(size).and_then(|n| n.checked_add(t.offset));
    match end {
        Some(end) if t.place != place::ARENA || end <= view.arena_bytes => Ok(()),
        _ => Err(PluginError::argument(format!("tensor {i} does not fit the arena's {} bytes", view.arena_bytes))),
    }
}

fn resolve(i: usize, t: &Tensor, view: &View<'_>) -> Result<Slot> {
    let bad = |what: &str| Err(PluginError::argument(format!("tensor {i}: {what}")));
    let bound = match t.place {
        place::ARENA => Some(&view.arena),
        place::STEP => view.steps.get(t.slot as usize),
        _ => view.fixed.get(t.slot as usize),
    };
    match bound {
        Some(&Resolved::Weight(weight)) if t.place == place::WEIGHT => {
            if weight.dtype() != t.dtype || weight.shape() != &t.shape[..t.rank as usize] {
                return bad("the bound weight has another type or shape");
            }
            Ok(Slot { ptr: std::ptr::null_mut(), bytes: 0, weight })
        }
        Some(&Resolved::Buffer(buffer, offset, len)) if t.place != place::WEIGHT => {
            let Some(bytes) = len.checked_sub(t.offset) else { return bad("its offset is outside what is bound") };
            // SAFETY: the binding was checked against the buffer, the offset against the binding.
            let ptr = unsafe { buffer.ptr().add((offset + t.offset) as usize) };
            // A state's tensor may be given as plain bytes, while its layout has elements of up to 4.
            let align = if t.place == place::STATE { 4 } else { dtype::plain_size(t.dtype).unwrap_or(8) as usize };
            if ptr.addr() % align != 0 {
                return bad("its address is not aligned");
            }
            Ok(Slot { ptr, bytes: bytes as usize, weight: std::ptr::null() })
        }
        Some(Resolved::Empty) | None => bad("nothing is bound"),
        _ => bad("a weight is bound where a buffer is wanted, or the reverse"),
    }
}
