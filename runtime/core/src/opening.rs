//! A model before its weights are loaded: read, checked, placed on devices; and what all of it will take.

use crate::backend::{Budget, Device, Registry, Reserved, WeightSpec};
use crate::context::{ContextCost, ContextSize, pages_for, window};
use crate::embed;
use crate::error::Error;
use crate::experts::Paging;
use crate::graph::{Dim, ExternalKind, Graph};
use crate::load::{self, ModelFile, Resolved};
use crate::models::{Computed, Definition, Net, NetOptions, TensorTable};
use crate::plan::{Plan, PlanError, ShapeClass, externals};
use crate::runtime::ModelOptions;
use crate::session::{KvType, SessionOptions};
use std::collections::HashMap;
use std::sync::Arc;
use tern_abi::dtype::{F16, F32};

/// See the module.
pub struct Opening {
    pub file: ModelFile,
    pub table: TensorTable,
    pub resolved: Resolved,
    /// Lists every weight.
    pub graph: Graph,
    pub computed: HashMap<String, Computed>,
    /// The one that the caller chose, and one for what it lacks, if it does.
    pub devices: Vec<Arc<Device>>,
    /// For each device, which of the graph's externals it needs.
    pub used: Vec<Vec<bool>>,
    /// The experts that stay in the file.
    pub paging: Paging,
    /// Length of the texts that it is opened for.
    pub length: u64,
    /// What the tokenizer and other things of ours take.
    pub host: Reserved,
}

/// What a model and its sessions will take, before anything is loaded. All in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Weights, in the layout of the backend.
    pub weights_bytes: u64,
    /// Those of them that begin in the mapped file, where the system may drop and read them again. A backend may move them into memory of
    /// its own while it runs, and lets the file's go.
    pub mapped_bytes: u64,
    /// Experts that stay in the file ([`Experts::Paged`](crate::Experts::Paged)): only the cache for them is in memory, and among
    /// [`weights_bytes`](Self::weights_bytes), so these count in no other number.
    pub paged_bytes: u64,
    /// Keys and values, and recurrent states.
    pub kv_bytes: u64,
    /// Intermediates of a step.
    pub working_bytes: u64,
    /// Tokenizer and bookkeeping; an estimate.
    pub host_bytes: u64,
    /// All of these.
    pub total_bytes: u64,
    /// The most that is taken while loading, which may be more than the total.
    pub loading_bytes: u64,
    /// What there is: [`ModelOptions::max_bytes`], or what the device has free, if less.
    pub available_bytes: Option<u64>,
    /// Positions of each sequence.
    pub context: u64,
    /// Sequences.
    pub sequences: u64,
    /// The longest context that fits what is available, with keys and values of the type asked for; 0 where none does.
    pub fitting_context: u64,
    /// The same with 8-bit keys and values.
    pub fitting_context_i8: u64,
}

impl MemoryPlan {
    /// Will it fit, as far as is known?
    pub fn fits(&self) -> bool {
        self.available_bytes.is_none_or(|available| self.total_bytes.max(self.loading_bytes) <= available)
    }

    /// What to change where it does not fit.
    pub fn advice(&self) -> Option<String> {
        if self.fits() {
            return None;
        }
        let fewer = if self.sequences > 1 { ", or fewer sequences" } else { "" };
        Some(match (self.fitting_context, self.fitting_context_i8) {
            (0, 0) => format!("choose a smaller model, or one with smaller weights{fewer}"),
            (0, n) => format!("choose 8-bit keys and values, and a context of at most {n} tokens{fewer}"),
            (n, more) if more >= self.context => {
                format!("choose 8-bit keys and values, or a context of at most {n} tokens{fewer}")
            }
            (n, _) => format!("choose a context of at most {n} tokens{fewer}"),
        })
    }
}

/// What the weights take.
struct WeightsCost {
    resident: u64,
    mapped: u64,
    /// What stays in the file and does not count.
    paged: u64,
    /// The largest tensor, which is there twice while it is repacked.
    largest: u64,
}

