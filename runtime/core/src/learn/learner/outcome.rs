//! What came of an attempt.

use super::options::Evidence;
use super::steps::Steps;
use crate::learn::corpus::Left;
use crate::learn::evidence::{Bounds, Gain, Harm, Measure, Order, Verdict};
use crate::learn::recall::Recall;
use serde::{Deserialize, Serialize};

/// A held-out document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Where it came from.
    pub source: String,
    /// How well it was predicted.
    pub measure: Measure,
}

/// What came of an attempt to learn: everything that a report says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The delta's name.
    pub name: String,
    /// The base model's name.
    pub base: Option<String>,
    /// The verdict.
    pub verdict: Verdict,
    /// The generation that counts now.
    pub generation: u64,
    /// What it was tested with.
    #[serde(default)]
    pub evidence: Evidence,
    /// On held-out documents, or on those that were left out in turn.
    pub gain: Gain,
    /// Document by document.
    pub held_out: Vec<Scored>,
    /// What changed where nothing was to.
    pub harm: Harm,
    /// What of it is allowed.
    pub bounds: Bounds,
    /// Tokens of the base's own answers that harm was measured on.
    pub anchor_tokens: u64,
    /// What the order of words is worth to the base, where it was measured.
    pub order: Option<Order>,
    /// Share of word sequences that are different ones.
    pub distinct: f64,
    /// Documents learned from.
    pub trained_documents: usize,
    /// Bytes in them.
    pub trained_bytes: u64,
    /// Bits per byte of the documents learned from, each scored before the first step on it.
    pub first_sight: Option<f64>,
    /// Facts asked for, where some were given.
    pub recall: Option<Recall>,
    /// What was left out.
    pub left: Left,
    /// Steps taken.
    pub steps: u64,
    /// Tokens learned from, each time that they were.
    pub tokens: u64,
    /// Factor by which the delta was shrunk to keep within the bounds.
    pub shrunk: f32,
    /// Seconds of the steps.
    pub learn_seconds: f64,
    /// Seconds of everything.
    pub seconds: f64,
    /// Most bytes of memory, where known.
    pub memory: Option<u64>,
}

impl Outcome {
    /// One in which nothing was measured.
    pub(in crate::learn) fn without(name: &str, verdict: Verdict, generation: u64) -> Self {
        Self {
            name: name.to_owned(),
            base: None,
            verdict,
            generation,
            evidence: Evidence::default(),
            gain: Gain::default(),
            held_out: Vec::new(),
            harm: Harm::default(),
            bounds: Bounds::default(),
            anchor_tokens: 0,
            order: None,
            distinct: 1.0,
            trained_documents: 0,
            trained_bytes: 0,
            first_sight: None,
            recall: None,
            left: Left::default(),
            steps: 0,
            tokens: 0,
            shrunk: 1.0,
            learn_seconds: 0.0,
            seconds: 0.0,
            memory: None,
        }
    }

    /// Steps were taken.
    pub(super) fn took(&mut self, steps: &Steps) {
        (self.trained_documents, self.trained_bytes) = (steps.documents, steps.bytes);
        (self.steps, self.tokens, self.first_sight) = (steps.steps, steps.tokens, steps.first_sight);
        self.learn_seconds = steps.seconds;
    }
}
