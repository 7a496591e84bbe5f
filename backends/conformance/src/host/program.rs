//! A graph with its data: allocated, bound, run and read back.

use super::device::{Device, Memory};
use super::{HostError, Result};
use tern_abi::graph::{Graph, NONE, Op, Tensor, dim, place};
use tern_abi::run::{Binding, RunArgs};
use tern_abi::state::StateDesc;
use tern_abi::table::verdict;
use tern_abi::weight::usage;
use tern_abi::{Header, dtype};

/// A state: what it is, and its units in canonical layout.
#[derive(Clone, Debug, PartialEq)]
pub struct StateSpec {
    /// One of [`tern_abi::state::kind`].
    pub kind: u32,
    /// Element type.
    pub dtype: u32,
    /// Depends on the kind.
    pub dims: [u64; 6],
    /// Canonical bytes of each unit.
    pub units: Vec<Vec<u8>>,
}

impl StateSpec {
    fn desc(&self) -> StateDesc {
        StateDesc { header: Header::of::<StateDesc>(), kind: self.kind, dtype: self.dtype, dims: self.dims }
    }
}

/// What stands behind a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// Bound for the step, with these bytes.
    Input(Vec<u8>),
    /// In the bind set, with these bytes.
    Fixed(Vec<u8>),
    /// A prepared weight, with these bytes.
    Weight(Vec<u8>),
    /// A state.
    State(StateSpec),
    /// In the arena.
    Temp,
    /// Bound for the step, read back afterwards.
    Output,
}

/// A tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Element type.
    pub dtype: u32,
    /// Sizes in this step.
    pub shape: Vec<usize>,
    /// One of [`dim`] per dimension.
    pub dims: Vec<u32>,
    /// What stands behind it.
    pub role: Role,
}

impl TensorSpec {
    fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * dtype::plain_size(self.dtype).unwrap_or(1) as usize
    }
    /// Sizes a plan compiled for more tokens would give.
    fn max_shape(&self, max: &[u64; dim::COUNT]) -> Vec<usize> {
        let size = |(i, &n): (usize, &usize)| match self.dims.get(i).copied().unwrap_or(dim::FIXED) {
            dim::FIXED => n,
            d => max[d as usize] as usize,
        };
        self.shape.iter().enumerate().map(size).collect()
    }
}

/// An op.
#[derive(Clone, Debug, PartialEq)]
pub struct OpSpec {
    /// Id.
    pub op: u32,
    /// Its parameter struct's bytes, as 32-bit words so that they are aligned.
    pub params: Vec<u32>,
    /// Indices of tensors.
    pub inputs: Vec<Option<usize>>,
    /// Indices of tensors.
    pub outputs: Vec<Option<usize>>,
}

/// A graph with its data.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Program {
    /// Tensors.
    pub tensors: Vec<TensorSpec>,
    /// Ops in order.
    pub ops: Vec<OpSpec>,
    /// Sizes of dynamic dimensions in this step.
    pub dims: [u64; dim::COUNT],
}

/// What a run left.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Bytes of each [`Role::Output`] tensor, empty for others.
    pub outputs: Vec<Vec<u8>>,
    /// Canonical units of each [`Role::State`] tensor, empty for others.
    pub states: Vec<Vec<Vec<u8>>>,
}

/// How much larger than the step a plan's dynamic dimensions are: plugins must use the step's sizes.
pub const SLACK: u64 = 3;
/// Bytes around outputs that must not change.
const GUARD: u64 = 64;
const GUARD_BYTE: u8 = 0xa5;

pub(super) fn four(shape: &[usize]) -> [u64; 4] {
    let mut out = [1; 4];
    out.iter_mut().zip(shape).for_each(|(to, &from)| *to = from as u64);
    out
}

/// The program in the ABI's structs.
struct Lowered {
    tensors: Vec<Tensor>,
    lists: Vec<[Vec<u32>; 2]>,
    max: [u64; dim::COUNT],
    n_fixed: u32,
    n_steps: u32,
    arena_bytes: u64,
}

impl Program {
    /// Adds a tensor and returns its index.
    pub fn tensor(&mut self, tensor: TensorSpec) -> usize {
        self.tensors.push(tensor);
        self.tensors.len() - 1
    }

