//! What `tern adapt` and `tern delta` share: documents, progress, Ctrl-C, what came of it.

use crate::commands::quantize::clock;
use crate::failure::{Exit, Failure, Result};
use crate::interrupt;
use crate::terminal::{Out, Progress, count, note};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tern::Error;
use tern::learn::corpus::read;
use tern::learn::evidence::Verdict;
use tern::learn::learner::{self, Control, Evidence, Phase};
use tern::learn::store::{DEFAULT_KEEP, Edit};
use tern::learn::{Document, Origin, Outcome, Store, report};

/// The documents of files and folders, written by `origin` where they do not say otherwise.
pub fn documents(paths: &[PathBuf], origin: Origin) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    for path in paths {
        let reading = read(path, origin).map_err(Error::from)?;
        if !reading.skipped.is_empty() {
            let files = count(reading.skipped.len(), "file");
            note(&format!("{}: skipped {files} without text", path.display()));
        }
        documents.extend(reading.documents);
    }
    Ok(documents)
}

/// The store, to change it. Where that would make one of an existing folder of something else, it does not.
pub fn edit(store: &Store) -> Result<Edit> {
    let path = store.path();
    let foreign = || {
        let mut entries = std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.file_name());
        !path.join("deltas").is_dir() && entries.any(|name| name != "lock" && name != "anchors")
    };
    if foreign() {
        let what =
            format!("{}: a folder with other things in it, and no store; --store needs a new one", path.display());
        return Err(Failure::new(Exit::Usage, what));
    }
    Ok(Edit::open(store, DEFAULT_KEEP).map_err(Error::from)?)
}

/// Runs what takes long: Ctrl-C cancels it, a line shows how far it is. Cancelled, it says that nothing has changed.
pub fn watched(work: impl FnOnce(&Control) -> std::result::Result<Outcome, Error>) -> Result<Outcome> {
    let line = Arc::new(Mutex::new(Line { progress: Progress::new(), learning: None }));
    let shown = Arc::clone(&line);
    let show = move |p: learner::Progress| shown.lock().unwrap_or_else(PoisonError::into_inner).show(p);
    let control = Control { progress: Some(Arc::new(show)), ..Control::default() };
    let watch = interrupt::watch(control.cancel.clone());
    let outcome = work(&control);
    drop(watch);
    line.lock().unwrap_or_else(PoisonError::into_inner).progress.clear();
    outcome.map_err(|error| {
        if error.is_cancelled() {
            note("cancelled: nothing has changed");
        }
        error.into()
    })
}

/// How far it is.
struct Line {
    progress: Progress,
    /// When the first step was done, and which one it was.
    learning: Option<(Instant, u64)>,
}

impl Line {
    fn show(&mut self, p: learner::Progress) {
        let what = match p.phase {
            Phase::Anchor => "asking the base model",
            Phase::Screen => "looking at the text",
            Phase::Before => "measuring before",
            Phase::Learn => "learning",
            Phase::After => "measuring after",
            Phase::Waiting => "waiting",
        };
        let left = match p.phase {
            Phase::Learn => {
                let (start, first) = *self.learning.get_or_insert_with(|| (Instant::now(), p.done));
                let done = p.done.saturating_sub(first);
                let each = start.elapsed().as_secs_f64() / done as f64;
                (done > 0).then(|| each * p.total.saturating_sub(p.done) as f64)
            }
            _ => None,
        };
        self.progress.update(|| {
            let loss = p.loss.map(|l| format!(", loss {l:.3}")).unwrap_or_default();
            let left = left.map(|s| format!(", {} left", clock(s))).unwrap_or_default();
            format!("{what}: {} of {}{loss}{left}", p.done, p.total)
        });
    }
}

/// Tells what came of it: as a page where one is wanted, then as JSON or for people.
pub fn tell(outcome: &Outcome, page: Option<&Path>, json: bool) -> Result<()> {
    if let Some(path) = page {
        write_page(path, outcome)?;
    }
    let mut out = Out::new();
    if json { out.json(outcome) } else { print(&mut out, outcome) }
}

/// What was measured; then a line of what counts now.
fn print(out: &mut Out, outcome: &Outcome) -> Result<()> {
    let (g, h, b) = (&outcome.gain, &outcome.harm, &outcome.bounds);
    if g.documents > 0 {
        let which = match outcome.evidence {
            Evidence::HeldOut => "held-out documents",
            Evidence::LeaveOneOut => "documents, each left out in turn",
        };
        out.line(&format!("bits per byte  {:.4} -> {:.4} on {} {which}", g.before, g.after, g.documents))?;
        let [share, low, high] = [g.share(), g.low / g.before, g.high / g.before].map(|x| 100.0 * x);
        out.line(&format!("better by      {share:.1} % (95 % interval {low:.1} to {high:.1} %)"))?;
        out.line(&format!("own answers    loss {:+.4} nats per token, {:.4} allowed", h.anchor_rise, b.anchor_rise))?;
        out.line(&format!("divergence     {:.4} nats per token, {:.4} allowed", h.divergence, b.divergence))?;
        out.line(&format!("change         {:.4} of a matrix at most, {:.4} allowed", h.norm, b.norm))?;
        if outcome.shrunk < 1.0 {
            out.line(&format!("shrunk to      {:.2}, to keep that within its bounds", outcome.shrunk))?;
        }
    }
    if let Some(recall) = &outcome.recall {
        let (facts, r) = (count(recall.facts, "fact"), recall);
        out.line(&format!("recall         {:.3} -> {:.3} nats per token for {facts}", r.base, r.learned))?;
        out.line(&match r.share() {
            Some(share) => {
                format!("               {:.3} with the text at hand: {:.0} % of that", r.ceiling, 100.0 * share)
            }
            None => format!("               {:.3} with the text at hand, which is of no help", r.ceiling),
        })?;
    }
    let took = match outcome.steps {
        0 => String::new(),
        steps => format!(
            "; {}, {} tokens, {} ({} learning)",
            count(steps as usize, "step"),
            outcome.tokens,
            clock(outcome.seconds),
            clock(outcome.learn_seconds)
        ),
    };
    let counts = match outcome.generation {
        0 => "the base model as it is".to_owned(),
        generation => format!("generation {generation}"),
    };
    out.line(&format!("{}: {}{took}", outcome.name, outcome.verdict))?;
    match outcome.verdict {
        Verdict::Nothing => out.line("the documents were learned already, or all of them are held out to test with")?,
        Verdict::NotEnough { .. } => out.line("the documents wait in the store; they count when more come")?,
        _ => {}
    }
    out.line(&format!("{}: {counts} counts", outcome.name))?;
    out.flush()
}

/// Writes a report.
pub fn write_page(path: &Path, outcome: &Outcome) -> Result<()> {
    write(path, report::html(outcome).as_bytes())
}

/// Writes a file, whole or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    tern_formats::write_atomically(path, bytes, tern_formats::Existing::Replace)
        .map_err(|e| Failure::new(Exit::Failure, format!("{}: {e}", path.display())))
}
