//! A graph as the host hands it over, and its form in the ABI.

use super::error::{Result, argument};
use tern_abi::Header;
use tern_abi::graph::{Graph, NONE, Op, Tensor, dim, place};
use tern_abi::ops::Params;

/// An op over tensors of a [`GraphDesc`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OpDesc {
    /// One of [`tern_abi::ops`], with `GRAD` its gradient.
    pub op: u32,
    /// Tensor indices, or [`NONE`].
    pub inputs: Vec<u32>,
    /// Tensor indices, or [`NONE`].
    pub outputs: Vec<u32>,
    /// Bytes of the op's parameter struct; empty where it has none.
    pub params: Vec<u8>,
}

impl OpDesc {
    /// An op with parameters.
    pub fn new<P: Params>(op: u32, inputs: Vec<u32>, outputs: Vec<u32>, params: &P) -> Self {
        // SAFETY: `Params` types have no padding.
        let bytes = unsafe { std::slice::from_raw_parts(std::ptr::from_ref(params).cast::<u8>(), size_of::<P>()) };
        Self { op, inputs, outputs, params: bytes.to_vec() }
    }
}

/// A graph to compile: ops in order over tensors that have their place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GraphDesc {
    /// All tensors.
    pub tensors: Vec<Tensor>,
    /// Ops in the order in which they run.
    pub ops: Vec<OpDesc>,
    /// Largest size of each dynamic dimension, indexed by [`dim`].
    pub dim_max: [u64; dim::COUNT],
    /// Slots of the bind set.
    pub n_fixed: u32,
    /// Slots of the step's bindings.
    pub n_steps: u32,
    /// Bytes of arena that the tensors' places need.
    pub arena_bytes: u64,
}

impl GraphDesc {
    /// Lends the graph to `f` in the ABI's form.
    pub fn with_abi<R>(&self, f: impl FnOnce(&Graph) -> R) -> R {
        // Parameter structs are read in place by plugins in C: words give them the alignment of any field.
        let params: Vec<Vec<u64>> = self.ops.iter().map(|op| words(&op.params)).collect();
        let ops: Vec<Op> = self
            .ops
            .iter()
            .zip(&params)
            .map(|(op, params)| Op {
                op: op.op,
                params_len: op.params.len() as u32,
                n_inputs: op.inputs.len() as u32,
                n_outputs: op.outputs.len() as u32,
                inputs: op.inputs.as_ptr(),
                outputs: op.outputs.as_ptr(),
                params: params.as_ptr().cast(),
            })
            .collect();
        f(&Graph {
            header: Header::of::<Graph>(),
            tensor_size: size_of::<Tensor>() as u32,
            op_size: size_of::<Op>() as u32,
            tensors: self.tensors.as_ptr(),
            n_tensors: self.tensors.len() as u64,
            ops: ops.as_ptr(),
            n_ops: ops.len() as u64,
            dim_max: self.dim_max,
            n_fixed: self.n_fixed,
            n_steps: self.n_steps,
            arena_bytes: self.arena_bytes,
        })
    }

    /// Checks all that a plugin may take for granted but offsets, which a graph gets last.
    pub(super) fn check_indices(&self, call: &'static str) -> Result<()> {
        for (i, t) in self.tensors.iter().enumerate() {
            if let Err(reason) = self.check_tensor(t) {
                return argument(call, format!("tensor {i}: {reason}"));
            }
        }
        let n = self.tensors.len();
        for (i, op) in self.ops.iter().enumerate() {
            if let Some(t) = op.inputs.iter().chain(&op.outputs).find(|&&t| t != NONE && t as usize >= n) {
                return argument(call, format!("op {i} names tensor {t} of {n}"));
            }
            let longest = op.inputs.len().max(op.outputs.len()).max(op.params.len());
            if u32::try_from(longest).is_err() {
                return argument(call, format!("op {i} has a list of {longest} entries"));
            }
        }
        Ok(())
    }

