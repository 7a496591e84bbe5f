//! A graph that toys can run, and what it takes to run it.

use crate::toy::{Behaviour, Toy};
use std::sync::Arc;
use tern::backend::{
    Backend, BindSet, Bound, Buffer, CancelFlag, Device, Exec, GraphDesc, OpDesc, Result, StepArgs, Weight, WeightSpec,
};
use tern_abi::dtype::F32;
use tern_abi::graph::{Tensor, dim, place};
use tern_abi::ops;
use tern_abi::plugin::Glue;
use tern_abi::weight::usage;

pub const TOKENS: u64 = 8;
pub const ROW: u64 = 4;

/// The entry of a toy.
pub fn entry<B: Behaviour>() -> tern_abi::Entry {
    Glue::<Toy<B>>::entry
}

pub fn backend<B: Behaviour>() -> Backend {
    // SAFETY: the entry of a plugin.
    unsafe { Backend::from_entry(entry::<B>()) }.unwrap()
}

pub fn device<B: Behaviour>() -> Arc<Device> {
    backend::<B>().open(0, 0, "").unwrap()
}

pub fn tensor(place: u32, slot: u32, tokens: u32) -> Tensor {
    Tensor { dtype: F32, place, slot, rank: 2, shape: [TOKENS, ROW, 1, 1], dims: [tokens, 0, 0, 0], offset: 0 }
}

/// `step 1 = (step 0 + weight 0) + fixed 1`, with the first sum in the arena.
pub fn graph() -> GraphDesc {
    let op = |inputs: [u32; 2], output| OpDesc {
        op: ops::ADD,
        inputs: inputs.to_vec(),
        outputs: vec![output],
        params: Vec::new(),
    };
    GraphDesc {
        tensors: vec![
            tensor(place::STEP, 0, dim::TOKENS),
            tensor(place::WEIGHT, 0, dim::FIXED),
            tensor(place::FIXED, 1, dim::FIXED),
            tensor(place::ARENA, 0, dim::TOKENS),
            tensor(place::STEP, 1, dim::TOKENS),
        ],
        ops: vec![op([0, 1], 3), op([3, 2], 4)],
        dim_max: [0, TOKENS, 1, 1],
        n_fixed: 2,
        n_steps: 2,
        arena_bytes: TOKENS * ROW * 4,
    }
}

/// Everything of [`graph`] on a device. The weight counts up from 0, the buffer holds 100.
pub struct Rig {
    pub device: Arc<Device>,
    pub exec: Exec,
    pub set: BindSet,
    pub steps: Vec<Bound>,
    pub arena: Buffer,
    pub scratch: Buffer,
    pub cancel: CancelFlag,
}

pub fn weight(device: &Arc<Device>) -> Result<Weight> {
    let bytes: Vec<u8> = (0..TOKENS * ROW).flat_map(|i| (i as f32).to_ne_bytes()).collect();
    let spec = WeightSpec {
        name: "w",
        dtype: F32,
        shape: &[TOKENS, ROW],
        usage: usage::FORWARD | usage::TRAINABLE,
        cache_bytes: 0,
    };
    device.prepare(&spec, &bytes, &CancelFlag::new())
}

impl Rig {
    pub fn new(device: Arc<Device>) -> Result<Self> {
        let bytes = TOKENS * ROW * 4;
        let bias = Arc::new(device.alloc(bytes)?);
        bias.write_f32(0, &[100.0; (TOKENS * ROW) as usize])?;
        let set = device.bind_set(vec![Bound::Weight(Arc::new(weight(&device)?)), Bound::whole(&bias)])?;
        let exec = device.compile(&graph())?;
        let (x, y) = (Arc::new(device.alloc(bytes)?), Arc::new(device.alloc(bytes)?));
        let (arena, scratch) = (device.alloc(exec.arena_bytes())?, device.alloc(exec.scratch_bytes())?);
        let steps = vec![Bound::whole(&x), Bound::whole(&y)];
        Ok(Self { device, exec, set, steps, arena, scratch, cancel: CancelFlag::new() })
    }

    pub fn args(&self, tokens: u64) -> StepArgs<'_> {
        StepArgs {
            steps: &self.steps,
            arena: &self.arena,
            scratch: &self.scratch,
            dims: [0, tokens, 1, 1],
            kv_bucket: 0,
            cancel: &self.cancel,
            profile: None,
        }
    }

    pub fn run(&self, tokens: u64) -> Result<()> {
        self.device.run(&self.exec, &self.set, &self.args(tokens))
    }

    /// The result's first `n` numbers.
    pub fn result(&self, n: usize) -> Result<Vec<f32>> {
        let Bound::Buffer(y, ..) = &self.steps[1] else { panic!("the result is a buffer") };
        let mut out = vec![0.0; n];
        y.read_f32(0, &mut out)?;
        Ok(out)
    }
}
