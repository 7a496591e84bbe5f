//! Waiting for logits, and leading the steps that make them.

use super::{Engine, Outcome, Place, Served, State};
use crate::backend::CancelFlag;
use crate::context::Want;
use crate::error::Error;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;
use web_time::Instant;

/// A leader waits for those who were served in the last step, to serve them together, for at most this share of a step.
const PATIENCE: u32 = 4;
/// Steps without a row after which a request comes first.
const LONG: u64 = 8;

impl Engine {
    /// Waits until at least one of the requests of `places` has ended, running steps for all who wait; returns those that have,
    /// which is none of them where `give_up` was raised.
    pub fn wait(&self, places: &[Place], give_up: &CancelFlag) -> Vec<(Place, Outcome)> {
        let mut state = self.lock();
        loop {
            let done: Vec<(Place, Outcome)> =
                places.iter().filter_map(|&p| Some((p, state.places[p].outcome.take()?))).collect();
            let none_left = || places.iter().all(|&p| state.places[p].request.is_none());
            if !done.is_empty() || give_up.is_cancelled() || none_left() {
                return done;
            }
            let led = state.running || state.gathering;
            state = if led { self.sleep(state) } else { self.lead(state) };
        }
    }

    /// Runs one step for all requests.
    fn lead<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.gathering = true;
        state = self.gather(state);
        (state.gathering, state.running) = (false, true);
        // Flags are looked at after the step's own was lowered: who gives up later raises that too.
        self.stop.reset();
        let batch = state.batch();
        let context = if batch.is_empty() { None } else { state.context.take() };
        let Some(mut context) = context else {
            state.running = false;
            self.changed.notify_all();
            return state;
        };
        drop(state);
        let led = Led(self);
        let started = Instant::now();
        let before: Vec<usize> = batch.iter().map(|&p| context.computed(p)).collect();
        let mut logits: Vec<(Place, Vec<Vec<f32>>)> = Vec::new();
        let result = context.step(&batch, Want::Last, &self.stop, &mut |place, _, row| match logits.last_mut() {
            // A sequence's rows come one after the other.
            Some((last, rows)) if *last == place => rows.push(row.to_vec()),
            _ => logits.push((place, vec![row.to_vec()])),
        });
        let served: Vec<bool> = batch.iter().zip(&before).map(|(&p, &n)| context.computed(p) > n).collect();
        let (took, size) = (started.elapsed(), context.last_step());
        std::mem::forget(led);
        state = self.lock();
        state.context = Some(context);
        state.running = false;
        state.steps += 1;
        state.last_step = took;
        if result.is_ok() {
            state.costs.add(size, took);
        }
        let step = state.steps;
        for (&place, served) in batch.iter().zip(served) {
            if let Some(r) = &mut state.places[place].request {
                r.waited = if served { 0 } else { r.waited + 1 };
            }
        }
        for (place, logits) in logits {
            state.places[place].end(Ok(Served { logits, size, took }));
            state.places[place].back_after = Some(step);
        }
        if let Err(error) = result {
            // Those who gave up are told at the next step's start; a defect concerns everyone in the step.
            if !error.is_cancelled() {
                for &place in &batch {
                    state.places[place].end(Err(again(&error)));
                }
            }
        }
        state.free_closed();
        self.changed.notify_all();
        state
    }

    /// Waits a little for those whom the last step served.
    fn gather<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let patience = (state.last_step / PATIENCE).min(Duration::from_millis(5));
        let missing = |s: &State| {
            s.places.iter().any(|p| p.back_after == Some(s.steps) && p.request.is_none() && p.reserved.is_some())
        };
        if !missing(&state) {
            return state;
        }
        let until = Instant::now() + patience;
        while missing(&state) {
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) else { break };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let step = state.steps;
        state.places.iter_mut().filter(|p| p.back_after == Some(step)).for_each(|p| p.back_after = None);
        state
    }
}

impl State {
    /// Places to serve, in the order in which they get rows; ends the requests that were given up.
    ///
    /// Who is nearest to its logits comes first, so that one prompt after the other is done rather than all at the end; who
    /// waited for long comes before everyone.
    fn batch(&mut self) -> Vec<Place> {
        let State { context, places, .. } = self;
        let missing = |place| context.as_ref().map_or(0, |c| c.tokens(place).len() - c.computed(place));
        let mut batch = Vec::new();
        for (place, p) in places.iter_mut().enumerate() {
            match &p.request {
                Some(r) if r.cancel.is_cancelled() => p.end(Err(Error::Cancelled)),
                Some(r) => batch.push((r.waited < LONG, missing(place), place)),
                None => {}
            }
        }
        batch.sort_unstable();
        batch.into_iter().map(|(_, _, place)| place).collect()
    }
}

/// A step under way. Dropped only where it panics, a defect of ours: nobody must wait for it for ever.
struct Led<'a>(&'a Engine);

impl Drop for Led<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.running = false;
        for place in state.places.iter_mut().filter(|p| p.request.is_some()) {
            place.end(Err(Error::Internal { what: "a step panicked".to_owned() }));
        }
        state.free_closed();
        self.0.changed.notify_all();
    }
}

/// The same error for one more caller.
fn again(error: &Error) -> Error {
    match error {
        Error::Backend(e) => Error::Backend(e.clone()),
        other => Error::Internal { what: other.to_string() },
    }
}
