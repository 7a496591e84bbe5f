//! The engine: one context for all sessions of a model, and steps that serve all who wait.
//!
//! There is no thread of its own. Whoever waits for logits while nobody runs a step becomes the leader: it takes the context,
//! runs a step for all requests at hand, and hands out what is done; the others sleep meanwhile. So a single session costs
//! nothing extra, several threads with a session each are batched, and it all works where there are no threads.

mod costs;
mod lead;

use super::SessionOptions;
use super::speculate::MOST_DRAFTS;
use crate::backend::CancelFlag;
use crate::context::{Context, ContextSize, StepSize};
use crate::error::Error;
use crate::model::Model;
pub use costs::Costs;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A sequence of the engine.
pub type Place = usize;

/// What a request ended with.
pub type Outcome = Result<Served, Error>;

/// What a request gets.
pub struct Served {
    /// The logits after the last token, then those after each draft that was computed.
    pub logits: Vec<Vec<f32>>,
    /// What the step that made them computed, for all.
    pub size: StepSize,
    /// How long it took.
    pub took: Duration,
}

pub struct Engine {
    state: Mutex<State>,
    changed: Condvar,
    /// Ends the step under way.
    stop: CancelFlag,
    /// Element type of keys and values.
    kv: u32,
}

#[derive(Default)]
struct State {
    /// Away while a leader runs a step; none before the first session.
    context: Option<Context>,
    running: bool,
    /// A leader waits for others to join its step.
    gathering: bool,
    places: Vec<PlaceState>,
    /// Steps run so far.
    steps: u64,
    /// How long the last one took.
    last_step: Duration,
    /// How long steps take.
    costs: Costs,
}

/// What the engine knows of a place.
#[derive(Default)]
struct PlaceState {
    /// What its session reserved; none where it is free.
    reserved: Option<Reserved>,
    request: Option<Request>,
    /// Set once a request has ended.
    outcome: Option<Outcome>,
    /// Its session is gone; it is freed when no step runs.
    closed: bool,
    /// The step in which its last request ended, if another is likely to come at once.
    back_after: Option<u64>,
}

#[derive(Clone, Copy)]
struct Reserved {
    positions: u64,
    pages: u64,
    chunk: u64,
    /// Drafts in a step, for all who share it.
    drafts: u64,
}

impl Reserved {
    fn of(model: &Model, options: &SessionOptions) -> Result<Self, Error> {
        let size = options.size(model, 1)?;
        let pages = model.resident_pages(size.positions, size.chunk);
        Ok(Self { positions: size.positions, pages, chunk: size.chunk, drafts: options.drafts() })
    }
}

struct Request {
    cancel: CancelFlag,
    /// Steps that it waited for a row.
    waited: u64,
}

