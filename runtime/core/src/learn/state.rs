//! A model whose weights learn along the text (fast weights), as a pupil: the state after reading is the delta. Nothing is trained: a step
//! reads its samples, and what a session knows after them is what was learned.

use super::corpus::{Document, Sample};
use super::pupil::{Answer, Hold, Pupil, Seen};
use super::store::{Base, Manifest, STATE};
use super::taught::Taught;
use super::training::{Example, divergence};
use super::{LoraOptions, Origin};
use crate::backend::CancelFlag;
use crate::context::{Context, ContextSize, Want};
use crate::error::Error;
use crate::model::Model;
use crate::sample::log_sum_exp;
use crate::session::KvType;
use crate::session::file::{Header, Point, Stored, write};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tern_formats::BytesSource;

/// The sequences: what was read; a copy to try it with; the base model.
const MEMORY: usize = 0;
const COPY: usize = 1;
const BASE: usize = 2;
/// Tokens that can be read in all; a state of fixed size does not take more for them.
const POSITIONS: u64 = 1 << 20;
/// Rows of logits that are kept at a time.
const ROWS: usize = 64;

/// How a state learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateOptions {
    /// Tokens of a sample.
    pub context: u64,
    /// Whose answers in conversations count; see [`CorpusOptions::origins`](super::CorpusOptions::origins).
    pub origins: Vec<Origin>,
    /// Tokens of the base's own answers, each.
    #[serde(skip, default = "StateOptions::answer_tokens")]
    pub answer_tokens: usize,
}

impl From<&LoraOptions> for StateOptions {
    fn from(lora: &LoraOptions) -> Self {
        Self { context: lora.training.context, origins: lora.origins.clone(), answer_tokens: lora.answer_tokens }
    }
}

impl StateOptions {
    fn answer_tokens() -> usize {
        LoraOptions::default().answer_tokens
    }

    /// Those that a generation was made with, from its manifest.
    ///
    /// # Errors
    /// [`Error::Setting`] where they are missing.
    pub fn of(manifest: &Manifest) -> Result<Self, Error> {
        let kept = manifest.settings.get("pupil").cloned().unwrap_or_default();
        serde_json::from_value(kept).map_err(|e| Error::Setting {
            setting: "settings of the delta",
            found: e.to_string(),
            expected: "those of a state",
        })
    }
}

/// See the module.
pub struct StatePupil {
    taught: Taught,
    options: StateOptions,
    context: Context,
    cancel: CancelFlag,
}

impl StatePupil {
    /// For a model all of whose memory is of a fixed size.
    ///
    /// # Errors
    /// [`Error::Setting`] for a model that keeps keys and values, whose state is a transcript and no memory; [`Error::Memory`].
    pub fn new(model: &Model, options: StateOptions) -> Result<Self, Error> {
        let taught = Taught::new(model, options.context, &options.origins, options.answer_tokens)?;
        let size = ContextSize::full(3, POSITIONS, ROWS as u64, ROWS as u64);
        if !model.is_recurrent() {
            let found = model.info().architecture.clone();
            return Err(Error::Setting { setting: "model", found, expected: "one whose only memory is fast weights" });
        }
        let mut context = model.context(size, KvType::default().dtype())?;
        for sequence in [MEMORY, COPY, BASE] {
            context.configure(sequence, None, true)?;
        }
        Ok(Self { taught, options, context, cancel: CancelFlag::new() })
    }

    /// Nats for the tokens of a sample that count, once `sequence` has read it.
    fn read(&mut self, sequence: usize, sample: &Sample) -> Result<f64, Error> {
        let (start, vocab) = (self.context.tokens(sequence).len(), self.taught.model.tokenizer().vocab_size());
        let example = &sample.example;
        // Where a text goes on its last token begins the next sample; else nobody would read it.
        let inputs = if sample.goes_on { inputs(example) } else { &example.tokens };
        if inputs.is_empty() {
            return Ok(0.0);
        }
        self.context.push(sequence, inputs)?;
        let mut nats = 0.0;
        self.context.compute(&[sequence], Want::All, &self.cancel, &mut |_, position, row| {
            // Positions before the example's are those of a state that was read anew.
            let Some(target) = (position + 1).checked_sub(start).filter(|&t| t > 0) else { return };
            if let (Some(true), Some(&token)) = (example.counts.get(target), example.tokens.get(target)) {
                let row = &row[..vocab.min(row.len())];
                nats += f64::from(log_sum_exp(row) - row.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY));
            }
        })?;
        Ok(nats)
    }
}

