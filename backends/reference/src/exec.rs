//! Compiled graphs: ops with their tensors, checked at the largest sizes a step may have.

use crate::{Error, Kernel, Kind, Meta, Result, Signature};
use tern_abi::dtype;
use tern_abi::graph::{Tensor, dim, place};
use tern_abi::ops::GRAD;
use tern_abi::plugin::{GraphView, OpView};

/// Offsets into buffers must be multiples of this. More than this backend needs, so that hosts that
/// forget to align are noticed.
pub(crate) const ALIGNMENT: u64 = 16;

/// A compiled op.
#[derive(Debug)]
pub(crate) struct CompiledOp {
    pub kernel: Kernel,
    pub gradient: bool,
    /// Real tensors are F64.
    pub exact: bool,
    pub inputs: Vec<Option<usize>>,
    pub outputs: Vec<Option<usize>>,
}

/// A compiled graph.
#[derive(Debug)]
pub struct Exec {
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) ops: Vec<CompiledOp>,
    pub(crate) dim_max: [u64; dim::COUNT],
    pub(crate) arena_bytes: u64,
    /// Per tensor: does an op yield it?
    pub(crate) yielded: Vec<bool>,
}

/// Sizes of a tensor in a step of these dimensions.
pub(crate) fn sizes(tensor: &Tensor, dims: &[u64; dim::COUNT]) -> Result<Vec<usize>> {
    let size = |i: usize| match tensor.dims[i] {
        dim::FIXED => tensor.shape[i],
        d => dims[d as usize],
    };
    let shape: Vec<u64> = (0..tensor.rank as usize).map(size).collect();
    let fits = shape.iter().try_fold(16u64, |n, &d| n.checked_mul(d)).is_some_and(|n| usize::try_from(n).is_ok());
    if !fits {
        return Err(Error::OutOfMemory { bytes: u64::MAX });
    }
    Ok(shape.into_iter().map(|d| d as usize).collect())
}

/// Bytes of a tensor in plain memory.
pub(crate) fn byte_len(tensor: usize, dtype: u32, shape: &[usize]) -> Result<u64> {
    let size = dtype::plain_size(dtype).ok_or(Error::Tensor { tensor, what: "its dtype has no plain elements" })?;
    Ok(shape.iter().product::<usize>() as u64 * size)
}

fn meta(tensor: &Tensor, dims: &[u64; dim::COUNT]) -> Result<Meta> {
    let kind = match tensor.place {
        place::WEIGHT => Kind::Weight,
        place::STATE => Kind::State,
        _ => Kind::Memory,
    };
    Ok(Meta { dtype: tensor.dtype, shape: sizes(tensor, dims)?, kind })
}

impl CompiledOp {
    /// Checks an op on its own, offsets aside.
    pub(crate) fn new(view: &OpView<'_>, graph: &GraphView<'_>) -> Result<Self> {
        let kernel = Kernel::new(view)?;
        let (n_in, n_out) = kernel.arity();
        let gradient = view.op & GRAD != 0;
        let (max_in, max_out) = if gradient { (n_in + n_out, n_in) } else { (n_in, n_out) };
        for (what, found, expected) in [("inputs", view.inputs.len(), max_in), ("outputs", view.outputs.len(), max_out)]
        {
            if found > expected {
                return Err(Error::Arity { op: kernel.name(), what, found, expected });
            }
        }
        let inputs: Vec<_> = (0..max_in).map(|i| view.input(i)).collect();
        let outputs: Vec<_> = (0..max_out).map(|i| view.output(i)).collect();
        let exact = inputs.iter().chain(&outputs).flatten().any(|&t| {
            let t = &graph.tensors[t];
            t.dtype == dtype::F64 && !matches!(t.place, place::WEIGHT | place::STATE)
        });
        let op = Self { kernel, gradient, exact, inputs, outputs };
        op.check(&graph.tensors, &graph.dim_max)?;
        Ok(op)
    }

    /// Checks shapes and dtypes in a step of these dimensions.
    pub(crate) fn check(&self, tensors: &[Tensor], dims: &[u64; dim::COUNT]) -> Result<()> {
        let op = self.kernel.name();
        let metas = |list: &[Option<usize>]| -> Result<Vec<Option<Meta>>> {
            list.iter().map(|t| t.map(|t| meta(&tensors[t], dims)).transpose()).collect()
        };
        let (n_in, _) = self.kernel.arity();
        let (inputs, outputs) = (metas(&self.inputs)?, metas(&self.outputs)?);
        let (own, seeds) = inputs.split_at(n_in.min(inputs.len()));
        let signature = Signature { op, exact: self.exact, sequences: self.sequences(dims), inputs: own.to_vec() };
        let yields = self.kernel.infer(&signature)?;
        let yields = |i: usize| yields.get(i).cloned().flatten();
        if !self.gradient {
            for (i, found) in outputs.iter().enumerate() {
                check_output(op, "output", found.as_ref(), yields(i).as_ref())?;
                if let (Some(Kind::State), None) = (yields(i).map(|m| m.kind), found) {
                    return Err(Error::Missing { op, tensor: "output state" });
                }
            }
            return self.check_state(tensors);
        }
        if own.iter().flatten().any(|m| m.kind == Kind::State) {
            return Err(Error::NoGradient { op, what: "a state" });
        }
        if matches!(self.kernel, Kernel::Attention(_)) && own[3].is_some() {
            return Err(Error::NoGradient { op, what: "a rope table" });
        }
        for (i, seed) in seeds.iter().enumerate() {
            check_output(op, "gradient of an output", seed.as_ref(), yields(i).as_ref())?;
        }
        for (i, wanted) in outputs.iter().enumerate() {
            let plain = own[i].as_ref().filter(|m| m.kind == Kind::Memory);
            if wanted.is_some() && (!self.kernel.differentiable(i) || plain.is_none()) {
                return Err(Error::NotDifferentiable { op, input: i });
            }
            check_output(op, "gradient of an input", wanted.as_ref(), plain)?;
        }
        Ok(())
    }

