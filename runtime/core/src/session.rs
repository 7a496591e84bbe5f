//! Sessions: one sequence of tokens, and text generated from it.

mod generation;

pub use generation::{Event, Finish, GenerateOptions, Generation, StopReason, Timings, TokenEvent};

use crate::backend::CancelFlag;
use crate::context::{Context, ContextSize, Want};
use crate::error::Error;
use crate::model::Model;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Context length where neither the caller nor the model asks for less: what fits any machine that runs the model.
pub const DEFAULT_CONTEXT: u64 = 4096;
/// Prompt tokens per step: enough to use the processor fully, few enough to cancel within milliseconds.
const DEFAULT_CHUNK: u64 = 256;

/// How to make a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionOptions {
    /// Tokens that fit; the model's own length up to [`DEFAULT_CONTEXT`] otherwise.
    pub context: Option<u64>,
    /// Prompt tokens computed per step. Results do not depend on it.
    pub chunk: Option<u64>,
    /// Element type of cached keys and values.
    pub kv: KvType,
}

/// Element types of cached keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// Half precision.
    #[default]
    F16,
    /// Single precision: exact, at twice the memory.
    F32,
}

impl KvType {
    pub(crate) fn dtype(self) -> u32 {
        match self {
            Self::F16 => tern_abi::dtype::F16,
            Self::F32 => tern_abi::dtype::F32,
        }
    }
}

impl SessionOptions {
    pub(crate) fn size(&self, model: &Model, outputs: u64) -> Result<ContextSize, Error> {
        let positions = self.context.unwrap_or(model.info().context_length.min(DEFAULT_CONTEXT));
        let chunk = self.chunk.unwrap_or(DEFAULT_CHUNK).min(positions);
        let bad = |setting, found: u64, expected| Err(Error::Setting { setting, found: found.to_string(), expected });
        // Positions and places are i32 on the device.
        if positions == 0 || positions > 1 << 30 {
            return bad("context", positions, "1 to 1073741824");
        }
        if chunk == 0 || chunk > 1 << 16 {
            return bad("chunk", chunk, "1 to 65536");
        }
        Ok(ContextSize::full(1, positions, chunk, outputs.min(chunk)))
    }
}

/// A sequence of tokens with its keys and values. Methods take `&self` and may be called from any thread; each waits for the
/// one before.
pub struct Session {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    model: Model,
    state: Mutex<State>,
    cancel: CancelFlag,
    capacity: usize,
}

pub(crate) struct State {
    context: Context,
    /// Counts changes, so that a generation notices when another call changed the tokens under it.
    epoch: u64,
}

/// The only sequence of a session's context.
const SEQUENCE: usize = 0;

impl Session {
    pub(crate) fn new(model: &Model, options: SessionOptions) -> Result<Self, Error> {
        let size = options.size(model, 1)?;
        let state = Mutex::new(State { context: model.context(size, options.kv.dtype())?, epoch: 0 });
        let capacity = size.positions as usize;
        Ok(Self { shared: Arc::new(Shared { model: model.clone(), state, cancel: CancelFlag::new(), capacity }) })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.shared.model
    }

    /// Tokens that fit.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    /// All tokens so far: prompts and what was generated.
    pub fn tokens(&self) -> Vec<u32> {
        self.shared.lock().context.tokens(SEQUENCE).to_vec()
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
        let mut state = self.shared.lock();
        state.epoch += 1;
        self.shared.push(&mut state, tokens)?;
        let mut logits = Vec::new();
        self.shared.compute(&mut state, &mut logits)?;
        Ok(logits)
    }

    /// Takes the last `n` tokens back; all of them where there are fewer.
    ///
    /// # Errors
    /// Backend errors.
    pub fn rollback(&self, n: usize) -> Result<(), Error> {
        let mut state = self.shared.lock();
        state.epoch += 1;
        state.context.rollback(SEQUENCE, n)
    }

    /// Forgets all tokens.
    ///
    /// # Errors
    /// Backend errors.
    pub fn reset(&self) -> Result<(), Error> {
        self.rollback(usize::MAX)
    }

    /// Appends `prompt` and generates. Work happens as the events are taken.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::Token`], [`Error::ContextFull`], [`Error::Empty`]: nothing is appended then.
    pub fn generate(&self, prompt: &[u32], options: GenerateOptions) -> Result<Generation, Error> {
        Generation::new(&self.shared, prompt, options)
    }

    /// Starts or stops adding up the time of every op.
    pub fn set_profiling(&self, on: bool) {
        self.shared.lock().context.set_profiling(on);
    }

    /// Nanoseconds by kind of op since profiling began, longest first.
    pub fn profile(&self) -> Vec<(String, u64)> {
        let state = self.shared.lock();
        let mut sums: Vec<(String, u64)> = Vec::new();
        for (name, ns) in state.context.plan().op_names.iter().zip(state.context.profile().unwrap_or_default()) {
            match sums.iter_mut().find(|s| s.0 == *name) {
                Some(s) => s.1 += ns,
                None => sums.push(((*name).to_owned(), ns)),
            }
        }
        sums.sort_by_key(|s| std::cmp::Reverse(s.1));
        sums
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No state is left half-changed by a panic of a caller's callback: there are none under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, state: &mut State, tokens: &[u32]) -> Result<(), Error> {
        let vocab = self.model.tokenizer().vocab_size();
        if let Some(&id) = tokens.iter().find(|&&t| t as usize >= vocab) {
            return Err(Error::Token { id, vocab });
        }
        state.context.push(SEQUENCE, tokens)
    }

    /// Computes what is pushed; `logits` gets those after the last token, without padded rows of the embedding.
    fn compute(&self, state: &mut State, logits: &mut Vec<f32>) -> Result<(), Error> {
        if state.context.tokens(SEQUENCE).is_empty() {
            return Err(Error::Empty);
        }
        let vocab = self.model.tokenizer().vocab_size();
        let result = state.context.compute(&[SEQUENCE], Want::Last, &self.cancel, &mut |_, _, row| {
            logits.clear();
            logits.extend_from_slice(&row[..vocab.min(row.len())]);
        });
        result.map_err(|e| if e.is_cancelled() { Error::Cancelled } else { e })
    }
}
