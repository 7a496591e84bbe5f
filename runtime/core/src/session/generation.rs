//! A stream of generated tokens.

use super::Shared;
use crate::error::Error;
use crate::sample::{Sampling, log_sum_exp};
use std::sync::Arc;
use tern_text::{DecodeOptions, Detokenizer, StopMatcher};
use web_time::Instant;

/// How to generate. The default is greedy, up to 256 tokens.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// How to choose tokens.
    pub sampling: Sampling,
    /// Texts that end the generation; they are not part of the text.
    pub stop: Vec<String>,
    /// Report log-probabilities.
    pub logprobs: bool,
    /// Go on past end-of-text tokens.
    pub ignore_end: bool,
    /// Control tokens appear in the text.
    pub special: bool,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        let sampling = Sampling::default();
        Self { max_tokens: 256, sampling, stop: Vec::new(), logprobs: false, ignore_end: false, special: false }
    }
}

/// What a [`Generation`] yields.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A token.
    Token(TokenEvent),
    /// The end: the last event.
    Done(Finish),
}

impl Event {
    /// The event's text: whole characters, often none, in order the generated text.
    pub fn text(&self) -> &str {
        match self {
            Self::Token(t) => &t.text,
            Self::Done(f) => &f.text,
        }
    }
}

/// A generated token.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenEvent {
    /// Its id.
    pub id: u32,
    /// Text that is complete with it. What may begin a stop string or is half a character is held back.
    pub text: String,
    /// Its log-probability in nats under the model, before any sampling setting; where asked for.
    pub logprob: Option<f32>,
    /// Milliseconds since the prompt was begun.
    pub at_ms: f64,
}

/// How a generation ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// Why.
    pub reason: StopReason,
    /// Text that was held back.
    pub text: String,
    /// The stop string that was found.
    pub stop_string: Option<String>,
    /// Counts and times.
    pub timings: Timings,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The model ended its text.
    End,
    /// As many tokens as asked for.
    Length,
    /// A stop string.
    StopString,
    /// The context is full.
    Context,
    /// The caller cancelled.
    Cancelled,
}

impl StopReason {
    /// "eos", "length", "string", "context" or "cancelled".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::End => "eos",
            Self::Length => "length",
            Self::StopString => "string",
            Self::Context => "context",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Counts and times of a generation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// Tokens of the prompt that were computed for it.
    pub prompt_tokens: usize,
    /// Tokens before them that were already there.
    pub reused_tokens: usize,
    /// Milliseconds until the first token could be chosen.
    pub prompt_ms: f64,
    /// Tokens generated.
    pub generated_tokens: usize,
    /// Milliseconds from the first choice to the last.
    pub generate_ms: f64,
}

/// Generates a token per step; dropping it stops. Ends with [`Event::Done`] or an error.
pub struct Generation {
    shared: Arc<Shared>,
    options: GenerateOptions,
    detokenizer: Detokenizer,
    stops: StopMatcher,
    epoch: u64,
    /// All tokens of the session.
    history: Vec<u32>,
    timings: Timings,
    /// When the prompt was begun.
    started: Option<Instant>,
    /// When the first token could be chosen.
    first: Option<Instant>,
    done: bool,
}

impl Generation {
    pub(super) fn new(shared: &Arc<Shared>, prompt: &[u32], options: GenerateOptions) -> Result<Self, Error> {
        options.sampling.check()?;
        let stops = StopMatcher::new(&options.stop)?;
        let decode = DecodeOptions { skip_special: !options.special };
        let epoch = shared.change();
        shared.push(prompt)?;
        let history = shared.tokens();
        if history.is_empty() {
            return Err(Error::Empty);
        }
        let tokenizer = Arc::clone(shared.model.tokenizer());
        // Behind text, the space that the first token may begin with is part of the reply.
        let detokenizer = match history.last() {
            Some(&last) if !tokenizer.is_control(last) => Detokenizer::continuing(tokenizer, decode),
            _ => Detokenizer::new(tokenizer, decode),
        };
        shared.cancel.reset();
        Ok(Self {
            shared: Arc::clone(shared),
            options,
            detokenizer,
            stops,
            epoch: *epoch,
            history,
            timings: Timings::default(),
            started: None,
            first: None,
            done: false,
        })
    }

