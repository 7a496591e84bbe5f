//! Contexts: a compiled graph with its memory, and the sequences that live in it.
//!
//! A sequence is its tokens; how many of them are *computed* (their keys, values and recurrent states exist) is
//! a separate count. Pushing tokens, rolling back, a cancelled step and a restored snapshot all just move
//! these two numbers; [`Context::compute`] makes them equal again. That a sequence's results do not depend on how it got
//! there is the plugins' promise (DESIGN: same tokens every time).

mod inputs;
mod pages;
mod recurrent;

use crate::backend::{BindSet, Bound, Buffer, CancelFlag, Device, StepArgs};
use crate::error::Error;
use crate::graph::{ExternalKind, Graph};
use crate::models::PAGE_SIZE;
use crate::plan::{Plan, ShapeClass};
use inputs::{Rows, StepInputs};
use pages::Pages;
use recurrent::Recurrent;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tern_abi::graph::dim;
use tern_abi::state::kind;

/// Sizes of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextSize {
    /// Sequences that can live in it.
    pub sequences: u64,
    /// Positions of each.
    pub positions: u64,
    /// Token rows of one step: prompts are computed in chunks of this size.
    pub chunk: u64,
    /// Rows of one step whose logits can be asked for.
    pub outputs: u64,
}

impl ContextSize {
    /// KV pages of one sequence.
    pub fn pages(&self) -> u64 {
        self.positions.div_ceil(u64::from(PAGE_SIZE))
    }

    /// The plan's shape class.
    pub fn class(&self) -> ShapeClass {
        ShapeClass { tokens: self.chunk, sequences: self.sequences, outputs: self.outputs }
    }
}

/// Whose logits [`Context::compute`] delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// After the last token of each sequence.
    Last,
    /// After every token.
    All,
}

/// A compiled graph with its memory and sequences.
pub struct Context {
    device: Arc<Device>,
    plan: Plan,
    bind_set: BindSet,
    arena: Arc<Buffer>,
    scratch: Arc<Buffer>,
    inputs: StepInputs,
    pages: Pages,
    recurrent: Recurrent,
    sequences: Vec<Sequence>,
    size: ContextSize,
    profile: Option<Vec<AtomicU64>>,
}

#[derive(Default)]
struct Sequence {
    tokens: Vec<u32>,
    computed: usize,
    pages: Vec<u32>,
    adapter: Option<u32>,
}

impl Context {
    /// Compiles `graph` and allocates states and step memory. `fixed` gives weights and constants by name.
    ///
    /// # Errors
    /// [`Error::Memory`] where the device says it has less than needed, before anything is allocated; plan and backend errors.
    pub fn new(
        device: &Arc<Device>,
        graph: &Graph,
        fixed: &HashMap<String, Bound>,
        size: ContextSize,
    ) -> Result<Self, Error> {
        let pages = Pages::new(size.sequences.saturating_mul(size.pages()));
        let recurrent_units = Recurrent::units(size.sequences);
        let mut needed = crate::plan::arena_bytes(graph, size.class())?;
        for external in &graph.externals {
            if let ExternalKind::State(desc) = external.kind {
                let units = if desc.kind == kind::KV_PAGE { pages.capacity() } else { recurrent_units };
                needed = needed.saturating_add(units.saturating_mul(device.state_layout(&desc)?.unit_bytes));
            }
        }
        check_memory(device, needed, size)?;
        let mut recurrent = Recurrent::default();
        let mut bound = Vec::new();
        for external in &graph.externals {
            match external.kind {
                ExternalKind::Input => {}
                ExternalKind::Weight(_) | ExternalKind::Constant => {
                    bound.push(
                        fixed.get(&external.name).cloned().ok_or_else(|| Error::Internal {
                            what: format!("nothing is bound to {}", external.name),
                        })?,
                    );
                }
                ExternalKind::State(desc) => {
                    let units = if desc.kind == kind::KV_PAGE { pages.capacity() } else { recurrent_units };
                    let bytes = device.state_layout(&desc)?.unit_bytes;
                    let len = units.saturating_mul(bytes);
                    let buffer = Arc::new(device.alloc(len)?);
                    if desc.kind != kind::KV_PAGE {
                        recurrent.add(Arc::clone(&buffer), bytes, desc.dims[2]);
                    }
                    bound.push(Bound::Buffer(buffer, 0, len));
                }
            }
        }
        let plan = Plan::new(device, graph, size.class())?;
        Ok(Self {
            arena: Arc::new(device.alloc(plan.arena_bytes)?),
            scratch: Arc::new(device.alloc(plan.exec.scratch_bytes().max(1))?),
            inputs: StepInputs::new(device, graph, size)?,
            bind_set: device.bind_set(bound)?,
            sequences: (0..size.sequences).map(|_| Sequence::default()).collect(),
            device: Arc::clone(device),
            recurrent,
            pages,
            plan,
            size,
            profile: None,
        })
    }

