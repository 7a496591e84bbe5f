//! What a learner teaches: a frozen base with a delta on top, whatever the delta is made of.

use super::corpus::{Document, Sample};
use super::store::Base;
use crate::backend::CancelFlag;
use crate::error::Error;

/// Answers that a model is held to at most: what memory for [`Pupil::hold`] is planned by.
pub const HELD_ANSWERS: usize = 80;

/// An answer of a base model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub text: String,
    /// It came to its end, rather than to a limit.
    pub whole: bool,
}

/// What a step is to hold the model to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hold<'a> {
    /// Which of the samples of [`Pupil::hold`].
    pub which: &'a [usize],
    /// What a nat of divergence there counts, next to one of what is learned.
    pub weight: f64,
}

/// What a step saw, before it changed anything.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// Nats of all samples.
    pub nats: f64,
    /// Divergence from the base per token of what was held.
    pub divergence: f64,
}

/// A base model with a delta. Without a delta it is the base model, bit for bit.
pub trait Pupil {
    /// Which model it is.
    ///
    /// # Errors
    /// [`Error::Format`] where its files cannot be read any more.
    fn base(&self) -> Result<Base, Error>;

    /// How the delta is made, to make it again: what a manifest keeps.
    fn settings(&self) -> serde_json::Value;

    /// From now on calls end with [`Error::Cancelled`] soon after `cancel` is raised, in the middle of what they compute; what they were
    /// to change is as it was. Whoever raised it lowers it. A pupil whose calls are short need not look.
    fn obey(&mut self, _cancel: &CancelFlag) {}

    /// Does it learn by reading? Then it is given each text once and in order.
    fn reads(&self) -> bool {
        false
    }

    /// Does [`Pupil::shrink`] leave some of what was learned?
    fn shrinks(&self) -> bool {
        true
    }

    /// What its answers depend on beside the base and the prompt.
    fn answering(&self) -> String {
        String::new()
    }

    /// A document's samples.
    ///
    /// # Errors
    /// As [`Encoder::encode`](super::corpus::Encoder::encode).
    fn encode(&self, document: &Document) -> Result<Vec<Sample>, Error>;

    /// What the base model answers to each prompt; the same each time.
    ///
    /// # Errors
    /// As generating.
    fn answers(&mut self, prompts: &[&str]) -> Result<Vec<Answer>, Error>;

    /// From now on steps can hold the model to what the base says on these samples.
    ///
    /// # Errors
    /// Backend errors.
    fn hold(&mut self, samples: &[Sample]) -> Result<(), Error>;

    /// Begins with a delta that was saved, or with one that changes nothing. `seed` is that of all that is random.
    ///
    /// # Errors
    /// Where the delta does not fit the base; [`Error::Memory`].
    fn begin(&mut self, delta: Option<&[u8]>, seed: u64) -> Result<(), Error>;

    /// Nats for the tokens of samples that count, over all of them.
    ///
    /// # Errors
    /// Backend errors.
    fn nats(&mut self, samples: &[Sample]) -> Result<f64, Error>;

    /// The divergence KL(base || with delta), summed over the tokens of samples that count.
    ///
    /// # Errors
    /// Backend errors.
    fn divergence(&mut self, samples: &[Sample]) -> Result<f64, Error>;

    /// One optimizer step on samples, with `rate` times the learning rate.
    ///
    /// # Errors
    /// Backend errors; [`Error::Cancelled`].
    fn step(&mut self, samples: &[&Sample], hold: Hold<'_>, rate: f32) -> Result<Seen, Error>;

    /// The largest change of a matrix relative to the matrix, in the Frobenius norm.
    ///
    /// # Errors
    /// Backend errors.
    fn norm(&mut self) -> Result<f64, Error>;

    /// Multiplies the delta: 0 makes the base model of it.
    ///
    /// # Errors
    /// Backend errors.
    fn shrink(&mut self, factor: f32) -> Result<(), Error>;

    /// The delta as it is saved: a GGUF adapter.
    ///
    /// # Errors
    /// Backend errors.
    fn delta(&mut self) -> Result<Vec<u8>, Error>;

    /// Bytes of memory that the model and the training hold, where that is known.
    fn memory(&self) -> Option<u64> {
        None
    }
}
