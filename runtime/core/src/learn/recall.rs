//! How much of a fact comes back when it is asked for and no longer in sight.
//!
//! Loss on held-out text hides whether anything was remembered. So facts that the documents state are asked for, three times: of the
//! base model (what it knew or guesses), of the model with the delta and no text (what was remembered), and of the base model with the
//! statement in front of the question (the ceiling: full attention).

use super::corpus::Document;
use super::pupil::Pupil;
use crate::error::Error;
use serde::{Deserialize, Serialize};

/// A fact that documents state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What states it.
    pub statement: String,
    /// What asks for it.
    pub question: String,
    /// The answer.
    pub answer: String,
}

/// Nats per token of the answers: less is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recall {
    /// Facts.
    pub facts: usize,
    /// The base model, without the statement.
    pub base: f64,
    /// The model with the delta, without the statement.
    pub learned: f64,
    /// The base model, with the statement in front of the question.
    pub ceiling: f64,
}

impl Recall {
    /// Of what attention makes of the statement, the share that the delta makes of having learned it. Below 0 where it made things
    /// worse; `None` where the statement is of no help even when it is in sight.
    pub fn share(&self) -> Option<f64> {
        let room = self.base - self.ceiling;
        (room > 0.0).then(|| (self.base - self.learned) / room)
    }
}

/// Asks the base model. The pupil must be without a delta.
///
/// # Errors
/// Those of the pupil.
pub fn before(pupil: &mut dyn Pupil, facts: &[Fact]) -> Result<Recall, Error> {
    let base = ask(pupil, facts, |f| f.question.clone())?;
    let ceiling = ask(pupil, facts, |f| format!("{}\n\n{}", f.statement, f.question))?;
    Ok(Recall { facts: facts.len(), base, learned: base, ceiling })
}

/// Asks the model with its delta.
///
/// # Errors
/// Those of the pupil.
pub fn after(pupil: &mut dyn Pupil, facts: &[Fact], recall: &mut Recall) -> Result<(), Error> {
    recall.learned = ask(pupil, facts, |f| f.question.clone())?;
    Ok(())
}

fn ask(pupil: &mut dyn Pupil, facts: &[Fact], prompt: impl Fn(&Fact) -> String) -> Result<f64, Error> {
    let (mut nats, mut tokens) = (0.0, 0);
    for fact in facts {
        // To be asked it is the user's, whoever wrote it.
        let samples =
            pupil.encode(&Document::pair("recall", Default::default(), prompt(fact), fact.answer.as_str()))?;
        nats += pupil.nats(&samples)?;
        tokens += samples.iter().map(|s| s.example.targets()).sum::<usize>();
    }
    Ok(nats / tokens.max(1) as f64)
}
