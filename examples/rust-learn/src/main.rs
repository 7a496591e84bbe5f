//! Learns from a folder of notes, if it helps and harms nothing, and writes with and without what it learned.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use tern::learn::learner::{Condition, Control, Phase, Progress};
use tern::learn::store::{DEFAULT_KEEP, Edit};
use tern::learn::{LearnOptions, Learner, LoraOptions, LoraPupil, Origin, Store, corpus, report};
use tern::{Error, GenerateOptions, Model};

/// The name of what is learned, in the store.
const DELTA: &str = "notes";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage =
        "which model, and which folder of notes? Give both, and where to keep what is learned if not in ./store";
    let (model, notes) = (arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?);
    let folder = arguments.next().unwrap_or_else(|| "store".to_owned());

    let mut registry = tern::backend::Registry::new();
    registry.register(tern_cpu::entry)?;
    let model = tern::Runtime::new(registry).open(model, tern::ModelOptions::default())?;
    let store = Store::open(&folder);

    let documents = corpus::read(Path::new(&notes), Origin::User)?.documents;
    println!("{} documents", documents.len());
    // What a sentence of the user's goes on with shows best what changed.
    let beginning: String = documents.first().map(|d| d.all().concat().chars().take(80).collect()).unwrap_or_default();

    let outcome = {
        let edit = Edit::open(&store, DEFAULT_KEEP)?;
        let mut pupil = LoraPupil::new(&model, LoraOptions::default())?;
        let mut learner = Learner::new(&mut pupil, &edit, DELTA, LearnOptions::default())?;
        learner.learn(documents, &control())?
    };
    println!("\r\x1b[K{}", outcome.verdict);
    std::fs::write("report.html", report::html(&outcome))?;
    println!("report.html has the details; `tern delta undo {DELTA} --store {folder}` takes it back");

    println!("\nwithout it: {}", written(&model, &beginning)?);
    if let Some(delta) = store.delta(DELTA)? {
        let adapter = model.add_adapter(delta.adapter(&model)?)?;
        // Sessions from here on have it.
        model.choose_adapters(&[(adapter, 1.0)])?;
        println!("with it: {}", written(&model, &beginning)?);
    }
    Ok(())
}

/// Shows how far it is, and lets it wait while the device runs on battery.
fn control() -> Control {
    let progress = |p: Progress| {
        let what = match p.phase {
            Phase::Learn => "learning",
            Phase::Waiting => "waiting for power",
            _ => "measuring",
        };
        print!("\r\x1b[K{what} {} of {}", p.done, p.total);
        // Nobody reads it where that fails.
        let _ = std::io::stdout().flush();
    };
    let conditions = || if on_battery() { Condition::Wait } else { Condition::Go };
    Control { progress: Some(Arc::new(progress)), conditions: Some(Arc::new(conditions)), ..Control::default() }
}

/// As Linux tells it; other systems have calls of their own.
fn on_battery() -> bool {
    let supplies = std::fs::read_dir("/sys/class/power_supply").into_iter().flatten().flatten();
    let status = supplies.filter_map(|s| std::fs::read_to_string(s.path().join("status")).ok());
    status.into_iter().any(|s| s.trim() == "Discharging")
}

/// What the model goes on with.
fn written(model: &Model, beginning: &str) -> Result<String, Error> {
    let session = model.session(tern::SessionOptions::default())?;
    let mut text = beginning.to_owned();
    for event in
        session.generate(&model.encode(beginning)?, GenerateOptions { max_tokens: 40, ..Default::default() })?
    {
        text.push_str(event?.text());
    }
    Ok(text)
}
