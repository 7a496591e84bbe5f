//! What must not change: the base model's own answers to everyday prompts.
//!
//! Half of the prompts are for *replay*: learning may use their answers to stay where it is. The other half is the *guard*, which is only
//! measured: a bound on what was trained on would hold whatever happened elsewhere.

use super::control::{Control, Phase};
use super::prompts::PROMPTS;
use crate::error::Error;
use crate::learn::corpus::{Document, Origin, Sample};
use crate::learn::pupil::Pupil;
use crate::learn::store::Edit;
use serde::{Deserialize, Serialize};

/// Samples that are measured in one call: conditions are asked between them.
pub const TOGETHER: usize = 4;

/// Samples of the base's own answers.
pub struct Anchor {
    /// To learn from.
    pub replay: Vec<Sample>,
    /// To measure with.
    pub guard: Vec<Sample>,
}

#[derive(Serialize, Deserialize)]
struct Answers {
    /// As they were asked.
    prompts: Vec<String>,
    answers: Vec<String>,
}

impl Anchor {
    /// Of a base model; answers are cached in the store.
    pub fn of(pupil: &mut dyn Pupil, store: &Edit, control: &Control) -> Result<Self, Error> {
        let file = format!("{}.json", pupil.base()?.fingerprint);
        let cached = store.cached(&file).and_then(|bytes| serde_json::from_slice::<Answers>(&bytes).ok());
        let current = |a: &Answers| a.prompts == PROMPTS && a.answers.len() == PROMPTS.len();
        let answers = match cached.filter(current) {
            Some(cached) => cached.answers,
            None => {
                let mut answers = Vec::new();
                for (i, prompt) in PROMPTS.iter().enumerate() {
                    control.may_go_on()?;
                    control.report(Phase::Anchor, i, PROMPTS.len(), None);
                    answers.push(pupil.answer(prompt)?);
                }
                let kept = Answers { prompts: PROMPTS.map(str::to_owned).to_vec(), answers };
                // It is made again where it cannot be kept.
                if let Ok(bytes) = serde_json::to_vec(&kept) {
                    let _ = store.cache(&file, &bytes);
                }
                kept.answers
            }
        };
        let (mut replay, mut guard) = (Vec::new(), Vec::new());
        for (i, (prompt, answer)) in PROMPTS.iter().zip(answers).enumerate() {
            if answer.trim().is_empty() {
                continue;
            }
            // To learn from, it is the user's: who asks for an anchor wants the base model to stay.
            let samples = pupil.encode(&Document::pair("anchor", Origin::User, *prompt, answer))?;
            if i % 2 == 0 { &mut guard } else { &mut replay }.extend(samples);
        }
        Ok(Self { replay, guard })
    }

    /// Tokens of the guard that count.
    pub fn tokens(&self) -> usize {
        self.guard.iter().map(|s: &Sample| s.example.targets()).sum()
    }

    /// Nats per token of the guard.
    pub fn nats(&self, pupil: &mut dyn Pupil, control: &Control) -> Result<f64, Error> {
        self.mean(pupil, control, |p, s| p.nats(s))
    }

    /// Divergence from the base per token of the guard.
    pub fn divergence(&self, pupil: &mut dyn Pupil, control: &Control) -> Result<f64, Error> {
        self.mean(pupil, control, |p, s| p.divergence(s))
    }

    fn mean(
        &self,
        pupil: &mut dyn Pupil,
        control: &Control,
        measure: fn(&mut dyn Pupil, &[Sample]) -> Result<f64, Error>,
    ) -> Result<f64, Error> {
        let mut sum = 0.0;
        for samples in self.guard.chunks(TOGETHER) {
            control.may_go_on()?;
            sum += measure(pupil, samples)?;
        }
        Ok(sum / self.tokens().max(1) as f64)
    }
}
