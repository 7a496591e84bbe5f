//! Runs a program: allocates, binds, runs, reads back, and looks for bytes that should not have changed.

use super::device::{Device, Memory};
use super::program::{Lowered, Outcome, Program, Role, StateSpec, TensorSpec};
use super::{HostError, Result};
use tern_abi::graph::{Tensor, dim, place};
use tern_abi::run::{Binding, RunArgs};
use tern_abi::state::StateDesc;
use tern_abi::table::verdict;
use tern_abi::weight::usage;
use tern_abi::{Header, dtype};

/// Bytes around outputs that must not change.
const GUARD: u64 = 64;
const GUARD_BYTE: u8 = 0xa5;

impl StateSpec {
    fn desc(&self) -> StateDesc {
        StateDesc { header: Header::of::<StateDesc>(), kind: self.kind, dtype: self.dtype, dims: self.dims }
    }
}

impl Program {
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
                    let weight = match self.paged.filter(|_| spec.shape.len() == 3) {
                        Some(cache) => device.prepare_paged(spec.dtype, &spec.shape, usage, bytes, cache)?,
                        None => device.prepare(spec.dtype, &spec.shape, usage, bytes)?,
                    };
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
