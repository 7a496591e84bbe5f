//! Plans: graphs made ready for one backend.
//!
//! graph --[`fuse`]--> fused graph --[`lower`]--> the ABI's graph with every intermediate in its place
//! --[`placement`]--> segments by device --compile--> [`Plan`].
//! A plan is made once per shape class, never per step. What a plugin lacks in fused form runs decomposed; what it lacks
//! altogether runs on another device.

mod arena;
mod fuse;
mod lower;
mod placement;
mod work;

pub use fuse::{Fusions, fuse};
pub use work::Work;

use crate::backend::{BackendError, Device, Exec};
use crate::graph::{Graph, Value};
use placement::Placement;
use std::ops::Range;
use std::sync::Arc;
use tern_abi::dtype::plain_size;
use tern_abi::graph::{Tensor, dim};

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

/// A compiled graph: segments, one after the other.
///
/// All devices have memory of the same size with every value at the same offset, so that a value that goes from one to
/// another keeps its place.
#[derive(Debug)]
pub struct Plan {
    /// In the order in which they run; one, where the first device runs all.
    pub segments: Vec<Segment>,
    /// Largest sizes.
    pub class: ShapeClass,
    /// Arena memory of a step on each device, in bytes.
    pub arena_bytes: u64,
    /// Memory on each device for the values that go from one segment to another, in bytes: the last step slot, if any.
    pub crossing_bytes: u64,
    /// Where each of the graph's outputs lies, in the graph's order.
    pub outputs: Vec<Placed>,
    /// One line per op, for people.
    pub listing: Vec<String>,
    /// What each op does, for profiles.
    pub work: Vec<Work>,
}

/// Consecutive ops on one device.
#[derive(Debug)]
pub struct Segment {
    /// Index of the device.
    pub device: usize,
    /// What it runs.
    pub exec: Exec,
    /// The ops' numbers in the plan.
    pub ops: Range<usize>,
    /// Values that must be fetched from another device first.
    pub carried: Vec<Carried>,
}

/// A value that goes from one device to the same place on another.
#[derive(Clone, Debug)]
pub struct Carried {
    /// Index of the device that has it.
    pub from: usize,
    /// Its place.
    pub tensor: Tensor,
}

impl Carried {
    /// Its bytes in a step of these sizes.
    pub fn bytes(&self, dims: &[u64; dim::COUNT]) -> u64 {
        let sizes = self.tensor.shape.iter().zip(&self.tensor.dims);
        let elements: u64 = sizes.map(|(&n, &d)| if d == dim::FIXED { n } else { dims[d as usize] }).product();
        elements * plain_size(self.tensor.dtype).unwrap_or(4)
    }
}

/// An output's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Index of the device.
    pub device: usize,
    /// Is it not in the arena but among the values that cross?
    pub crosses: bool,
    /// Bytes from its memory's start.
    pub offset: u64,
    /// Element type code.
    pub dtype: u32,
    /// Largest sizes, outermost first.
    pub shape: Vec<u64>,
}

/// A plan that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// There is nothing to run on.
    #[error("a plan needs a device")]
    NoDevice,
    /// No device at hand has an op.
    #[error("{backend} cannot run op {op} (number {index}); choose another backend")]
    Unsupported {
        /// The devices.
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
    /// Fuses, lowers and compiles `graph` for `devices`, the preferred one first: a later one runs what those before lack.
    ///
    /// # Errors
    /// [`PlanError`]: an op that all devices lack even unfused, sizes that overflow, or a plugin's own error.
    pub fn new(devices: &[Arc<Device>], graph: &Graph, class: ShapeClass) -> Result<Self, PlanError> {
        let placement = Placement::new(devices, graph, class)?;
        let (graph, desc) = (&placement.graph, &placement.desc);
        let carried = placement.carried();
        let segments = placement.segments().into_iter().zip(carried).map(|((device, ops), values)| {
            let exec = devices[device].compile(&lower::part(desc, ops.clone()))?;
            let carried =
                values.into_iter().map(|(from, v)| Carried { from, tensor: desc.tensors[v.index()] }).collect();
            Ok(Segment { device, exec, ops, carried })
        });
        Ok(Self {
            segments: segments.collect::<Result<_, PlanError>>()?,
            class,
            arena_bytes: desc.arena_bytes,
            crossing_bytes: placement.crossing_bytes,
            listing: listing(&placement, devices),
            work: graph.nodes.iter().map(|n| Work::of(graph, n)).collect(),
            outputs: placement.outputs(),
        })
    }
}

/// Which of `graph`'s externals each device needs, by device and index.
///
/// # Errors
/// As [`Plan::new`].
pub fn externals(devices: &[Arc<Device>], graph: &Graph, class: ShapeClass) -> Result<Vec<Vec<bool>>, PlanError> {
    let placement = Placement::new(devices, graph, class)?;
    Ok((0..devices.len()).map(|d| placement.externals(d)).collect())
}

fn listing(placement: &Placement, devices: &[Arc<Device>]) -> Vec<String> {
    let (graph, desc) = (&placement.graph, &placement.desc);
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
            let device = match placement.devices[i] {
                0 => String::new(),
                other => format!("  on {}", devices[other].info().name),
            };
            let at = n.outputs.first().and_then(place).map_or(String::new(), |o| format!(" @{o}"));
            let grad = if n.grad { ".grad" } else { "" };
            format!("{i:4}  {} = {}{grad}({}){at}{device}", text(&n.outputs), n.op.name(), text(&n.inputs))
        })
        .collect()
}
