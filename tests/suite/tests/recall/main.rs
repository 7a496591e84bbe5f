//! What is remembered of a text that is out of sight: small models, trained here on one stream with one budget, are asked for facts that
//! none of them has seen. Attention with the text in view is the ceiling; below it states of fast weights, and LoRA.
//!
//! `cargo test --release -p tern-tests --test recall -- --ignored --nocapture` is the campaign, and prints the table of docs/learning.md.

mod asked;
mod facts;
mod models;

use asked::{Asked, ask};
use facts::{Style, text};
use models::{ATTENTION, DELTA, Family, HYBRID, TTT, trained};
use std::path::Path;
use tern::Model;
use tern::learn::{Mode, Random, Recall};

/// Facts that are read before any is asked for, and in how many texts.
const TEXTS: [(usize, usize); 3] = [(1, 32), (4, 12), (16, 6)];

/// Asks about texts of `n` fresh facts.
fn asked(model: &Model, n: usize, texts: usize, style: Style, folder: &Path) -> Asked {
    let mut random = Random::new(7);
    let each = (0..texts).map(|i| {
        let store = folder.join(format!("store-{n}-{i}"));
        ask(model, Mode::of(model), &text(n, style, true, &mut random), &store)
    });
    each.fold(Asked::default(), Asked::and)
}

#[test]
fn a_state_remembers_what_it_read() {
    let folder = tempfile::tempdir().unwrap();
    let model = trained(&DELTA, folder.path(), &[Style::Plain; 10]);
    let found = asked(&model, 4, 8, Style::Plain, folder.path());
    println!("{found:?}");
    let [nothing, _, learned] = found.right.map(|right| right as f64 / found.facts as f64);
    // Whoever knows but what was said, and not of whom, is right once in four times; whoever has read nothing, once in sixteen.
    assert!(learned > 0.6 && nothing < 0.25, "{found:?}");
    assert!(found.recall.share().unwrap() > 0.5 && found.recall.learned < 4f64.ln(), "{found:?}");
}

#[test]
#[ignore = "takes minutes; run it by name"]
fn campaign() {
    let folder = tempfile::tempdir().unwrap();
    let styles = [[Style::Plain; 18].as_slice(), &[Style::Varied; 12]].concat();
    let measure = |family: &Family| {
        let path = folder.path().join(family.name);
        let model = trained(family, &path, &styles);
        TEXTS.map(|(n, texts)| asked(&model, n, texts, Style::Varied, &path))
    };
    let families = [&HYBRID, &ATTENTION, &TTT, &DELTA];
    let measured: Vec<[Asked; TEXTS.len()]> = std::thread::scope(|scope| {
        let running = families.map(|family| scope.spawn(move || measure(family)));
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    println!(
        "| facts read | model, and what it learns by | nothing in view | statement in view | text in view | learned | share |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (i, (n, _)) in TEXTS.into_iter().enumerate() {
        let ceiling = measured[0][i].text;
        for (family, found) in families.iter().zip(&measured) {
            let (a, r) = (&found[i], &found[i].recall);
            let mode = if a.by_state { "its state" } else { "LoRA" };
            let [nothing, in_view, learned] = a.right.map(|right| (100 * right) as f64 / a.facts as f64);
            let share = Recall { ceiling, ..*r }.share().unwrap_or(f64::NAN);
            println!(
                "| {n} | {}, {mode} | {:.2}, {nothing:.0}% | {:.2} | {:.2}, {in_view:.0}% | {:.2}, {learned:.0}% | {:.0}% |",
                family.name,
                r.base,
                r.ceiling,
                a.text,
                r.learned,
                100.0 * share
            );
        }
    }
}
