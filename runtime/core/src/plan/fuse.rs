//! Fusion: patterns of plain ops become one op of the ABI that does the same with fewer passes.
//!
//! On a CPU, fused and decomposed agree bit for bit. The unfused graph is every fused op's decomposition:
//! a plugin that lacks a fusion gets the graph without it.
#![allow(clippy::needless_range_loop, reason = "a pass looks at one node by number and changes others")]

use crate::graph::{Graph, Node, Op, Value};
use tern_abi::ops::LinearParams;
use tern_quant::DType;

/// Which fusions to apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fusions {
    /// Linear ops that share their input become one; an RMS norm before them joins.
    pub group: bool,
    /// The norm joins the group.
    pub norm: bool,
    /// A GLU joins the two linears before it.
    pub glu: bool,
    /// An addition joins the linear before it.
    pub residual: bool,
    /// The rotation of q and k joins attention.
    pub rope: bool,
    /// The rounding of tokens joins linears of ternary weights.
    pub quantize: bool,
}

impl Fusions {
    /// All of them.
    pub const ALL: Self = Self { group: true, norm: true, glu: true, residual: true, rope: true, quantize: true };
    /// None.
    pub const NONE: Self =
        Self { group: false, norm: false, glu: false, residual: false, rope: false, quantize: false };

    /// The fusions that made `node` what it is.
    pub fn in_node(node: &Node) -> Self {
        match node.op {
            Op::Linear(p) => Self {
                group: p.n_weights > 1,
                norm: p.norm != 0,
                glu: p.glu != 0,
                residual: node.inputs[2].is_some(),
                rope: false,
                quantize: p.quantize != 0,
            },
            Op::Attention(_) => Self { rope: node.inputs[3].is_some(), ..Self::NONE },
            _ => Self::NONE,
        }
    }

    /// These without `others`; `None` where that changes nothing.
    pub fn without(self, others: Self) -> Option<Self> {
        let fewer = Self {
            group: self.group && !others.group,
            norm: self.norm && !others.norm,
            glu: self.glu && !others.glu,
            residual: self.residual && !others.residual,
            rope: self.rope && !others.rope,
            quantize: self.quantize && !others.quantize,
        };
        (fewer != self).then_some(fewer)
    }
}

/// Inputs of a linear op before its weights.
const HEAD: usize = 5;
/// Inputs of a linear op per weight.
const PER_WEIGHT: usize = 4;
/// Most weights of a linear op.
const MAX_WEIGHTS: usize = 4;

/// Applies `fusions`. Values keep their numbers; some are no longer computed.
pub fn fuse(graph: &Graph, fusions: Fusions) -> Graph {
    let mut graph = graph.clone();
    if fusions.quantize {
        fuse_quantize(&mut graph);
    }
    if fusions.residual {
        fuse_residual(&mut graph);
    }
    if fusions.group {
        fuse_group(&mut graph, fusions);
    }
    if fusions.glu {
        fuse_glu(&mut graph);
    }
    if fusions.rope {
        fuse_rope(&mut graph);
    }
    graph
}

/// Index of the node that makes each value.
fn makers(graph: &Graph) -> Vec<Option<usize>> {
    let mut makers = vec![None; graph.values.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        for v in node.outputs.iter().flatten() {
            makers[v.index()] = Some(i);
        }
    }
    makers
}

fn keep(graph: &mut Graph, dead: &[bool]) {
    let mut index = 0;
    graph.nodes.retain(|_| {
        index += 1;
        !dead[index - 1]
    });
}

/// Ternary weights, beside which kernels round tokens in any case.
const TERNARY: [u32; 4] = [DType::TQ1_0.code(), DType::TQ2_0.code(), DType::I2_S.code(), DType::I2_S_ARM.code()];