    fn lower(&self, alignment: u64) -> Lowered {
        let max = self.dims.map(|n| if n == 0 { 0 } else { n + SLACK });
        let (mut n_fixed, mut n_steps, mut arena) = (0, 0, alignment);
        let mut tensors = Vec::new();
        for spec in &self.tensors {
            let shape = spec.max_shape(&max);
            let take = |n: &mut u32| {
                *n += 1;
                *n - 1
            };
            let (place, slot, offset) = match spec.role {
                // An offset within the binding, besides that of the binding: both must be honoured.
                Role::Input(_) | Role::Output => (place::STEP, take(&mut n_steps), alignment),
                Role::Fixed(_) => (place::FIXED, take(&mut n_fixed), alignment),
                Role::Weight(_) => (place::WEIGHT, take(&mut n_fixed), 0),
                Role::State(_) => (place::STATE, take(&mut n_fixed), 0),
                Role::Temp => {
                    let size = dtype::plain_size(spec.dtype).unwrap_or(1) * shape.iter().product::<usize>() as u64;
                    let at = arena;
                    arena = (arena + size).next_multiple_of(alignment);
                    (place::ARENA, 0, at)
                }
            };
            let mut dims = [dim::FIXED; 4];
            dims.iter_mut().zip(&spec.dims).for_each(|(to, &from)| *to = from);
            let rank = shape.len() as u32;
            tensors.push(Tensor { dtype: spec.dtype, place, slot, rank, shape: four(&shape), dims, offset });
        }
        let list = |ids: &[Option<usize>]| ids.iter().map(|t| t.map_or(NONE, |t| t as u32)).collect();
        let lists = self.ops.iter().map(|op| [list(&op.inputs), list(&op.outputs)]).collect();
        Lowered { tensors, lists, max, n_fixed, n_steps, arena_bytes: arena }
    }

    fn with_graph<T>(&self, lowered: &Lowered, f: impl FnOnce(&Graph) -> T) -> T {
        let op = |(spec, [inputs, outputs]): (&OpSpec, &[Vec<u32>; 2])| Op {
            op: spec.op,
            params_len: size_of_val(&spec.params[..]) as u32,
            n_inputs: inputs.len() as u32,
            n_outputs: outputs.len() as u32,
            inputs: inputs.as_ptr(),
            outputs: outputs.as_ptr(),
            params: spec.params.as_ptr().cast(),
        };
        let ops: Vec<Op> = self.ops.iter().zip(&lowered.lists).map(op).collect();
        f(&Graph {
            header: Header::of::<Graph>(),
            tensor_size: size_of::<Tensor>() as u32,
            op_size: size_of::<Op>() as u32,
            tensors: lowered.tensors.as_ptr(),
            n_tensors: lowered.tensors.len() as u64,
            ops: ops.as_ptr(),
            n_ops: ops.len() as u64,
            dim_max: lowered.max,
            n_fixed: lowered.n_fixed,
            n_steps: lowered.n_steps,
            arena_bytes: lowered.arena_bytes,
        })
    }

    /// Does the device have every op? The first that it lacks is the error.
    pub fn check_support(&self, device: &Device) -> Result<()> {
        let lowered = self.lower(device.alignment);
        let verdicts = self.with_graph(&lowered, |graph| device.supports(graph))?;
        match verdicts.iter().position(|&v| v == verdict::NO) {
            None => Ok(()),
            // Verdicts carry no reason, but compiling anyway likely yields one.
            Some(op) => {
                let why = match self.with_graph(&lowered, |graph| device.compile(graph)) {
                    Err(error) => error.to_string(),
                    Ok(_) => "yet it compiles".into(),
                };
                Err(HostError::Unsupported { op, why })
            }
        }
    }

    /// Runs the program and reads outputs and states back.
    pub fn run(&self, device: &Device) -> Result<Outcome> {
        self.run_with(device, &0)
    }
    /// Runs the program with its cancel flag set from the start.
    pub fn run_cancelled(&self, device: &Device) -> Result<Outcome> {
        self.run_with(device, &1)
    }
    /// Imports and exports the units of the first state.
    pub fn states(&self, device: &Device) -> Result<Vec<Vec<u8>>> {
        let state = self.tensors.iter().find_map(|t| match &t.role {
            Role::State(state) => Some(state),
            _ => None,
        });
        let Some(state) = state else { return Ok(Vec::new()) };
        export(device, state, &import(device, state)?)
    }

    fn run_with(&self, device: &Device, cancel: &u32) -> Result<Outcome> {
        self.check_support(device)?;
        let lowered = self.lower(device.alignment);
        let guard = GUARD.next_multiple_of(device.alignment);
        let mut memories: Vec<Option<Memory<'_>>> = Vec::new();
        let mut weights = Vec::new();
        let (mut fixed, mut steps) = (Vec::new(), Vec::new());
        for (i, (spec, tensor)) in self.tensors.iter().zip(&lowered.tensors).enumerate() {
            let memory = match &spec.role {
                Role::Temp => None,
                Role::Weight(bytes) => {
                    let usage = usage::FORWARD | usage::BACKWARD_INPUT | usage::GATHER;
                    let weight = device.prepare(spec.dtype, &spec.shape, usage, bytes)?;
                    fixed.push(weight.binding());
                    weights.push(weight);
                    None
                }
                Role::State(state) => {
                    let memory = import(device, state)?;
                    fixed.push(memory.binding(0, memory_len(device, state)?));
                    Some(memory)
                }
                Role::Input(_) | Role::Fixed(_) | Role::Output => {
                    let size = dtype::plain_size(spec.dtype).unwrap_or(1);
                    let bytes = tensor.shape.iter().product::<u64>() * size;
                    let bound = tensor.offset + bytes;
                    let memory = device.alloc(bound + 2 * guard)?;
                    memory.write(0, &vec![GUARD_BYTE; (bound + 2 * guard) as usize])?;
                    if let Role::Input(data) | Role::Fixed(data) = &spec.role {
                        if data.len() != spec.bytes() {
                            let (bytes, expected) = (data.len(), spec.bytes());
                            return Err(HostError::Bytes { tensor: i, bytes, expected });
                        }
                        memory.write(guard + tensor.offset, data)?;
                    }
                    let list = if tensor.place == place::STEP { &mut steps } else { &mut fixed };
                    list.push(memory.binding(guard, bound));
                    Some(memory)
                }
            };
            memories.push(memory);
        }
        self.step(device, &lowered, &fixed, &steps, cancel)?;

        let mut outcome = Outcome { outputs: Vec::new(), states: Vec::new() };
        for (i, ((spec, tensor), memory)) in self.tensors.iter().zip(&lowered.tensors).zip(&memories).enumerate() {
            let (mut output, mut units) = (Vec::new(), Vec::new());
            match (&spec.role, memory) {
                (Role::State(state), Some(memory)) => units = export(device, state, memory)?,
                (Role::Output | Role::Input(_) | Role::Fixed(_), Some(memory)) => {
                    output = self.check_guards(i, tensor, guard, &memory.read()?)?;
                }
                _ => {}
            }
            outcome.outputs.push(output);
            outcome.states.push(units);
        }
        Ok(outcome)
    }

