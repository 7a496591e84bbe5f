//! A stream of generated tokens.

use super::Shared;
use super::endless::Endless;
use super::engine::{Outcome, Served};
use super::speculate::{Speculation, Speculator};
use crate::constraint::{Constraint, Matcher};
use crate::error::Error;
use crate::sample::{Sampling, log_sum_exp};
use std::collections::VecDeque;
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
    /// Several tokens a step where they can be guessed. Changes no token and no log-probability.
    pub speculation: Speculation,
    /// The form that the text must have. The generation ends where nothing may follow; an end token comes only where the text
    /// is complete, and ends it whatever `ignore_end` says. A text that another limit ends is only the beginning of one of
    /// that form.
    pub constraint: Option<Constraint>,
    /// Go on where the context is full, and forget its middle. Draws then come from other seeds, since positions come again.
    pub endless: Option<Endless>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_tokens: 256,
            sampling: Sampling::default(),
            stop: Vec::new(),
            logprobs: false,
            ignore_end: false,
            special: false,
            speculation: Speculation::default(),
            constraint: None,
            endless: None,
        }
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
    /// The model ended its text, or it is of the form that was asked for and nothing may follow.
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
    /// Tokens that speculative decoding drafted and the model computed.
    pub proposed_tokens: usize,
    /// Those of them that came true: tokens that needed no step of their own.
    pub accepted_tokens: usize,
}

/// Generates a token per step, or several with [`Speculation`]; dropping it stops. Ends with [`Event::Done`] or an error.
pub struct Generation {
    shared: Arc<Shared>,
    options: GenerateOptions,
    detokenizer: Detokenizer,
    stops: StopMatcher,
    epoch: u64,
    /// All tokens of the session, and those that are chosen.
    history: Vec<u32>,
    /// Chosen tokens that have not been given yet, with their log-probabilities: the session does not have them either.
    chosen: VecDeque<(u32, Option<f32>)>,
    speculator: Option<Speculator>,
    /// Behind the last chosen token.
    matcher: Option<Box<dyn Matcher>>,
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
        options.endless.map(|e| e.recent(shared.capacity)).transpose()?;
        let matcher = options.constraint.as_ref().map(Constraint::begin).transpose()?;
        let epoch = shared.change();
        let kept = shared.speculator().take();
        let speculator = Speculator::new(shared, &options.speculation, kept)?;
        shared.push(prompt)?;
        let history = shared.tokens();
        if history.is_empty() {
            return Err(Error::Empty);
        }
        let tokenizer = Arc::clone(shared.model.tokenizer());
        // Behind text, the space that the first token may begin with is part of the reply; a constraint has counted it, too.
        let detokenizer = match history.last() {
            Some(&last) if matcher.is_some() || !tokenizer.is_control(last) => {
                Detokenizer::continuing(tokenizer, decode)
            }
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
            chosen: VecDeque::new(),
            speculator,
            matcher,
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
        if let Some(event) = self.chosen() {
            return event;
        }
        match self.submit() {
            Err(error) if error.is_cancelled() => return Ok(self.finish(StopReason::Cancelled)),
            submitted => submitted?,
        }
        let outcome = shared.wait();
        self.accept(outcome)
    }

    /// Asks for the next token's logits, and those after drafts.
    pub(super) fn submit(&mut self) -> Result<(), Error> {
        let shared = &self.shared;
        let mut drafts = Vec::new();
        if let (Some(speculator), Some(_)) = (&mut self.speculator, self.first) {
            // One token comes without drafts; those that would not be given or do not fit are not worth it.
            let wanted = self.options.max_tokens - self.timings.generated_tokens - 1;
            let room = wanted.min(shared.capacity.saturating_sub(self.history.len()));
            drafts = speculator.propose(shared, &self.options, &self.history, room)?;
            if let Some(matcher) = &mut self.matcher {
                // What may not come will not come true.
                drafts.truncate(matcher.allowed(&drafts)?);
            }
        }
        let computed = shared.engine.submit(shared.place, &drafts, &shared.cancel)?;
        if self.started.is_none() {
            self.started = Some(Instant::now());
            self.timings.reused_tokens = computed;
            self.timings.prompt_tokens = self.history.len() - computed;
        }
        Ok(())
    }

    /// The event that needs no more logits, if it is time for it.
    pub(super) fn due(&mut self) -> Option<Result<Event, Error>> {
        self.ending().map(Ok).or_else(|| self.chosen())
    }

