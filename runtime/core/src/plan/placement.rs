//! Placement: which device runs each node, and how a plan falls into segments.
//!
//! The first device runs all it can, fused or not; what it lacks runs on a later one.

use super::fuse::{Fusions, fuse};
use super::lower::lower;
use super::{Placed, PlanError, ShapeClass};
use crate::backend::{Device, GraphDesc};
use crate::graph::{ExternalKind, Graph, Node, Origin, Value};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use tern_abi::graph::place;
use tern_abi::table::verdict;

/// A fused graph with a device for every node.
pub struct Placement {
    /// The graph, fused as far as its devices go along.
    pub graph: Graph,
    /// The same for the ABI.
    pub desc: GraphDesc,
    /// Bytes of the values that cross from one segment to another.
    pub crossing_bytes: u64,
    /// Index of each node's device.
    pub devices: Vec<usize>,
}

impl Placement {
    /// Places `graph` on `devices`, the preferred one first. What a device supports does not depend on `class`.
    ///
    /// # Errors
    /// [`PlanError::Unsupported`] where no device runs an op; overflow and backend errors.
    pub fn new(devices: &[Arc<Device>], graph: &Graph, class: ShapeClass) -> Result<Self, PlanError> {
        let first = devices.first().ok_or(PlanError::NoDevice)?;
        let mut fusions = Fusions::ALL;
        loop {
            let fused = fuse(graph, fusions);
            let (desc, _) = lower(&fused, class, &|_| false)?;
            let verdicts = first.supports(&desc)?;
            let refused = |i: usize| verdicts[i] == verdict::NO;
            let fewer = (0..fused.nodes.len())
                .filter(|&i| refused(i))
                .find_map(|i| fusions.without(Fusions::in_node(&fused.nodes[i])));
            match fewer {
                Some(fewer) => fusions = fewer,
                None => return Self::assign(devices, fused, desc, verdicts)?.cross(class),
            }
        }
    }

    fn assign(devices: &[Arc<Device>], graph: Graph, desc: GraphDesc, first: Vec<u8>) -> Result<Self, PlanError> {
        let mut able: Vec<Vec<bool>> = vec![first.iter().map(|&v| v != verdict::NO).collect()];
        let mut chosen = vec![0; graph.nodes.len()];
        // Nodes that share a state run where it is.
        let groups = state_groups(&graph);
        for (i, node) in graph.nodes.iter().enumerate() {
            let mates = groups.iter().find(|g| g.contains(&i)).map_or(std::slice::from_ref(&i), |g| &g[..]);
            let mut device = 0;
            while !mates.iter().all(|&m| able[device][m]) {
                device += 1;
                let Some(next) = devices.get(device) else { return Err(unsupported(devices, node, i)) };
                if able.len() == device {
                    able.push(next.supports(&desc)?.iter().map(|&v| v != verdict::NO).collect());
                }
            }
            chosen[i] = device;
        }
        Ok(Self { graph, desc, crossing_bytes: 0, devices: chosen })
    }

    /// Gives values that several segments use their place.
    fn cross(mut self, class: ShapeClass) -> Result<Self, PlanError> {
        let segments = self.segments();
        if segments.len() > 1 {
            let mut users: HashMap<Value, usize> = HashMap::new();
            let mut crossing = vec![false; self.graph.values.len()];
            for (number, (_, nodes)) in segments.iter().enumerate() {
                for v in self.graph.nodes[nodes.clone()].iter().flat_map(values) {
                    crossing[v.index()] |= *users.entry(v).or_insert(number) != number;
                }
            }
            (self.desc, self.crossing_bytes) = lower(&self.graph, class, &|v| crossing[v])?;
        }
        Ok(self)
    }

    /// Runs of nodes on one device.
    pub fn segments(&self) -> Vec<(usize, Range<usize>)> {
        let mut segments: Vec<(usize, Range<usize>)> = Vec::new();
        for (i, &device) in self.devices.iter().enumerate() {
            match segments.last_mut() {
                Some((last, nodes)) if *last == device => nodes.end = i + 1,
                _ => segments.push((device, i..i + 1)),
            }
        }
        segments
    }

    /// For each segment, the values that another device has made and this one has not fetched yet, with that device.
    pub fn carried(&self) -> Vec<Vec<(usize, Value)>> {
        let mut at: HashMap<Value, Vec<usize>> = HashMap::new();
        let segments = self.segments().into_iter().map(|(device, nodes)| {
            let mut carried = Vec::new();
            for node in &self.graph.nodes[nodes] {
                for v in node.inputs.iter().flatten() {
                    if let Some(places) = at.get_mut(v).filter(|p| !p.contains(&device)) {
                        carried.push((places[0], *v));
                        places.push(device);
                    }
                }
                let made = node.outputs.iter().flatten().filter(|v| self.graph.info(**v).origin == Origin::Node);
                at.extend(made.map(|&v| (v, vec![device])));
            }
            carried
        });
        segments.collect()
    }

    /// Where the graph's outputs end up.
    pub fn outputs(&self) -> Vec<Placed> {
        let maker = |v: &Value| self.graph.nodes.iter().position(|n| n.outputs.contains(&Some(*v)));
        let placed = self.graph.outputs.iter().map(|v| {
            let t = &self.desc.tensors[v.index()];
            let device = maker(v).map_or(0, |n| self.devices[n]);
            Placed {
                device,
                crosses: t.place == place::STEP,
                offset: t.offset,
                dtype: t.dtype,
                shape: t.shape[..t.rank as usize].to_vec(),
            }
        });
        placed.collect()
    }

    /// Which externals `device` uses, by index.
    pub fn externals(&self, device: usize) -> Vec<bool> {
        let mut used = vec![false; self.graph.externals.len()];
        for (node, _) in self.graph.nodes.iter().zip(&self.devices).filter(|(_, d)| **d == device) {
            for value in values(node) {
                if let Origin::External(e) = self.graph.info(value).origin {
                    used[e] = true;
                }
            }
        }
        used
    }
}

/// Inputs and outputs that are there.
pub fn values(node: &Node) -> impl Iterator<Item = Value> + '_ {
    node.inputs.iter().chain(&node.outputs).flatten().copied()
}

/// Nodes by the state that they advance.
fn state_groups(graph: &Graph) -> Vec<Vec<usize>> {
    let states = graph.externals.iter().enumerate().filter(|(_, e)| matches!(e.kind, ExternalKind::State(_)));
    states
        .map(|(s, _)| {
            let uses = |n: &Node| values(n).any(|v| graph.info(v).origin == Origin::External(s));
            graph.nodes.iter().enumerate().filter(|(_, n)| uses(n)).map(|(i, _)| i).collect()
        })
        .collect()
}

fn unsupported(devices: &[Arc<Device>], node: &Node, index: usize) -> PlanError {
    let names: Vec<&str> = devices.iter().map(|d| d.info().name.as_str()).collect();
    let op = format!("{}{}", node.op.name(), if node.grad { " gradient" } else { "" });
    PlanError::Unsupported { backend: names.join(", "), op, index }
}
