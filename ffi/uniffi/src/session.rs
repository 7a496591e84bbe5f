//! A sequence of tokens, and text generated from it.

use crate::adapter::{self, AdapterWeight};
use crate::constraint::Constraint;
use crate::error::TernError;
use crate::model::Model;
use crate::runtime::CancelHandle;
use crate::{guarded, lock};
use std::sync::{Arc, Mutex};
use tern::{Bos, CancelFlag, EncodeOptions};

/// A sequence of tokens with what the model computed for them. May be used from any thread; each call waits for the one
/// before.
#[derive(uniffi::Object)]
pub struct Session {
    inner: tern::Session,
}

/// How to make a session.
#[derive(uniffi::Record)]
pub struct SessionOptions {
    /// Tokens that fit; what the model was made for, up to 4096, otherwise.
    #[uniffi(default = None)]
    pub context: Option<u64>,
    /// Element type of cached keys and values; half precision otherwise.
    #[uniffi(default)]
    pub kv: Option<KvType>,
    /// Neither takes over nor offers what was computed for equal beginnings of other sessions: for text whose presence
    /// nobody should be able to tell from the time that another session takes.
    #[uniffi(default = false)]
    pub isolated: bool,
    /// Room for speculative decoding from the start, so that plans and limits of memory have it counted. Without it, room is
    /// made when a generation asks for it.
    #[uniffi(default = false)]
    pub speculate: bool,
    /// Adapters that it begins with.
    #[uniffi(default)]
    pub adapters: Vec<AdapterWeight>,
}

/// Element types of cached keys and values.
#[derive(Clone, Copy, uniffi::Enum)]
pub enum KvType {
    /// Half precision.
    F16,
    /// Single precision: exact, at twice the memory.
    F32,
    /// 8 bits and a scale per position and head: about half the memory, and a little less exact.
    I8,
}

/// How to generate. The default is the likeliest token each time, up to 256 tokens.
#[derive(uniffi::Record)]
pub struct GenerateOptions {
    /// Most tokens to generate.
    #[uniffi(default = 256)]
    pub max_tokens: u32,
    /// How to choose tokens.
    #[uniffi(default)]
    pub sampling: Sampling,
    /// Texts that end the generation; they are not part of the text.
    #[uniffi(default)]
    pub stop: Vec<String>,
    /// Report log-probabilities.
    #[uniffi(default = false)]
    pub logprobs: bool,
    /// Go on past end-of-text tokens.
    #[uniffi(default = false)]
    pub ignore_end: bool,
    /// Control tokens appear in the text.
    #[uniffi(default = false)]
    pub special: bool,
    /// Compute several tokens at a time where they can be guessed: the same text, often sooner. It turns itself off where it
    /// does not pay.
    #[uniffi(default)]
    pub speculate: Option<Speculate>,
    /// Go on where the context is full: its first few tokens and the recent half stay.
    #[uniffi(default = false)]
    pub endless: bool,
    /// The form that the text must have: [`Model::constraint`] makes one.
    #[uniffi(default)]
    pub constraint: Option<Arc<Constraint>>,
}

/// Where guesses at the next tokens come from.
#[derive(uniffi::Enum)]
pub enum Speculate {
    /// The text itself, as when a document is quoted or changed.
    Lookup,
    /// A smaller model with the same vocabulary, whose memory counts as its own.
    Draft {
        /// The model.
        model: Arc<Model>,
    },
}

/// How to choose the next token. The default takes the likeliest.
#[derive(uniffi::Record)]
pub struct Sampling {
    /// Divides the logits before the draw; 0 takes the likeliest token.
    #[uniffi(default = 0.0)]
    pub temperature: f32,
    /// Only the k likeliest tokens; 0 for all.
    #[uniffi(default = 0)]
    pub top_k: u32,
    /// Only the likeliest tokens that together reach this probability; 1 for all.
    #[uniffi(default = 1.0)]
    pub top_p: f32,
    /// Only tokens at least this fraction as likely as the likeliest; 0 for all.
    #[uniffi(default = 0.0)]
    pub min_p: f32,
    /// Tokens of the last `penalty_window` get their logit divided (if positive) or multiplied by this; 1 for none.
    #[uniffi(default = 1.0)]
    pub repetition_penalty: f32,
    /// Taken off the logit of every token in the window.
    #[uniffi(default = 0.0)]
    pub presence_penalty: f32,
    /// Taken off the logit of every token in the window, times its count there.
    #[uniffi(default = 0.0)]
    pub frequency_penalty: f32,
    /// Tokens back that penalties look at.
    #[uniffi(default = 64)]
    pub penalty_window: u32,
    /// Seed of the draws.
    #[uniffi(default = 0)]
    pub seed: u64,
    /// Added to the logits of these tokens; minus infinity forbids one.
    #[uniffi(default)]
    pub logit_bias: Vec<TokenBias>,
}

