//! Plans: graphs made ready for one backend.
//!
//! graph --[`fuse`]--> fused graph --[`lower`]--> the ABI's graph with every intermediate in its place --compile--> [`Plan`].
//! A plan is made once per shape class, never per step. What a plugin lacks in fused form runs decomposed.

mod arena;
mod fuse;
mod lower;

pub use fuse::{Fusions, fuse};

use crate::backend::{BackendError, Device, Exec, GraphDesc};
use crate::graph::{Graph, Value};
use std::sync::Arc;
use tern_abi::graph::dim;

/// Largest sizes of a plan's dynamic dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShapeClass {
    /// Token rows of a step.
    pub tokens: u64,
    /// Sequences of a step.
    pub sequences: u64,
    /// Rows whose logits are wanted.
    pub outputs: u64,
}

impl ShapeClass {
    fn maxima(&self) -> [u64; dim::COUNT] {
        let mut max = [1; dim::COUNT];
        max[dim::TOKENS as usize] = self.tokens;
        max[dim::SEQUENCES as usize] = self.sequences;
        max[dim::OUTPUTS as usize] = self.outputs;
        max
    }
}

/// A compiled graph.
#[derive(Debug)]
pub struct Plan {
    /// What the plugin runs.
    pub exec: Exec,
    /// Largest sizes.
    pub class: ShapeClass,
    /// Arena memory of a step, in bytes.
    pub arena_bytes: u64,
    /// Where each of the graph's outputs lies in the arena, in the graph's order.
    pub outputs: Vec<Placed>,
    /// One line per op, for people.
    pub listing: Vec<String>,
    /// Names of ops, for profiles.
    pub op_names: Vec<&'static str>,
}

/// A value's place in the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Bytes from the arena's start.
    pub offset: u64,
    /// Element type code.
    pub dtype: u32,
    /// Largest sizes, outermost first.
    pub shape: Vec<u64>,
}

/// A plan that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The plugin lacks an op.
    #[error("backend {backend} cannot run op {op} (number {index}); choose another backend")]
    Unsupported {
        /// The plugin.
        backend: String,
        /// The op.
        op: String,
        /// Its place in the plan.
        index: usize,
    },
    /// Sizes overflow.
    #[error("the plan's sizes overflow: {what}")]
    Overflow {
        /// Which.
        what: String,
    },
    /// The plugin refused.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl Plan {
    /// Fuses, lowers and compiles `graph` for `device`.
    ///
    /// # Errors
    /// [`PlanError`]: an op that the plugin lacks even unfused, sizes that overflow, or the plugin's own error.
    pub fn new(device: &Arc<Device>, graph: &Graph, class: ShapeClass) -> Result<Self, PlanError> {
        let mut fusions = Fusions::ALL;
        loop {
            let fused = fuse(graph, fusions);
            let lowered = lower::lower(&fused, class)?;
            let verdicts = device.supports(&lowered.desc)?;
            let Some(index) = verdicts.iter().position(|&v| v == tern_abi::table::verdict::NO) else {
                let exec = device.compile(&lowered.desc)?;
                return Ok(Self {
                    exec,
                    class,
                    arena_bytes: lowered.desc.arena_bytes,
                    outputs: lowered.outputs,
                    listing: listing(&fused, &lowered.desc),
                    op_names: fused.nodes.iter().map(|n| n.op.name()).collect(),
                });
            };
            let node = &fused.nodes[index];
            match fusions.without(Fusions::in_node(node)) {
                Some(fewer) => fusions = fewer,
                None => {
                    let backend = device.info().name.clone();
                    let op = format!("{}{}", node.op.name(), if node.grad { " gradient" } else { "" });
                    return Err(PlanError::Unsupported { backend, op, index });
                }
            }
        }
    }
}

/// The arena place of every output of `graph`, without compiling: how many bytes a plan of this class takes.
///
/// # Errors
/// [`PlanError::Overflow`].
pub fn arena_bytes(graph: &Graph, class: ShapeClass) -> Result<u64, PlanError> {
    Ok(lower::lower(&fuse(graph, Fusions::ALL), class)?.desc.arena_bytes)
}

fn listing(graph: &Graph, desc: &GraphDesc) -> Vec<String> {
    let name = |v: Value| match graph.info(v).origin {
        crate::graph::Origin::External(i) => graph.externals[i].name.clone(),
        crate::graph::Origin::Node => format!("%{}", v.index()),
    };
    let text = |vs: &[Option<Value>]| vs.iter().map(|v| v.map_or("-".to_owned(), name)).collect::<Vec<_>>().join(", ");
    let place = |v: &Option<Value>| v.map(|v| desc.tensors[v.index()].offset);
    graph
        .nodes
        .iter()
        .enumerate()
        .map(|(i, n)| {
            let at = n.outputs.first().and_then(place).map_or(String::new(), |o| format!(" @{o}"));
            let grad = if n.grad { ".grad" } else { "" };
            format!("{i:4}  {} = {}{grad}({}){at}", text(&n.outputs), n.op.name(), text(&n.inputs))
        })
        .collect()
}
