//! `tern delta forget` and `rebuild`: learning again what is, or is left, in a delta.

use crate::args::BackendArgs;
use crate::failure::{Exit, Failure, Result};
use crate::learning::{documents, edit, tell, watched};
use crate::store::{StoreArgs, existing};
use clap::Args;
use std::collections::HashMap;
use std::path::PathBuf;
use tern::Error;
use tern::learn::corpus::Document;
use tern::learn::evidence::Verdict;
use tern::learn::learner::Control;
use tern::learn::store::Learned;
use tern::learn::{LearnOptions, Learner, LoraOptions, Mode, Origin, Outcome};

/// Flags of both.
#[derive(Debug, Args)]
pub struct RelearnArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// The base model
    #[arg(long, value_name = "MODEL")]
    pub base: PathBuf,
    /// The documents again, where the store does not keep them; may be repeated
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// Write what came of it as a page
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// What came of it as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `tern delta forget`. Forgotten it is in any case, so that nothing is left to count is no failure.
pub fn forget(backend: &BackendArgs, name: &str, source: &str, args: &RelearnArgs) -> Result<()> {
    relearn(backend, name, args, |learner, supply, control| learner.forget(source, supply, control)).map(|_| ())
}

/// `tern delta rebuild`.
pub fn rebuild(backend: &BackendArgs, name: &str, args: &RelearnArgs) -> Result<()> {
    match relearn(backend, name, args, |learner, supply, control| learner.rebuild(supply, control))?.verdict {
        Verdict::Commit => Ok(()),
        _ => Err(Failure::new(Exit::Failure, "")),
    }
}

fn relearn(
    backend: &BackendArgs,
    name: &str,
    args: &RelearnArgs,
    action: impl FnOnce(
        &mut Learner<'_>,
        &mut dyn FnMut(&Learned) -> Option<Document>,
        &Control,
    ) -> std::result::Result<Outcome, Error>,
) -> Result<Outcome> {
    let store = args.store.open()?;
    // Where the base model counts, documents may wait.
    let manifest = existing(&store, name)?.map(|delta| delta.manifest);
    let options = manifest.as_ref().map(LearnOptions::of).transpose()?.unwrap_or_default();
    let documents = documents(&args.data, Origin::User)?;
    let given: HashMap<String, Document> = documents.into_iter().map(|d| (hex(&d.digest()), d)).collect();
    let mut lacking = false;
    let mut supply = |record: &Learned| {
        let found = given.get(&record.digest);
        lacking |= found.is_none();
        // What it says is the same; who wrote it was told when it was learned.
        found.map(|d| Document { source: record.source.clone(), origin: record.origin, ..d.clone() })
    };
    let edit = edit(&store)?;
    let model = backend.open(&args.base)?;
    let mut pupil = match &manifest {
        Some(manifest) => Mode::again(&model, manifest)?,
        None => Mode::of(&model).pupil(&model, LoraOptions::default())?,
    };
    let mut learner = Learner::new(&mut *pupil, &edit, name, options)?;
    let outcome = watched(|control| action(&mut learner, &mut supply, control)).map_err(|mut failure| {
        if lacking {
            failure.message += ": --data PATH names the files or folders that have it";
        }
        failure
    })?;
    tell(&outcome, args.report.as_deref(), args.json)?;
    Ok(outcome)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
