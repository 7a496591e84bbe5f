//! A stream of generated tokens.

use super::{SEQUENCE, Shared};
use crate::error::Error;
use crate::sample::{Sampling, log_sum_exp};
use std::sync::Arc;
use std::time::Instant;
use tern_text::{DecodeOptions, Detokenizer, StopMatcher};

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
    logits: Vec<f32>,
    timings: Timings,
    first: Option<Instant>,
    done: bool,
}

impl Generation {
    pub(super) fn new(shared: &Arc<Shared>, prompt: &[u32], options: GenerateOptions) -> Result<Self, Error> {
        options.sampling.check()?;
        let stops = StopMatcher::new(&options.stop)?;
        let decode = DecodeOptions { skip_special: !options.special };
        let detokenizer = Detokenizer::new(Arc::clone(shared.model.tokenizer()), decode);
        let mut state = shared.lock();
        if prompt.is_empty() && state.context.tokens(SEQUENCE).is_empty() {
            return Err(Error::Empty);
        }
        shared.push(&mut state, prompt)?;
        shared.cancel.reset();
        state.epoch += 1;
        let computed = state.context.computed(SEQUENCE);
        let prompt_tokens = state.context.tokens(SEQUENCE).len() - computed;
        let timings = Timings { reused_tokens: computed, prompt_tokens, ..Default::default() };
        let epoch = state.epoch;
        drop(state);
        Ok(Self {
            shared: Arc::clone(shared),
            options,
            detokenizer,
            stops,
            epoch,
            logits: Vec::new(),
            timings,
            first: None,
            done: false,
        })
    }

    fn step(&mut self) -> Result<Event, Error> {
        if self.timings.generated_tokens >= self.options.max_tokens {
            return Ok(self.finish(StopReason::Length));
        }
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        if state.epoch != self.epoch {
            return Err(Error::Interrupted);
        }
        let start = Instant::now();
        match shared.compute(&mut state, &mut self.logits) {
            Ok(()) => {}
            Err(Error::Cancelled) => return Ok(self.finish(StopReason::Cancelled)),
            Err(error) => return Err(error),
        }
        if self.first.is_none() {
            self.timings.prompt_ms = start.elapsed().as_secs_f64() * 1e3;
            self.first = Some(Instant::now());
        }
        let history = state.context.tokens(SEQUENCE);
        let raw = self.options.logprobs.then(|| (self.logits.clone(), log_sum_exp(&self.logits)));
        let id = self.options.sampling.choose(&mut self.logits, history);
        if !self.options.ignore_end && shared.model.tokenizer().is_end(id) {
            return Ok(self.finish(StopReason::End));
        }
        let logprob = raw.and_then(|(logits, total)| Some(logits.get(id as usize)? - total));
        match state.context.push(SEQUENCE, &[id]) {
            Ok(()) => {}
            Err(Error::ContextFull { .. }) => return Ok(self.finish(StopReason::Context)),
            Err(error) => return Err(error),
        }
        drop(state);
        self.timings.generated_tokens += 1;
        let stopped = self.stops.push(&self.detokenizer.push(id)?);
        Ok(Event::Token(TokenEvent { id, text: stopped.text, logprob }))
    }

    fn finish(&mut self, reason: StopReason) -> Event {
        self.done = true;
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
        if self.stops.stopped().is_some() {
            return Some(Ok(self.finish(StopReason::StopString)));
        }
        let event = self.step();
        self.done |= event.is_err();
        Some(event)
    }
}
