//! The promises on every family: windows, rotations and norms that differ from layer to layer change none of them.

use serde_json::json as object;
use std::path::Path;
use tern::{Model, ModelOptions, Session, SessionOptions};
use tern_tests::{changed, goldens, json, runtime};

/// Positions: several pages, and several windows.
const LONGEST: u64 = 200;

struct Family {
    name: String,
    path: std::path::PathBuf,
    context: u64,
}

fn families() -> Vec<Family> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(goldens()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("tiny-") && path.join("config.json").exists() {
            let config = json(path.join("config.json"));
            let learned = config["n_positions"].as_u64().unwrap_or(LONGEST);
            all.push(Family { name, context: learned.min(LONGEST), path });
        }
    }
    assert!(all.len() > 10);
    all
}

fn options(family: &Family, threads: u32) -> ModelOptions {
    ModelOptions { backend: Some("cpu".into()), threads, context: Some(family.context), ..Default::default() }
}

fn open(family: &Family, threads: u32) -> Model {
    runtime().open(&family.path, options(family, threads)).unwrap_or_else(|e| panic!("{}: {e}", family.name))
}

fn session(model: &Model, chunk: u64, isolated: bool) -> Session {
    model.session(SessionOptions { chunk: Some(chunk), isolated, ..Default::default() }).unwrap()
}

/// Pseudo-random tokens, all but the last `left` of a full context.
fn text(family: &Family, left: u64) -> Vec<u32> {
    (0..(family.context - left) as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) % 290).collect()
}

/// Logits after the prompt and after each of five more tokens, as bits.
fn walk(session: &Session, prompt: &[u32]) -> Vec<Vec<u32>> {
    let mut logits = vec![session.forward(prompt).unwrap()];
    for t in [7, 99, 280, 3, 42] {
        logits.push(session.forward(&[t]).unwrap());
    }
    logits.iter().map(|row| row.iter().map(|l| l.to_bits()).collect()).collect()
}

#[test]
fn threads_chunks_prefixes_and_rollbacks_do_not_change_a_bit() {
    for family in families() {
        let (model, prompt) = (open(&family, 1), text(&family, 10));
        let expected = walk(&session(&model, 64, true), &prompt);
        assert!(walk(&session(&open(&family, 3), 64, true), &prompt) == expected, "{}: threads", family.name);
        for chunk in [1, 7] {
            assert!(walk(&session(&model, chunk, true), &prompt) == expected, "{}: chunks of {chunk}", family.name);
        }
        // The second takes over what the first one computed.
        for round in ["first", "second"] {
            let shared = session(&model, 64, false);
            assert!(walk(&shared, &prompt) == expected, "{}: the {round} with that beginning", family.name);
            let fork = shared.fork().unwrap();
            fork.rollback(8).unwrap();
            assert!(walk(&fork, &prompt[prompt.len() - 3..]) == expected, "{}: a fork rolled back", family.name);
        }
    }
}

#[test]
fn the_forecast_holds_whatever_the_windows() {
    for family in families() {
        let (model, options) = (open(&family, 1), options(&family, 1));
        let asked = SessionOptions { context: Some(family.context), chunk: Some(16), ..Default::default() };
        let plan = runtime().plan(&family.path as &Path, &options, &asked, 1).unwrap();
        let session = model.session(asked).unwrap();
        session.forward(&text(&family, 0)).unwrap();
        let most = plan.total_bytes.max(plan.loading_bytes);
        assert!(model.memory().peak <= most, "{}: {} of {most}", family.name, model.memory().peak);
    }
}

#[test]
fn configurations_of_transformers_5_mean_the_same() {
    let (sliding, full) = ("sliding_attention", "full_attention");
    let local = object!({"rope_theta": 10000.0, "rope_type": "default"});
    let cases = [
        (
            "tiny-gemma3",
            object!({
                "rope_theta": null, "rope_scaling": null, "rope_local_base_freq": null, "sliding_window_pattern": null,
                "layer_types": [sliding, sliding, sliding, sliding, sliding, full, sliding],
                "rope_parameters": {
                    full: {"factor": 8.0, "rope_theta": 1000000.0, "rope_type": "linear"},
                    sliding: local
                }
            }),
        ),
        (
            "tiny-gemma2",
            object!({"rope_theta": null, "layer_types": [sliding, full, sliding], "rope_parameters": local}),
        ),
        (
            "tiny-qwen2-yarn",
            object!({
                "rope_theta": null, "rope_scaling": null, "layer_types": [full, full],
                "rope_parameters": {
                    "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 1000.0, "rope_type": "yarn"
                }
            }),
        ),
        (
            "tiny-phi4",
            object!({
                "rope_theta": null, "rope_scaling": null, "partial_rotary_factor": null,
                "original_max_position_embeddings": null,
                "rope_parameters": {
                    "long_factor": [1.0, 1.5, 2.5, 4.0, 6.0, 9.0], "short_factor": [1.0, 1.1, 1.3, 1.6, 1.9, 2.5],
                    "original_max_position_embeddings": 32, "partial_rotary_factor": 0.75, "rope_theta": 10000.0,
                    "rope_type": "longrope", "type": "longrope"
                }
            }),
        ),
    ];
    for (name, settings) in cases {
        let folder = tempfile::tempdir().unwrap();
        changed(name, folder.path(), &settings);
        let family = |path: &Path| Family { name: name.to_owned(), path: path.to_owned(), context: 100 };
        let (old, new) = (family(&goldens().join(name)), family(folder.path()));
        let logits = |f: &Family| walk(&session(&open(f, 1), 64, true), &text(f, 10));
        assert!(logits(&old) == logits(&new), "{name}");
    }
}