impl Opening {
    /// # Errors
    /// Everything that can be wrong with a file, a setting or a backend.
    pub fn new(registry: &Registry, file: ModelFile, options: &ModelOptions) -> Result<Self, Error> {
        let backend = match &options.backend {
            Some(name) => registry.get(name)?,
            None => registry.best()?,
        };
        let budget = options.max_bytes.map_or_else(Budget::unlimited, Budget::new);
        let needed = host_bytes(&file);
        let host = budget.take(needed).map_err(|available| Error::Memory {
            what: "the tokenizer".to_owned(),
            needed,
            available,
            fits: 0,
        })?;
        let table = file.definition.tensors();
        let resolved = load::resolve(&file, &table)?;
        let length = options.context.unwrap_or(file.definition.common().context_length.min(crate::DEFAULT_CONTEXT));
        let one = ContextSize::full(1, 1, 1, 1);
        let all = net_options(one, F16, length);
        let (graph, computed) = build(&*file.definition, &table, &resolved.dtypes, all)?;
        let class = ShapeClass { tokens: 1, sequences: 1, outputs: 1 };
        let mut devices = vec![backend.open_within(0, options.threads, &options.tier, &budget)?];
        // What another backend lacks, the processor can do.
        let fallback = registry.get("cpu").ok().filter(|cpu| cpu.name() != backend.name());
        let used = match (externals(&devices, &graph, class), fallback) {
            (Err(PlanError::Unsupported { .. }), Some(fallback)) => {
                devices.push(fallback.open_within(0, options.threads, "", &budget)?);
                externals(&devices, &graph, class)?
            }
            (used, _) => used?,
        };
        let paging = Paging::new((&file, &resolved), &graph, (&devices, &used), options.experts)?;
        Ok(Self { file, table, resolved, graph, computed, devices, used, paging, length, host })
    }

    /// Is there room for the weights?
    ///
    /// # Errors
    /// [`Error::Memory`], before anything is taken.
    pub fn check_memory(&self) -> Result<(), Error> {
        let cost = self.weights()?;
        let needed = cost.resident.saturating_add(cost.mapped).saturating_add(cost.largest);
        match self.devices[0].available()? {
            Some(available) if available < needed => {
                Err(Error::Memory { what: "the model".to_owned(), needed, available, fits: 0 })
            }
            _ => Ok(()),
        }
    }

    fn weights(&self) -> Result<WeightsCost, Error> {
        let mut cost = WeightsCost { resident: 0, mapped: 0, paged: 0, largest: 0 };
        for (e, external) in self.graph.externals.iter().enumerate() {
            match external.kind {
                ExternalKind::Weight(usage) => {
                    let Some(t) = self.resolved.info(&external.name) else { continue };
                    let (dtype, cache_bytes) = (t.dtype.code(), 0);
                    let spec = WeightSpec { name: &t.name, dtype, shape: &t.shape, usage, cache_bytes };
                    let lasting = self.resolved.lasting(&self.file, &external.name)?;
                    for (d, device) in self.devices.iter().enumerate().filter(|(d, _)| self.used[*d][e]) {
                        let spec = self.paging.told(&external.name, d, spec);
                        let layout = device.weight_layout(&spec, t.bytes, lasting)?;
                        cost.resident = cost.resident.saturating_add(layout.resident_bytes);
                        if layout.keeps_source && self.paging.has(&external.name) {
                            cost.paged = cost.paged.saturating_add(t.bytes);
                        } else if layout.keeps_source {
                            cost.mapped = cost.mapped.saturating_add(t.bytes);
                        } else {
                            cost.largest = cost.largest.max(self.resolved.source_bytes(&external.name));
                        }
                    }
                }
                ExternalKind::Constant => {
                    let shape = self.graph.info(external.value).shape.iter();
                    let elements = shape.map(|d| if let Dim::Fixed(n) = d { *n } else { 1 }).product();
                    let places = self.used.iter().filter(|used| used[e]).count() as u64;
                    cost.resident = cost.resident.saturating_add(load::constant_bytes(elements) * places);
                }
                ExternalKind::Input | ExternalKind::State(_) => {}
            }
        }
        Ok(cost)
    }

