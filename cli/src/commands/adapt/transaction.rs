//! With `--name`: into a store, if it helps and harms nothing.

use super::AdaptArgs;
use crate::args::BackendArgs;
use crate::failure::{Exit, Failure, Result};
use crate::input::read_text;
use crate::learning::{documents, edit, tell, watched};
use std::path::Path;
use tern::learn::evidence::Verdict;
use tern::learn::{Fact, Learner};

/// Learns.
pub fn run(backend: &BackendArgs, args: &AdaptArgs, name: &str) -> Result<()> {
    let documents = documents(&args.data, args.origin)?;
    let mut options = args.learn_options();
    options.facts = args.facts.as_deref().map(facts).transpose()?.unwrap_or_default();
    // Before the model: a store that cannot be used is told at once.
    let edit = edit(&args.store.open()?)?;
    let model = backend.open(&args.model)?;
    let mut pupil = args.mode(&model)?.pupil(&model, args.lora_options())?;
    let mut learner = Learner::new(&mut *pupil, &edit, name, options)?;
    let outcome = watched(|control| learner.learn(documents, control))?;
    tell(&outcome, args.report.as_deref(), args.json)?;
    match outcome.verdict {
        Verdict::Commit => Ok(()),
        _ => Err(Failure::new(Exit::Failure, "")),
    }
}

/// A fact a line.
fn facts(path: &Path) -> Result<Vec<Fact>> {
    let text = read_text(path)?;
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let fact = |(line, number): (&str, usize)| {
        serde_json::from_str::<Fact>(line)
            .map_err(|e| Failure::new(Exit::Input, format!("{}, line {number}: {e}", path.display())))
    };
    lines.map(fact).collect()
}
