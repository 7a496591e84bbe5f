//! Contexts: a compiled graph with its memory, and the sequences that live in it.
//!
//! A sequence is its tokens; how many of them are *computed* (their keys, values and recurrent states exist) is
//! a separate count. Pushing tokens, rolling back, a cancelled step and a restored snapshot all just move
//! these two numbers; [`Context::step`] brings them closer again. That a sequence's results do not depend on how it got
//! there is the plugins' promise (DESIGN: same tokens every time), and so pages can be shared: by forks, and by
//! sequences that begin with the same tokens.
//!
//! ```text
//! cost.rs        what a context takes, before it does
//! step.rs        which rows a step computes
//! memory.rs      what lies on each device; a step's way through the segments of a plan
//! runner.rs      a graph without sequences, which learning and encoders run
//! states.rs      state buffers
//! pages.rs       which KV pages are free, and who uses them
//! prefix.rs      full pages by the tokens that led to them
//! recurrent.rs   snapshots of recurrent states
//! inputs.rs      a step's rows, and their way into device memory
//! sequence.rs    a sequence and its pages
//! snapshot.rs    a sequence's state in canonical layout
//! ```

mod cost;
mod inputs;
mod memory;
mod pages;
mod prefix;
mod recurrent;
mod runner;
mod sequence;
mod snapshot;
mod states;
mod step;

use crate::backend::{Bound, Device};
use crate::error::Error;
use crate::graph::{ExternalKind, Graph, Op};
use crate::models::PAGE_SIZE;
use crate::plan::{Plan, ShapeClass, externals};
pub use cost::{ContextCost, MAX_POSITIONS};
pub(crate) use inputs::Rows;
use memory::DeviceMemory;
use pages::Pages;
use prefix::PrefixCache;
use recurrent::Recurrent;
pub(crate) use runner::Runner;
use sequence::Sequence;
pub use snapshot::StoredState;
use states::State;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
pub use step::{Sink, StepSize, Want};

const PAGE: usize = PAGE_SIZE as usize;

/// Sizes of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextSize {
    /// Sequences that can live in it.
    pub sequences: u64,
    /// Positions of each, at most.
    pub positions: u64,
    /// Token rows of one step: prompts are computed in chunks of this size.
    pub chunk: u64,
    /// Rows of one step whose logits can be asked for.
    pub outputs: u64,
    /// KV pages of all sequences together, and of the prefix cache.
    pub pages: u64,
}

impl ContextSize {
    /// Enough pages for every sequence to be full.
    pub fn full(sequences: u64, positions: u64, chunk: u64, outputs: u64) -> Self {
        Self { sequences, positions, chunk, outputs, pages: sequences.saturating_mul(pages_for(positions)) }
    }

    /// KV pages of one sequence.
    pub fn pages_per_sequence(&self) -> u64 {
        pages_for(self.positions)
    }

    /// The plan's shape class.
    pub fn class(&self) -> ShapeClass {
        ShapeClass { tokens: self.chunk, sequences: self.sequences, outputs: self.outputs }
    }
}

/// KV pages that hold `positions`.
pub fn pages_for(positions: u64) -> u64 {
    positions.div_ceil(u64::from(PAGE_SIZE))
}

/// A compiled graph with its memory and sequences.
pub struct Context {
    devices: Vec<Arc<Device>>,
    fixed: Vec<HashMap<String, Bound>>,
    graph: Graph,
    plan: Plan,
    memory: Vec<DeviceMemory>,
    states: Vec<State>,
    pages: Pages,
    prefixes: PrefixCache,
    recurrent: Recurrent,
    sequences: Vec<Sequence>,
    size: ContextSize,
    /// Positions that attention looks back, where every layer has a limit; else 0.
    window: u64,
    last_step: StepSize,
    profile: Option<Vec<AtomicU64>>,
}

impl Context {
    /// Compiles `graph` and allocates states and step memory. `devices` has the preferred one first; `fixed` gives, for
    /// each, weights and constants by name.
    ///
    /// # Errors
    /// [`Error::Memory`] where a device says it has less than needed, before anything is allocated; plan and backend errors.
    pub fn new(
        devices: &[Arc<Device>],
        graph: &Graph,
        fixed: &[HashMap<String, Bound>],
        size: ContextSize,
    ) -> Result<Self, Error> {
        let used = externals(devices, graph, size.class())?;
        let home = |e: usize| used.iter().position(|u| u[e]).unwrap_or(0);
        let plan = Plan::new(devices, graph, size.class())?;
        let cost = ContextCost::of(devices, graph, &plan, size)?;
        cost.check(devices, cost.total(), size)?;
        let mut states = Vec::new();
        for (e, external) in graph.externals.iter().enumerate() {
            if let ExternalKind::State(desc) = external.kind {
                let units = states::units(&desc, size.pages, size.sequences);
                states.push(State::new(&devices[home(e)], e, desc, units)?);
            }
        }
        let mut this = Self {
            devices: devices.to_vec(),
            fixed: fixed.to_vec(),
            memory: step_memory(devices, &plan, graph, size)?,
            graph: graph.clone(),
            pages: Pages::new(size.pages),
            prefixes: PrefixCache::default(),
            recurrent: Recurrent::new(&states, size.sequences),
            sequences: (0..size.sequences).map(|_| Sequence::default()).collect(),
            window: window(graph),
            states,
            plan,
            size,
            last_step: StepSize::default(),
            profile: None,
        };
        this.bind()?;
        Ok(this)
    }

