//! Orders of a graph's nodes, and computing values again, to keep less memory at a time. What is computed does not change.

use super::{Graph, Node, Origin, Value};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

impl Graph {
    /// Moves each node from number `from` on to right after the last of its inputs' makers: a group of logits meets its gradient before
    /// the next group is made.
    pub fn hoist(&mut self, from: usize) {
        let mut place: HashMap<Value, usize> = HashMap::new();
        let mut keyed: Vec<(usize, Node)> = Vec::with_capacity(self.nodes.len());
        for (i, node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            let ready = node.inputs.iter().flatten().filter_map(|v| place.get(v)).max().copied().unwrap_or(0);
            let at = if i < from { i } else { ready };
            place.extend(node.outputs.iter().flatten().map(|&v| (v, at)));
            keyed.push((at, node));
        }
        // Stable: among nodes of one place the order stays, and a node's place is not before its inputs'.
        keyed.sort_by_key(|(at, _)| *at);
        self.nodes = keyed.into_iter().map(|(_, node)| node).collect();
    }

    /// Lets later nodes compute again what `segments` of nodes (in order, apart) made for themselves, rather than keep it. Of each segment
    /// there remains what other nodes before `forward` use; the first node from there on that needs more is preceded by those of the
    /// segment's nodes that make it (Chen et al., arXiv 1604.06174).
    pub fn recompute(&mut self, forward: usize, segments: &[Range<usize>]) {
        let old = std::mem::take(&mut self.nodes);
        let forward = forward.min(old.len());
        let mut owner: HashMap<Value, usize> = HashMap::new();
        for (s, range) in segments.iter().enumerate() {
            let made = old[range.clone()].iter().flat_map(|n| n.outputs.iter().flatten());
            owner.extend(made.map(|&v| (v, s)));
        }
        // What others use stays, and so do states, which only one op may advance.
        let mut kept: HashSet<Value> = self.outputs.iter().copied().collect();
        for (i, node) in old[..forward].iter().enumerate() {
            let own = segments.iter().position(|r| r.contains(&i));
            kept.extend(node.inputs.iter().flatten().filter(|v| owner.get(v).is_some_and(|&s| Some(s) != own)));
        }
        let lost = |v: &Value| owner.get(v).copied().filter(|_| !kept.contains(v));
        let mut again: HashMap<Value, Value> = HashMap::new();
        let mut nodes: Vec<Node> = old[..forward].to_vec();
        for (i, node) in old[forward..].iter().enumerate() {
            let missing: Vec<usize> =
                node.inputs.iter().flatten().filter(|v| !again.contains_key(v)).filter_map(lost).collect();
            for s in missing {
                // All that later nodes want of this segment, at once.
                let wanted: HashSet<Value> = old[forward + i..]
                    .iter()
                    .flat_map(|n| n.inputs.iter().flatten())
                    .filter(|v| lost(v) == Some(s))
                    .copied()
                    .collect();
                if wanted.iter().any(|v| !again.contains_key(v)) {
                    self.repeat(&old[segments[s].clone()], wanted, &kept, &mut again, &mut nodes);
                }
            }
            let inputs = node.inputs.iter().map(|v| v.map(|v| again.get(&v).copied().unwrap_or(v))).collect();
            nodes.push(Node { inputs, ..node.clone() });
        }
        self.nodes = nodes;
    }

    /// Appends copies of those of `segment`'s nodes that make what is `wanted`.
    fn repeat(
        &mut self,
        segment: &[Node],
        mut wanted: HashSet<Value>,
        kept: &HashSet<Value>,
        again: &mut HashMap<Value, Value>,
        nodes: &mut Vec<Node>,
    ) {
        let mut needed = vec![false; segment.len()];
        for (node, needed) in segment.iter().zip(&mut needed).rev() {
            if node.outputs.iter().flatten().any(|v| wanted.contains(v)) {
                *needed = true;
                wanted.extend(node.inputs.iter().flatten().filter(|v| !kept.contains(v)));
            }
        }
        for (node, _) in segment.iter().zip(&needed).filter(|(_, needed)| **needed) {
            let inputs = node.inputs.iter().map(|v| v.map(|v| again.get(&v).copied().unwrap_or(v))).collect();
            let outputs: Vec<Option<Value>> = node.outputs.iter().map(|v| v.map(|v| self.copy_of(v))).collect();
            // What is kept is not replaced: the copy's is never read.
            let pairs = node.outputs.iter().flatten().zip(outputs.iter().flatten());
            again.extend(pairs.filter(|(v, _)| !kept.contains(v)).map(|(&v, &new)| (v, new)));
            nodes.push(Node { inputs, outputs, ..node.clone() });
        }
    }

    fn copy_of(&mut self, value: Value) -> Value {
        let info = self.info(value).clone();
        debug_assert_eq!(info.origin, Origin::Node);
        self.values.push(info);
        Value((self.values.len() - 1) as u32)
    }

    /// The nodes of each layer before number `end`: runs that begin with the first use of a tensor `blk.N.`.
    pub fn layers(&self, end: usize) -> Vec<Range<usize>> {
        let names: HashMap<Value, &str> = self.externals.iter().map(|e| (e.value, e.name.as_str())).collect();
        let layer = |n: &Node| {
            let name = n.inputs.iter().flatten().find_map(|v| names.get(v).filter(|n| n.starts_with("blk.")))?;
            name.split('.').nth(1)?.parse::<u64>().ok()
        };
        let mut layers: Vec<(u64, Range<usize>)> = Vec::new();
        for (i, node) in self.nodes.iter().enumerate().take(end) {
            match (layer(node), layers.last_mut()) {
                (Some(n), Some((last, range))) if *last == n => range.end = i + 1,
                (Some(n), _) => layers.push((n, i..i + 1)),
                (None, Some((_, range))) => range.end = i + 1,
                (None, None) => {}
            }
        }
        // A tensor that is used out of order gives no run of its own; such graphs keep everything.
        let numbers: Vec<u64> = layers.iter().map(|l| l.0).collect();
        if numbers.is_sorted() { layers.into_iter().map(|l| l.1).collect() } else { Vec::new() }
    }
}
