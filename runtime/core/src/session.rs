//! Sessions: one sequence of tokens, and text generated from it.
//!
//! ```no_run
//! # fn main() -> Result<(), tern::Error> {
//! # let mut registry = tern::backend::Registry::new();
//! # registry.register(tern_cpu::entry)?;
//! # let runtime = tern::Runtime::new(registry);
//! use tern::{BatchOptions, GenerateOptions, ModelOptions, SessionOptions};
//! let options = ModelOptions { max_bytes: Some(512 << 20), ..Default::default() };
//! let plan = runtime.plan("model.gguf", &options, &SessionOptions::default(), 2)?;
//! println!("{} bytes{}", plan.total_bytes, plan.advice().map_or(String::new(), |a| format!("; {a}")));
//!
//! let model = runtime.open("model.gguf", options)?;
//! let session = model.session(SessionOptions::default())?;
//! session.forward(&model.encode("Once upon a time")?)?;
//! let fork = session.fork()?;
//! session.save("talk.tern")?;
//! let again = model.restore("talk.tern", SessionOptions::default())?;
//! assert_eq!(again.tokens(), fork.tokens());
//!
//! let mut batch = model.batch(BatchOptions::default())?;
//! for prompt in ["One", "Two", "Three"] {
//!     batch.add(model.encode(prompt)?, GenerateOptions::default());
//! }
//! for (number, event) in batch {
//!     println!("{number}: {}", event?.text());
//! }
//! # Ok(())
//! # }
//! ```

mod batch;
mod endless;
mod engine;
pub(crate) mod file;
mod generation;
mod speculate;

pub use batch::{Batch, BatchOptions};
pub use endless::Endless;
pub(crate) use engine::Engine;
pub use generation::{Event, Finish, GenerateOptions, Generation, StopReason, Timings, TokenEvent};
pub use speculate::{Drafts, Speculation};

use crate::adapters::{AdapterId, AdapterUse};
use crate::backend::CancelFlag;
use crate::context::{ContextSize, MAX_POSITIONS};
use crate::error::Error;
use crate::model::Model;
use engine::{Outcome, Place, Served};
use speculate::{MOST_DRAFTS, Speculator};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Context length where neither the caller nor the model asks for less: what fits any machine that runs the model.
pub const DEFAULT_CONTEXT: u64 = 4096;
/// Prompt tokens per step: enough to use the processor fully, few enough to cancel within milliseconds.
const DEFAULT_CHUNK: u64 = 256;

/// How to make a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionOptions {
    /// Tokens that fit; the model's own length up to [`DEFAULT_CONTEXT`] otherwise.
    pub context: Option<u64>,
    /// Prompt tokens computed per step. Results do not depend on it.
    pub chunk: Option<u64>,
    /// Element type of cached keys and values.
    pub kv: KvType,
    /// Neither takes over nor offers keys and values of equal beginnings of other sessions: for measurements, and for
    /// text whose presence nobody should be able to tell from the time that another session takes.
    pub isolated: bool,
    /// Room for speculative decoding from the start: for the logits of drafts. Without it, room is made when a generation
    /// asks for [`Speculation`]; with it, plans and limits of memory have it counted.
    pub speculate: bool,
}

/// Element types of cached keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// Half precision.
    #[default]
    F16,
    /// Single precision: exact, at twice the memory.
    F32,
    /// 8 bits and a scale per position and head: about half the memory, and a little less exact.
    I8,
}

impl KvType {
    pub(crate) fn dtype(self) -> u32 {
        match self {
            Self::F16 => tern_abi::dtype::F16,
            Self::F32 => tern_abi::dtype::F32,
            Self::I8 => tern_abi::dtype::I8,
        }
    }

    /// "f16", "f32" or "i8".
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::F32 => "f32",
            Self::I8 => "i8",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::F16, Self::F32, Self::I8].into_iter().find(|k| k.name() == name)
    }
}

impl SessionOptions {
    pub(crate) fn size(&self, model: &Model, outputs: u64) -> Result<ContextSize, Error> {
        self.sized(model.default_context(), model.reach(), outputs)
    }

    /// Drafts in a step to make room for.
    pub(crate) fn drafts(&self) -> u64 {
        if self.speculate { MOST_DRAFTS as u64 } else { 0 }
    }

