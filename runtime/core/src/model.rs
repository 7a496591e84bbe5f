//! Models: a file's weights on a device, with tokenizer and template.

use crate::adapters::Adapters;
use crate::backend::{Bound, Device, Peaks, Reserved};
use crate::banks::Banks;
use crate::context::{Context, ContextSize};
use crate::embed::Kept;
use crate::error::Error;
use crate::experts::{ExpertCache, Paging};
use crate::fingerprint::{Identity, hex};
use crate::graph::{Dim, ExternalKind, Graph, Node, Op, Tap, Value};
use crate::load::{self, Destination, ModelFile, Resolved, Stated};
use crate::models::{AdapterBanks, Definition, NetOptions, TensorTable, find};
use crate::opening::{Opening, build, net_options, resident_pages};
use crate::runtime::{LoadPhase, LoadProgress, ModelOptions};
use crate::session::{Batch, BatchOptions, Engine, Session, SessionOptions};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tern_abi::dtype::{F16, F32};
use tern_abi::state::kind::KV_PAGE;
use tern_formats::{Checkpoint, TensorInfo};
use tern_text::{Bos, ChatTemplate, EncodeOptions, Message, RenderOptions, Tokenizer};
use web_time::Instant;

/// A loaded model. Cheap to clone, `Send + Sync`; its memory goes when the last clone and session go.
#[derive(Clone)]
pub struct Model {
    inner: Arc<Inner>,
}

/// For each device, what is bound to externals by their names.
pub(crate) type Fixed = Vec<HashMap<String, Bound>>;

struct Inner {
    info: ModelInfo,
    definition: Box<dyn Definition>,
    table: TensorTable,
    dtypes: HashMap<String, u32>,
    /// Weights and constants by name, for each device.
    fixed: Fixed,
    paging: Paging,
    tensors: Vec<TensorSummary>,
    tokenizer: Arc<Tokenizer>,
    template: Option<String>,
    /// How the files say that a text's rows become its embedding.
    stated: Stated,
    /// Tokens that attention looks back, where every layer has a limit; else 0.
    window: u64,
    /// Length of the texts that it was opened for.
    length: u64,
    engines: Mutex<HashMap<u32, Arc<Engine>>>,
    /// What an encoder ran on last.
    kept: Kept,
    adapters: Adapters,
    identity: Identity,
    fingerprint: OnceLock<[u8; 32]>,
    /// The one that the caller chose, and one for what it lacks, if it does.
    devices: Vec<Arc<Device>>,
    _host: Reserved,
}

/// What a model is.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// "gguf" or "safetensors".
    pub format: String,
    /// The architecture's name in the file.
    pub architecture: String,
    /// The model's own name.
    pub name: Option<String>,
    /// Does it embed texts and nothing else?
    pub encoder: bool,
    /// Longest context the model was made for, in tokens.
    pub context_length: u64,
    /// Tokens of the tokenizer.
    pub vocab: u64,
    /// Layers.
    pub layers: u64,
    /// Width of the residual stream.
    pub width: u64,
    /// Number of parameters.
    pub parameters: u64,
    /// Bytes of tensors in the file.
    pub file_bytes: u64,
    /// Bytes of weights, as in the file, that one decoded token reads.
    pub bytes_per_token: u64,
    /// Bytes by element type, largest first.
    pub dtypes: Vec<(String, u64)>,
    /// Device memory of the weights in bytes; weights used in the mapped file are not counted.
    pub resident_bytes: u64,
    /// Key/value cache bytes per token.
    pub kv_bytes_per_token: u64,
    /// Name of the backend.
    pub backend: String,
    /// Its instruction-set tier.
    pub tier: String,
    /// Threads asked for; 0 was the backend's choice.
    pub threads: u32,
    /// Time from the call to the loaded model, in milliseconds.
    pub load_ms: f64,
}

/// Bytes of a model and its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// Now.
    pub used: u64,
    /// The most so far.
    pub peak: u64,
    /// The cap.
    pub limit: Option<u64>,
}

/// A tensor of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSummary {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: String,
    /// Outermost dimension first.
    pub shape: Vec<u64>,
    /// Size in the file.
    pub bytes: u64,
}

