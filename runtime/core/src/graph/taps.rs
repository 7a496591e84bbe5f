//! Taps: what goes into a graph's matrices, made visible.

use super::{Dim, ExternalKind, Graph, Op, Value};

/// A matrix of a graph and the values it is applied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tap {
    /// Name of the weight.
    pub weight: String,
    /// Input columns.
    pub columns: u64,
    /// Matrices in the stack: experts, or 1.
    pub experts: u64,
    /// Place of the input `[rows, columns]` among the graph's outputs; for experts also `[rows, ranks, columns]`.
    pub input: usize,
    /// For experts: place of their ids `[rows, ranks]` among the graph's outputs, and the number of ranks.
    pub ids: Option<(usize, u64)>,
    /// Does the input have a row for each rank?
    pub per_rank: bool,
}

impl Graph {
    /// Makes the inputs of all matrices outputs, after those that there are. What is computed does not change, only what is
    /// kept to the end of a step: fusion leaves alone what is an output.
    pub fn tap_linears(&mut self) -> Vec<Tap> {
        let mut taps = Vec::new();
        for i in 0..self.nodes.len() {
            let node = &self.nodes[i];
            let input = |at: usize| node.inputs.get(at).copied().flatten();
            let (x, weight, ids) = match node.op {
                // A graph fresh from a model has one matrix per op.
                Op::Linear(p) if !node.grad && p.n_weights == 1 => (input(0), input(5), None),
                Op::ExpertLinear if !node.grad => (input(0), input(1), input(3)),
                _ => continue,
            };
            let (Some(x), Some(weight)) = (x, weight) else { continue };
            let external = self.externals.iter().find(|e| e.value == weight);
            let Some(external) = external.filter(|e| matches!(e.kind, ExternalKind::Weight(_))) else { continue };
            let name = external.name.clone();
            let size = |v: Value, back: usize| {
                let shape = &self.info(v).shape;
                match shape.len().checked_sub(back).and_then(|at| shape.get(at)) {
                    Some(Dim::Fixed(n)) => *n,
                    _ => 1,
                }
            };
            let (columns, experts) = (size(weight, 1), if ids.is_some() { size(weight, 3) } else { 1 });
            let (ranks, per_rank) = (ids.map(|v| size(v, 1)), ids.is_some() && self.info(x).shape.len() == 3);
            let (input, ids) = (self.output(x), ids.map(|v| self.output(v)));
            taps.push(Tap { weight: name, columns, experts, input, ids: ids.zip(ranks), per_rank });
        }
        taps
    }

    /// The place of `value` among the outputs, which it joins where it is not one of them.
    fn output(&mut self, value: Value) -> usize {
        self.outputs.iter().position(|v| *v == value).unwrap_or_else(|| {
            self.outputs.push(value);
            self.outputs.len() - 1
        })
    }
}