/// The tokens of an example after which another one is predicted.
fn inputs(example: &Example) -> &[u32] {
    &example.tokens[..example.tokens.len().saturating_sub(1)]
}

impl Pupil for StatePupil {
    fn settings(&self) -> serde_json::Value {
        let mut settings = serde_json::to_value(&self.options).unwrap_or_default();
        settings["kind"] = STATE.into();
        settings
    }

    fn base(&self) -> Result<Base, Error> {
        self.taught.base()
    }

    fn obey(&mut self, cancel: &CancelFlag) {
        self.cancel = cancel.clone();
    }

    fn reads(&self) -> bool {
        true
    }

    fn shrinks(&self) -> bool {
        false
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

    /// What is read cannot be held to anything.
    fn hold(&mut self, _: &[Sample]) -> Result<(), Error> {
        Ok(())
    }

    fn begin(&mut self, delta: Option<&[u8]>, _: u64) -> Result<(), Error> {
        self.context.reset(MEMORY)?;
        let Some(bytes) = delta else { return Ok(()) };
        let file = Stored::read("delta", Arc::new(BytesSource::new("delta", bytes.to_vec())))?;
        let point = file.point(&self.taught.model)?;
        file.import(&point, MEMORY, &mut |f| f(&mut self.context))
    }

    fn nats(&mut self, samples: &[Sample]) -> Result<f64, Error> {
        let mut nats = 0.0;
        for sample in samples {
            self.context.fork(MEMORY, COPY)?;
            nats += self.read(COPY, sample)?;
        }
        self.context.reset(COPY)?;
        Ok(nats)
    }

    fn divergence(&mut self, samples: &[Sample]) -> Result<f64, Error> {
        let (mut sum, vocab) = (0.0, self.taught.model.tokenizer().vocab_size());
        for Sample { example, .. } in samples {
            self.context.reset(BASE)?;
            self.context.fork(MEMORY, COPY)?;
            for (first, part) in inputs(example).chunks(ROWS).enumerate().map(|(i, part)| (i * ROWS, part)) {
                let mut rows = [vec![Vec::new(); part.len()], vec![Vec::new(); part.len()]];
                for (sequence, rows) in [BASE, COPY].into_iter().zip(&mut rows) {
                    let start = self.context.tokens(sequence).len();
                    self.context.push(sequence, part)?;
                    self.context.compute(&[sequence], Want::All, &self.cancel, &mut |_, position, row| {
                        if let Some(place) = position.checked_sub(start).and_then(|i| rows.get_mut(i)) {
                            *place = row[..vocab.min(row.len())].to_vec();
                        }
                    })?;
                }
                let [base, with] = &rows;
                let counts = example.counts.iter().skip(first + 1);
                sum += base
                    .iter()
                    .zip(with)
                    .zip(counts)
                    .filter(|(_, c)| **c)
                    .map(|((p, q), _)| divergence(p, q))
                    .sum::<f64>();
            }
        }
        self.context.reset(COPY)?;
        Ok(sum)
    }

    fn step(&mut self, samples: &[&Sample], _: Hold<'_>, _: f32) -> Result<Seen, Error> {
        let before = self.context.tokens(MEMORY).len();
        let mut nats = 0.0;
        for sample in samples {
            match self.read(MEMORY, sample) {
                Ok(found) => nats += found,
                Err(error) => {
                    let read = self.context.tokens(MEMORY).len() - before;
                    self.context.rollback(MEMORY, read)?;
                    return Err(error);
                }
            }
        }
        Ok(Seen { nats, divergence: 0.0 })
    }

    /// No matrix changes.
    fn norm(&mut self) -> Result<f64, Error> {
        Ok(0.0)
    }

    /// There is no less of a state but none.
    fn shrink(&mut self, factor: f32) -> Result<(), Error> {
        if factor < 1.0 { self.context.reset(MEMORY) } else { Ok(()) }
    }

    fn delta(&mut self) -> Result<Vec<u8>, Error> {
        let computed = self.context.computed(MEMORY);
        let states = self.context.stored_states(computed, 0);
        let point = Point { tokens: self.context.tokens(MEMORY).to_vec(), computed, passed: 0, kv: KvType::default() };
        let (model, fingerprint) = (&self.taught.model, self.taught.model.fingerprint()?);
        let header = Header { name: "delta".to_owned(), model, fingerprint, point: &point, extra: &[] };
        write(Vec::new(), header, &states, &mut |index, sink| self.context.export_state(MEMORY, index, computed, sink))
    }

    fn memory(&self) -> Option<u64> {
        Some(self.taught.model.memory().peak)
    }
}