    /// What the model takes with `sequences` sessions, where at most `limit` bytes may be taken.
    ///
    /// # Errors
    /// [`Error::Setting`], plan and backend errors.
    pub fn plan(&self, session: &SessionOptions, sequences: u64, limit: Option<u64>) -> Result<MemoryPlan, Error> {
        let weights = self.weights()?;
        let one = session.sized(self.length, self.file.definition.reach(self.length), 1)?;
        let size = match self.file.definition.is_encoder() {
            true => embed::encoder_size(one.positions, u64::MAX, sequences),
            false => ContextSize {
                sequences,
                outputs: (sequences + session.drafts()).min(one.chunk.max(sequences)),
                chunk: one.chunk.max(sequences),
                pages: resident_pages(window(&self.graph), one.positions, one.chunk).saturating_mul(sequences),
                ..one
            },
        };
        let cost = self.context(size, session.kv)?;
        let host = host_bytes(&self.file);
        let fixed = weights.resident.saturating_add(weights.mapped).saturating_add(host);
        let available = self.devices[0].available()?.into_iter().chain(limit).min();
        let room = available.unwrap_or(u64::MAX).saturating_sub(fixed);
        let loads = available.is_none_or(|n| n >= fixed.saturating_add(weights.largest));
        let longest = self.file.definition.common().context_length.max(size.positions);
        let fitting = |cost: &ContextCost| if loads { cost.fitting_positions(room, size).min(longest) } else { 0 };
        Ok(MemoryPlan {
            weights_bytes: weights.resident.saturating_add(weights.mapped),
            mapped_bytes: weights.mapped,
            paged_bytes: weights.paged,
            kv_bytes: cost.states,
            working_bytes: cost.working(),
            host_bytes: host,
            total_bytes: fixed.saturating_add(cost.total()),
            loading_bytes: fixed.saturating_add(weights.largest),
            available_bytes: available,
            context: size.positions,
            sequences,
            fitting_context: fitting(&cost),
            fitting_context_i8: fitting(&self.context(size, KvType::I8)?),
        })
    }

    fn context(&self, size: ContextSize, kv: KvType) -> Result<ContextCost, Error> {
        let options = net_options(size, kv.dtype(), self.length);
        let (graph, _) = build(&*self.file.definition, &self.table, &self.resolved.dtypes, options)?;
        let plan = Plan::new(&self.devices, &graph, size.class())?;
        ContextCost::of(&self.devices, &graph, &plan, size)
    }
}

/// A model's graph, and the constants that are computed rather than read.
pub fn build(
    definition: &dyn Definition,
    table: &TensorTable,
    dtypes: &HashMap<String, u32>,
    options: NetOptions,
) -> Result<(Graph, HashMap<String, Computed>), Error> {
    let mut net = Net::new(table, dtypes, options);
    let logits = definition.build(&mut net);
    Ok((net.g.finish(&[logits])?, net.computed))
}

/// For a context of `size`, and a model that is opened for texts of `length`.
pub fn net_options(size: ContextSize, kv_dtype: u32, length: u64) -> NetOptions {
    let pages = Some(size.pages_per_sequence());
    NetOptions { real: F32, pages, sequences: size.sequences, kv_dtype, adapters: None, length }
}

/// KV pages that a sequence has at most: all of its positions, or those that some layer still looks back to.
pub fn resident_pages(window: u64, positions: u64, chunk: u64) -> u64 {
    let all = pages_for(positions);
    // The window, a step's rows, and pages that are only partly in either.
    if window == 0 { all } else { all.min(pages_for(window + chunk) + 4) }
}

/// What our own structures take: mostly the tokenizer's tables and the names of tensors.
fn host_bytes(file: &ModelFile) -> u64 {
    /// Per token of the vocabulary: its text, its entry in two maps, and a merge.
    const PER_TOKEN: u64 = 400;
    /// Per tensor: its name in several places, its share of graphs and plans.
    const PER_TENSOR: u64 = 16 << 10;
    /// Threads, buffers, the plugin's own.
    const FIXED: u64 = 8 << 20;
    let (tokens, tensors) = (file.tokenizer.vocab_size() as u64, file.checkpoint.tensors().len() as u64);
    FIXED + tokens.saturating_mul(PER_TOKEN) + tensors.saturating_mul(PER_TENSOR)
}