    fn step(
        &self,
        device: &Device,
        lowered: &Lowered,
        fixed: &[Binding],
        steps: &[Binding],
        cancel: &u32,
    ) -> Result<()> {
        let exec = self.with_graph(lowered, |graph| device.compile(graph))?;
        let bound = device.bind(fixed)?;
        let arena = device.alloc(lowered.arena_bytes)?;
        // What an earlier step may have left: a plugin must not take it for zeros.
        arena.write(0, &vec![0xcd; lowered.arena_bytes as usize])?;
        let scratch = device.alloc(exec.scratch_bytes)?;
        device.run(
            &exec,
            &RunArgs {
                header: Header::of::<RunArgs>(),
                bind_set: bound.handle,
                steps: steps.as_ptr(),
                n_steps: steps.len() as u32,
                binding_size: size_of::<Binding>() as u32,
                arena: arena.binding(0, lowered.arena_bytes),
                scratch: match exec.scratch_bytes {
                    0 => Binding::default(),
                    n => scratch.binding(0, n),
                },
                dims: self.dims,
                kv_bucket: self.kv_bucket(),
                cancel: std::ptr::from_ref(cancel),
                profile: std::ptr::null_mut(),
                done: None,
                done_user: std::ptr::null_mut(),
            },
        )
    }

    /// Positions that no sequence exceeds: what its pages have room for.
    fn kv_bucket(&self) -> u64 {
        let pages = |t: &TensorSpec| match &t.role {
            Role::State(s) if s.kind == tern_abi::state::kind::KV_PAGE => Some(s.dims[2] * s.units.len() as u64),
            _ => None,
        };
        self.tensors.iter().filter_map(pages).max().unwrap_or(self.dims[dim::TOKENS as usize])
    }

    /// The tensor's bytes, after checking those around it, and that inputs did not change.
    fn check_guards(&self, i: usize, tensor: &Tensor, guard: u64, all: &[u8]) -> Result<Vec<u8>> {
        let spec = &self.tensors[i];
        let (head, rest) = all.split_at((guard + tensor.offset) as usize);
        let (data, _) = rest.split_at(spec.bytes());
        let tail = &all[all.len() - guard as usize..];
        let untouched = |bytes: &[u8]| bytes.iter().all(|&b| b == GUARD_BYTE);
        let overrun = |where_| Err(HostError::Overrun { tensor: i, where_ });
        if !untouched(head) {
            return overrun("before it");
        }
        if !untouched(tail) {
            return overrun("after it");
        }
        match &spec.role {
            Role::Input(given) | Role::Fixed(given) if given != data => overrun("in an input"),
            Role::Output => Ok(data.to_vec()),
            _ => Ok(Vec::new()),
        }
    }
}

fn memory_len(device: &Device, state: &StateSpec) -> Result<u64> {
    Ok(device.state_layout(&state.desc())?.0 * state.units.len() as u64)
}

fn import<'d>(device: &'d Device, state: &StateSpec) -> Result<Memory<'d>> {
    let memory = device.alloc(memory_len(device, state)?)?;
    for (unit, bytes) in state.units.iter().enumerate() {
        device.state_import(&state.desc(), &memory, unit as u64, bytes)?;
    }
    Ok(memory)
}

fn export(device: &Device, state: &StateSpec, memory: &Memory<'_>) -> Result<Vec<Vec<u8>>> {
    let (_, canonical) = device.state_layout(&state.desc())?;
    let mut units = Vec::new();
    for unit in 0..state.units.len() {
        let mut bytes = vec![0u8; canonical as usize];
        device.state_export(&state.desc(), memory, unit as u64, &mut bytes)?;
        units.push(bytes);
    }
    Ok(units)
}
