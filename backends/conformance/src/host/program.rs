//! A graph with its data, and its form in the ABI's structs.

use tern_abi::graph::{Graph, NONE, Op, Tensor, dim, place};
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
    pub(super) fn bytes(&self) -> usize {
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
    /// Matrices of experts stay where they are, with a cache of so many bytes each.
    pub paged: Option<u64>,
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

pub(super) fn four(shape: &[usize]) -> [u64; 4] {
    let mut out = [1; 4];
    out.iter_mut().zip(shape).for_each(|(to, &from)| *to = from as u64);
    out
}

/// The program in the ABI's structs.
pub(super) struct Lowered {
    pub tensors: Vec<Tensor>,
    lists: Vec<[Vec<u32>; 2]>,
    max: [u64; dim::COUNT],
    n_fixed: u32,
    n_steps: u32,
    pub arena_bytes: u64,
}

impl Program {
    /// Adds a tensor and returns its index.
    pub fn tensor(&mut self, tensor: TensorSpec) -> usize {
        self.tensors.push(tensor);
        self.tensors.len() - 1
    }

    pub(super) fn lower(&self, alignment: u64) -> Lowered {
        let uses = |d: u32| self.tensors.iter().any(|t| t.dims.contains(&d));
        // A step may have no rows of a dimension that the plan knows.
        let max = |d: u32| match self.dims[d as usize] {
            0 if !uses(d) || d == dim::FIXED => 0,
            n => n + SLACK,
        };
        let max = [max(0), max(1), max(2), max(3)];
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

    pub(super) fn with_graph<T>(&self, lowered: &Lowered, f: impl FnOnce(&Graph) -> T) -> T {
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
}
