//! Gradients, graph to graph.

use super::{Graph, GraphBuilder, GraphError, Node, Op, Value};
use tern_abi::ops::{RopeParams, ScaleParams};

/// Adds to `graph` the gradients of the scalar `loss` with respect to `wrt`, times `seed` (an input of shape `[1]`
/// called "seed" is added for it). Returns the graph and one value per `wrt`, `None` where loss does not depend on it.
///
/// Gradients are those of the real-valued ops. Every op's rule is [`Op::differentiable`] plus the ABI's
/// convention for gradient ops; the few rules that are ordinary ops are in `rule`.
///
/// # Errors
/// [`GraphError::NotDifferentiable`] where the path from `wrt` to `loss` crosses an op that has no gradient in its
/// present form (attention through a cache).
pub fn gradients(
    graph: Graph,
    loss: Value,
    wrt: &[Value],
    real: u32,
) -> Result<(Graph, Vec<Option<Value>>), GraphError> {
    let forward = graph.nodes.clone();
    let needed = reachable(&graph, &forward, wrt);
    let outputs = graph.outputs.clone();
    let mut b = GraphBuilder::resume(graph, real);
    let mut grads: Vec<Option<Value>> = vec![None; needed.len()];
    grads[loss.index()] = Some(b.input_real("seed", &[super::Dim::Fixed(1)]));
    for node in forward.iter().rev() {
        let upstream: Vec<Option<Value>> = node.outputs.iter().map(|o| o.and_then(|v| grads[v.index()])).collect();
        if upstream.iter().all(Option::is_none) {
            continue;
        }
        let wanted: Vec<bool> = (0..node.inputs.len())
            .map(|i| is_differentiable(&node.op, i) && node.inputs[i].is_some_and(|v| needed[v.index()]))
            .collect();
        if !wanted.contains(&true) {
            continue;
        }
        for (i, gradient) in rule(&mut b, node, &upstream, &wanted)? {
            if let Some(input) = node.inputs[i] {
                let slot = &mut grads[input.index()];
                *slot = Some(match *slot {
                    None => gradient,
                    Some(sum) => b.add(sum, gradient),
                });
            }
        }
    }
    let wanted = wrt.iter().map(|v| grads[v.index()]).collect();
    Ok((b.finish(&outputs)?, wanted))
}

/// Which values depend on one of `wrt`.
fn reachable(graph: &Graph, nodes: &[Node], wrt: &[Value]) -> Vec<bool> {
    let mut depends = vec![false; graph.values.len()];
    for v in wrt {
        depends[v.index()] = true;
    }
    for node in nodes {
        if node.inputs.iter().flatten().any(|v| depends[v.index()]) {
            for v in node.outputs.iter().flatten() {
                depends[v.index()] = true;
            }
        }
    }
    depends
}

fn is_differentiable(op: &Op, input: usize) -> bool {
    // The four inputs of a linear op's further weights behave like the first one's.
    let input = match op {
        Op::Linear(_) if input > 8 => 5 + (input - 5) % 4,
        _ => input,
    };
    op.differentiable().contains(&input)
}

/// The vector-Jacobian product of `node`: pairs of input index and gradient.
fn rule(
    b: &mut GraphBuilder,
    node: &Node,
    upstream: &[Option<Value>],
    wanted: &[bool],
) -> Result<Vec<(usize, Value)>, GraphError> {
    let only = upstream.first().copied().flatten();
    match (&node.op, only) {
        (Op::Add, Some(g)) if node.inputs.iter().flatten().all(|&v| b.shape(v) == b.shape(g)) => {
            Ok((0..2).filter(|&i| wanted[i]).map(|i| (i, g)).collect())
        }
        // Straight through.
        (Op::QuantizeTokens, Some(g)) => Ok(vec![(0, g)]),
        (Op::Scale(ScaleParams { factor }), Some(g)) => Ok(vec![(0, b.scale(g, *factor))]),
        (Op::Rope(p), Some(g)) => match node.inputs[1] {
            // The inverse rotation; a magnitude in the table applies in both directions.
            Some(table) => Ok(vec![(0, b.rope(g, table, RopeParams { inverse: 1 - p.inverse, ..*p }))]),
            None => Ok(Vec::new()),
        },
        (Op::Attention(_), _) if node.inputs[3].is_some() || node.inputs[6].is_some() => {
            Err(GraphError::NotDifferentiable { op: "attention", why: "build the graph without a cache to train it" })
        }
        (Op::FastWeight(_), _) if node.inputs[11].is_some() => {
            Err(GraphError::NotDifferentiable { op: "fast_weight", why: "build the graph without a state to train it" })
        }
        (Op::ShortConv(_), _) if node.inputs[5].is_some() => {
            Err(GraphError::NotDifferentiable { op: "short_conv", why: "build the graph without a state to train it" })
        }
        _ => Ok(gradient_op(b, node, upstream, wanted)),
    }
}

/// The ABI's gradient op.
fn gradient_op(b: &mut GraphBuilder, node: &Node, upstream: &[Option<Value>], wanted: &[bool]) -> Vec<(usize, Value)> {
    let outputs: Vec<Option<Value>> = (0..node.inputs.len())
        .map(|i| node.inputs[i].filter(|_| wanted[i]).map(|v| b.node_value(b.shape(v))))
        .collect();
    let inputs = node.inputs.iter().chain(upstream).copied().collect();
    b.push_node(Node { op: node.op, grad: true, inputs, outputs: outputs.clone() });
    outputs.into_iter().enumerate().filter_map(|(i, v)| Some((i, v?))).collect()
}