/// Rounded tokens that ternary linears without adapters take.
fn fuse_quantize(graph: &mut Graph) {
    let (mut uses, makers) = (graph.use_counts(), makers(graph));
    let mut dead = vec![false; graph.nodes.len()];
    for i in 0..graph.nodes.len() {
        let node = &graph.nodes[i];
        let (Op::Linear(p), true) = (node.op, is_plain_linear(node)) else { continue };
        let (Some(x), Some(w), None) = (node.inputs[0], node.inputs[HEAD], node.inputs[HEAD + 2]) else { continue };
        let Some(q) = makers[x.index()] else { continue };
        let rounded = matches!(graph.nodes[q].op, Op::QuantizeTokens);
        if rounded && TERNARY.contains(&graph.info(w).dtype) {
            graph.nodes[i].op = Op::Linear(LinearParams { quantize: 1, ..p });
            graph.nodes[i].inputs[0] = graph.nodes[q].inputs[0];
            uses[x.index()] -= 1;
            dead[q] = uses[x.index()] == 0;
        }
    }
    keep(graph, &dead);
}

/// `add(linear(x), r)` with the sum's other side ready before the linear runs.
fn fuse_residual(graph: &mut Graph) {
    let (uses, makers) = (graph.use_counts(), makers(graph));
    let mut dead = vec![false; graph.nodes.len()];
    for i in 0..graph.nodes.len() {
        let (Op::Add, false) = (graph.nodes[i].op, graph.nodes[i].grad) else { continue };
        let (Some(a), Some(b)) = (graph.nodes[i].inputs[0], graph.nodes[i].inputs[1]) else { continue };
        if graph.info(a).shape != graph.info(b).shape {
            continue;
        }
        for (y, residual) in [(a, b), (b, a)] {
            let Some(j) = makers[y.index()] else { continue };
            let linear = &graph.nodes[j];
            let plain =
                matches!(linear.op, Op::Linear(p) if p.n_weights == 1) && !linear.grad && linear.inputs[2].is_none();
            let ready = makers[residual.index()].is_none_or(|m| m < j);
            if plain && ready && uses[y.index()] == 1 {
                let out = graph.nodes[i].outputs[0];
                let linear = &mut graph.nodes[j];
                linear.inputs[2] = Some(residual);
                linear.outputs[0] = out;
                dead[i] = true;
                break;
            }
        }
    }
    keep(graph, &dead);
}

/// Linears on the same input, and the norm that makes it.
fn fuse_group(graph: &mut Graph, fusions: Fusions) {
    let (uses, makers) = (graph.use_counts(), makers(graph));
    let mut dead = vec![false; graph.nodes.len()];
    for i in 0..graph.nodes.len() {
        if dead[i] || !is_plain_linear(&graph.nodes[i]) {
            continue;
        }
        let Some(x) = graph.nodes[i].inputs[0] else { continue };
        let choice = [graph.nodes[i].inputs[3], graph.nodes[i].inputs[4]];
        let mut members = vec![i];
        for j in i + 1..graph.nodes.len() {
            let node = &graph.nodes[j];
            if dead[j] || !is_plain_linear(node) || members.len() == MAX_WEIGHTS {
                continue;
            }
            let ready = node.inputs.iter().flatten().all(|v| makers[v.index()].is_none_or(|m| m < i));
            let same =
                |a: &Node, b: &Node| matches!((a.op, b.op), (Op::Linear(a), Op::Linear(b)) if a.quantize == b.quantize);
            let same = same(node, &graph.nodes[i]);
            if ready && same && node.inputs[0] == Some(x) && [node.inputs[3], node.inputs[4]] == choice {
                members.push(j);
            }
        }
        let norm = makers[x.index()].filter(|&n| {
            let node = &graph.nodes[n];
            matches!(node.op, Op::RmsNorm(p) if p.groups <= 1)
                && !node.grad
                && uses[x.index()] as usize == members.len()
        });
        let norm = norm.filter(|_| fusions.norm);
        if members.len() == 1 && norm.is_none() {
            continue;
        }
        // A residual joins only a single linear, which here has none: `is_plain_linear`.
        let mut inputs = vec![Some(x), None, None, choice[0], choice[1]];
        let Op::Linear(first) = graph.nodes[i].op else { continue };
        let mut params = LinearParams { n_weights: members.len() as u32, ..first };
        if let Some(n) = norm {
            let Op::RmsNorm(p) = graph.nodes[n].op else { continue };
            (params.norm, params.eps) = (1, p.eps);
            (inputs[0], inputs[1]) = (graph.nodes[n].inputs[0], graph.nodes[n].inputs[1]);
            dead[n] = true;
        }
        let mut outputs = Vec::new();
        for &m in &members {
            inputs.extend_from_slice(&graph.nodes[m].inputs[HEAD..HEAD + PER_WEIGHT]);
            outputs.push(graph.nodes[m].outputs[0]);
            dead[m] = m != i;
        }
        graph.nodes[i] = Node { op: Op::Linear(params), grad: false, inputs, outputs };
    }
    keep(graph, &dead);
}

