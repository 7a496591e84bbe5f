//! What is remembered of a text that is out of sight: small models, trained here on one stream with one budget, are asked for facts that
//! none of them has seen. Attention with the text in view is the ceiling; beside it states of fast weights, and LoRA.
//!
//! `cargo test --release -p tern-tests --test recall -- --ignored --nocapture` is the campaign, and prints the table of docs/learning.md.

mod asked;
mod facts;
mod models;

use asked::{Asked, ask};
use facts::{Style, text};
use models::{ATTENTION, DELTA, Family, TTT, trained};
use tern::learn::{Mode, Random, Recall};

/// Facts that are read before any is asked for, and in how many texts.
const TEXTS: [(usize, usize); 3] = [(1, 32), (4, 12), (16, 6)];

fn percent(part: usize, of: usize) -> String {
    format!("{:.0}%", 100.0 * part as f64 / of as f64)
}

#[test]
#[ignore = "takes minutes; run it by name"]
fn campaign() {
    let folder = tempfile::tempdir().unwrap();
    let which = std::env::var("WHICH").unwrap_or_default();
    let mut ceilings = [0.0; TEXTS.len()];
    for family in [&ATTENTION, &TTT, &DELTA].into_iter().filter(|f| which.is_empty() || which.contains(f.name)) {
        let path = folder.path().join(family.name);
        let model = trained(family, &path);
        if std::env::var("SKIP").is_ok() {
            continue;
        }
        for ((n, texts), ceiling) in TEXTS.into_iter().zip(&mut ceilings) {
            let mut random = Random::new(7);
            let each = (0..texts).map(|i| {
                let store = path.join(format!("store-{n}-{i}"));
                ask(&model, Mode::of(&model), &text(n, Style::Varied, true, &mut random), &store)
            });
            let a = each.fold(Asked::default(), Asked::and);
            println!("{} {n}: {a:?} {:?}", family.name, a.recall.share());
        }
    }
    if std::env::var("KEEP").is_ok() {
        println!("{}", folder.keep().display());
    }
}
