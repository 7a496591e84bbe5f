//! A step's rows, and their way into device memory.

use super::ContextSize;
use crate::backend::{Bound, Buffer, Device};
use crate::error::Error;
use crate::graph::{Dim, ExternalKind, Graph};
use crate::models::{PAGE_SIZE, inputs};
use std::collections::HashMap;
use std::sync::Arc;

/// The rows of one step, grouped by sequence.
#[derive(Default)]
pub struct Rows {
    pub tokens: Vec<u32>,
    pub positions: Vec<u32>,
    pub slots: Vec<u32>,
    pub outputs: Vec<u32>,
    pub sequences: Vec<RowsOfSequence>,
    /// Inputs that only some graphs have, by name.
    pub others: HashMap<String, Vec<i32>>,
}

/// Which sequence, where its rows begin, its adapter and pages.
pub struct RowsOfSequence {
    pub sequence: usize,
    first: usize,
    adapter: Option<u32>,
    pages: Vec<u32>,
}

impl Rows {
    pub fn begin_sequence(&mut self, sequence: usize, adapter: Option<u32>, pages: impl Iterator<Item = u32>) {
        self.sequences.push(RowsOfSequence { sequence, first: self.tokens.len(), adapter, pages: pages.collect() });
    }

    pub fn push(&mut self, token: u32, position: usize, page: u32, wanted: bool) {
        if wanted {
            self.outputs.push(self.tokens.len() as u32);
        }
        self.tokens.push(token);
        self.positions.push(position as u32);
        self.slots.push(page * PAGE_SIZE + position as u32 % PAGE_SIZE);
    }

    /// Index of the sequence that `row` belongs to.
    pub fn sequence_of(&self, row: u32) -> usize {
        let after = self.sequences.partition_point(|s| s.first <= row as usize);
        self.sequences[after - 1].sequence
    }

    /// Every sequence with the number of its tokens once the step is done.
    pub fn ends(&self) -> Vec<(usize, usize)> {
        let firsts = self.sequences.iter().map(|s| s.first).skip(1).chain([self.tokens.len()]);
        self.sequences.iter().zip(firsts).map(|(s, next)| (s.sequence, self.positions[next - 1] as usize + 1)).collect()
    }

    /// Positions of the longest sequence.
    pub fn longest(&self) -> u64 {
        self.positions.iter().max().map_or(0, |&p| u64::from(p) + 1)
    }

    /// The i32 values of input `name`; a page table has `width` entries per sequence.
    fn values(&self, name: &str, width: usize, out: &mut Vec<i32>) {
        let ints = |v: &[u32], out: &mut Vec<i32>| out.extend(v.iter().map(|&x| x as i32));
        let adapter = |row: u32| {
            let s = &self.sequences[self.sequences.partition_point(|s| s.first <= row as usize) - 1];
            s.adapter.map_or(-1, |a| a as i32)
        };
        match name {
            inputs::TOKENS => ints(&self.tokens, out),
            inputs::POSITIONS => ints(&self.positions, out),
            inputs::KV_SLOTS => ints(&self.slots, out),
            // Texts stand alone: all of the first kind.
            inputs::TOKEN_TYPES => out.resize(out.len() + self.tokens.len(), 0),
            inputs::OUTPUT_ROWS => ints(&self.outputs, out),
            inputs::SEQ_START => {
                out.extend(self.sequences.iter().map(|s| s.first as i32));
                out.push(self.tokens.len() as i32);
            }
            inputs::KV_PAGES => {
                for s in &self.sequences {
                    let start = out.len();
                    ints(&s.pages[..s.pages.len().min(width)], out);
                    out.resize(start + width, 0);
                }
            }
            inputs::STATE_SLOTS => out.extend(self.sequences.iter().map(|s| s.sequence as i32)),
            inputs::ADAPTER_INDEX => out.extend((0..self.tokens.len() as u32).map(adapter)),
            inputs::OUTPUT_ADAPTER_INDEX => out.extend(self.outputs.iter().map(|&r| adapter(r))),
            other => out.extend(self.others.get(other).into_iter().flatten()),
        }
    }
}

/// The step's input buffer: one place per input of the graph.
pub struct StepInputs {
    buffer: Arc<Buffer>,
    places: Vec<Place>,
    bound: Vec<Bound>,
    staging: Vec<i32>,
}

struct Place {
    name: String,
    /// In i32 values.
    offset: usize,
    width: usize,
}

/// Values between places: a cache line.
const ALIGN: usize = 16;

impl StepInputs {
    /// A place for each input of `graph`; `last` is bound after them.
    pub fn new(
        device: &Arc<Device>,
        graph: &Graph,
        size: ContextSize,
        last: Option<&Arc<Buffer>>,
    ) -> Result<Self, Error> {
        let (places, lens, end) = places(graph, size);
        let buffer = Arc::new(device.alloc((end.max(1) * 4) as u64)?);
        let bound = places
            .iter()
            .zip(&lens)
            .map(|(p, &n)| Bound::Buffer(Arc::clone(&buffer), p.offset as u64 * 4, n * 4))
            .chain(last.map(Bound::whole))
            .collect();
        Ok(Self { buffer, places, bound, staging: Vec::with_capacity(end) })
    }

    /// Writes a step's rows.
    pub fn write(&mut self, rows: &Rows) -> Result<(), Error> {
        self.staging.clear();
        for place in &self.places {
            self.staging.resize(place.offset, 0);
            rows.values(&place.name, place.width, &mut self.staging);
        }
        Ok(self.buffer.write_i32(0, &self.staging)?)
    }

    /// The step bindings.
    pub fn bound(&self) -> &[Bound] {
        &self.bound
    }
}

/// Bytes of the step's inputs.
pub fn bytes(graph: &Graph, size: ContextSize) -> u64 {
    places(graph, size).2 as u64 * 4
}

/// The inputs' places, their lengths, and the end of all, in i32 values.
fn places(graph: &Graph, size: ContextSize) -> (Vec<Place>, Vec<u64>, usize) {
    let (mut places, mut lens, mut end) = (Vec::new(), Vec::new(), 0usize);
    for external in graph.externals.iter().filter(|e| matches!(e.kind, ExternalKind::Input)) {
        let shape = &graph.info(external.value).shape;
        let len: u64 = shape
            .iter()
            .map(|d| match d {
                Dim::Fixed(n) => *n,
                Dim::Tokens => size.chunk,
                Dim::Sequences => size.sequences,
                Dim::Outputs => size.outputs,
            })
            .product();
        let width = match shape.as_slice() {
            [_, Dim::Fixed(n)] => *n as usize,
            _ => 1,
        };
        places.push(Place { name: external.name.clone(), offset: end, width });
        lens.push(len);
        end = (end + len as usize).next_multiple_of(ALIGN);
    }
    (places, lens, end)
}