/// What is added to the logit of a token.
#[derive(uniffi::Record)]
pub struct TokenBias {
    /// The token.
    pub id: u32,
    /// What is added.
    pub bias: f32,
}

/// What a generation yields: tokens, and at last `Done`.
#[derive(uniffi::Enum)]
pub enum Event {
    /// A token.
    Token {
        /// Its id.
        id: u32,
        /// Text that is complete with it: whole characters, sometimes none.
        text: String,
        /// Its log-probability in nats under the model, where asked for.
        logprob: Option<f32>,
        /// Milliseconds since the prompt was begun.
        at_ms: f64,
    },
    /// The end.
    Done {
        /// Why.
        reason: StopReason,
        /// Text that was held back.
        text: String,
        /// The stop string that was found.
        stop_string: Option<String>,
        /// Counts and times.
        timings: Timings,
    },
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum StopReason {
    /// The model ended its text.
    End,
    /// As many tokens as asked for.
    Length,
    /// A stop string.
    StopString,
    /// The context is full.
    Context,
    /// Someone cancelled.
    Cancelled,
}

/// Counts and times of a generation.
#[derive(uniffi::Record)]
pub struct Timings {
    /// Tokens of the prompt that were computed for it.
    pub prompt_tokens: u64,
    /// Tokens before them that were already there.
    pub reused_tokens: u64,
    /// Milliseconds until the first token could be chosen.
    pub prompt_ms: f64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Milliseconds from the first choice to the last.
    pub generate_ms: f64,
    /// Guesses that were computed.
    pub proposed_tokens: u64,
    /// Those that came true: tokens that took no step of their own.
    pub accepted_tokens: u64,
}

/// Text being generated: one event a call. Closing it stops it.
#[derive(uniffi::Object)]
pub struct Generation {
    events: Slot,
    cancel: CancelFlag,
}

/// The events of a generation; empty once another generation has taken its place.
pub(crate) type Slot = Arc<Mutex<Option<Events>>>;
pub(crate) type Events = Box<dyn Iterator<Item = Result<tern::Event, tern::Error>> + Send>;

#[uniffi::export]
impl Session {
    /// Tokens that fit.
    pub fn capacity(&self) -> u64 {
        self.inner.capacity() as u64
    }

    /// All tokens so far: prompts and what was generated.
    pub fn tokens(&self) -> Vec<u32> {
        self.inner.tokens()
    }

    /// Stops what this session has under way.
    pub fn cancel_handle(&self) -> Arc<CancelHandle> {
        Arc::new(CancelHandle { flag: self.inner.cancel_flag() })
    }

    /// Takes the last `count` tokens back; all of them where there are fewer.
    ///
    /// Fails with `Backend`.
    pub fn rollback(&self, count: u64) -> Result<(), TernError> {
        guarded(|| Ok(self.inner.rollback(usize::try_from(count).unwrap_or(usize::MAX))?))
    }

    /// Uses adapters instead of those that it has; none gives the model itself, bit for bit. Its tokens stay, and are computed
    /// again when they are needed.
    ///
    /// Fails with `Setting`, `Memory`: the session is as it was then.
    pub fn set_adapters(&self, adapters: Vec<AdapterWeight>) -> Result<(), TernError> {
        guarded(|| adapter::set(&self.inner, &adapters))
    }

    /// Another session with the same tokens, which goes its own way from here.
    ///
    /// Fails with `Memory`.
    pub fn fork(&self) -> Result<Arc<Self>, TernError> {
        guarded(|| Ok(Self::new(self.inner.fork()?)))
    }

    /// Writes the session to a file, from which `restore` of the model goes on without computing anything again. An
    /// existing file is replaced once the new one is complete.
    ///
    /// Fails with `Io`: the file that was there stays as it is.
    pub fn save(&self, path: String) -> Result<(), TernError> {
        guarded(|| Ok(self.inner.save(path)?))
    }

    /// Appends `text` and generates from there.
    ///
    /// Fails with `ContextFull`, `Setting`, `Empty`, `Text`: nothing is appended then.
    #[uniffi::method(default(options))]
    pub fn generate(&self, text: &str, options: GenerateOptions) -> Result<Arc<Generation>, TernError> {
        guarded(|| {
            // Only what stands first begins as a text begins.
            let bos = if self.inner.tokens().is_empty() { Bos::Auto } else { Bos::No };
            let prompt = self.inner.model().tokenizer().encode(text, EncodeOptions { special: false, bos });
            self.start(&prompt.map_err(tern::Error::from)?, options)
        })
    }