    /// Changes the sizes, keeping all sequences: `graph` is the same model for the new size, maybe with other banks of adapters; `fixed` as
    /// for [`Context::new`]. Cached prefixes stay as far as there is room. With fewer sequences, those beyond must be empty.
    ///
    /// # Errors
    /// As [`Context::new`]. Sequences keep their tokens in any case; where memory ran out half-way they are computed again.
    pub fn resize(&mut self, graph: &Graph, fixed: &[HashMap<String, Bound>], size: ContextSize) -> Result<(), Error> {
        while self.pages.used() > size.pages && self.prefixes.evict(&mut self.pages) {}
        if self.pages.used() > size.pages {
            return Err(Error::Internal { what: "a context shrinks below what its sequences hold".to_owned() });
        }
        let plan = Plan::new(&self.devices, graph, size.class())?;
        let cost = ContextCost::of(&self.devices, graph, &plan, size)?;
        let held: u64 = self.states.iter().map(|s| s.buffer.len()).sum();
        // One state is there twice while it moves; step memory is until the end.
        let more = cost.states.saturating_sub(held) + cost.largest_state + cost.working();
        cost.check(&self.devices, more, size)?;
        let memory = step_memory(&self.devices, &plan, graph, size)?;
        // Bind sets hold buffers that are about to be replaced.
        self.memory.iter_mut().for_each(DeviceMemory::unbind);
        if let Err(error) = self.resize_states(size) {
            self.forget_computed(self.size.pages.min(size.pages));
            self.bind()?;
            return Err(error);
        }
        self.profile = self.profile.take().map(|_| zeros(&plan));
        // Banks before it give a state another number.
        for state in &mut self.states {
            let name = &self.graph.externals[state.external].name;
            let place = graph.externals.iter().position(|e| e.name == *name);
            state.external =
                place.ok_or_else(|| Error::Internal { what: format!("a graph without the state {name}") })?;
        }
        (self.plan, self.memory, self.graph, self.size) = (plan, memory, graph.clone(), size);
        self.fixed = fixed.to_vec();
        self.bind()
    }

    /// Moves states into buffers of the new sizes, layer by layer, so that at most one is there twice.
    fn resize_states(&mut self, size: ContextSize) -> Result<(), Error> {
        let numbers = self.pages.resize(size.pages).unwrap_or_default();
        let pages: Vec<(u64, u64)> =
            (0..).zip(&numbers).filter_map(|(old, new)| Some((old, u64::from((*new)?)))).collect();
        self.prefixes.renumber(&numbers);
        self.sequences.resize_with(size.sequences as usize, Sequence::default);
        self.sequences.iter_mut().for_each(|s| s.renumber(&numbers));
        let recurrent = self.recurrent.resize(size.sequences);
        for state in &mut self.states {
            let moves = if state.is_paged() { &pages } else { &recurrent };
            state.resize(states::units(&state.desc, size.pages, size.sequences), moves)?;
        }
        Ok(())
    }

    /// Binds weights, constants and states to the fixed slots on every device.
    fn bind(&mut self) -> Result<(), Error> {
        let used = externals(&self.devices, &self.graph, self.size.class())?;
        for (d, memory) in self.memory.iter_mut().enumerate() {
            let mut bound = Vec::new();
            for (e, external) in self.graph.externals.iter().enumerate() {
                bound.push(match external.kind {
                    ExternalKind::Input => continue,
                    _ if !used[d][e] => Bound::Empty,
                    ExternalKind::State(_) => {
                        let state = self.states.iter().find(|s| s.external == e);
                        state.map_or(Bound::Empty, |s| Bound::whole(&s.buffer))
                    }
                    ExternalKind::Weight(_) | ExternalKind::Constant => {
                        let unbound = || Error::Internal { what: format!("nothing is bound to {}", external.name) };
                        self.fixed[d].get(&external.name).cloned().ok_or_else(unbound)?
                    }
                });
            }
            memory.bind(bound)?;
        }
        Ok(())
    }

    /// Sizes.
    pub fn size(&self) -> ContextSize {
        self.size
    }

    /// The compiled graph.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// KV pages in use, cached prefixes included.
    pub fn used_pages(&self) -> u64 {
        self.pages.used()
    }

    /// Starts (or stops) adding up the time of every op; see [`Context::profile`].
    pub fn set_profiling(&mut self, on: bool) {
        self.profile = on.then(|| zeros(&self.plan));
    }

    /// Nanoseconds per op of the plan since profiling began.
    pub fn profile(&self) -> Option<Vec<u64>> {
        Some(self.profile.as_ref()?.iter().map(|ns| ns.load(Ordering::Relaxed)).collect())
    }
}

/// Arena, scratch and inputs for `plan` on each of its devices.
fn step_memory(
    devices: &[Arc<Device>],
    plan: &Plan,
    graph: &Graph,
    size: ContextSize,
) -> Result<Vec<DeviceMemory>, Error> {
    let last = plan.segments.iter().map(|s| s.device).max().unwrap_or(0);
    let used = devices.iter().enumerate().take(last + 1);
    used.map(|(d, device)| DeviceMemory::new(device, d, plan, graph, size)).collect()
}

fn zeros(plan: &Plan) -> Vec<AtomicU64> {
    plan.work.iter().map(|_| AtomicU64::new(0)).collect()
}

/// The furthest that any layer looks back, in tokens; 0 where one has no limit.
pub fn window(graph: &Graph) -> u64 {
    let windows = graph.nodes.iter().filter_map(|n| match n.op {
        Op::Attention(p) if !n.grad => Some(u64::from(p.window)),
        _ => None,
    });
    windows.reduce(|a, b| if a == 0 || b == 0 { 0 } else { a.max(b) }).unwrap_or(0)
}