fn is_plain_linear(node: &Node) -> bool {
    matches!(node.op, Op::Linear(p) if p.n_weights == 1 && p.norm == 0) && !node.grad && node.inputs[2].is_none()
}

/// `glu(y0, y1)` where both come, in this order and for nothing else, from one linear op.
fn fuse_glu(graph: &mut Graph) {
    let (uses, makers) = (graph.use_counts(), makers(graph));
    let mut dead = vec![false; graph.nodes.len()];
    for i in 0..graph.nodes.len() {
        let (Op::Glu(p), false) = (graph.nodes[i].op, graph.nodes[i].grad) else { continue };
        // The fused op knows no further parameters.
        if (p.alpha, p.limit, p.offset) != (0.0, 0.0, 0.0) {
            continue;
        }
        let pair = [graph.nodes[i].inputs[0], graph.nodes[i].inputs[1]];
        let once = pair.iter().flatten().all(|v| uses[v.index()] == 1);
        let Some(j) = pair[0].and_then(|v| makers[v.index()]) else { continue };
        let Op::Linear(linear) = graph.nodes[j].op else { continue };
        if once && !graph.nodes[j].grad && linear.n_weights == 2 && graph.nodes[j].outputs[..] == pair {
            let out = graph.nodes[i].outputs[0];
            graph.nodes[j].op = Op::Linear(LinearParams { glu: 1, activation: p.activation, ..linear });
            graph.nodes[j].outputs = vec![out];
            dead[i] = true;
        }
    }
    keep(graph, &dead);
}

/// Rotations whose results only attention reads.
fn fuse_rope(graph: &mut Graph) {
    let (uses, makers) = (graph.use_counts(), makers(graph));
    let mut dead = vec![false; graph.nodes.len()];
    for i in 0..graph.nodes.len() {
        let (Op::Attention(p), false) = (graph.nodes[i].op, graph.nodes[i].grad) else { continue };
        let rotation = |v: Option<Value>| {
            let j = makers[v?.index()]?;
            let node = &graph.nodes[j];
            match node.op {
                Op::Rope(r) if !node.grad && r.inverse == 0 && uses[v?.index()] == 1 => {
                    Some((j, r, node.inputs[0], node.inputs[1]))
                }
                _ => None,
            }
        };
        let (Some((jq, rq, q, table)), Some((jk, rk, k, table_k))) =
            (rotation(graph.nodes[i].inputs[0]), rotation(graph.nodes[i].inputs[1]))
        else {
            continue;
        };
        if table == table_k && rq.n_rot == rk.n_rot && rq.layout == rk.layout && graph.nodes[i].inputs[3].is_none() {
            let node = &mut graph.nodes[i];
            node.op = Op::Attention(tern_abi::ops::AttentionParams { rope_layout: rq.layout, n_rot: rq.n_rot, ..p });
            (node.inputs[0], node.inputs[1], node.inputs[3]) = (q, k, table);
            (dead[jq], dead[jk]) = (true, true);
        }
    }
    keep(graph, &dead);
}
