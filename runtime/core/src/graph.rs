//! Graphs: values and ops in SSA form, with symbolic token counts.
//!
//! A model file builds one graph; it serves prefill, decode, scoring, training and export. Values are made
//! once and never change; an op that advances a state takes it and yields its successor. Weights,
//! constants, states and inputs are distinguished values ([`External`]). What a plugin runs is made from
//! a graph by [`crate::plan`].

mod build;
mod grad;
mod head;
mod loss;
mod op;
mod order;
mod taps;

pub use build::{AttentionInputs, GraphBuilder, LinearExtras};
pub use grad::gradients;
pub use loss::{LOSS_ROWS, Loss, loss_inputs, with_loss};
pub use op::Op;
pub use taps::Tap;

use tern_abi::state::StateDesc;

/// A dimension: a number, or a count that a step decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Known.
    Fixed(u64),
    /// Token rows of a step.
    Tokens,
    /// Sequences of a step.
    Sequences,
    /// Rows whose logits are wanted.
    Outputs,
}

impl From<u64> for Dim {
    fn from(n: u64) -> Self {
        Self::Fixed(n)
    }
}

/// Index of a value in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) u32);

impl Value {
    /// Index into the graph's values.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Type and shape of a value.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueInfo {
    /// Element type code, see [`tern_abi::dtype`]; a weight's is the file's.
    pub dtype: u32,
    /// Row-major, outermost first, 1 to 4 dimensions.
    pub shape: Vec<Dim>,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Output of a node.
    Node,
    /// One of [`Graph::externals`].
    External(usize),
}

/// A value that the graph does not compute.
#[derive(Clone, Debug)]
pub struct External {
    /// Unique within the graph: a tensor's name in the file, an input's or state's name.
    pub name: String,
    /// What it is.
    pub kind: ExternalKind,
    /// The value.
    pub value: Value,
}

/// Kinds of [`External`].
#[derive(Clone, Debug)]
pub enum ExternalKind {
    /// Differs in every step.
    Input,
    /// A prepared weight, with its usage bits ([`tern_abi::weight::usage`]).
    Weight(u32),
    /// Plain memory that stays: norm weights, biases, tables, adapter banks.
    Constant,
    /// Memory that steps advance.
    State(StateDesc),
}

/// An op with its values.
#[derive(Clone, Debug)]
pub struct Node {
    /// The op and its parameters.
    pub op: Op,
    /// Is this the op's gradient?
    pub grad: bool,
    /// In the order that [`tern_abi::ops`] gives.
    pub inputs: Vec<Option<Value>>,
    /// In the order that [`tern_abi::ops`] gives.
    pub outputs: Vec<Option<Value>>,
}

/// A graph: nodes in an order in which they can run.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// All values.
    pub values: Vec<ValueInfo>,
    /// All nodes; a node uses only externals and outputs of earlier nodes.
    pub nodes: Vec<Node>,
    /// Values that are not computed. Their order numbers the slots of a plan.
    pub externals: Vec<External>,
    /// Values that a step's caller reads.
    pub outputs: Vec<Value>,
}

impl Graph {
    /// Type and shape of `value`.
    pub fn info(&self, value: Value) -> &ValueInfo {
        &self.values[value.index()]
    }

    /// The external called `name`.
    pub fn external(&self, name: &str) -> Option<&External> {
        self.externals.iter().find(|e| e.name == name)
    }

    /// How often each value is used by nodes and outputs.
    pub fn use_counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.values.len()];
        for value in self.nodes.iter().flat_map(|n| n.inputs.iter().flatten()).chain(&self.outputs) {
            counts[value.index()] += 1;
        }
        counts
    }
}

/// A graph that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Shapes or types do not fit the op.
    #[error("{op}: {detail}")]
    Shape {
        /// The op.
        op: &'static str,
        /// What was found and what was expected.
        detail: String,
    },
    /// An external's name is used twice.
    #[error("the name {name} is used twice in one graph")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A gradient is wanted through an op that has none in this form.
    #[error("{op} is not differentiable here: {why}")]
    NotDifferentiable {
        /// The op.
        op: &'static str,
        /// Which form would be.
        why: &'static str,
    },
}