    /// Sizes of a session's own context; `default` is its length where nobody asked for one, `reach` the longest.
    pub(crate) fn sized(&self, default: u64, reach: u64, outputs: u64) -> Result<ContextSize, Error> {
        let positions = self.context.unwrap_or(default);
        let chunk = self.chunk.unwrap_or(DEFAULT_CHUNK).min(positions);
        let bad = |setting, found: u64, expected| Err(Error::Setting { setting, found: found.to_string(), expected });
        if positions == 0 || positions > MAX_POSITIONS {
            return bad("context", positions, "1 to 1073741824");
        }
        if positions > reach {
            return bad("context", positions, "no more than the model, as it was opened, has positions for");
        }
        if chunk == 0 || chunk > 1 << 16 {
            return bad("chunk", chunk, "1 to 65536");
        }
        Ok(ContextSize::full(1, positions, chunk, outputs.min(chunk)))
    }
}

/// A sequence of tokens with its keys and values. Methods take `&self` and may be called from any thread; each waits for the
/// one before.
///
/// All sessions of a model with the same type of keys and values share memory, and steps where they run at the same time; none
/// of that changes a result. A session has its room for [`SessionOptions::context`] tokens reserved as long as it lives.
pub struct Session {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    model: Model,
    engine: Arc<Engine>,
    place: Place,
    options: SessionOptions,
    capacity: usize,
    cancel: CancelFlag,
    /// Held by the call that changes the sequence. Counts changes, so that a generation notices when another call changed
    /// the tokens under it.
    epoch: Mutex<u64>,
    /// What drafted for the last generation.
    speculator: Mutex<Option<Speculator>>,
    /// Its adapters.
    adapters: Mutex<Option<AdapterUse>>,
}

impl Session {
    pub(crate) fn new(model: &Model, options: SessionOptions) -> Result<Self, Error> {
        model.check_decoder()?;
        let capacity = options.size(model, 1)?.positions as usize;
        let engine = model.engine(options.kv.dtype());
        let place = engine.open(model, &options)?;
        let (model, cancel) = (model.clone(), engine.cancel_flag());
        let (epoch, speculator, adapters) = (Mutex::default(), Mutex::default(), Mutex::default());
        let shared = Shared { model, engine, place, options, capacity, cancel, epoch, speculator, adapters };
        let this = Self { shared: Arc::new(shared) };
        let chosen = this.shared.model.chosen_adapters();
        if !chosen.is_empty() {
            this.set_adapters(&chosen)?;
        }
        Ok(this)
    }

    /// Uses adapters with weights, 1 being as they were made, instead of those that it has; none gives the model itself, bit for bit. Its
    /// tokens stay, and are computed again when they are needed.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::Setting`] for a weight that is not finite, [`Error::Memory`] and backend errors: the session is as it
    /// was.
    pub fn set_adapters(&self, choice: &[(AdapterId, f32)]) -> Result<(), Error> {
        let shared = &self.shared;
        let _turn = shared.change();
        let new = shared.model.acquire_adapters(choice)?;
        let set = shared.engine.with(|c| c.set_adapter(shared.place, new)).and_then(|set| set);
        if let Err(error) = set {
            shared.model.release_adapters(new);
            return Err(error);
        }
        let old = std::mem::replace(&mut *shared.adapters(), new);
        shared.model.release_adapters(old);
        shared.model.drop_banks()
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.shared.model
    }

    /// Tokens that fit.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    /// How it was made; a restored one has the file's type of keys and values.
    pub fn options(&self) -> SessionOptions {
        self.shared.options
    }

    /// All tokens so far: prompts and what was generated.
    pub fn tokens(&self) -> Vec<u32> {
        self.shared.tokens()
    }

    /// The flag that stops the work under way, within milliseconds. Every [`Session::generate`] and [`Session::forward`] lowers it first.
    pub fn cancel_flag(&self) -> CancelFlag {
        self.shared.cancel.clone()
    }

    /// Appends `tokens` and returns the logits after the last: one per token of the vocabulary, natural logarithms of unnormalised
    /// probabilities.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::ContextFull`] (nothing is appended then), [`Error::Cancelled`], [`Error::Empty`], backend errors.
    pub fn forward(&self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        self.shared.cancel.reset();
        let _turn = self.shared.change();
        self.shared.push(tokens)?;
        self.shared.engine.submit(self.shared.place, &[], &self.shared.cancel)?;
        let result = self.shared.wait();
        self.shared.engine.leave(self.shared.place);
        result?.logits.pop().ok_or_else(|| Error::Internal { what: "a step without logits".to_owned() })
    }

    /// Takes the last `n` tokens back; all of them where there are fewer.
    ///
    /// # Errors
    /// Backend errors.
    pub fn rollback(&self, n: usize) -> Result<(), Error> {
        let _turn = self.shared.change();
        self.shared.engine.with(|c| c.rollback(self.shared.place, n))?
    }

    /// Forgets all tokens.
    ///
    /// # Errors
    /// Backend errors.
    pub fn reset(&self) -> Result<(), Error> {
        self.rollback(usize::MAX)
    }

