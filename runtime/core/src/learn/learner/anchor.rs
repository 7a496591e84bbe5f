//! What must not change: the base model's own answers to everyday prompts.
//!
//! Those to some prompts hold the model where it is while it learns. Those to others are the *guard*, which is only measured: a bound on
//! what was trained on would hold whatever happened elsewhere.

use super::control::{Control, Phase};
use super::prompts::{GUARD, HELD};
use crate::error::Error;
use crate::learn::corpus::{Document, Origin, Sample};
use crate::learn::hex;
use crate::learn::pupil::{Answer, Pupil};
use crate::learn::store::Edit;
use serde::{Deserialize, Serialize};

/// Samples that are measured in one call: conditions are asked between them.
pub const TOGETHER: usize = 4;

/// Prompts that are asked in one call: what it loses when it is cancelled.
const ASKED: usize = 8;

/// Samples of the base's own answers.
pub struct Anchor {
    /// To hold the model with.
    pub held: Vec<Sample>,
    /// To measure with.
    pub guard: Vec<Sample>,
}

#[derive(Default, Serialize, Deserialize)]
struct Answers {
    /// As they were asked.
    prompts: Vec<String>,
    /// With whether each came to its end; to the first prompts, where it was cancelled after them.
    answers: Vec<(String, bool)>,
}

impl Anchor {
    /// Of a base model; answers are cached in the store.
    pub fn of(pupil: &mut dyn Pupil, store: &Edit, control: &Control) -> Result<Self, Error> {
        let prompts: Vec<&str> = GUARD.into_iter().chain(HELD).collect();
        let answers = answers(pupil, &prompts, store, control)?;
        let (mut guard, mut held) = (Vec::new(), Vec::new());
        for (i, (prompt, (text, whole))) in prompts.into_iter().zip(answers).enumerate() {
            if text.trim().is_empty() {
                continue;
            }
            // To learn from, it is the user's: who asks for an anchor wants the base model to stay.
            let mut samples = pupil.encode(&Document::pair("anchor", Origin::User, prompt, text))?;
            if let (false, Some(last)) = (whole, samples.last_mut()) {
                last.forget_end();
            }
            if i < GUARD.len() { &mut guard } else { &mut held }.extend(samples);
        }
        Ok(Self { held, guard })
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

/// What the base model answers, from the store as far as it is there. Each call's answers are kept at once: who cancels does not lose them.
fn answers(
    pupil: &mut dyn Pupil,
    prompts: &[&str],
    store: &Edit,
    control: &Control,
) -> Result<Vec<(String, bool)>, Error> {
    let how = hex(blake3::hash(pupil.answering().as_bytes()).as_bytes());
    let file = format!("{}-{}.json", pupil.base()?.fingerprint, how.get(..16).unwrap_or_default());
    let cached = store.cached(&file).and_then(|bytes| serde_json::from_slice::<Answers>(&bytes).ok());
    let mut kept = cached.filter(|a| a.prompts == prompts && a.answers.len() <= prompts.len()).unwrap_or_default();
    kept.prompts = prompts.iter().map(|&p| p.to_owned()).collect();
    for some in prompts[kept.answers.len()..].chunks(ASKED) {
        control.may_go_on()?;
        control.report(Phase::Anchor, kept.answers.len(), prompts.len(), None);
        kept.answers.extend(pupil.answers(some)?.into_iter().map(|a: Answer| (a.text, a.whole)));
        // What cannot be kept is made again the next time.
        if let Ok(bytes) = serde_json::to_vec(&kept) {
            let _ = store.cache(&file, &bytes);
        }
    }
    Ok(kept.answers)
}
