//! The loss of a language model, computed for a few rows at a time so that the logits of all never exist at once.
//!
//! Where a model ends in a matrix, a factor and a soft cap at most, these and the loss are one op, which never has all logits of a
//! row either.

use super::{Dim, Graph, GraphBuilder, GraphError, Node, Op, Origin, Value};
use std::collections::HashMap;
use tern_abi::ops::activation::TANH;
use tern_abi::ops::{ActivationParams, LinearCrossEntropyParams, LinearParams};

/// Rows at a time: so many that their output matrix is decoded for many at once. Where their logits are held, which takes a head with
/// more to it than [`Op::LinearCrossEntropy`], 49152 tokens take 50 MB, and as much for their gradient.
pub const LOSS_ROWS: u64 = 256;

/// Names of the inputs that the loss adds.
pub fn loss_inputs(group: u64) -> [String; 3] {
    [format!("loss.rows.{group}"), format!("loss.targets.{group}"), format!("loss.slopes.{group}")]
}

/// A graph with its loss.
pub struct Loss {
    /// Its output is the loss.
    pub graph: Graph,
    /// Shape `[1]`: nats of all targets together.
    pub total: Value,
    /// Nats of each group's targets, `[LOSS_ROWS]`.
    pub nats: Vec<Value>,
    /// Each group's rows of what the head is applied to, `[LOSS_ROWS, K]`.
    pub rows: Vec<Value>,
    /// What slopes take off each group's loss, `[1]`, negative.
    pub along: Vec<Value>,
    /// Nodes before the first one of the loss.
    pub body: usize,
}

/// Replaces `graph`'s head (the last matrix and all after it, whose result are logits `[R, V]`) by the sum of the targets'
/// negative log-likelihoods, over groups of [`LOSS_ROWS`] of at most `rows` rows. For each group there are two inputs of that many i32:
/// the output rows in it, and their targets; a negative target does not count.
///
/// A third, `[LOSS_ROWS, K]`, are slopes `s`: `s·h` is taken off the loss of a row `h`. Where `s` is the gradient of that loss at some
/// `h₀`, what remains is flat there, and for a head without a soft cap it is `KL(p(h₀) || p(h))` and a constant: the Bregman divergence
/// of the logarithm of a sum of exponentials, whatever the target was. So a distribution over the whole vocabulary is learned from
/// K numbers.
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
    let whole = one_op(&tail, logits);
    let width = b.last(hidden);
    let mut total: Option<Value> = None;
    let (mut nats, mut heads, mut alongs) = (Vec::new(), Vec::new(), Vec::new());
    for group in 0..rows.div_ceil(LOSS_ROWS) {
        let [row_input, target_input, slope_input] = loss_inputs(group);
        let chosen = b.input_i32(&row_input, &[Dim::Fixed(LOSS_ROWS)]);
        let targets = b.input_i32(&target_input, &[Dim::Fixed(LOSS_ROWS)]);
        let rows = b.rows(hidden, chosen);
        let nll = match whole {
            Some((w, params)) => b.linear_cross_entropy(rows, w, targets, params),
            None => plain_loss(&mut b, &tail, (hidden, rows), logits, targets),
        };
        let slopes = b.input_real(&slope_input, &[Dim::Fixed(LOSS_ROWS), width]);
        let along = b.mul(rows, slopes);
        let (sum, along) = (b.sum(nll, 1.0), b.sum(along, -1.0));
        let sum = b.add(sum, along);
        nats.push(nll);
        heads.push(rows);
        alongs.push(along);
        total = Some(match total {
            None => sum,
            Some(so_far) => b.add(so_far, sum),
        });
    }
    let total = total.ok_or_else(|| no_head("there are no rows"))?;
    Ok(Loss { graph: b.finish(&[total])?, total, nats, rows: heads, along: alongs, body: head })
}

/// The loss of logits that `tail` computes of `to.1` as it does of `to.0`.
fn plain_loss(b: &mut GraphBuilder, tail: &[Node], to: (Value, Value), logits: Value, targets: Value) -> Value {
    let mut names: HashMap<Value, Value> = HashMap::from([to]);
    for node in tail {
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
    b.cross_entropy(names.get(&logits).copied().unwrap_or(logits), targets)
}

/// The matrix and the parameters of [`Op::LinearCrossEntropy`], where `tail` is no more than that op can do.
fn one_op(tail: &[Node], logits: Value) -> Option<(Value, LinearCrossEntropyParams)> {
    let (matrix, after) = tail.split_first()?;
    let plain = matrix.inputs.iter().enumerate().all(|(i, v)| v.is_none() || matches!(i, 0 | 5));
    let Op::Linear(LinearParams { norm: 0, glu: 0, quantize: 0, .. }) = matrix.op else { return None };
    let mut at = matrix.outputs.first().copied()?;
    let mut ops = Vec::new();
    for node in after {
        if node.inputs.first() != Some(&at) {
            return None;
        }
        at = node.outputs.first().copied()?;
        ops.push(node.op);
    }
    let (mut scale, mut softcap) = (1.0, 0.0);
    let mut rest = ops.as_slice();
    if let [before @ .., Op::Scale(inner), Op::Activation(ActivationParams { activation: TANH }), Op::Scale(cap)] = rest
    {
        (softcap, rest) = (cap.factor, before);
        // As the op divides by the cap, this is 1, but for rounding.
        let factor = inner.factor * cap.factor;
        scale = if (factor - 1.0).abs() < 1e-6 { 1.0 } else { factor };
    }
    match rest {
        [] => {}
        [Op::Scale(p)] => scale *= p.factor,
        _ => return None,
    }
    let fits = plain && at == Some(logits) && scale != 0.0 && softcap >= 0.0;
    fits.then_some((matrix.inputs[5]?, LinearCrossEntropyParams { scale, softcap }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::LinearExtras;
    use tern_abi::dtype::F32;

    fn with_head(head: impl FnOnce(&mut GraphBuilder, Value) -> Value) -> Vec<Op> {
        let mut b = GraphBuilder::new(F32);
        let x = b.input_real("x", &[Dim::Outputs, Dim::Fixed(4)]);
        let h = b.scale(x, 2.0);
        let logits = head(&mut b, h);
        let graph = b.finish(&[logits]).unwrap();
        with_loss(graph, 2 * LOSS_ROWS, F32).unwrap().graph.nodes.iter().map(|n| n.op).collect()
    }

    #[test]
    fn a_matrix_with_factor_and_cap_is_one_op() {
        let ops = with_head(|b, h| {
            let w = b.weight("w", F32, &[9, 4], 0);
            let y = b.linear(h, w, LinearExtras::default());
            let y = b.scale(y, 0.5);
            let y = b.scale(y, 1.0 / 30.0);
            let y = b.activation(y, TANH);
            b.scale(y, 30.0)
        });
        let p = LinearCrossEntropyParams { scale: 0.5, softcap: 30.0 };
        assert_eq!(ops.iter().filter(|&&op| op == Op::LinearCrossEntropy(p)).count(), 2, "{ops:?}");
        assert!(!ops.iter().any(|op| matches!(op, Op::Linear(_) | Op::CrossEntropy)), "{ops:?}");
    }

    #[test]
    fn a_head_with_more_is_left_as_it_is() {
        let ops = with_head(|b, h| {
            let (w, bias) = (b.weight("w", F32, &[9, 4], 0), b.constant("bias", &[9]));
            b.linear(h, w, LinearExtras { bias: Some(bias), ..Default::default() })
        });
        assert_eq!(ops.iter().filter(|op| matches!(op, Op::CrossEntropy)).count(), 2, "{ops:?}");
    }
}