    /// Another session with the same tokens and options. Keys and values are shared until one of the two goes on.
    ///
    /// # Errors
    /// As [`Model::session`].
    pub fn fork(&self) -> Result<Self, Error> {
        let _turn = self.shared.turn();
        let fork = Self::new(&self.shared.model, self.shared.options)?;
        fork.set_adapters(&[])?;
        self.shared.engine.with(|c| c.fork(self.shared.place, fork.shared.place))??;
        let used = *self.shared.adapters();
        self.shared.model.share_adapters(used);
        *fork.shared.adapters() = used;
        Ok(fork)
    }

    /// Appends `prompt` and generates. Work happens as the events are taken.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::Token`], [`Error::ContextFull`], [`Error::Empty`]: nothing is appended then.
    pub fn generate(&self, prompt: &[u32], options: GenerateOptions) -> Result<Generation, Error> {
        Generation::new(&self.shared, prompt, options)
    }

    /// Starts or stops adding up the time of every op, of all sessions that share steps with this one.
    pub fn set_profiling(&self, on: bool) {
        // Without a context there is nothing to profile.
        let _ = self.shared.engine.with(|c| c.set_profiling(on));
    }

    /// Time by kind of op since profiling began, longest first.
    pub fn profile(&self) -> Vec<OpTime> {
        let mut sums: Vec<OpTime> = Vec::new();
        let _ = self.shared.engine.with(|c| {
            for (work, nanoseconds) in c.plan().work.iter().zip(c.profile().unwrap_or_default()) {
                let (weight_bytes, multiply_adds) = (work.weight_bytes, work.multiply_adds);
                match sums.iter_mut().find(|s| s.op == work.name) {
                    Some(s) => {
                        s.nanoseconds += nanoseconds;
                        s.weight_bytes += weight_bytes;
                        s.multiply_adds += multiply_adds;
                    }
                    None => {
                        let (op, floats) = (work.name.clone(), work.floats);
                        sums.push(OpTime { op, nanoseconds, weight_bytes, multiply_adds, floats });
                    }
                }
            }
        });
        sums.sort_by_key(|s| std::cmp::Reverse(s.nanoseconds));
        sums
    }
}

/// What one kind of op takes, from [`Session::profile`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpTime {
    /// The op, and the types of its weights.
    pub op: String,
    /// Time in all steps since profiling began.
    pub nanoseconds: u64,
    /// Bytes of weights that one step of one token reads.
    pub weight_bytes: u64,
    /// Multiply-adds with weights per token; 0 where they are per row whose logits are wanted.
    pub multiply_adds: u64,
    /// Whether all its weights are floats, which are multiplied as such; backends may multiply others as bytes.
    pub floats: bool,
}

impl Shared {
    /// Waits for the call before.
    fn turn(&self) -> MutexGuard<'_, u64> {
        // No state is left half-changed by a panic of a caller's callback: there are none under the lock.
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the call before, and tells the generation under way that the sequence changes.
    fn change(&self) -> MutexGuard<'_, u64> {
        let mut epoch = self.turn();
        *epoch += 1;
        epoch
    }

    fn tokens(&self) -> Vec<u32> {
        self.engine.with(|c| c.tokens(self.place).to_vec()).unwrap_or_default()
    }

    fn push(&self, tokens: &[u32]) -> Result<(), Error> {
        let vocab = self.model.tokenizer().vocab_size();
        if let Some(&id) = tokens.iter().find(|&&t| t as usize >= vocab) {
            return Err(Error::Token { id, vocab });
        }
        let capacity = self.capacity;
        self.engine.with(|c| {
            // The context may have room for a longer session.
            let used = c.tokens(self.place).len();
            if used + tokens.len() > capacity {
                return Err(Error::ContextFull { used, wanted: tokens.len(), capacity });
            }
            c.push(self.place, tokens)
        })?
    }

    /// What was asked for, without padded rows of the embedding.
    fn wait(&self) -> Outcome {
        let done = self.engine.wait(&[self.place], &CancelFlag::new()).pop();
        let (_, outcome) = done.ok_or_else(|| Error::Internal { what: "no request".to_owned() })?;
        self.trimmed(outcome)
    }

    fn trimmed(&self, outcome: Outcome) -> Outcome {
        let Served { mut logits, size, took } = outcome?;
        logits.iter_mut().for_each(|row| row.truncate(self.model.tokenizer().vocab_size()));
        Ok(Served { logits, size, took })
    }

    fn adapters(&self) -> MutexGuard<'_, Option<AdapterUse>> {
        self.adapters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn speculator(&self) -> MutexGuard<'_, Option<Speculator>> {
        self.speculator.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.engine.close(self.place);
        self.model.release_adapters(*self.adapters());
    }
}
