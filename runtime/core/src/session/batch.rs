//! Many prompts at once, on one thread.

use super::{GenerateOptions, Generation, Session, SessionOptions};
use crate::backend::CancelFlag;
use crate::error::Error;
use crate::model::Model;
use crate::session::Event;
use std::collections::VecDeque;

/// How to run a [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// Prompts that are worked on at the same time; more wait.
    pub sequences: usize,
    /// How each of them is run.
    pub session: SessionOptions,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self { sequences: 8, session: SessionOptions::default() }
    }
}

/// Prompts that are computed together, each with the result that it would have alone. Iterating does the work and yields
/// `(number of the prompt, event)`; each prompt ends with [`Event::Done`] or an error. More may be added meanwhile.
pub struct Batch {
    model: Model,
    options: BatchOptions,
    /// Sessions without a prompt.
    idle: Vec<Session>,
    running: Vec<Running>,
    queue: VecDeque<(usize, Vec<u32>, GenerateOptions)>,
    events: VecDeque<(usize, Result<Event, Error>)>,
    added: usize,
    /// Prompts whose last event was taken.
    ended: usize,
    cancel: CancelFlag,
}

struct Running {
    id: usize,
    session: Session,
    generation: Generation,
    /// Logits were asked for.
    waiting: bool,
}

impl Batch {
    pub(crate) fn new(model: &Model, options: BatchOptions) -> Result<Self, Error> {
        if !(1..=1024).contains(&options.sequences) {
            let found = options.sequences.to_string();
            return Err(Error::Setting { setting: "sequences", found, expected: "1 to 1024" });
        }
        model.reserve(&options.session, options.sequences)?;
        Ok(Self {
            cancel: model.engine(options.session.kv.dtype()).cancel_flag(),
            ended: 0,
            model: model.clone(),
            options,
            idle: Vec::new(),
            running: Vec::new(),
            queue: VecDeque::new(),
            events: VecDeque::new(),
            added: 0,
        })
    }

    /// Adds a prompt; returns its number, counted from 0. What is wrong with it comes as its event.
    pub fn add(&mut self, prompt: Vec<u32>, options: GenerateOptions) -> usize {
        self.queue.push_back((self.added, prompt, options));
        self.added += 1;
        self.added - 1
    }

    /// Prompts whose last event has not been taken.
    pub fn pending(&self) -> usize {
        self.added - self.ended
    }

    /// The flag that ends all prompts, within milliseconds: each gets its event, which says cancelled.
    pub fn cancel_flag(&self) -> CancelFlag {
        self.cancel.clone()
    }

    /// Ends a prompt's generation: its event says cancelled. Nothing happens where it has ended already.
    pub fn cancel(&mut self, id: usize) {
        if let Some(r) = self.running.iter().find(|r| r.id == id) {
            r.session.cancel_flag().cancel();
        }
        if let Some(i) = self.queue.iter().position(|q| q.0 == id) {
            self.queue.remove(i);
            self.events.push_back((id, Err(Error::Cancelled)));
        }
    }

    /// Gives prompts that wait to sessions that do not work.
    fn start(&mut self) {
        while self.running.len() < self.options.sequences {
            let Some((id, prompt, options)) = self.queue.pop_front() else { return };
            let session = match self.idle.pop() {
                Some(session) => session.reset().map(|()| session),
                None => Session::new(&self.model, self.options.session),
            };
            let generation = session.and_then(|s| Ok((s.generate(&prompt, options)?, s)));
            match generation {
                Ok((generation, session)) => self.running.push(Running { id, session, generation, waiting: false }),
                Err(error) => self.events.push_back((id, Err(error))),
            }
        }
    }

    /// Ends all prompts.
    fn give_up(&mut self) {
        self.running.iter().for_each(|r| r.session.cancel_flag().cancel());
        self.events.extend(self.queue.drain(..).map(|(id, ..)| (id, Err(Error::Cancelled))));
        // Each running one has yet to hear of it.
        self.cancel.reset();
    }

    /// One round: what is due, a step for the rest.
    fn round(&mut self) {
        for r in self.running.iter_mut().filter(|r| !r.waiting) {
            let mut goes_on = true;
            while goes_on && let Some(event) = r.generation.due() {
                goes_on = event.is_ok() && !r.generation.is_done();
                self.events.push_back((r.id, event));
            }
            if goes_on {
                match r.generation.submit() {
                    Ok(()) => r.waiting = true,
                    // Given up while a draft model was at work: the event is that of a step.
                    Err(error) => self.events.push_back((r.id, r.generation.accept(Err(error)))),
                }
            }
        }
        let places: Vec<_> = self.running.iter().filter(|r| r.waiting).map(|r| r.generation.shared().place).collect();
        if let Some(first) = self.running.first() {
            for (place, outcome) in first.generation.shared().engine.clone().wait(&places, &self.cancel) {
                let Some(r) = self.running.iter_mut().find(|r| r.generation.shared().place == place) else { continue };
                r.waiting = false;
                let outcome = r.generation.shared().trimmed(outcome);
                let event = r.generation.accept(outcome);
                self.events.push_back((r.id, event));
            }
        }
        let failed: Vec<usize> = self.events.iter().filter(|e| e.1.is_err()).map(|e| e.0).collect();
        let (ended, running) = std::mem::take(&mut self.running)
            .into_iter()
            .partition(|r| r.generation.is_done() || failed.contains(&r.id));
        self.running = running;
        let ended: Vec<Running> = ended;
        self.idle.extend(ended.into_iter().map(|r| r.session));
    }
}

impl Iterator for Batch {
    type Item = (usize, Result<Event, Error>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.events.pop_front() {
                self.ended += usize::from(!matches!(event.1, Ok(Event::Token(_))));
                return Some(event);
            }
            if self.cancel.is_cancelled() {
                self.give_up();
            }
            self.start();
            if self.running.is_empty() && self.events.is_empty() {
                return None;
            }
            self.round();
        }
    }
}
