//! Prepare, check, commit or roll back.
//!
//! ```text
//! options.rs    how, how much, and within which bounds
//! control.rs    progress, pause, cancel, heat and battery
//! anchor.rs     what must not change: the base's own answers; prompts.rs asks for them
//! screen.rs     is it worth trying
//! leash.rs      how hard the model is held to its base
//! steps.rs      learning within a budget
//! attempt.rs    one attempt: score, learn, check
//! outcome.rs    what came of it
//! ```

mod anchor;
mod attempt;
mod control;
mod leash;
mod options;
mod outcome;
mod prompts;
mod screen;
mod steps;

pub use control::{Condition, Control, Phase, Progress};
pub use options::{Budget, Evidence, LearnOptions};
pub use outcome::{Outcome, Scored};

use super::corpus::{Corpus, Document};
use super::evidence::Verdict;
use super::pupil::Pupil;
use super::store::{Change, Edit, Learned, Manifest, STATE};
use super::{LearnError, hex};
use crate::error::Error;
use attempt::{Attempt, Attempted};
use std::collections::HashSet;

/// Teaches a pupil, and keeps what it learned in a store.
pub struct Learner<'a> {
    pupil: &'a mut dyn Pupil,
    store: &'a Edit,
    name: String,
    options: LearnOptions,
}

/// Gives documents that the store does not keep, by what is known about them.
pub type Supply<'a> = &'a mut dyn FnMut(&Learned) -> Option<Document>;

impl<'a> Learner<'a> {
    /// For the delta `name` of a store.
    ///
    /// # Errors
    /// [`Error::Setting`] for options out of range; [`LearnError::Name`].
    pub fn new(pupil: &'a mut dyn Pupil, store: &'a Edit, name: &str, options: LearnOptions) -> Result<Self, Error> {
        options.check()?;
        store.state(name)?;
        Ok(Self { pupil, store, name: name.to_owned(), options })
    }

    /// Learns from documents and from those that wait, if it helps and harms nothing; else nothing changes but that documents
    /// wait where the evidence is not enough yet. Documents that were learned already are not counted again.
    ///
    /// # Errors
    /// [`LearnError::OtherBase`] where the delta belongs to another model, [`Error::Setting`] where it is of another kind than the pupil
    /// makes; [`Error::Cancelled`]; those of the pupil and of the store: what counted still does.
    pub fn learn(&mut self, documents: Vec<Document>, control: &Control) -> Result<Outcome, Error> {
        let parent = self.store.delta_or_none(&self.name)?;
        let base = self.pupil.base()?;
        let known = match &parent {
            Some(parent) if parent.manifest.base.fingerprint != base.fingerprint => {
                return Err(LearnError::OtherBase {
                    name: self.name.clone(),
                    found_name: parent.manifest.base.name.clone(),
                    found: parent.manifest.base.fingerprint.clone(),
                    expected: base.fingerprint,
                }
                .into());
            }
            Some(parent) => {
                same_kind(&parent.manifest, &self.pupil.settings())?;
                parent.manifest.documents.clone()
            }
            None => Vec::new(),
        };
        let digests: HashSet<&str> = known.iter().map(|d| d.digest.as_str()).collect();
        let mut all = self.store.pending(&self.name)?;
        all.extend(documents);
        all.retain(|d| !digests.contains(hex(&d.digest()).as_str()));
        let corpus = self.options.sort(all);
        // What was held out before is so still, as far as it is there.
        let mut before = Vec::new();
        for learned in known.iter().filter(|d| d.held_out) {
            before.extend(self.store.document(&self.name, &learned.digest)?);
        }
        let delta = parent.as_ref().map(|p| p.bytes.as_slice());
        let attempt = Attempt { corpus: &corpus, more: &before, delta };
        let attempted = self.attempt(&attempt, control)?;
        let mut learned = known;
        learned.extend(self.records(&corpus));
        self.conclude(attempted, &corpus, learned, Change::Next)
    }

    /// Forgets what came from a source: what is left of the delta's documents is learned anew, from the base model, and all
    /// generations with the source in them go. Where what is left is not enough to learn from, or breaks a bound, the base model as
    /// it is counts, and the documents wait. `supply` is asked for documents that the store does not keep.
    ///
    /// # Errors
    /// [`LearnError::NoSource`], [`LearnError::MissingSource`]: nothing is forgotten then; as [`Learner::learn`].
    pub fn forget(&mut self, source: &str, supply: Supply<'_>, control: &Control) -> Result<Outcome, Error> {
        let documents = self.replayed(Some(source), supply)?;
        // A source that only waits is in no generation.
        let parent = self.store.delta_or_none(&self.name)?;
        let is_learned = parent.iter().flat_map(|p| &p.manifest.documents).any(|d| d.source == source);
        let corpus = self.options.sort(documents);
        if !is_learned {
            self.store.retain_pending(&self.name, |d| d.source != source)?;
            return Ok(Outcome::without(&self.name, Verdict::Commit, self.store.state(&self.name)?.generation));
        }
        let attempt = Attempt { corpus: &corpus, more: &[], delta: None };
        let mut attempted = self.attempt(&attempt, control)?;
        self.store.retain_pending(&self.name, |d| d.source != source)?;
        if attempted.outcome.verdict == Verdict::Commit {
            return self.conclude(attempted, &corpus, self.records(&corpus), Change::Forget);
        }
        let mut pending = self.store.pending(&self.name)?;
        pending.extend(corpus.documents().cloned());
        self.store.clear(&self.name, &pending)?;
        attempted.outcome.generation = 0;
        self.log("forget", &attempted.outcome)?;
        Ok(attempted.outcome)
    }

