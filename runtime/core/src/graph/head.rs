//! A graph without its head: hidden states rather than logits.

use super::{Graph, Op};

impl Graph {
    /// Makes what goes into the head the only output. The head is the last matrix; only factors and caps follow it.
    pub fn cut_head(&mut self) {
        let head = self.nodes.iter().rposition(|n| matches!(n.op, Op::Linear(_)));
        let input = head.and_then(|at| Some((at, self.nodes[at].inputs.first().copied().flatten()?)));
        if let Some((at, hidden)) = input {
            self.nodes.truncate(at);
            self.outputs = vec![hidden];
        }
    }
}
