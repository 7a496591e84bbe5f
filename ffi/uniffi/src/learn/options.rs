//! How, how much, and within which bounds.

use super::document::Origin;
use tern::learn::{LoraOptions, evidence};

/// How to learn. What is none is the library's own choice.
#[derive(Clone, uniffi::Record)]
pub struct LearnOptions {
    /// Most seconds of learning; measuring before and after comes on top.
    #[uniffi(default = None)]
    pub seconds: Option<f64>,
    /// Most optimizer steps.
    #[uniffi(default = None)]
    pub steps: Option<u64>,
    /// How often each document is seen at most.
    #[uniffi(default = None)]
    pub epochs: Option<u64>,
    /// Samples of a step.
    #[uniffi(default = None)]
    pub batch: Option<u32>,
    /// Tokens of a sample.
    #[uniffi(default = None)]
    pub context: Option<u64>,
    /// Rank of the adapter.
    #[uniffi(default = None)]
    pub rank: Option<u64>,
    /// Learning rate at its height.
    #[uniffi(default = None)]
    pub learning_rate: Option<f64>,
    /// Learn the query matrices only: what was computed of a text before stays valid.
    #[uniffi(default = false)]
    pub query_only: bool,
    /// Most bytes that learning takes beside the model.
    #[uniffi(default = None)]
    pub training_bytes: Option<u64>,
    /// Share of the time that is worked, 0.01 to 1; the rest is left to others.
    #[uniffi(default = None)]
    pub duty: Option<f64>,
    /// Share of the documents that is held out to test with, 0.01 to 0.9.
    #[uniffi(default = None)]
    pub held_out: Option<f64>,
    /// For a few examples of a task: all are learned from, and each is tested after learning from the others alone.
    #[uniffi(default = false)]
    pub leave_one_out: bool,
    /// Whose texts are learned from beside the user's.
    #[uniffi(default)]
    pub allow: Vec<Origin>,
    /// Facts that the documents state, to see how much is remembered.
    #[uniffi(default)]
    pub facts: Vec<Fact>,
    /// What must not be exceeded.
    #[uniffi(default = None)]
    pub bounds: Option<Bounds>,
    /// The store keeps the documents: it can forget and rebuild by itself, and small amounts accumulate. Else the listener is
    /// asked for them.
    #[uniffi(default = true)]
    pub keep_sources: bool,
    /// Of all that is random: the same documents, settings and seed give the same delta.
    #[uniffi(default = 0)]
    pub seed: u64,
}

/// A fact that documents state.
#[derive(Clone, uniffi::Record)]
pub struct Fact {
    /// What states it.
    pub statement: String,
    /// What asks for it.
    pub question: String,
    /// The answer.
    pub answer: String,
}

/// The most that learning may change what the base model does.
#[derive(Clone, Copy, Debug, PartialEq, uniffi::Record)]
pub struct Bounds {
    /// Rise of the loss on the model's own answers, in nats per token.
    pub anchor_rise: f64,
    /// Divergence from the base on them, in nats per token.
    pub divergence: f64,
    /// Largest change of a matrix, relative to it.
    pub norm: f64,
}

impl From<Bounds> for evidence::Bounds {
    fn from(b: Bounds) -> Self {
        Self { anchor_rise: b.anchor_rise, divergence: b.divergence, norm: b.norm }
    }
}

impl From<evidence::Bounds> for Bounds {
    fn from(b: evidence::Bounds) -> Self {
        Self { anchor_rise: b.anchor_rise, divergence: b.divergence, norm: b.norm }
    }
}

impl LearnOptions {
    /// For the library: those of the learner and those of the adapter.
    pub(super) fn split(self) -> (tern::learn::LearnOptions, LoraOptions) {
        let (mut learn, mut lora) = (tern::learn::LearnOptions::default(), LoraOptions::default());
        learn.seed = self.seed;
        learn.keep_sources = self.keep_sources;
        learn.batch = self.batch.map_or(learn.batch, |b| b as usize);
        learn.duty = self.duty.unwrap_or(learn.duty);
        learn.bounds = self.bounds.map_or(learn.bounds, Into::into);
        let fact = |f: Fact| tern::learn::Fact { statement: f.statement, question: f.question, answer: f.answer };
        learn.facts = self.facts.into_iter().map(fact).collect();
        learn.corpus.seed = self.seed;
        learn.corpus.held_out = self.held_out.unwrap_or(learn.corpus.held_out);
        if self.leave_one_out {
            learn.evidence = tern::learn::learner::Evidence::LeaveOneOut;
        }
        learn.corpus.origins.extend(self.allow.into_iter().map(tern::learn::Origin::from));
        let budget = &mut learn.budget;
        budget.seconds = self.seconds.unwrap_or(budget.seconds);
        budget.steps = self.steps.unwrap_or(budget.steps);
        budget.epochs = self.epochs.unwrap_or(budget.epochs);
        let t = &mut lora.training;
        let scale = t.alpha / t.rank as f32;
        t.rank = self.rank.unwrap_or(t.rank);
        t.alpha = scale * t.rank as f32;
        t.learning_rate = self.learning_rate.unwrap_or(t.learning_rate);
        t.context = self.context.unwrap_or(t.context);
        t.max_bytes = self.training_bytes;
        if self.query_only {
            t.targets = vec!["attn_q".to_owned()];
        }
        lora.origins = learn.corpus.origins.clone();
        (learn, lora)
    }
}
