//! Learning from the command line: a transaction that commits, is used, exported and undone, on the real model. The program is the
//! one beside this test, which `cargo build --release` makes.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tern_tests::{goldens, smollm2};

/// The program, from the folder above that of the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("tern").with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{} is missing: build tern-cli with the profile of this test first", path.display());
    path
}

struct Tern {
    store: tempfile::TempDir,
}

impl Tern {
    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(program()).args(arguments).env("TERN_STORE", self.store.path().join("store")).output().unwrap()
    }

    /// The JSON that it prints, and its exit code.
    fn json(&self, arguments: &[&str]) -> (Value, i32) {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{arguments:?}: {e}\n{errors}"));
        (value, output.status.code().unwrap())
    }

    /// What it says on the error stream, and its exit code.
    fn error(&self, arguments: &[&str]) -> (String, i32) {
        let output = self.run(arguments);
        (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code().unwrap())
    }

    fn path(&self, name: &str) -> String {
        text(&self.store.path().join(name))
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Forty pages of a manual that no model knows.
fn pages() -> String {
    text(&goldens().join("learn/pages.jsonl"))
}

#[test]
fn what_helps_is_committed_used_and_undone_without_a_trace() {
    let tern = Tern { store: tempfile::tempdir().unwrap() };
    let model = text(&smollm2());
    let (report, pages) = (tern.path("report.html"), pages());
    let learn = ["--steps", "10", "--batch", "2", "--context", "128", "--lr", "2e-3", "--report", &report, "--json"];
    let flags = [&["adapt", &model, "--data", &pages, "--name", "manual"], &learn[..]].concat();
    let (outcome, exit) = tern.json(&flags);
    assert_eq!((outcome["verdict"].as_str(), exit), (Some("commit"), 0), "{outcome}");
    assert!(outcome["gain"]["low"].as_f64().unwrap() > 0.0, "{outcome}");
    for bound in ["anchor_rise", "divergence", "norm"] {
        let [found, most] = ["harm", "bounds"].map(|part| outcome[part][bound].as_f64().unwrap());
        assert!(found <= most, "{bound}: {found} of {most}");
    }
    assert!(std::fs::read_to_string(&report).unwrap().contains("manual"));
    assert_eq!(tern.json(&["delta", "list", "--json"]).0[0]["generation"], 1);
    // Learned already: nothing is counted twice.
    let again = tern.json(&flags);
    assert_eq!((again.0["verdict"].as_str(), again.1), (Some("nothing"), 1), "{}", again.0);

    let prompt = tern.path("page.md");
    let first: Value = serde_json::from_str(std::fs::read_to_string(&pages).unwrap().lines().next().unwrap()).unwrap();
    std::fs::write(&prompt, first["text"].as_str().unwrap()).unwrap();
    let score = |delta: &[&str]| {
        let (score, exit) = tern.json(&[&["score", &model, "--file", &prompt, "--json"], delta].concat());
        assert_eq!(exit, 0);
        (score["logprobs"].clone(), score["nats"].as_f64().unwrap())
    };
    let (plain, before) = score(&[]);
    let (learned, after) = score(&["--delta", "manual"]);
    assert!(after < before, "{before} -> {after}");
    assert_ne!(learned, plain);
    assert_eq!(score(&["--delta", "manual:0"]).0, plain);
    let half = score(&["--delta", "manual:0.5"]).0;
    assert!(half != plain && half != learned);
    let file = tern.path("manual.gguf");
    assert_eq!(tern.error(&["delta", "export", "manual", "-o", &file]).1, 0);
    assert_eq!(score(&["--adapter", &file]).0, learned);
    let run = |flags: &[&str]| tern.json(&[&["run", &model, "-p", "# kestrel", "-n", "8", "--json"], flags].concat()).0;
    assert_ne!(run(&["--delta", "manual"])["logprobs"], run(&[])["logprobs"]);

    let another = text(&goldens().join("tiny-bias/model.gguf"));
    let (error, exit) = tern.error(&["run", &another, "-p", "x", "--delta", "manual"]);
    assert_eq!(exit, 3);
    let fingerprints = error.split(|c: char| !c.is_ascii_hexdigit()).filter(|word| word.len() == 64).count();
    let advice = format!("tern delta rebuild manual --base {another}");
    assert!(fingerprints == 2 && error.replace('\n', " ").contains(&advice), "{error}");
    let (error, exit) = tern.error(&["run", &model, "-p", "x", "--delta", "manuel"]);
    assert!(exit == 3 && error.contains("it has manual"), "{error}");

    let (undone, exit) = tern.json(&["delta", "undo", "manual", "--json"]);
    assert_eq!((&undone["generation"], exit), (&Value::from(0), 0));
    assert_eq!(score(&["--delta", "manual"]).0, plain);
    let (error, exit) = tern.error(&["delta", "undo", "manual"]);
    assert!(exit == 3 && error.contains("nothing to undo"), "{error}");
    let (shown, _) = tern.json(&["delta", "show", "manual", "--json"]);
    let events: Vec<&str> = shown["log"].as_array().unwrap().iter().filter_map(|l| l["event"].as_str()).collect();
    assert_eq!(events, ["commit", "undo"]);
}

#[test]
fn what_strangers_wrote_is_refused_with_the_bound() {
    let tern = Tern { store: tempfile::tempdir().unwrap() };
    let (model, pages) = (text(&smollm2()), pages());
    let flags = ["adapt", &model, "--data", &pages, "--name", "web", "--origin", "web", "--json"];
    let (outcome, exit) = tern.json(&flags);
    assert_eq!((&outcome["verdict"]["refused"]["bound"], exit), (&Value::from("origin"), 1), "{outcome}");
    assert_eq!(outcome["generation"], 0);
}