    fn ending(&mut self) -> Option<Event> {
        if self.stops.stopped().is_some() {
            Some(self.finish(StopReason::StopString))
        } else if self.chosen.is_empty() && self.matcher.as_ref().is_some_and(|m| m.is_done()) {
            Some(self.finish(StopReason::End))
        } else if self.timings.generated_tokens >= self.options.max_tokens {
            Some(self.finish(StopReason::Length))
        } else {
            None
        }
    }

    /// Gives a token that is chosen, if there is one.
    fn chosen(&mut self) -> Option<Result<Event, Error>> {
        let (id, logprob) = self.chosen.pop_front()?;
        // A token without a step of its own must stop where its step would have.
        Some(if self.shared.cancel.is_cancelled() {
            Ok(self.finish(StopReason::Cancelled))
        } else {
            self.give(id, logprob)
        })
    }

    /// Chooses a token by its logits, and more where drafts came true.
    pub(super) fn accept(&mut self, outcome: Outcome) -> Result<Event, Error> {
        let mut served = match outcome {
            Ok(served) => served,
            Err(error) if error.is_cancelled() => return Ok(self.finish(StopReason::Cancelled)),
            Err(error) => return Err(error),
        };
        if let (None, Some(started)) = (self.first, self.started) {
            self.timings.prompt_ms = started.elapsed().as_secs_f64() * 1e3;
            self.first = Some(Instant::now());
        }
        self.choose(&mut served)?;
        match self.chosen.pop_front() {
            Some((id, logprob)) => self.give(id, logprob),
            None => Err(Error::Internal { what: "a step without logits".to_owned() }),
        }
    }

    fn choose(&mut self, served: &mut Served) -> Result<(), Error> {
        let from = self.history.len();
        let drafts = self.speculator.as_ref().map_or(&[][..], Speculator::drafts);
        for (i, logits) in served.logits.iter_mut().enumerate() {
            let raw = self.options.logprobs.then(|| (logits.clone(), log_sum_exp(logits)));
            let id = match &mut self.matcher {
                Some(matcher) => self.options.sampling.choose_within(logits, &self.history, &mut **matcher)?,
                None => self.options.sampling.choose(logits, &self.history),
            };
            self.history.push(id);
            self.chosen.push_back((id, raw.and_then(|(logits, total)| Some(logits.get(id as usize)? - total))));
            let ends = self.ends(id) || self.matcher.as_ref().is_some_and(|m| m.is_done());
            // The next logits are those after the draft.
            if ends || drafts.get(i).is_none_or(|draft| draft.0 != id) {
                break;
            }
        }
        let chosen = self.history.get(from..).unwrap_or_default();
        self.timings.proposed_tokens += served.logits.len().saturating_sub(1);
        self.timings.accepted_tokens += chosen.len().saturating_sub(1);
        if let Some(speculator) = &mut self.speculator {
            speculator.learn(&self.shared, chosen, served);
        }
        Ok(())
    }

    /// Does this token end the text?
    fn ends(&self, id: u32) -> bool {
        (self.matcher.is_some() || !self.options.ignore_end) && self.shared.model.tokenizer().is_end(id)
    }

    /// The event of a chosen token, which becomes one of the session.
    fn give(&mut self, id: u32, logprob: Option<f32>) -> Result<Event, Error> {
        if self.ends(id) {
            return Ok(self.finish(StopReason::End));
        }
        match self.shared.push(&[id]) {
            Ok(()) => {}
            Err(Error::ContextFull { .. }) => match self.options.endless {
                Some(endless) => self.forget(endless, id)?,
                None => return Ok(self.finish(StopReason::Context)),
            },
            Err(error) => return Err(error),
        }
        self.timings.generated_tokens += 1;
        let stopped = self.stops.push(&self.detokenizer.push(id)?);
        let at_ms = self.started.map_or(0.0, |t| t.elapsed().as_secs_f64() * 1e3);
        Ok(Event::Token(TokenEvent { id, text: stopped.text, logprob, at_ms }))
    }

    /// Pushes `id`, for which there was no room.
    fn forget(&mut self, endless: Endless, id: u32) -> Result<(), Error> {
        self.history = endless.forget(&self.shared)?;
        self.shared.push(&[id])?;
        self.history.push(id);
        self.history.extend(self.chosen.iter().map(|c| c.0));
        let sampling = &mut self.options.sampling;
        sampling.seed = sampling.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        // It follows the text from its beginning.
        self.speculator = None;
        self.speculator = Speculator::new(&self.shared, &self.options.speculation, None)?;
        Ok(())
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
        if let Some(event) = self.ending() {
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
        if let Some(speculator) = self.speculator.take() {
            *self.shared.speculator() = Some(speculator);
        }
    }
}
