//! The loss of a language model, computed for a few rows at a time so that the logits of all never exist at once.

use super::{Dim, Graph, GraphBuilder, GraphError, Node, Op, Origin, Value};
use std::collections::HashMap;

/// Rows of logits at a time: with 49152 tokens in the vocabulary 12 MB, and as much for their gradient.
pub const LOSS_ROWS: u64 = 64;

/// Names of the inputs that the loss adds.
pub fn loss_inputs(group: u64) -> [String; 2] {
    [format!("loss.rows.{group}"), format!("loss.targets.{group}")]
}

/// A graph with its loss.
pub struct Loss {
    /// Its output is the loss.
    pub graph: Graph,
    /// Shape `[1]`: nats of all targets together.
    pub total: Value,
    /// Nats of each group's targets, `[LOSS_ROWS]`.
    pub nats: Vec<Value>,
    /// Nodes before the first one of the loss.
    pub body: usize,
}

/// Replaces `graph`'s head (the last matrix and all after it, whose result are logits `[R, V]`) by the sum of the targets'
/// negative log-likelihoods, over groups of [`LOSS_ROWS`] of at most `rows` rows. For each group there are two inputs of that many i32:
/// the output rows in it, and their targets; a negative target does not count.
///
/// # Errors
/// [`GraphError::Shape`] where the graph has no head of this form.
pub fn with_loss(graph: Graph, rows: u64, real: u32) -> Result<Loss, GraphError> {
    let no_head = |detail: &str| GraphError::Shape { op: "loss", detail: detail.to_owned() };
    let logits = *graph.outputs.first().ok_or_else(|| no_head("the graph has no output"))?;
    let head = graph.nodes.iter().rposition(|n| matches!(n.op, Op::Linear(p) if p.n_weights == 1) && !n.grad);
    let head = head.ok_or_else(|| no_head("the graph has no matrix"))?;
    let tail: Vec<Node> = graph.nodes[head..].to_vec();
    let hidden = tail[0].inputs[0].ok_or_else(|| no_head("the last matrix has no input"))?;
    let made: Vec<Value> = tail.iter().flat_map(|n| n.outputs.iter().flatten()).copied().collect();
    let outside = |v: Value| v == hidden || made.contains(&v) || matches!(graph.info(v).origin, Origin::External(_));
    if !tail.iter().flat_map(|n| n.inputs.iter().flatten()).all(|&v| outside(v)) || !made.contains(&logits) {
        return Err(no_head("what follows the last matrix takes more than its result"));
    }
    let mut b = GraphBuilder::resume(Graph { nodes: graph.nodes[..head].to_vec(), ..graph }, real);
    let (mut total, mut nats): (Option<Value>, Vec<Value>) = (None, Vec::new());
    for group in 0..rows.div_ceil(LOSS_ROWS) {
        let [row_input, target_input] = loss_inputs(group);
        let chosen = b.input_i32(&row_input, &[Dim::Fixed(LOSS_ROWS)]);
        let targets = b.input_i32(&target_input, &[Dim::Fixed(LOSS_ROWS)]);
        let mut names: HashMap<Value, Value> = HashMap::from([(hidden, b.rows(hidden, chosen))]);
        for node in &tail {
            let inputs = node.inputs.iter().map(|v| v.map(|v| names.get(&v).copied().unwrap_or(v))).collect();
            let outputs = node.outputs.iter().map(|v| {
                v.map(|old| {
                    let mut shape = b.shape(old);
                    shape.iter_mut().filter(|d| **d == Dim::Outputs).for_each(|d| *d = Dim::Fixed(LOSS_ROWS));
                    let new = b.node_value(shape);
                    names.insert(old, new);
                    new
                })
            });
            let outputs = outputs.collect();
            b.push_node(Node { inputs, outputs, ..node.clone() });
        }
        let nll = b.cross_entropy(names.get(&logits).copied().unwrap_or(logits), targets);
        let sum = b.sum(nll, 1.0);
        nats.push(nll);
        total = Some(match total {
            None => sum,
            Some(so_far) => b.add(so_far, sum),
        });
    }
    let total = total.ok_or_else(|| no_head("there are no rows"))?;
    Ok(Loss { graph: b.finish(&[total])?, total, nats, body: head })
}
