//! `tern delta list` and `show`.

use crate::failure::{Exit, Failure, Result};
use crate::learning::write_page;
use crate::store::existing;
use crate::terminal::{Out, bold, count, note};
use serde_json::json;
use std::path::Path;
use tern::Error;
use tern::learn::store::{Entry, LogLine, Manifest};
use tern::learn::{Outcome, Store};

/// Documents that are listed one by one.
const ROWS: usize = 200;

/// All deltas.
pub fn list(store: &Store, as_json: bool) -> Result<()> {
    let entries = store.list().map_err(Error::from)?;
    let mut out = Out::new();
    if as_json {
        let one = |e: &Entry| {
            let state = e.state.as_ref();
            json!({
                "name": e.name,
                "generation": state.map(|s| s.generation).ok(),
                "waiting": state.map(|s| s.pending.len()).ok(),
                "generations": e.generations,
                "error": state.err(),
            })
        };
        return out.json(&entries.iter().map(one).collect::<Vec<_>>());
    }
    if entries.is_empty() {
        note(&format!("{}: no deltas; `tern adapt MODEL --data FILES --name NAME` makes one", store.path().display()));
    }
    for e in &entries {
        let text = match &e.state {
            Ok(state) => {
                let waiting = match state.pending.len() {
                    0 => String::new(),
                    waiting => format!(", {} waiting", count(waiting, "document")),
                };
                let base = store.current(&e.name).ok().flatten().and_then(|m| m.base.name);
                let base = base.map(|b| format!(", for {b}")).unwrap_or_default();
                format!("{}{base}{waiting}", generation(state.generation))
            }
            Err(error) => format!("damaged: {error}"),
        };
        out.line(&format!("{}  {text}", bold(&e.name)))?;
    }
    out.flush()
}

/// What is known about one.
pub fn show(store: &Store, name: &str, as_json: bool, page: Option<&Path>) -> Result<()> {
    let delta = existing(store, name)?;
    let manifest = delta.as_ref().map(|d| &d.manifest);
    let outcome = manifest.map(|m| outcome(name, m)).transpose()?;
    match (page, &outcome) {
        (Some(path), Some(outcome)) => write_page(path, outcome)?,
        (Some(_), None) => note(&format!("{name}: nothing that was learned counts, so there is no report")),
        (None, _) => {}
    }
    let state = store.state(name).map_err(Error::from)?;
    let log = store.log(name).map_err(Error::from)?;
    let mut out = Out::new();
    if as_json {
        return out.json(&json!({ "name": name, "state": state, "manifest": manifest, "log": log }));
    }
    out.line(&format!("{}  {}", bold(name), generation(state.generation)))?;
    if let (Some(m), Some(outcome)) = (manifest, &outcome) {
        learned(&mut out, m, outcome)?;
    }
    if !state.pending.is_empty() {
        out.line(&format!("{} waiting for more evidence", count(state.pending.len(), "document")))?;
    }
    out.line(&bold("history"))?;
    for line in log {
        out.line(&format!("  {}", event(&line)))?;
    }
    out.flush()
}

fn learned(out: &mut Out, m: &Manifest, outcome: &Outcome) -> Result<()> {
    let base = m.base.name.as_deref().unwrap_or("a model without a name");
    out.text(&format!("  base     {base}, fingerprint {}\n", m.base.fingerprint))?;
    let g = &outcome.gain;
    out.line(&format!(
        "  gain     {:.4} -> {:.4} bits per byte on {} held-out documents, {:.1} % better",
        g.before,
        g.after,
        g.documents,
        100.0 * g.share()
    ))?;
    let h = &outcome.harm;
    out.line(&format!(
        "  harm     loss {:+.4}, KL {:.4} nats per token on the model's own answers",
        h.anchor_rise, h.divergence
    ))?;
    out.line(&format!("  size     {:.1} MB", m.delta_bytes as f64 / 1e6))?;
    out.line(&bold("documents"))?;
    for d in m.documents.iter().take(ROWS) {
        let held = if d.held_out { "held out" } else { "learned " };
        let kept = if d.kept { "" } else { ", not kept" };
        out.text(&format!("  {held}  {}  {} bytes, {}{kept}\n", d.source, d.bytes, d.origin))?;
    }
    if let Some(more) = m.documents.len().checked_sub(ROWS).filter(|&more| more > 0) {
        out.line(&format!("  and {more} more (--json has all)"))?;
    }
    Ok(())
}

fn outcome(name: &str, manifest: &Manifest) -> Result<Outcome> {
    serde_json::from_value(manifest.report.clone())
        .map_err(|e| Failure::new(Exit::Input, format!("{name}: its report cannot be read: {e}")))
}

fn generation(generation: u64) -> String {
    match generation {
        0 => "the base model as it is".to_owned(),
        n => format!("generation {n}"),
    }
}

fn event(line: &LogLine) -> String {
    format!("{}  {}: {}", date(line.time), line.event, generation(line.generation))
}

/// A time in UTC, of seconds since 1970. The civil date of a day is Howard Hinnant's algorithm ("chrono-Compatible Low-Level
/// Date Algorithms", 2014): years that begin in March, in eras of 400 of them.
fn date(seconds: u64) -> String {
    let (day, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (month, wrapped) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + 400 * era + wrapped;
    format!("{year:04}-{month:02}-{date:02} {:02}:{:02}:{:02} UTC", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(date(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }
}