impl Engine {
    /// An engine without sessions.
    pub fn new(kv: u32) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), stop: CancelFlag::new(), kv }
    }

    /// A flag that cancels one request.
    pub fn cancel_flag(&self) -> CancelFlag {
        CancelFlag::linked(&self.stop)
    }

    /// Reserves a sequence with room for the context that `options` name.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::Memory`], plan and backend errors: the other sessions are as they were.
    pub fn open(&self, model: &Model, options: &SessionOptions) -> Result<Place, Error> {
        let reserved = Reserved::of(model, options)?;
        let mut state = self.idle();
        let place = match state.places.iter().position(|p| p.reserved.is_none()) {
            Some(place) => place,
            None => {
                state.places.push(PlaceState::default());
                state.places.len() - 1
            }
        };
        state.places[place] = PlaceState { reserved: Some(reserved), ..PlaceState::default() };
        let result = self.fit(&mut state, model, false).and_then(|()| {
            let context = state.context.as_mut().ok_or_else(|| Error::Internal { what: "no context".to_owned() })?;
            context.configure(place, options.chunk, options.isolated)
        });
        if result.is_err() {
            state.places[place].reserved = None;
        }
        result.map(|()| place)
    }

    /// Makes room for so many more sequences, which [`Engine::open`] then finds.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn reserve(&self, model: &Model, options: &SessionOptions, sequences: usize) -> Result<(), Error> {
        let reserved = Reserved::of(model, options)?;
        let mut state = self.idle();
        let count = state.places.len();
        let mut left = sequences;
        // Free places first, as opening would; they are given back at once, and the room stays.
        let mut taken = Vec::new();
        for (i, place) in state.places.iter_mut().enumerate().filter(|(_, p)| p.reserved.is_none()).take(left) {
            place.reserved = Some(reserved);
            taken.push(i);
        }
        left -= taken.len();
        for _ in 0..left {
            taken.push(state.places.len());
            state.places.push(PlaceState { reserved: Some(reserved), ..PlaceState::default() });
        }
        let result = self.fit(&mut state, model, false);
        taken.into_iter().for_each(|i| state.places[i].reserved = None);
        if result.is_err() {
            state.places.truncate(count);
        }
        result
    }

    /// Makes room for the logits of drafts, which `place` is about to ask for.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn make_room_for_drafts(&self, model: &Model, place: Place) -> Result<(), Error> {
        let mut state = self.idle();
        let before = state.places[place].reserved;
        if let Some(reserved) = &mut state.places[place].reserved {
            reserved.drafts = MOST_DRAFTS as u64;
        }
        let result = self.fit(&mut state, model, false);
        if result.is_err() {
            state.places[place].reserved = before;
        }
        result
    }

    /// Gives a sequence back. Its pages stay cached for others. Does not wait for a step under way.
    pub fn close(&self, place: Place) {
        let mut state = self.lock();
        state.places[place].closed = true;
        state.free_closed();
    }

    /// Gives back what no session needs: cached prefixes, and the memory of sessions that are gone.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn trim(&self, model: &Model) -> Result<(), Error> {
        let mut state = self.idle();
        if let Some(context) = &mut state.context {
            context.drop_prefixes();
        }
        if state.places.iter().all(|p| p.reserved.is_none()) {
            state.context = None;
            state.places.clear();
            return Ok(());
        }
        self.fit(&mut state, model, true)
    }

    /// Fits the context to the banks of adapters that the model has now.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn rebuild(&self, model: &Model) -> Result<(), Error> {
        let mut state = self.idle();
        let Some(context) = &mut state.context else { return Ok(()) };
        let size = context.size();
        let (graph, fixed) = model.graph_and_fixed(size, self.kv)?;
        context.resize(&graph, &fixed, size)
    }

    /// Makes the context large enough for all places; with `exactly`, no larger.
    fn fit(&self, state: &mut State, model: &Model, exactly: bool) -> Result<(), Error> {
        let all = || state.places.iter().filter_map(|p| p.reserved);
        let sequences = state.places.len() as u64;
        let mut need = ContextSize {
            sequences,
            positions: all().map(|r| r.positions).max().unwrap_or(1),
            chunk: all().map(|r| r.chunk).max().unwrap_or(1).max(sequences),
            outputs: sequences + all().map(|r| r.drafts).max().unwrap_or(0),
            pages: all().map(|r| r.pages).sum(),
        };
        need.outputs = need.outputs.min(need.chunk);
        let Some(context) = &mut state.context else {
            state.context = Some(model.context(need, self.kv)?);
            return Ok(());
        };
        let now = context.size();
        if !exactly {
            need = ContextSize {
                sequences: need.sequences.max(now.sequences),
                positions: need.positions.max(now.positions),
                chunk: need.chunk.max(now.chunk),
                outputs: need.outputs.max(now.outputs),
                pages: need.pages.max(now.pages),
            };
        }
        if need == now {
            return Ok(());
        }
        let (graph, fixed) = model.graph_and_fixed(need, self.kv)?;
        context.resize(&graph, &fixed, need)
    }

    /// Calls `f` with the context between two steps.
    pub fn with<R>(&self, f: impl FnOnce(&mut Context) -> R) -> Result<R, Error> {
        let mut state = self.idle();
        let context = state.context.as_mut().ok_or_else(|| Error::Internal { what: "no context".to_owned() })?;
        Ok(f(context))
    }

    /// Asks for the logits after the last token of `place`, and after each of `drafts` as far as there is room for them;
    /// [`Engine::wait`] delivers them. Returns how many of its tokens are computed already.
    ///
    /// # Errors
    /// [`Error::Empty`] where it has no tokens.
    pub fn submit(&self, place: Place, drafts: &[u32], cancel: &CancelFlag) -> Result<usize, Error> {
        let mut state = self.idle();
        let mut computed = 0;
        if let Some(context) = &mut state.context {
            context.begin(place)?;
            computed = context.computed(place);
            if !drafts.is_empty() {
                context.draft(place, drafts)?;
            }
        }
        let p = &mut state.places[place];
        (p.request, p.outcome) = (Some(Request { cancel: cancel.clone(), waited: 0 }), None);
        self.changed.notify_all();
        Ok(computed)
    }

    /// How long steps take, as far as is known.
    pub fn costs(&self) -> Costs {
        self.lock().costs.clone()
    }

    /// `place` will not ask again soon: nobody waits for it.
    pub fn leave(&self, place: Place) {
        if let Some(p) = self.lock().places.get_mut(place) {
            p.back_after = None;
        }
    }

    /// The state while no step runs.
    fn idle(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while state.running {
            state = self.sleep(state);
        }
        state
    }

    fn sleep<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half-changed by a panic of a caller's: none of their code runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Frees places whose sessions are gone, unless the context is away.
    fn free_closed(&mut self) {
        if self.running {
            return;
        }
        for (place, p) in self.places.iter_mut().enumerate().filter(|(_, p)| p.closed) {
            if let Some(context) = &mut self.context {
                // Nothing to tell anyone: the sequence is gone either way.
                let _ = context.reset(place);
            }
            *p = PlaceState::default();
        }
    }
}

impl PlaceState {
    fn end(&mut self, outcome: Outcome) {
        (self.request, self.outcome) = (None, Some(outcome));
    }
}