impl TensorSummary {
    pub(crate) fn of(checkpoint: &Checkpoint) -> Vec<Self> {
        let summary = |t: &TensorInfo| Self {
            name: t.name.to_string(),
            dtype: t.dtype.name().to_owned(),
            shape: t.shape.to_vec(),
            bytes: t.bytes,
        };
        checkpoint.tensors().iter().map(summary).collect()
    }
}

impl Model {
    pub(crate) fn load(opening: Opening, options: &ModelOptions, start: Instant) -> Result<Self, Error> {
        opening.check_memory()?;
        let Opening { file, table, resolved, graph, computed, devices, used, paging, length, host } = opening;
        let progress = |done_bytes, total_bytes| {
            if let Some(report) = &options.progress {
                report(LoadProgress { phase: LoadPhase::Prepare, done_bytes, total_bytes });
            }
        };
        let to = Destination { graph: &graph, computed: &computed, devices: &devices, used: &used, paging: &paging };
        let loaded = load::load(&file, &resolved, to, &options.cancel, &progress)?;
        let mut info = describe(&file, &graph, &resolved);
        info.resident_bytes = loaded.resident_bytes;
        info.backend = devices[0].backend().name().to_owned();
        info.tier = devices[0].info().tier.clone();
        info.threads = options.threads;
        let tensors = TensorSummary::of(&file.checkpoint);
        info.load_ms = start.elapsed().as_secs_f64() * 1e3;
        let identity = file.identity();
        Ok(Self {
            inner: Arc::new(Inner {
                info,
                tensors,
                definition: file.definition,
                table,
                dtypes: resolved.dtypes,
                fixed: loaded.fixed,
                paging,
                tokenizer: file.tokenizer,
                template: file.template,
                stated: file.stated,
                window: crate::context::window(&graph),
                length,
                engines: Mutex::default(),
                kept: Kept::default(),
                adapters: Adapters::default(),
                identity,
                fingerprint: OnceLock::new(),
                devices,
                _host: host,
            }),
        })
    }

    /// What the model is.
    pub fn info(&self) -> &ModelInfo {
        &self.inner.info
    }