    /// Sizes.
    pub fn size(&self) -> ContextSize {
        self.size
    }

    /// The compiled graph.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Starts (or stops) adding up the time of every op; see [`Context::profile`].
    pub fn set_profiling(&mut self, on: bool) {
        self.profile = on.then(|| self.plan.op_names.iter().map(|_| AtomicU64::new(0)).collect());
    }

    /// Nanoseconds per op of the plan since profiling began.
    pub fn profile(&self) -> Option<Vec<u64>> {
        Some(self.profile.as_ref()?.iter().map(|ns| ns.load(Ordering::Relaxed)).collect())
    }

    /// The tokens of a sequence.
    pub fn tokens(&self, sequence: usize) -> &[u32] {
        self.sequences.get(sequence).map_or(&[], |s| &s.tokens)
    }

    /// How many tokens of a sequence are computed.
    pub fn computed(&self, sequence: usize) -> usize {
        self.sequences.get(sequence).map_or(0, |s| s.computed)
    }

    /// Appends tokens; nothing is computed yet.
    ///
    /// # Errors
    /// [`Error::ContextFull`]: nothing was appended.
    pub fn push(&mut self, sequence: usize, tokens: &[u32]) -> Result<(), Error> {
        let capacity = self.size.positions as usize;
        let s = self.sequence(sequence)?;
        if s.tokens.len() + tokens.len() > capacity {
            return Err(Error::ContextFull { used: s.tokens.len(), wanted: tokens.len(), capacity });
        }
        s.tokens.extend_from_slice(tokens);
        Ok(())
    }

    /// Which adapter of the graph's banks a sequence uses. Changing it makes everything so far uncomputed.
    pub fn set_adapter(&mut self, sequence: usize, adapter: Option<u32>) -> Result<(), Error> {
        let s = self.sequence(sequence)?;
        if s.adapter != adapter {
            s.adapter = adapter;
            self.uncompute(sequence, 0)?;
        }
        Ok(())
    }

    /// Takes the last `n` tokens back; all of them where there are fewer.
    pub fn rollback(&mut self, sequence: usize, n: usize) -> Result<(), Error> {
        let s = self.sequence(sequence)?;
        let left = s.tokens.len().saturating_sub(n);
        s.tokens.truncate(left);
        self.uncompute(sequence, left)
    }

    /// Forgets a sequence's tokens and adapter.
    pub fn reset(&mut self, sequence: usize) -> Result<(), Error> {
        self.rollback(sequence, usize::MAX)?;
        self.sequence(sequence)?.adapter = None;
        Ok(())
    }

    /// Makes at most `n` tokens count as computed: the nearest point at or before `n` from which the states can go on.
    fn uncompute(&mut self, sequence: usize, n: usize) -> Result<(), Error> {
        let computed = self.sequence(sequence)?.computed;
        if n < computed {
            let from = self.recurrent.rewind(sequence, computed as u64, n as u64)? as usize;
            self.sequence(sequence)?.computed = from;
        }
        let keep = (n as u64).div_ceil(u64::from(PAGE_SIZE)) as usize;
        let s = &mut self.sequences[sequence];
        if s.pages.len() > keep {
            self.pages.free(s.pages.drain(keep..));
        }
        Ok(())
    }

