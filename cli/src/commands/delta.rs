//! `tern delta`: what was learned, and how to take it back.

mod relearn;
mod show;

use crate::args::BackendArgs;
use crate::failure::{Exit, Failure, Result};
use crate::learning::{edit, write};
use crate::store::{StoreArgs, adapter, existing};
use crate::terminal::{Out, note};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use tern::Error;
use tern::learn::Store;

/// Flags of `tern delta`.
#[derive(Debug, Args)]
pub struct DeltaArgs {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Debug, Subcommand)]
pub enum Action {
    /// All deltas of a store
    List {
        #[command(flatten)]
        store: StoreArgs,
        /// One JSON list
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
        /// One JSON object
        #[arg(long)]
        json: bool,
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
        again: relearn::RelearnArgs,
    },
    /// Learn the same documents anew for another base model
    Rebuild {
        name: String,
        #[command(flatten)]
        again: relearn::RelearnArgs,
    },
}

/// Runs `tern delta`.
pub fn delta(backend: &BackendArgs, args: &DeltaArgs) -> Result<()> {
    match &args.action {
        Action::List { store, json } => show::list(&store.open()?, *json),
        Action::Show { name, store, json, report } => show::show(&store.open()?, name, *json, report.as_deref()),
        Action::Undo { name, store, json } => undo(&store.open()?, name, *json),
        Action::Export { name, store, output, peft } => export(backend, &store.open()?, name, output, peft.as_deref()),
        Action::Forget { name, source, again } => relearn::forget(backend, name, source, again),
        Action::Rebuild { name, again } => relearn::rebuild(backend, name, again),
    }
}

fn undo(store: &Store, name: &str, json: bool) -> Result<()> {
    existing(store, name)?;
    let edit = edit(store)?;
    let generation = edit.undo(name).map_err(Error::from)?;
    // It has happened, whether or not it can be written down.
    let _ = edit.record(name, "undo", serde_json::Value::Null);
    let mut out = Out::new();
    if json {
        return out.json(&serde_json::json!({ "name": name, "generation": generation }));
    }
    out.line(&match generation {
        0 => format!("{name}: the base model as it is counts"),
        _ => format!("{name}: generation {generation} counts"),
    })?;
    out.flush()
}

fn export(backend: &BackendArgs, store: &Store, name: &str, output: &Path, peft: Option<&Path>) -> Result<()> {
    let nothing = || Failure::new(Exit::Input, format!("{name}: nothing was learned, so there is nothing to export"));
    let delta = existing(store, name)?.ok_or_else(nothing)?;
    match peft {
        None => write(output, &delta.bytes)?,
        Some(path) => {
            let model = backend.open(path)?;
            let base = delta.manifest.base.name.clone().unwrap_or_else(|| path.display().to_string());
            adapter(&delta, &model, path)?.write_peft(&model, output, &base)?;
        }
    }
    note(&format!("{name}: generation {} written to {}", delta.manifest.generation, output.display()));
    Ok(())
}
