//! How, how much, and within which bounds.

use crate::error::Error;
use crate::learn::corpus::{Corpus, CorpusOptions, Document};
use crate::learn::evidence::Bounds;
use crate::learn::recall::Fact;
use crate::learn::store::Manifest;
use serde::{Deserialize, Serialize};

/// What learning may take. It ends, in good order, with the first that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Seconds of learning; scoring before and after comes on top.
    pub seconds: f64,
    /// Optimizer steps.
    pub steps: u64,
    /// Tokens that are learned from, each time that they are.
    pub tokens: u64,
    /// How often each document is seen.
    pub epochs: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { seconds: 200.0, steps: 2000, tokens: 2_000_000, epochs: 3 }
    }
}

/// What tells whether it helped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Documents that are held out, and never learned from: [`CorpusOptions::held_out`] of them.
    #[default]
    HeldOut,
    /// For a few examples of a task, none of which can be spared: all are learned from, and each is tested after learning from the
    /// others alone. Takes as much time again for each of them, up to 16.
    LeaveOneOut,
}

/// How to learn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearnOptions {
    /// What may be learned from.
    pub corpus: CorpusOptions,
    /// What tells whether it helped.
    #[serde(default)]
    pub evidence: Evidence,
    /// What must not be exceeded.
    pub bounds: Bounds,
    /// What it may take.
    pub budget: Budget,
    /// Facts that the documents state, to see how much is remembered; see [`Recall`](crate::learn::Recall).
    pub facts: Vec<Fact>,
    /// Of all that is random.
    pub seed: u64,
    /// Samples of a step.
    pub batch: usize,
    /// The base's own answers to everyday prompts that a step holds the model to, beside the samples; 0: it is not held.
    pub held: usize,
    /// Share of the time that is worked, in the background; the rest is left to others.
    pub duty: f64,
    /// The store keeps the documents: it can forget and rebuild by itself, and small amounts accumulate. Else the application is
    /// asked for them.
    pub keep_sources: bool,
}

impl Default for LearnOptions {
    fn default() -> Self {
        Self {
            corpus: CorpusOptions::default(),
            evidence: Evidence::default(),
            bounds: Bounds::default(),
            budget: Budget::default(),
            facts: Vec::new(),
            seed: 0,
            batch: 3,
            held: 3,
            duty: 1.0,
            keep_sources: true,
        }
    }
}

impl LearnOptions {
    /// Those that a generation was made with, from its manifest.
    ///
    /// # Errors
    /// [`Error::Setting`] where they are missing or of another version.
    pub fn of(manifest: &Manifest) -> Result<Self, Error> {
        let learner = manifest.settings.get("learner").cloned().unwrap_or_default();
        serde_json::from_value(learner).map_err(|e| Error::Setting {
            setting: "settings of the delta",
            found: e.to_string(),
            expected: "those of this version",
        })
    }

    /// Sorts documents.
    pub(super) fn sort(&self, documents: Vec<Document>) -> Corpus {
        let held_out = match self.evidence {
            Evidence::HeldOut => self.corpus.held_out,
            Evidence::LeaveOneOut => 0.0,
        };
        Corpus::new(documents, &CorpusOptions { held_out, ..self.corpus.clone() })
    }

    /// Are all within their ranges?
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn check(&self) -> Result<(), Error> {
        let all = [
            ("held_out", self.corpus.held_out, 0.01, 0.9, "0.01 to 0.9"),
            ("held", self.held as f64, 0.0, 1024.0, "0 to 1024"),
            ("duty", self.duty, 0.01, 1.0, "0.01 to 1"),
            ("batch", self.batch as f64, 1.0, 1024.0, "1 to 1024"),
            ("seconds", self.budget.seconds, 0.0, f64::MAX, "0 or more"),
            ("anchor_rise", self.bounds.anchor_rise, f64::MIN_POSITIVE, f64::MAX, "above 0"),
            ("divergence", self.bounds.divergence, f64::MIN_POSITIVE, f64::MAX, "above 0"),
            ("norm", self.bounds.norm, f64::MIN_POSITIVE, f64::MAX, "above 0"),
        ];
        match all.into_iter().find(|&(_, v, least, most, _)| !(least..=most).contains(&v)) {
            Some((setting, v, _, _, expected)) => Err(Error::Setting { setting, found: v.to_string(), expected }),
            None => Ok(()),
        }
    }
}
