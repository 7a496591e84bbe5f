//! A model with an adapter, as a pupil.

use super::OptimizerKind;
use super::adapter::Adapter;
use super::corpus::{Document, Sample};
use super::pupil::{Answer, HELD_ANSWERS, Hold, Pupil, Seen};
use super::store::{Base, LORA, Manifest};
use super::taught::Taught;
use super::training::{Held, Training, TrainingOptions};
use crate::backend::CancelFlag;
use crate::error::Error;
use crate::model::Model;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tern_formats::BytesSource;

/// How an adapter learns.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraOptions {
    /// Rank, matrices, optimizer and learning rate. The schedule is the learner's.
    pub training: TrainingOptions,
    /// Whose answers in conversations count; see [`CorpusOptions::origins`](super::CorpusOptions::origins).
    pub origins: Vec<super::Origin>,
    /// Tokens of the base's own answers, each.
    pub answer_tokens: usize,
}

impl Default for LoraOptions {
    fn default() -> Self {
        let training = TrainingOptions { learning_rate: 1e-3, ..TrainingOptions::default() };
        Self { training, origins: vec![super::Origin::User], answer_tokens: 48 }
    }
}

/// A model whose adapter is trained.
pub struct LoraPupil {
    taught: Taught,
    options: LoraOptions,
    /// `None` only where making one failed.
    training: Option<Training>,
    held: Vec<Held>,
    cancel: CancelFlag,
    peak: u64,
}

impl LoraPupil {
    /// Takes what training takes.
    ///
    /// # Errors
    /// As [`Training::new`] and [`Encoder::new`].
    pub fn new(model: &Model, mut options: LoraOptions) -> Result<Self, Error> {
        options.training.holds = options.holds();
        let taught = Taught::new(model, options.training.context, &options.origins, options.answer_tokens)?;
        let training = Training::new(model, options.training.clone())?;
        let (held, cancel) = (Vec::new(), CancelFlag::new());
        Ok(Self { taught, options, training: Some(training), held, cancel, peak: 0 })
    }

    fn training(&mut self) -> Result<&mut Training, Error> {
        let training = match self.training.take() {
            Some(training) => training,
            None => {
                let mut training = Training::new(&self.taught.model, self.options.training.clone())?;
                training.obey(&self.cancel);
                training
            }
        };
        Ok(self.training.insert(training))
    }
}

/// What a manifest keeps of the options.
#[derive(Serialize, Deserialize)]
struct Kept {
    kind: String,
    targets: Vec<String>,
    rank: u64,
    alpha: f32,
    rslora: bool,
    dropout: f32,
    learning_rate: f64,
    /// Version 0.1 did not say; it had no other.
    #[serde(default)]
    optimizer: OptimizerKind,
    context: u64,
    origins: Vec<super::Origin>,
}

impl LoraOptions {
    /// Tokens that a learner holds the model on, at most.
    pub fn holds(&self) -> u64 {
        // An answer's end is a token, too.
        HELD_ANSWERS as u64 * (self.answer_tokens as u64 + 1)
    }

    /// Those that a generation was made with, from its manifest; what is not in it, as memory, is as in `self`.
    ///
    /// # Errors
    /// [`Error::Setting`] where they are missing or another kind's.
    pub fn as_in(mut self, manifest: &Manifest) -> Result<Self, Error> {
        let kept = manifest.settings.get("pupil").cloned().unwrap_or_default();
        let wrong =
            |found: String| Error::Setting { setting: "settings of the delta", found, expected: "those of LoRA" };
        let kept: Kept = serde_json::from_value(kept).map_err(|e| wrong(e.to_string()))?;
        if kept.kind != LORA {
            return Err(wrong(kept.kind));
        }
        let t = &mut self.training;
        (t.targets, t.rank, t.alpha, t.rslora) = (kept.targets, kept.rank, kept.alpha, kept.rslora);
        (t.dropout, t.learning_rate, t.context) = (kept.dropout, kept.learning_rate, kept.context);
        t.optimizer = kept.optimizer;
        self.origins = kept.origins;
        Ok(self)
    }
}