    /// Computes every pushed token of `sequences`, in steps that mix them, and hands out logits:
    /// `sink(sequence, position, logits)` for the token at `position`. With nothing to compute, a sequence's last token is computed again.
    ///
    /// # Errors
    /// [`Error::Cancelled`] within milliseconds of the flag; the tokens stay pushed and a later call goes on. Backend errors.
    pub fn compute(
        &mut self,
        sequences: &[usize],
        want: Want,
        cancel: &CancelFlag,
        sink: &mut dyn FnMut(usize, usize, &[f32]),
    ) -> Result<(), Error> {
        for &i in sequences {
            let s = self.sequence(i)?;
            let (computed, pushed) = (s.computed as u64, s.tokens.len() as u64);
            if computed == pushed && computed > 0 {
                self.sequences[i].computed = self.recurrent.rewind(i, computed, computed - 1)? as usize;
            }
        }
        let mut logits = Vec::new();
        loop {
            let rows = self.next_rows(sequences, want)?;
            if rows.tokens.is_empty() {
                return Ok(());
            }
            self.step(&rows, cancel)?;
            let width = self.plan.outputs[0].shape.last().copied().unwrap_or(0) as usize;
            logits.resize(width, 0.0);
            for (r, &row) in rows.outputs.iter().enumerate() {
                self.arena.read_f32(self.plan.outputs[0].offset + (r * width * 4) as u64, &mut logits)?;
                sink(rows.sequence_of(row), rows.positions[row as usize] as usize, &logits);
            }
        }
    }

    /// The rows of the next step: each sequence in turn gets as many as fit.
    fn next_rows(&mut self, sequences: &[usize], want: Want) -> Result<Rows, Error> {
        let mut rows = Rows::default();
        for &i in sequences {
            let s = &mut self.sequences[i];
            let mut room = (self.size.chunk as usize).saturating_sub(rows.tokens.len());
            if want == Want::All {
                room = room.min((self.size.outputs as usize).saturating_sub(rows.outputs.len()));
            } else if rows.outputs.len() as u64 == self.size.outputs {
                break;
            }
            let end = s.tokens.len().min(s.computed + room);
            if end == s.computed {
                continue;
            }
            let pages = (end as u64).div_ceil(u64::from(PAGE_SIZE)) as usize;
            while s.pages.len() < pages {
                s.pages.push(self.pages.take().ok_or(Error::Internal { what: "out of KV pages".into() })?);
            }
            rows.begin_sequence(i, s.adapter, &s.pages);
            for position in s.computed..end {
                let wanted = want == Want::All || position + 1 == s.tokens.len();
                rows.push(s.tokens[position], position, s.pages[position / PAGE_SIZE as usize], wanted);
            }
        }
        Ok(rows)
    }

    fn step(&mut self, rows: &Rows, cancel: &CancelFlag) -> Result<(), Error> {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let steps = self.inputs.write(rows)?;
        let mut dims = [1; dim::COUNT];
        dims[dim::TOKENS as usize] = rows.tokens.len() as u64;
        dims[dim::SEQUENCES as usize] = rows.sequences.len() as u64;
        dims[dim::OUTPUTS as usize] = rows.outputs.len() as u64;
        let args = StepArgs {
            steps,
            arena: &self.arena,
            scratch: &self.scratch,
            dims,
            kv_bucket: rows.longest(),
            cancel,
            profile: self.profile.as_deref(),
        };
        let result = self.device.run(&self.plan.exec, &self.bind_set, &args);
        for &(i, end) in &rows.ends() {
            let start = self.sequences[i].computed as u64;
            self.sequences[i].computed = match &result {
                Ok(()) => {
                    self.recurrent.advanced(i, start, end as u64)?;
                    end
                }
                // A step that stopped half-way has advanced some layers' recurrent states and not others.
                Err(_) => self.recurrent.recover(i, start)? as usize,
            };
        }
        Ok(result?)
    }

    fn sequence(&mut self, i: usize) -> Result<&mut Sequence, Error> {
        let count = self.sequences.len();
        self.sequences.get_mut(i).ok_or_else(|| Error::Internal { what: format!("sequence {i} of {count}") })
    }
}

fn check_memory(device: &Device, needed: u64, size: ContextSize) -> Result<(), Error> {
    let memory = device.memory()?;
    let available = if memory.free > 0 { memory.free } else { memory.total };
    if available > 0 && needed > available {
        let fits = (u128::from(size.positions) * u128::from(available) * 9 / 10 / u128::from(needed)) as u64;
        return Err(Error::Memory { what: format!("a context of {} tokens", size.positions), needed, available, fits });
    }
    Ok(())
}