    /// Appends `tokens` and generates from there. Without any, goes on from where the session is.
    ///
    /// Fails as `generate` does, and with `Token`.
    #[uniffi::method(default(options))]
    pub fn generate_tokens(&self, tokens: &[u32], options: GenerateOptions) -> Result<Arc<Generation>, TernError> {
        guarded(|| self.start(tokens, options))
    }
}

impl Session {
    pub(crate) fn new(inner: tern::Session) -> Arc<Self> {
        Arc::new(Self { inner })
    }

    fn start(&self, prompt: &[u32], options: GenerateOptions) -> Result<Arc<Generation>, TernError> {
        let events = self.inner.generate(prompt, options.into())?;
        Ok(Generation::new(Arc::new(Mutex::new(Some(Box::new(events)))), self.inner.cancel_flag()))
    }
}

#[uniffi::export]
impl Generation {
    /// The next event; none after the last. Computes a token, and first of all the prompt.
    ///
    /// Fails with `Interrupted` where something else changed the session, `Backend`.
    pub fn next(&self) -> Result<Option<Event>, TernError> {
        guarded(|| match &mut *lock(&self.events) {
            Some(events) => Ok(events.next().transpose()?.map(Event::from)),
            None => Err(tern::Error::Interrupted.into()),
        })
    }

    /// Stops it.
    pub fn cancel_handle(&self) -> Arc<CancelHandle> {
        Arc::new(CancelHandle { flag: self.cancel.clone() })
    }
}

impl Generation {
    pub(crate) fn new(events: Slot, cancel: CancelFlag) -> Arc<Self> {
        Arc::new(Self { events, cancel })
    }
}

impl SessionOptions {
    /// Adapters, and what the library knows as options of a session.
    pub(crate) fn split(self) -> (Vec<AdapterWeight>, tern::SessionOptions) {
        let kv = match self.kv {
            None | Some(KvType::F16) => tern::KvType::F16,
            Some(KvType::F32) => tern::KvType::F32,
            Some(KvType::I8) => tern::KvType::I8,
        };
        let Self { context, isolated, speculate, .. } = self;
        (self.adapters, tern::SessionOptions { context, kv, isolated, speculate, ..Default::default() })
    }
}

impl From<GenerateOptions> for tern::GenerateOptions {
    fn from(o: GenerateOptions) -> Self {
        let GenerateOptions {
            max_tokens,
            sampling,
            stop,
            logprobs,
            ignore_end,
            special,
            speculate,
            constraint,
            endless,
        } = o;
        let (max_tokens, sampling) = (max_tokens as usize, sampling.into());
        let speculation = match speculate {
            None => tern::Speculation::default(),
            Some(Speculate::Lookup) => tern::Speculation::lookup(),
            Some(Speculate::Draft { model }) => tern::Speculation::model(model.inner.clone()),
        };
        let constraint = constraint.map(|c| c.inner.clone());
        let endless = endless.then(tern::Endless::default);
        Self { max_tokens, sampling, stop, logprobs, ignore_end, special, speculation, constraint, endless }
    }
}

impl From<Sampling> for tern::Sampling {
    fn from(s: Sampling) -> Self {
        Self {
            temperature: s.temperature,
            top_k: s.top_k as usize,
            top_p: s.top_p,
            min_p: s.min_p,
            repetition_penalty: s.repetition_penalty,
            presence_penalty: s.presence_penalty,
            frequency_penalty: s.frequency_penalty,
            penalty_window: s.penalty_window as usize,
            seed: s.seed,
            logit_bias: s.logit_bias.into_iter().map(|b| (b.id, b.bias)).collect(),
        }
    }
}

impl From<tern::Event> for Event {
    fn from(event: tern::Event) -> Self {
        match event {
            tern::Event::Token(t) => Self::Token { id: t.id, text: t.text, logprob: t.logprob, at_ms: t.at_ms },
            tern::Event::Done(f) => Self::Done {
                reason: match f.reason {
                    tern::StopReason::End => StopReason::End,
                    tern::StopReason::Length => StopReason::Length,
                    tern::StopReason::StopString => StopReason::StopString,
                    tern::StopReason::Context => StopReason::Context,
                    tern::StopReason::Cancelled => StopReason::Cancelled,
                },
                text: f.text,
                stop_string: f.stop_string,
                timings: Timings {
                    prompt_tokens: f.timings.prompt_tokens as u64,
                    reused_tokens: f.timings.reused_tokens as u64,
                    prompt_ms: f.timings.prompt_ms,
                    generated_tokens: f.timings.generated_tokens as u64,
                    generate_ms: f.timings.generate_ms,
                    proposed_tokens: f.timings.proposed_tokens as u64,
                    accepted_tokens: f.timings.accepted_tokens as u64,
                },
            },
        }
    }
}