    /// Learns all documents of the delta anew for the pupil's base, which is another one than the delta's. Where that helps and
    /// harms nothing the new generation counts; else the old one still does.
    ///
    /// # Errors
    /// [`LearnError::NoDelta`], [`LearnError::MissingSource`]; as [`Learner::learn`].
    pub fn rebuild(&mut self, supply: Supply<'_>, control: &Control) -> Result<Outcome, Error> {
        let documents = self.replayed(None, supply)?;
        let corpus = self.options.sort(documents);
        let attempt = Attempt { corpus: &corpus, more: &[], delta: None };
        let attempted = self.attempt(&attempt, control)?;
        self.conclude(attempted, &corpus, self.records(&corpus), Change::Rebuild)
    }

    /// The documents of the delta that counts, without those from `source`.
    fn replayed(&self, source: Option<&str>, supply: Supply<'_>) -> Result<Vec<Document>, Error> {
        let learned = self.store.current(&self.name)?.map(|m| m.documents).unwrap_or_default();
        if let Some(source) = source {
            let waiting = self.store.pending(&self.name)?;
            if !learned.iter().any(|d| d.source == source) && !waiting.iter().any(|d| d.source == source) {
                let (name, source_name) = (self.name.clone(), source.to_owned());
                return Err(LearnError::NoSource { name, source_name }.into());
            }
        }
        let mut documents = Vec::new();
        for record in learned.iter().filter(|d| Some(d.source.as_str()) != source) {
            let kept = self.store.document(&self.name, &record.digest)?;
            // What the application hands out must be what was learned.
            let right = |d: &Document| hex(&d.digest()) == record.digest;
            let missing = || LearnError::MissingSource { name: self.name.clone(), source_name: record.source.clone() };
            documents.push(kept.or_else(|| supply(record).filter(right)).ok_or_else(missing)?);
        }
        Ok(documents)
    }

    fn attempt(&mut self, attempt: &Attempt<'_>, control: &Control) -> Result<Attempted, Error> {
        attempt.run(self.pupil, self.store, &self.name, &self.options, control)
    }

    fn conclude(
        &self,
        attempted: Attempted,
        corpus: &Corpus,
        learned: Vec<Learned>,
        change: Change,
    ) -> Result<Outcome, Error> {
        let Attempted { mut outcome, delta } = attempted;
        let documents: Vec<Document> = corpus.documents().cloned().collect();
        match outcome.verdict {
            Verdict::Commit => {
                let report = serde_json::to_value(&outcome).map_err(|e| internal(&e))?;
                let learner = serde_json::to_value(&self.options).map_err(|e| internal(&e))?;
                let settings = serde_json::json!({ "learner": learner, "pupil": self.pupil.settings() });
                let manifest = Manifest {
                    code: concat!("tern ", env!("CARGO_PKG_VERSION")).to_owned(),
                    base: self.pupil.base()?,
                    settings,
                    documents: learned,
                    report,
                    ..Manifest::default()
                };
                outcome.generation = self.store.commit(&self.name, change, manifest, &delta, &documents)?;
                self.log(event(change), &outcome)?;
            }
            Verdict::NotEnough { .. } | Verdict::Nothing if change == Change::Next => {
                if self.options.keep_sources {
                    self.store.add_pending(&self.name, &documents)?;
                }
                outcome.generation = self.store.state(&self.name)?.generation;
                if outcome.verdict != Verdict::Nothing {
                    self.log("waiting", &outcome)?;
                }
            }
            _ => {
                let tried: HashSet<[u8; 32]> = documents.iter().map(Document::digest).collect();
                self.store.retain_pending(&self.name, |d| !tried.contains(&d.digest()))?;
                outcome.generation = self.store.state(&self.name)?.generation;
                self.log("refused", &outcome)?;
            }
        }
        Ok(outcome)
    }

    fn records(&self, corpus: &Corpus) -> Vec<Learned> {
        let record = |d: &Document, held_out| Learned {
            digest: hex(&d.digest()),
            source: d.source.clone(),
            origin: d.origin,
            bytes: d.learned().iter().map(|(text, _)| text.len() as u64).sum(),
            held_out,
            kept: self.options.keep_sources,
        };
        let train = corpus.train.iter().map(|d| record(d, false));
        train.chain(corpus.held_out.iter().map(|d| record(d, true))).collect()
    }

    /// The log says what happened, and nothing of what was said.
    fn log(&self, event: &str, outcome: &Outcome) -> Result<(), Error> {
        let detail =
            serde_json::json!({ "verdict": outcome.verdict, "gain": outcome.gain.bits(), "harm": outcome.harm });
        Ok(self.store.record(&self.name, event, detail)?)
    }
}

/// A state cannot go on from factors, nor the other way round.
fn same_kind(counts: &Manifest, pupil: &serde_json::Value) -> Result<(), Error> {
    match (counts.kind(), pupil["kind"].as_str()) {
        (Some(have), Some(wanted)) if have != wanted => Err(Error::Setting {
            setting: "mode",
            found: wanted.to_owned(),
            expected: if have == STATE {
                "state, as what counts of this delta"
            } else {
                "lora, as what counts of this delta"
            },
        }),
        _ => Ok(()),
    }
}

fn event(change: Change) -> &'static str {
    match change {
        Change::Next => "commit",
        Change::Forget => "forget",
        Change::Rebuild => "rebuild",
    }
}

fn internal(error: &serde_json::Error) -> Error {
    Error::Internal { what: format!("a report: {error}") }
}

#[cfg(test)]
mod tests;