    fn step(&mut self) -> Result<Event, Error> {
        let shared = Arc::clone(&self.shared);
        let turn = shared.turn();
        if *turn != self.epoch {
            return Err(Error::Interrupted);
        }
        self.submit()?;
        let outcome = shared.wait();
        self.accept(outcome)
    }

    /// Asks for the next token's logits.
    pub(super) fn submit(&mut self) -> Result<(), Error> {
        let computed = self.shared.engine.submit(self.shared.place, &self.shared.cancel)?;
        if self.started.is_none() {
            self.started = Some(Instant::now());
            self.timings.reused_tokens = computed;
            self.timings.prompt_tokens = self.history.len() - computed;
        }
        Ok(())
    }

    /// The event that needs no more logits, if it is time for it.
    pub(super) fn due(&mut self) -> Option<Event> {
        if self.stops.stopped().is_some() {
            Some(self.finish(StopReason::StopString))
        } else if self.timings.generated_tokens >= self.options.max_tokens {
            Some(self.finish(StopReason::Length))
        } else {
            None
        }
    }

    /// Chooses a token by its logits.
    pub(super) fn accept(&mut self, outcome: Result<Vec<f32>, Error>) -> Result<Event, Error> {
        let mut logits = match outcome {
            Ok(logits) => logits,
            Err(error) if error.is_cancelled() => return Ok(self.finish(StopReason::Cancelled)),
            Err(error) => return Err(error),
        };
        if let (None, Some(started)) = (self.first, self.started) {
            self.timings.prompt_ms = started.elapsed().as_secs_f64() * 1e3;
            self.first = Some(Instant::now());
        }
        let raw = self.options.logprobs.then(|| (logits.clone(), log_sum_exp(&logits)));
        let id = self.options.sampling.choose(&mut logits, &self.history);
        if !self.options.ignore_end && self.shared.model.tokenizer().is_end(id) {
            return Ok(self.finish(StopReason::End));
        }
        let logprob = raw.and_then(|(logits, total)| Some(logits.get(id as usize)? - total));
        match self.shared.push(&[id]) {
            Ok(()) => {}
            Err(Error::ContextFull { .. }) => return Ok(self.finish(StopReason::Context)),
            Err(error) => return Err(error),
        }
        self.history.push(id);
        self.timings.generated_tokens += 1;
        let stopped = self.stops.push(&self.detokenizer.push(id)?);
        let at_ms = self.started.map_or(0.0, |t| t.elapsed().as_secs_f64() * 1e3);
        Ok(Event::Token(TokenEvent { id, text: stopped.text, logprob, at_ms }))
    }

    /// Has the last event been given?
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn finish(&mut self, reason: StopReason) -> Event {
        self.done = true;
        self.shared.engine.leave(self.shared.place);
        self.timings.generate_ms = self.first.map_or(0.0, |t| t.elapsed().as_secs_f64() * 1e3);
        let stop_string = self.stops.stopped().and_then(|i| self.options.stop.get(i).cloned());
        let mut text = String::new();
        if stop_string.is_none() {
            text = self.stops.push(&self.detokenizer.finish()).text;
            text.push_str(&self.stops.finish());
        }
        Event::Done(Finish { reason, text, stop_string, timings: self.timings })
    }
}

impl Iterator for Generation {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if let Some(event) = self.due() {
            return Some(Ok(event));
        }
        let event = self.step();
        self.done |= event.is_err();
        Some(event)
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.shared.engine.leave(self.shared.place);
    }
}
