//! What ops read and compute: beside their times, how close they come to what the machine can do.

use crate::graph::{Dim, Graph, Node, Op, Value};
use tern_quant::DType;

/// An op's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Its name, and the types of its weights.
    pub name: String,
    /// Bytes of weights that a step of one token reads, as they are in the file: of experts, those that are chosen.
    pub weight_bytes: u64,
    /// Multiply-adds with weights per token. None for ops on the rows whose logits are wanted.
    pub multiply_adds: u64,
    /// Whether its weights are floats.
    pub floats: bool,
}

impl Work {
    /// That of a node.
    pub fn of(graph: &Graph, node: &Node) -> Self {
        let mut work = Self { name: node.op.name().to_owned(), weight_bytes: 0, multiply_adds: 0, floats: true };
        if node.grad {
            work.name.push_str(".grad");
            return work;
        }
        let (weights, times) = match node.op {
            Op::Linear(_) => (node.inputs.iter().skip(5).step_by(4).copied().collect(), 1),
            Op::ExpertLinear => (vec![node.inputs[1]], node.inputs[3].map_or(1, |ids| last(graph, ids))),
            _ => (Vec::new(), 0),
        };
        let per_token = node.outputs.iter().flatten().any(|&v| graph.info(v).shape.first() == Some(&Dim::Tokens));
        let mut types: Vec<&'static str> = Vec::new();
        for weight in weights.into_iter().flatten() {
            let info = graph.info(weight);
            let Some(dtype) = DType::from_code(info.dtype) else { continue };
            let elements = matrix(graph, weight).saturating_mul(times);
            work.weight_bytes += dtype.tensor_bytes(elements).unwrap_or(0);
            work.multiply_adds += if per_token { elements } else { 0 };
            work.floats &= matches!(dtype, DType::F32 | DType::F16 | DType::BF16);
            if !types.contains(&dtype.name()) {
                types.push(dtype.name());
            }
        }
        for (i, name) in types.iter().enumerate() {
            work.name.push_str(if i == 0 { " " } else { "+" });
            work.name.push_str(name);
        }
        if !types.is_empty() && !per_token {
            work.name.push_str(", output rows");
        }
        work
    }
}

/// Elements of one matrix of a weight: of an expert's, where there are several.
fn matrix(graph: &Graph, weight: Value) -> u64 {
    let sizes = graph.info(weight).shape.iter().rev().take(2);
    sizes.map(|d| if let Dim::Fixed(n) = d { *n } else { 0 }).product()
}

fn last(graph: &Graph, value: Value) -> u64 {
    match graph.info(value).shape.last() {
        Some(Dim::Fixed(n)) => *n,
        _ => 1,
    }
}
