//! A model with an adapter, as a pupil.

use super::adapter::Adapter;
use super::corpus::{Document, Encoder, Sample};
use super::hex;
use super::pupil::{Answer, Hold, Pupil, Seen};
use super::store::{Base, Manifest};
use super::training::{Held, Training, TrainingOptions};
use crate::error::Error;
use crate::model::Model;
use crate::session::{BatchOptions, Event, GenerateOptions, SessionOptions, StopReason};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tern_formats::BytesSource;
use tern_text::Message;

const KIND: &str = "lora";
/// Answers that are written at the same time.
const TOGETHER: usize = 8;

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
    model: Model,
    options: LoraOptions,
    encoder: Encoder,
    /// `None` only where making one failed.
    training: Option<Training>,
    held: Vec<Held>,
    peak: u64,
}

impl LoraPupil {
    /// Takes what training takes.
    ///
    /// # Errors
    /// As [`Training::new`] and [`Encoder::new`].
    pub fn new(model: &Model, options: LoraOptions) -> Result<Self, Error> {
        let window = usize::try_from(options.training.context).unwrap_or(usize::MAX);
        let encoder = Encoder::new(model, window, &options.origins)?;
        let training = Training::new(model, options.training.clone())?;
        Ok(Self { model: model.clone(), options, encoder, training: Some(training), held: Vec::new(), peak: 0 })
    }

    fn training(&mut self) -> Result<&mut Training, Error> {
        let training = match self.training.take() {
            Some(training) => training,
            None => Training::new(&self.model, self.options.training.clone())?,
        };
        Ok(self.training.insert(training))
    }

    /// A hash of what turns text into tokens: of all tokens and the template.
    fn tokenizer_hash(&self) -> String {
        let tokenizer = self.model.tokenizer();
        let mut hasher = blake3::Hasher::new();
        for id in 0..tokenizer.vocab_size() as u32 {
            let bytes = tokenizer.token_bytes(id).unwrap_or_default();
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
        }
        hasher.update(self.model.template_source().unwrap_or_default().as_bytes());
        hex(hasher.finalize().as_bytes())
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
    context: u64,
    origins: Vec<super::Origin>,
}

impl LoraOptions {
    /// Those that a generation was made with, from its manifest; what is not in it is as in `self`: the optimizer, memory.
    ///
    /// # Errors
    /// [`Error::Setting`] where they are missing or another kind's.
    pub fn as_in(mut self, manifest: &Manifest) -> Result<Self, Error> {
        let kept = manifest.settings.get("pupil").cloned().unwrap_or_default();
        let wrong =
            |found: String| Error::Setting { setting: "settings of the delta", found, expected: "those of LoRA" };
        let kept: Kept = serde_json::from_value(kept).map_err(|e| wrong(e.to_string()))?;
        if kept.kind != KIND {
            return Err(wrong(kept.kind));
        }
        let t = &mut self.training;
        (t.targets, t.rank, t.alpha, t.rslora) = (kept.targets, kept.rank, kept.alpha, kept.rslora);
        (t.dropout, t.learning_rate, t.context) = (kept.dropout, kept.learning_rate, kept.context);
        self.origins = kept.origins;
        Ok(self)
    }
}

impl Pupil for LoraPupil {
    fn settings(&self) -> serde_json::Value {
        let t = &self.options.training;
        let kept = Kept {
            kind: KIND.to_owned(),
            targets: t.targets.clone(),
            rank: t.rank,
            alpha: t.alpha,
            rslora: t.rslora,
            dropout: t.dropout,
            learning_rate: t.learning_rate,
            context: t.context,
            origins: self.options.origins.clone(),
        };
        // Numbers that are none become null, and are refused when read.
        serde_json::to_value(kept).unwrap_or_default()
    }

    fn base(&self) -> Result<Base, Error> {
        let info = self.model.info();
        Ok(Base {
            fingerprint: self.model.fingerprint()?,
            name: info.name.clone(),
            architecture: info.architecture.clone(),
            tokenizer: self.tokenizer_hash(),
        })
    }

    fn encode(&self, document: &Document) -> Result<Vec<Sample>, Error> {
        // A model without a template learns a conversation as the text that it is.
        match self.encoder.encode(document) {
            Err(Error::NoTemplate) => match document.all().as_slice() {
                [prompt, answer] => self.encoder.answer(prompt, answer),
                _ => Err(Error::NoTemplate),
            },
            result => result,
        }
    }

    fn answers(&mut self, prompts: &[&str]) -> Result<Vec<Answer>, Error> {
        let encode = |prompt: &&str| match self.model.encode_chat(&[Message::new("user", *prompt)], true) {
            Err(Error::NoTemplate) => self.model.encode(prompt),
            tokens => tokens,
        };
        let tokens = prompts.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
        let room = tokens.iter().map(Vec::len).max().unwrap_or(0) + self.options.answer_tokens;
        let session = SessionOptions { context: Some(room as u64 + 1), ..Default::default() };
        let mut batch = self.model.batch(BatchOptions { sequences: prompts.len().clamp(1, TOGETHER), session })?;
        let greedy = GenerateOptions { max_tokens: self.options.answer_tokens, ..GenerateOptions::default() };
        let mut answers = vec![Answer { text: String::new(), whole: false }; tokens.len()];
        tokens.into_iter().for_each(|t| _ = batch.add(t, greedy.clone()));
        for (prompt, event) in batch {
            let (event, answer) = (event?, &mut answers[prompt]);
            answer.text.push_str(event.text());
            if let Event::Done(end) = event {
                answer.whole = end.reason == StopReason::End;
            }
        }
        Ok(answers)
    }

    fn hold(&mut self, samples: &[Sample]) -> Result<(), Error> {
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
            let adapter = Adapter::read_gguf(&self.model, source)?;
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
        self.peak = self.peak.max(self.model.memory().peak);
        Ok(Seen { nats: report.loss * report.tokens as f64, divergence: report.divergence })
    }

    fn norm(&mut self) -> Result<f64, Error> {
        let adapter = self.training()?.adapter();
        let ratios = adapter.norm_ratios(&self.model)?;
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
        adapter.to_gguf(&self.model)
    }

    fn memory(&self) -> Option<u64> {
        Some(self.peak.max(self.model.memory().peak))
    }
}