    fn check_tensor(&self, t: &Tensor) -> std::result::Result<(), String> {
        if !(1..=4).contains(&t.rank) {
            return Err(format!("rank {} is not 1 to 4", t.rank));
        }
        if let Some(size) = t.shape.iter().skip(t.rank as usize).find(|&&size| size != 1) {
            return Err(format!("an unused dimension has size {size}, not 1"));
        }
        if t.shape.iter().try_fold(1u64, |n, &size| n.checked_mul(size)).is_none() {
            return Err(format!("the element count of {:?} overflows", t.shape));
        }
        for (&d, &size) in t.dims.iter().zip(&t.shape) {
            match self.dim_max.get(d as usize) {
                None => return Err(format!("there is no dynamic dimension {d}")),
                Some(&max) if d != dim::FIXED && size != max => {
                    return Err(format!("dynamic dimension {d} has size {size}, its maximum is {max}"));
                }
                Some(_) => {}
            }
        }
        let slots = match t.place {
            place::ARENA => return Ok(()),
            place::STEP => self.n_steps,
            place::FIXED | place::WEIGHT | place::STATE => self.n_fixed,
            other => return Err(format!("there is no place {other}")),
        };
        if t.slot < slots { Ok(()) } else { Err(format!("there is no slot {} of {slots}", t.slot)) }
    }
}

fn words(bytes: &[u8]) -> Vec<u64> {
    let word = |chunk: &[u8]| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_ne_bytes(word)
    };
    bytes.chunks(8).map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tern_abi::ops::{RMS_NORM, RopeParams};
    use tern_abi::plugin::GraphView;

    type Change<'a> = &'a dyn Fn(&mut GraphDesc);

    fn tensor() -> Tensor {
        Tensor {
            dtype: tern_abi::dtype::F32,
            place: place::ARENA,
            slot: 0,
            rank: 2,
            shape: [8, 4, 1, 1],
            dims: [dim::TOKENS, 0, 0, 0],
            offset: 0,
        }
    }

    #[test]
    fn a_plugin_reads_what_was_described() {
        let params = RopeParams { heads: 1, head_dim: 2, n_rot: 3, layout: 4, inverse: 5 };
        let graph = GraphDesc {
            tensors: vec![tensor(), tensor()],
            ops: vec![OpDesc::new(7, vec![0, NONE], vec![1], &params), OpDesc { op: RMS_NORM, ..OpDesc::default() }],
            dim_max: [0, 8, 0, 0],
            arena_bytes: 128,
            ..GraphDesc::default()
        };
        graph.with_abi(|abi| {
            assert!(abi.ops.is_aligned());
            // SAFETY: the graph describes itself truly.
            let view = unsafe { GraphView::new(abi) }.unwrap();
            assert_eq!(view.tensors, graph.tensors);
            assert_eq!(view.ops.len(), 2);
            assert_eq!(view.ops[0].inputs, [0, NONE]);
            assert_eq!(view.ops[0].outputs, [1]);
            assert_eq!(view.ops[0].params::<RopeParams>(), params);
            assert_eq!(view.ops[1].params::<RopeParams>(), RopeParams::default());
        });
        assert_eq!(graph.check_indices("test"), Ok(()));
    }

    #[test]
    fn wrong_graphs_are_refused_with_the_reason() {
        let refused = |change: Change| {
            let ops = vec![OpDesc { op: 1, inputs: vec![0], ..OpDesc::default() }];
            let mut graph =
                GraphDesc { tensors: vec![tensor()], ops, dim_max: [0, 8, 0, 0], n_fixed: 1, ..GraphDesc::default() };
            change(&mut graph);
            graph.check_indices("compile").unwrap_err().to_string()
        };
        let cases: [(Change, &str); 7] = [
            (&|g| g.tensors[0].rank = 5, "compile: tensor 0: rank 5 is not 1 to 4"),
            (&|g| g.tensors[0].shape[3] = 2, "compile: tensor 0: an unused dimension has size 2, not 1"),
            (&|g| g.tensors[0].dims[1] = 9, "compile: tensor 0: there is no dynamic dimension 9"),
            (&|g| g.dim_max[1] = 4, "compile: tensor 0: dynamic dimension 1 has size 8, its maximum is 4"),
            (&|g| g.tensors[0].place = 7, "compile: tensor 0: there is no place 7"),
            (&|g| (g.tensors[0].place, g.tensors[0].slot) = (2, 1), "compile: tensor 0: there is no slot 1 of 1"),
            (&|g| g.ops[0].inputs[0] = 3, "compile: op 0 names tensor 3 of 1"),
        ];
        for (change, expect) in cases {
            assert_eq!(refused(change), expect);
        }
        let overflow = refused(&|g| g.tensors[0].shape = [8, u64::MAX, 1, 1]);
        assert!(overflow.contains("overflows"), "{overflow}");
    }
}