    /// Sequences of a step, where the graph has such a dimension; else they follow from shapes.
    pub(crate) fn sequences(&self, dims: &[u64; dim::COUNT]) -> Option<usize> {
        Some(dims[dim::SEQUENCES as usize] as usize).filter(|&s| s > 0)
    }

    /// The state that comes out must be the one that went in.
    fn check_state(&self, tensors: &[Tensor]) -> Result<()> {
        let state = |list: &[Option<usize>]| list.iter().flatten().copied().find(|&t| tensors[t].place == place::STATE);
        if let (Some(i), Some(o)) = (state(&self.inputs), state(&self.outputs))
            && (tensors[i].slot != tensors[o].slot || tensors[i].offset != tensors[o].offset)
        {
            return Err(Error::Tensor { tensor: o, what: "the state that an op yields is not the one it takes" });
        }
        Ok(())
    }
}

fn check_output(op: &'static str, tensor: &'static str, found: Option<&Meta>, expected: Option<&Meta>) -> Result<()> {
    let Some(found) = found else { return Ok(()) };
    let Some(expected) = expected else { return Err(Error::Unwanted { op, tensor, why: "the op has none there" }) };
    if found.kind != expected.kind {
        return Err(Error::Place { op, tensor, found: found.kind.name(), expected: expected.kind.name() });
    }
    if found.shape != expected.shape {
        let (found, expected) = (found.shape.clone(), format!("{:?}", expected.shape));
        return Err(Error::Shape { op, tensor, found, expected });
    }
    if found.dtype != expected.dtype {
        let expected = match expected.dtype {
            dtype::F32 => "F32",
            dtype::F64 => "F64",
            _ => "I32",
        };
        return Err(Error::Dtype { op, tensor, found: found.dtype, expected });
    }
    Ok(())
}

impl Exec {
    /// Compiles a graph.
    pub(crate) fn new(graph: &GraphView<'_>) -> Result<Self> {
        let ops: Vec<_> = graph.ops.iter().map(|op| CompiledOp::new(op, graph)).collect::<Result<_>>()?;
        let mut yielded = vec![false; graph.tensors.len()];
        ops.iter().flat_map(|op| op.outputs.iter().flatten()).for_each(|&t| yielded[t] = true);
        let exec = Self {
            tensors: graph.tensors.clone(),
            ops,
            dim_max: graph.dim_max,
            arena_bytes: graph.arena_bytes,
            yielded,
        };
        for i in 0..exec.tensors.len() {
            exec.check_place(i)?;
        }
        for (i, op) in exec.ops.iter().enumerate() {
            exec.check_overlap(i, op)?;
        }
        Ok(exec)
    }

    /// A tensor's bytes at its largest: begin and end in its binding.
    fn range(&self, t: usize) -> Result<Option<(u64, u64)>> {
        let tensor = &self.tensors[t];
        if matches!(tensor.place, place::WEIGHT | place::STATE) {
            return Ok(None);
        }
        let bytes = byte_len(t, tensor.dtype, &sizes(tensor, &self.dim_max)?)?;
        let overflow = Error::Tensor { tensor: t, what: "offset and size overflow" };
        Ok(Some((tensor.offset, tensor.offset.checked_add(bytes).ok_or(overflow)?)))
    }

    fn check_place(&self, t: usize) -> Result<()> {
        let Some((begin, end)) = self.range(t)? else { return Ok(()) };
        if !begin.is_multiple_of(ALIGNMENT) {
            return Err(Error::Tensor { tensor: t, what: "its offset is not a multiple of the device's alignment" });
        }
        if self.tensors[t].place == place::ARENA && end > self.arena_bytes {
            return Err(Error::Binding { tensor: t, offset: begin, need: end - begin, bound: self.arena_bytes });
        }
        Ok(())
    }

    fn check_overlap(&self, i: usize, op: &CompiledOp) -> Result<()> {
        for (n, &output) in op.outputs.iter().flatten().enumerate() {
            let Some(a) = self.range(output)? else { continue };
            let later = op.outputs.iter().flatten().skip(n + 1);
            for &other in op.inputs.iter().flatten().chain(later) {
                let Some(b) = self.range(other)? else { continue };
                let (x, y) = (&self.tensors[output], &self.tensors[other]);
                // The arena has no slots.
                let same = x.place == y.place && (x.place == place::ARENA || x.slot == y.slot);
                if same && a.0 < b.1 && b.0 < a.1 {
                    return Err(Error::Overlap { op: i, output, input: other });
                }
            }
        }
        Ok(())
    }
}