impl Pupil for LoraPupil {
    fn settings(&self) -> serde_json::Value {
        let t = &self.options.training;
        let kept = Kept {
            kind: LORA.to_owned(),
            targets: t.targets.clone(),
            rank: t.rank,
            alpha: t.alpha,
            rslora: t.rslora,
            dropout: t.dropout,
            learning_rate: t.learning_rate,
            optimizer: t.optimizer,
            context: t.context,
            origins: self.options.origins.clone(),
        };
        // Numbers that are none become null, and are refused when read.
        serde_json::to_value(kept).unwrap_or_default()
    }

    fn base(&self) -> Result<Base, Error> {
        self.taught.base()
    }

    fn obey(&mut self, cancel: &CancelFlag) {
        self.cancel = cancel.clone();
        if let Some(training) = &mut self.training {
            training.obey(cancel);
        }
    }

    fn answering(&self) -> String {
        self.taught.answering()
    }

    fn encode(&self, document: &Document) -> Result<Vec<Sample>, Error> {
        self.taught.encode(document)
    }

    fn answers(&mut self, prompts: &[&str]) -> Result<Vec<Answer>, Error> {
        self.taught.answers(prompts, &self.cancel)
    }

    fn hold(&mut self, samples: &[Sample]) -> Result<(), Error> {
        // Those before go first: there is memory for one.
        self.held.clear();
        self.held = self.training()?.hold(samples)?;
        Ok(())
    }

    fn begin(&mut self, delta: Option<&[u8]>, seed: u64) -> Result<(), Error> {
        // Made anew, so that what was tried before leaves no trace, not even in the optimizer.
        self.options.training.seed = seed;
        // The old one goes first: there is memory for one.
        self.training = None;
        self.training()?;
        if let Some(bytes) = delta {
            let source = Arc::new(BytesSource::new("delta", bytes.to_vec()));
            let adapter = Adapter::read_gguf(&self.taught.model, source)?;
            self.training()?.set_adapter(&adapter)?;
        }
        Ok(())
    }

    fn nats(&mut self, samples: &[Sample]) -> Result<f64, Error> {
        let scores = self.training()?.score(samples)?;
        Ok(scores.iter().map(|s| s.nats).sum())
    }

    fn divergence(&mut self, samples: &[Sample]) -> Result<f64, Error> {
        let targets: usize = samples.iter().map(|s: &Sample| s.example.targets()).sum();
        Ok(self.training()?.kl(samples)? * targets as f64)
    }

    fn step(&mut self, samples: &[&Sample], hold: Hold<'_>, rate: f32) -> Result<Seen, Error> {
        let learning_rate = self.options.training.learning_rate * f64::from(rate);
        let held = std::mem::take(&mut self.held);
        let which: Vec<&Held> = hold.which.iter().filter_map(|&i| held.get(i)).collect();
        let training = self.training()?;
        training.set_learning_rate(learning_rate);
        let report = training.step_holding(samples, &which, hold.weight);
        self.held = held;
        let report = report?;
        self.peak = self.peak.max(self.taught.model.memory().peak);
        Ok(Seen { nats: report.loss * report.tokens as f64, divergence: report.divergence })
    }

    fn norm(&mut self) -> Result<f64, Error> {
        let adapter = self.training()?.adapter();
        let ratios = adapter.norm_ratios(&self.taught.model)?;
        Ok(ratios.into_iter().map(|(_, ratio)| ratio).fold(0.0, f64::max))
    }

    fn shrink(&mut self, factor: f32) -> Result<(), Error> {
        let mut adapter = self.training()?.adapter();
        for f in &mut adapter.factors {
            f.b.iter_mut().for_each(|v| *v *= factor);
        }
        self.training()?.set_adapter(&adapter)
    }

    fn delta(&mut self) -> Result<Vec<u8>, Error> {
        let adapter = self.training()?.adapter();
        adapter.to_gguf(&self.taught.model)
    }

    fn memory(&self) -> Option<u64> {
        Some(self.peak.max(self.taught.model.memory().peak))
    }
}
