//! `tern delta`: what was learned, and how to take it back.

use crate::args::BackendArgs;
use crate::failure::{Exit, Failure, Result};
use crate::interrupt;
use crate::terminal::{Out, Progress, bold, count, note};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tern::Error;
use tern::learn::learner::{Control, Phase};
use tern::learn::store::{DEFAULT_KEEP, Delta, Edit};
use tern::learn::{Adapter, LearnError, LearnOptions, Learner, LoraOptions, LoraPupil, Outcome, Store, report};

/// Flags of `tern delta`.
#[derive(Debug, Args)]
pub struct DeltaArgs {
    #[command(subcommand)]
    pub action: Action,
}

/// Which store.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// Folder of the store
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum Action {
    /// All deltas of a store
    List {
        #[command(flatten)]
        store: StoreArgs,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// What is known about a delta: its model, documents, measurements and history
    Show {
        name: String,
        #[command(flatten)]
        store: StoreArgs,
        /// One JSON object
        #[arg(long)]
        json: bool,
        /// Also write the report of how it was learned, as a page
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
    },
    /// Go back to the generation before, and remove the one that counts
    Undo {
        name: String,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Write the delta as an adapter that other programs read: a .gguf file, or a PEFT folder
    Export {
        name: String,
        #[command(flatten)]
        store: StoreArgs,
        /// The .gguf file, or with --peft the folder
        #[arg(short, long, value_name = "OUT")]
        output: PathBuf,
        /// Write a PEFT folder, for which the base model is needed
        #[arg(long, value_name = "MODEL")]
        peft: Option<PathBuf>,
    },
    /// Learn anew without what came from a source, and remove all generations with it
    Forget {
        name: String,
        /// The source, as `show` lists it
        source: String,
        #[command(flatten)]
        store: StoreArgs,
        /// The base model
        #[arg(long, value_name = "MODEL")]
        base: PathBuf,
    },
    /// Learn the same documents anew for another base model
    Rebuild {
        name: String,
        #[command(flatten)]
        store: StoreArgs,
        /// The new base model
        #[arg(long, value_name = "MODEL")]
        base: PathBuf,
    },
}

/// Runs `tern delta`.
pub fn delta(backend: &BackendArgs, args: &DeltaArgs) -> Result<()> {
    match &args.action {
        Action::List { store, json } => list(&store.open(), *json),
        Action::Show { name, store, json, report } => show(&store.open(), name, *json, report.as_deref()),
        Action::Undo { name, store } => {
            let store = store.open();
            existing(&store, name)?;
            match edit(&store)?.undo(name).map_err(Error::from)? {
                0 => note(&format!("{name}: the base model as it is")),
                generation => note(&format!("{name}: generation {generation}")),
            }
            Ok(())
        }
        Action::Export { name, store, output, peft } => export(backend, &store.open(), name, output, peft.as_deref()),
        Action::Forget { name, source, store, base } => {
            relearn(backend, &store.open(), name, base, |learner, control| {
                learner.forget(source, &mut |_| None, control)
            })
        }
        Action::Rebuild { name, store, base } => {
            relearn(backend, &store.open(), name, base, |learner, control| learner.rebuild(&mut |_| None, control))
        }
    }
}

impl StoreArgs {
    /// The store, to look at.
    pub fn open(&self) -> Store {
        Store::open(&self.store)
    }
}

fn edit(store: &Store) -> Result<Edit> {
    Ok(Edit::open(store, DEFAULT_KEEP).map_err(Error::from)?)
}

/// What counts of a delta that must be there: a change must not make one by being asked for it.
fn existing(store: &Store, name: &str) -> Result<Option<Delta>> {
    Ok(store.delta(name).map_err(Error::from)?)
}

fn list(store: &Store, json: bool) -> Result<()> {
    let entries = store.list().map_err(Error::from)?;
    let mut out = Out::new();
    if json {
        let one = |e: &tern::learn::store::Entry| {
            let state = e.state.as_ref();
            serde_json::json!({
                "name": e.name,
                "generation": state.map(|s| s.generation).ok(),
                "waiting": state.map(|s| s.pending.len()).ok(),
                "generations": e.generations,
                "error": state.err(),
            })
        };
        return out.json(&entries.iter().map(one).collect::<Vec<_>>());
    }
    for e in &entries {
        let text = match &e.state {
            Ok(state) => format!("{} waiting", count(state.pending.len(), "document")),
            Err(error) => format!("damaged: {error}"),
        };
        let generation = e.state.as_ref().map_or(0, |s| s.generation);
        let generation = if generation == 0 { "base model".to_owned() } else { format!("generation {generation}") };
        out.line(&format!("{}  {generation}, {text}", bold(&e.name)))?;
    }
    Ok(())
}

fn show(store: &Store, name: &str, json: bool, page: Option<&Path>) -> Result<()> {
    let delta = existing(store, name)?;
    let manifest = delta.as_ref().map(|d| &d.manifest);
    if let (Some(path), Some(manifest)) = (page, manifest) {
        let outcome: Outcome = serde_json::from_value(manifest.report.clone())
            .map_err(|e| Failure::new(Exit::Input, format!("{name}: its report cannot be read: {e}")))?;
        write_page(path, &outcome)?;
    }
    let state = store.state(name).map_err(Error::from)?;
    let log = store.log(name).map_err(Error::from)?;
    let mut out = Out::new();
    if json {
        return out.json(&serde_json::json!({ "name": name, "state": state, "manifest": manifest, "log": log }));
    }
    match manifest {
        None => out.line(&format!("{name}: the base model as it is"))?,
        Some(m) => {
            let base = m.base.name.as_deref().unwrap_or("a model without a name");
            out.line(&format!("{}  generation {}, {} bytes", bold(name), m.generation, m.delta_bytes))?;
            out.line(&format!("base  {base}, {}", m.base.fingerprint.get(..16).unwrap_or_default()))?;
            for d in &m.documents {
                let held = if d.held_out { "held out" } else { "learned" };
                let kept = if d.kept { "" } else { ", not kept" };
                out.line(&format!("  {}  {held}, {} bytes, {}{kept}", d.source, d.bytes, d.origin))?;
            }
        }
    }
    if !state.pending.is_empty() {
        out.line(&format!("{} waiting for more evidence", count(state.pending.len(), "document")))?;
    }
    for line in log {
        out.line(&format!("{}  {}, generation {}", line.time, line.event, line.generation))?;
    }
    Ok(())
}

fn export(backend: &BackendArgs, store: &Store, name: &str, output: &Path, peft: Option<&Path>) -> Result<()> {
    let nothing = || Failure::new(Exit::Input, format!("{name}: nothing was learned, so there is nothing to export"));
    let delta = existing(store, name)?.ok_or_else(nothing)?;
    match peft {
        None => write(output, &delta.bytes),
        Some(path) => {
            let model = backend.open(path)?;
            same_base(&delta, &model.fingerprint()?, name)?;
            let source = Arc::new(tern_formats::BytesSource::new(name, delta.bytes));
            let base = delta.manifest.base.name.unwrap_or_else(|| path.display().to_string());
            Ok(Adapter::read_gguf(&model, source)?.write_peft(&model, output, &base)?)
        }
    }
}

/// A delta changes only the model that it was learned on.
fn same_base(delta: &Delta, expected: &str, name: &str) -> Result<()> {
    let base = &delta.manifest.base;
    if base.fingerprint == expected {
        return Ok(());
    }
    let (found_name, found) = (base.name.clone(), base.fingerprint.clone());
    Err(Error::from(LearnError::OtherBase { name: name.to_owned(), found_name, found, expected: expected.to_owned() })
        .into())
}

fn relearn(
    backend: &BackendArgs,
    store: &Store,
    name: &str,
    base: &Path,
    action: impl FnOnce(&mut Learner<'_>, &Control) -> std::result::Result<Outcome, Error>,
) -> Result<()> {
    let nothing = || Failure::new(Exit::Input, format!("{name}: nothing was learned"));
    let manifest = existing(store, name)?.ok_or_else(nothing)?.manifest;
    let edit = edit(store)?;
    let model = backend.open(base)?;
    let mut pupil = LoraPupil::new(&model, LoraOptions::default().as_in(&manifest)?)?;
    let mut learner = Learner::new(&mut pupil, &edit, name, LearnOptions::of(&manifest)?)?;
    let (control, _watch) = watched();
    let outcome = action(&mut learner, &control)?;
    note(&format!("{name}: {}; generation {} counts", outcome.verdict, outcome.generation));
    Ok(())
}

/// A control that Ctrl-C cancels, and that shows how far it is.
pub fn watched() -> (Control, interrupt::Watch) {
    let progress = Mutex::new(Progress::new());
    let show = move |p: tern::learn::learner::Progress| {
        let loss = p.loss.map(|l| format!(", {l:.3} nats per token")).unwrap_or_default();
        let what = match p.phase {
            Phase::Anchor => "asking the base model",
            Phase::Screen => "looking at the text",
            Phase::Before => "measuring before",
            Phase::Learn => "learning",
            Phase::After => "measuring after",
            Phase::Waiting => "waiting",
        };
        let line = || format!("{what}: {} of {}{loss}", p.done, p.total);
        progress.lock().unwrap_or_else(PoisonError::into_inner).update(line);
    };
    let control = Control { progress: Some(Arc::new(show)), ..Control::default() };
    let watch = interrupt::watch(control.cancel.clone());
    (control, watch)
}

/// Writes a report.
pub fn write_page(path: &Path, outcome: &Outcome) -> Result<()> {
    write(path, report::html(outcome).as_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    tern_formats::write_atomically(path, bytes, tern_formats::Existing::Replace)
        .map_err(|e| Failure::new(Exit::Failure, format!("{}: {e}", path.display())))
}