    /// Is it the same model in memory, rather than another one, if of the same file?
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.inner.tokenizer
    }

    /// Source of the chat template.
    pub fn template_source(&self) -> Option<&str> {
        self.inner.template.as_deref()
    }

    /// The file's tensors.
    pub fn tensors(&self) -> Vec<TensorSummary> {
        self.inner.tensors.clone()
    }

    /// Token ids of plain text, with BOS where the model wants one. Text never becomes control tokens.
    ///
    /// # Errors
    /// [`Error::Text`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        Ok(self.inner.tokenizer.encode(text, EncodeOptions { special: false, bos: Bos::Auto })?)
    }

    /// Token ids of a conversation under the model's own template. Only the template writes control tokens.
    ///
    /// # Errors
    /// [`Error::NoTemplate`], [`Error::Text`].
    pub fn encode_chat(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Vec<u32>, Error> {
        self.encode_chat_with(messages, None, add_generation_prompt)
    }

    /// The same with descriptions of tools for the template, usually a list of JSON schemas.
    ///
    /// # Errors
    /// As [`Model::encode_chat`].
    pub fn encode_chat_with(
        &self,
        messages: &[Message],
        tools: Option<&serde_json::Value>,
        add_generation_prompt: bool,
    ) -> Result<Vec<u32>, Error> {
        let template = ChatTemplate::new(self.template_source().ok_or(Error::NoTemplate)?)?;
        let options = RenderOptions { add_generation_prompt, tools: tools.cloned(), ..Default::default() };
        Ok(self.inner.tokenizer.encode_chat(&template, messages, &options)?)
    }

    /// A session with its own context.
    ///
    /// # Errors
    /// [`Error::Memory`] before anything is allocated, plan and backend errors.
    pub fn session(&self, options: SessionOptions) -> Result<Session, Error> {
        Session::new(self, options)
    }

    /// Makes room for `sequences` sessions with these options at once, which is cheaper than for one after the other. What
    /// does not fit is found out here.
    ///
    /// # Errors
    /// As [`Model::session`].
    pub fn reserve(&self, options: &SessionOptions, sequences: usize) -> Result<(), Error> {
        self.check_decoder()?;
        self.engine(options.kv.dtype()).reserve(self, options, sequences)
    }

    /// Many prompts at once; see [`Batch`].
    ///
    /// # Errors
    /// [`Error::Setting`]; as [`Model::reserve`].
    pub fn batch(&self, options: BatchOptions) -> Result<Batch, Error> {
        Batch::new(self, options)
    }

    /// The ops that a session with a context of `context` tokens runs, one line each.
    ///
    /// # Errors
    /// As [`Model::session`].
    pub fn plan_listing(&self, context: u64) -> Result<Vec<String>, Error> {
        let size = ContextSize::full(1, context, 64.min(context), 1);
        Ok(self.context(size, F16)?.plan().listing.clone())
    }

    /// A hash of the model's files, as 64 hexadecimal digits: what session files and adapters are bound to. Made when first
    /// asked for, which reads the files.
    ///
    /// # Errors
    /// [`Error::Format`] where a file cannot be read any more.
    pub fn fingerprint(&self) -> Result<String, Error> {
        if let Some(hash) = self.inner.fingerprint.get() {
            return Ok(hex(hash));
        }
        let hash = self.inner.identity.hash()?;
        Ok(hex(self.inner.fingerprint.get_or_init(|| hash)))
    }

    /// Tokens of a context that nobody asked a size for.
    pub(crate) fn default_context(&self) -> u64 {
        self.inner.length
    }

    /// Does it keep nothing of a text but states of a fixed size?
    pub(crate) fn is_recurrent(&self) -> bool {
        let Ok(graph) = self.graph(ContextSize::full(1, 1, 1, 1), F16) else { return false };
        let kinds = graph.externals.iter().filter_map(|e| match e.kind {
            ExternalKind::State(desc) => Some(desc.kind),
            _ => None,
        });
        let mut kinds = kinds.peekable();
        kinds.peek().is_some() && kinds.all(|k| k != KV_PAGE)
    }

    /// Positions that a sequence may have at most.
    pub(crate) fn reach(&self) -> u64 {
        self.inner.definition.reach(self.inner.length)
    }

    /// Gives back memory that no session needs: cached prefixes, what closed sessions had, what embedding ran on last. For an
    /// app that is told to save memory.
    ///
    /// # Errors
    /// Plan and backend errors; sessions go on in any case.
    pub fn trim(&self) -> Result<(), Error> {
        self.make_room();
        self.drop_banks()?;
        self.all_engines().iter().try_for_each(|e| e.trim(self))
    }

    fn all_engines(&self) -> Vec<Arc<Engine>> {
        self.engines().values().map(Arc::clone).collect()
    }

    /// Fits the contexts of all sessions to the banks that there are.
    pub(crate) fn rebuild_engines(&self) -> Result<(), Error> {
        self.all_engines().iter().try_for_each(|e| e.rebuild(self))
    }

    pub(crate) fn adapters(&self) -> &Adapters {
        &self.inner.adapters
    }

    /// Bytes that the model and its sessions hold: what [`ModelOptions::max_bytes`] caps.
    pub fn memory(&self) -> MemoryUse {
        let budget = self.inner.devices[0].budget();
        MemoryUse { used: budget.used(), peak: budget.peak(), limit: Some(budget.limit()).filter(|&n| n < u64::MAX) }
    }

    /// What became of experts that stay in the file; `None` where there are none, see [`ModelOptions::experts`].
    ///
    /// # Errors
    /// Backend errors.
    pub fn expert_cache(&self) -> Result<Option<ExpertCache>, Error> {
        let bytes = |name: &str| self.inner.tensors.iter().find(|t| t.name == name).map_or(0, |t| t.bytes);
        self.inner.paging.count(&self.inner.fixed, bytes)
    }

    /// How much arithmetic the model's device does at best: measured now, which takes a second at most.
    ///
    /// # Errors
    /// Backend errors.
    pub fn peaks(&self) -> Result<Peaks, Error> {
        Ok(self.inner.devices[0].peaks()?)
    }

    /// A context of `size` for this model, with keys and values of type `kv_dtype` and the banks of adapters that there are.
    pub(crate) fn context(&self, size: ContextSize, kv_dtype: u32) -> Result<Context, Error> {
        let (graph, fixed) = self.graph_and_fixed(size, kv_dtype)?;
        Context::new(&self.inner.devices, &graph, &fixed, size)
    }

    /// Gives up what embedding kept for its next call: others need memory.
    pub(crate) fn make_room(&self) {
        self.inner.kept.clear();
    }

    /// What such a context is made of, or becomes when it is resized.
    pub(crate) fn graph_and_fixed(&self, size: ContextSize, kv_dtype: u32) -> Result<(Graph, Fixed), Error> {
        self.make_room();
        let banks = self.adapters().banks();
        let graph = self.graph_with(size, kv_dtype, banks.as_ref().map(|b| b.shape()))?;
        Ok((graph, self.fixed_with(banks.as_deref())))
    }

    /// A context whose matrices have these banks.
    pub(crate) fn context_with(&self, size: ContextSize, kv_dtype: u32, banks: &Banks) -> Result<Context, Error> {
        self.make_room();
        let graph = self.graph_with(size, kv_dtype, Some(banks.shape()))?;
        Context::new(&self.inner.devices, &graph, &self.fixed_with(Some(banks)), size)
    }

    /// A context that yields what goes into the head.
    pub(crate) fn hidden_context(&self, size: ContextSize, kv_dtype: u32) -> Result<Context, Error> {
        let mut graph = self.graph(size, kv_dtype)?;
        graph.cut_head();
        Context::new(&self.inner.devices, &graph, &self.inner.fixed, size)
    }

    /// What an encoder ran on last.
    pub(crate) fn kept(&self) -> &Kept {
        &self.inner.kept
    }

    /// How the files say that a text's embedding is made.
    pub(crate) fn stated(&self) -> Stated {
        self.inner.stated
    }

    /// Refuses an encoder: it has no logits, and a text of it cannot go on.
    pub(crate) fn check_decoder(&self) -> Result<(), Error> {
        match self.inner.info.encoder {
            true => Err(Error::Encoder { architecture: self.inner.info.architecture.clone() }),
            false => Ok(()),
        }
    }

    /// A context whose matrices' inputs are outputs.
    pub(crate) fn tapped_context(&self, size: ContextSize, kv_dtype: u32) -> Result<(Context, Vec<Tap>), Error> {
        self.check_decoder()?;
        let mut graph = self.graph(size, kv_dtype)?;
        let mut taps = graph.tap_linears();
        // Matrices that files have as one share their input, and in a file there is one name for them.
        for tap in &mut taps {
            if let Some(part) =
                self.inner.table.specs.iter().find(|s| s.gguf == tap.weight).and_then(|s| s.part.as_ref())
            {
                tap.weight.clone_from(&part.gguf);
            }
        }
        let mut seen = HashSet::new();
        taps.retain(|tap| seen.insert(tap.weight.clone()));
        Ok((Context::new(&self.inner.devices, &graph, &self.inner.fixed, size)?, taps))
    }

    /// The graph of a context without adapters.
    pub(crate) fn graph(&self, size: ContextSize, kv_dtype: u32) -> Result<Graph, Error> {
        self.graph_with(size, kv_dtype, None)
    }

    pub(crate) fn graph_with(
        &self,
        size: ContextSize,
        kv_dtype: u32,
        banks: Option<&AdapterBanks>,
    ) -> Result<Graph, Error> {
        let i = &*self.inner;
        let options = NetOptions { adapters: banks.cloned(), ..net_options(size, kv_dtype, i.length) };
        Ok(build(&*i.definition, &i.table, &i.dtypes, options)?.0)
    }

    /// Weights and constants, those of `banks` among them.
    fn fixed_with(&self, banks: Option<&Banks>) -> Fixed {
        let mut fixed = self.inner.fixed.clone();
        let banks = banks.map(Banks::bound).unwrap_or_default();
        fixed.iter_mut().zip(banks).for_each(|(all, more)| all.extend(more));
        fixed
    }

    /// The graph without caches, for training the factors in `banks`.
    pub(crate) fn training_graph(&self, banks: &AdapterBanks, sequences: u64) -> Result<Graph, Error> {
        self.check_decoder()?;
        let i = &*self.inner;
        let size = ContextSize::full(sequences, 1, 1, 1);
        let options = NetOptions { pages: None, adapters: Some(banks.clone()), ..net_options(size, F32, i.length) };
        Ok(build(&*i.definition, &i.table, &i.dtypes, options)?.0)
    }

    /// All tensors, by their names.
    pub(crate) fn table(&self) -> &TensorTable {
        &self.inner.table
    }

    /// The devices, the preferred one first.
    pub(crate) fn devices(&self) -> &[Arc<Device>] {
        &self.inner.devices
    }

    /// Weights and constants by name, for each device.
    pub(crate) fn fixed(&self) -> &Fixed {
        &self.inner.fixed
    }

    /// The architecture as GGUF files name it.
    pub(crate) fn gguf_architecture(&self) -> &str {
        let name = self.inner.info.architecture.as_str();
        find(name, self.inner.info.format == "gguf").ok().and_then(|a| a.gguf.first()).copied().unwrap_or(name)
    }

    /// The Frobenius norm of a matrix.
    pub(crate) fn matrix_norm(&self, tensor: &str) -> Result<f64, Error> {
        let weight = self.inner.fixed.iter().find_map(|f| match f.get(tensor) {
            Some(Bound::Weight(w)) => Some(w),
            _ => None,
        });
        let weight = weight.ok_or_else(|| Error::Internal { what: format!("no device has {tensor}") })?;
        let (rows, columns) = (weight.shape()[0], *weight.shape().last().unwrap_or(&1) as usize);
        let (mut sum, mut row) = (0.0, vec![0.0; columns]);
        for i in 0..rows {
            weight.read_rows(i, &mut row)?;
            sum += row.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
        }
        Ok(sum.sqrt())
    }

    /// KV pages that a sequence has at most: all of its positions, or those that some layer still looks back to.
    pub(crate) fn resident_pages(&self, positions: u64, chunk: u64) -> u64 {
        resident_pages(self.inner.window, positions, chunk)
    }

    /// The engine of all sessions with this type of keys and values.
    pub(crate) fn engine(&self, kv_dtype: u32) -> Arc<Engine> {
        Arc::clone(self.engines().entry(kv_dtype).or_insert_with(|| Arc::new(Engine::new(kv_dtype))))
    }

    fn engines(&self) -> MutexGuard<'_, HashMap<u32, Arc<Engine>>> {
        self.inner.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn describe(file: &ModelFile, graph: &Graph, resolved: &Resolved) -> ModelInfo {
    let common = file.definition.common();
    let mut dtypes: Vec<(String, u64)> = Vec::new();
    for t in file.checkpoint.tensors() {
        match dtypes.iter_mut().find(|d| d.0 == t.dtype.name()) {
            Some(d) => d.1 += t.bytes,
            None => dtypes.push((t.dtype.name().to_owned(), t.bytes)),
        }
    }
    dtypes.sort_by_key(|d| std::cmp::Reverse(d.1));
    ModelInfo {
        format: file.format.to_owned(),
        architecture: file.architecture.clone(),
        name: file.name.clone(),
        encoder: file.definition.is_encoder(),
        context_length: common.context_length,
        vocab: file.tokenizer.vocab_size() as u64,
        layers: common.layers,
        width: common.width,
        parameters: file.checkpoint.tensors().iter().map(|t| t.elements()).sum(),
        file_bytes: file.checkpoint.tensors().iter().map(|t| t.bytes).sum(),
        bytes_per_token: bytes_per_token(graph, resolved),
        dtypes,
        resident_bytes: 0,
        kv_bytes_per_token: common.kv_elements * 2,
        backend: String::new(),
        tier: String::new(),
        threads: 0,
        load_ms: 0.0,
    }
}

/// Weights that are only gathered from give one row a token, stacks of experts the matrices that are chosen; all others are read
/// whole.
fn bytes_per_token(graph: &Graph, resolved: &Resolved) -> u64 {
    // How many of a weight's outermost parts a node reads.
    let parts = |node: &Node| match node.op {
        Op::Gather => Some(1),
        Op::ExpertLinear => match graph.info(node.outputs.first().copied().flatten()?).shape.get(1) {
            Some(&Dim::Fixed(chosen)) => Some(chosen),
            _ => None,
        },
        _ => None,
    };
    let bytes = |value: Value, t: &TensorInfo| {
        let users = graph.nodes.iter().filter(|n| n.inputs.contains(&Some(value)));
        let of = t.shape.first().copied().unwrap_or(1).max(1);
        users.map(|n| parts(n).map_or(t.bytes, |n| t.bytes / of * n.min(of))).max().unwrap_or(0)
    };
    let weights = graph.externals.iter().filter(|e| matches!(e.kind, ExternalKind::Weight(_) | ExternalKind::Constant));
    weights.filter_map(|e| Some(bytes(e.value, resolved.info(&e.name)?))).sum()
}
