//! Lowering: a graph becomes the ABI's graph, with a place for every tensor.

use super::arena::{Lifetime, place as place_values};
use super::{PlanError, ShapeClass};
use crate::backend::{GraphDesc, OpDesc};
use crate::graph::{Dim, ExternalKind, Graph, Origin, Value};
use std::collections::HashMap;
use std::ops::Range;
use tern_abi::dtype::plain_size;
use tern_abi::graph::{NONE, Tensor, dim, place};
use tern_abi::ops::GRAD;

/// Tensors keep the numbers of their values. Step slots and fixed slots are numbered in the order of the
/// graph's externals: see [`slots`]. Values that `crosses` names go from one segment to another: they lie not in the arena,
/// whose contents a run does not leave behind, but in memory of their own, the last step slot.
///
/// Returns the bytes of that memory, too.
pub fn lower(graph: &Graph, class: ShapeClass, crosses: &dyn Fn(usize) -> bool) -> Result<(GraphDesc, u64), PlanError> {
    let maxima = class.maxima();
    let (slots, mut n_steps, n_fixed) = slots(graph);
    let lifetimes = lifetimes(graph, &maxima)?;
    let (crossing, inner): (Vec<_>, Vec<_>) =
        lifetimes.into_iter().enumerate().filter_map(|(i, l)| Some((i, l?))).partition(|(i, _)| crosses(*i));
    let placed = |values: &[(usize, Lifetime)]| {
        let spans: Vec<Lifetime> = values.iter().map(|v| v.1).collect();
        place_values(&spans).ok_or_else(|| PlanError::Overflow { what: "arena".to_owned() })
    };
    let ((offsets, arena_bytes), (crossing_offsets, crossing_bytes)) = (placed(&inner)?, placed(&crossing)?);
    let mut tensors: Vec<Tensor> = graph
        .values
        .iter()
        .map(|v| {
            let mut t = Tensor {
                dtype: v.dtype,
                place: place::ARENA,
                slot: 0,
                rank: v.shape.len() as u32,
                shape: [1; 4],
                dims: [dim::FIXED; 4],
                offset: 0,
            };
            for (i, &d) in v.shape.iter().enumerate() {
                (t.shape[i], t.dims[i]) = size(d, &maxima);
            }
            if let Origin::External(e) = v.origin {
                t.slot = slots[e];
                t.place = match graph.externals[e].kind {
                    ExternalKind::Input => place::STEP,
                    ExternalKind::Weight(_) => place::WEIGHT,
                    ExternalKind::Constant => place::FIXED,
                    ExternalKind::State(_) => place::STATE,
                };
            }
            t
        })
        .collect();
    for (&(value, _), &offset) in inner.iter().zip(&offsets) {
        tensors[value].offset = offset;
    }
    for (&(value, _), &offset) in crossing.iter().zip(&crossing_offsets) {
        (tensors[value].place, tensors[value].slot, tensors[value].offset) = (place::STEP, n_steps, offset);
    }
    n_steps += u32::from(crossing_bytes > 0);
    let ids = |vs: &[Option<Value>]| vs.iter().map(|v| v.map_or(NONE, |v| v.0)).collect();
    let ops = graph
        .nodes
        .iter()
        .map(|n| OpDesc {
            op: n.op.id() | if n.grad { GRAD } else { 0 },
            inputs: ids(&n.inputs),
            outputs: ids(&n.outputs),
            params: n.op.params(),
        })
        .collect();
    let desc = GraphDesc { tensors, ops, dim_max: maxima, n_fixed, n_steps, arena_bytes: arena_bytes.max(1) };
    Ok((desc, crossing_bytes))
}

/// The ops `range` of `desc` as a graph of its own, whose slots and places are those of the whole.
pub fn part(desc: &GraphDesc, range: Range<usize>) -> GraphDesc {
    let mut part = GraphDesc { tensors: Vec::new(), ops: Vec::new(), ..*desc };
    let mut numbers: HashMap<u32, u32> = HashMap::new();
    for op in &desc.ops[range] {
        let mut renumber = |old: &u32| match *old {
            NONE => NONE,
            old => *numbers.entry(old).or_insert_with(|| {
                part.tensors.push(desc.tensors[old as usize]);
                part.tensors.len() as u32 - 1
            }),
        };
        let inputs = op.inputs.iter().map(&mut renumber).collect();
        let outputs = op.outputs.iter().map(&mut renumber).collect();
        part.ops.push(OpDesc { inputs, outputs, ..op.clone() });
    }
    part
}

/// The slot of each external, and how many step and fixed slots there are. Every plan of a graph numbers them alike.
pub fn slots(graph: &Graph) -> (Vec<u32>, u32, u32) {
    let (mut steps, mut fixed) = (0, 0);
    let slots = graph
        .externals
        .iter()
        .map(|e| {
            let counter = if matches!(e.kind, ExternalKind::Input) { &mut steps } else { &mut fixed };
            *counter += 1;
            *counter - 1
        })
        .collect();
    (slots, steps, fixed)
}

fn size(d: Dim, maxima: &[u64; dim::COUNT]) -> (u64, u32) {
    match d {
        Dim::Fixed(n) => (n, dim::FIXED),
        Dim::Tokens => (maxima[dim::TOKENS as usize], dim::TOKENS),
        Dim::Sequences => (maxima[dim::SEQUENCES as usize], dim::SEQUENCES),
        Dim::Outputs => (maxima[dim::OUTPUTS as usize], dim::OUTPUTS),
    }
}

/// The lifetime of every value that some node makes; outputs live to the end.
fn lifetimes(graph: &Graph, maxima: &[u64; dim::COUNT]) -> Result<Vec<Option<Lifetime>>, PlanError> {
    let mut spans: Vec<Option<Lifetime>> = vec![None; graph.values.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        for v in node.outputs.iter().flatten() {
            let info = graph.info(*v);
            if info.origin == Origin::Node {
                let bytes = info
                    .shape
                    .iter()
                    .try_fold(plain_size(info.dtype).unwrap_or(4), |n, &d| n.checked_mul(size(d, maxima).0))
                    .ok_or_else(|| PlanError::Overflow {
                        what: format!("value {} of shape {:?}", v.index(), info.shape),
                    })?;
                spans[v.index()] = Some(Lifetime { bytes, first: i, last: i });
            }
        }
        for v in node.inputs.iter().flatten() {
            if let Some(span) = &mut spans[v.index()] {
                span.last = i;
            }
        }
    }
    for v in &graph.outputs {
        if let Some(span) = &mut spans[v.index()] {
            span.last = graph.nodes.len();
        }
    }
    Ok(spans)
}
