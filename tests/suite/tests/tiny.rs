//! Tiny random models made by transformers: from safetensors and from GGUF, on the reference and on every CPU tier.

use std::path::{Path, PathBuf};
use tern::{GenerateOptions, KvType, Model, ModelOptions, SessionOptions};
use tern_tests::{goldens, ids, json, open, runtime, tiers};

struct Golden {
    name: String,
    files: Vec<PathBuf>,
    json: serde_json::Value,
    logits: Vec<f32>,
    quantized: bool,
}

fn all() -> Vec<Golden> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(goldens()).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("tiny-") {
            continue;
        }
        let exists = |file: &str| Some(folder.join(file)).filter(|p| p.exists());
        let hf = exists("config.json").map(|_| folder.clone());
        let bytes = std::fs::read(folder.join("logits.bin")).unwrap();
        let logits = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let files: Vec<PathBuf> = hf.into_iter().chain(exists("model.gguf")).collect();
        all.push(Golden {
            json: json(folder.join("golden.json")),
            quantized: name.contains("-q"),
            name,
            files,
            logits,
        });
    }
    assert!(all.len() >= 6, "goldens are missing");
    all
}

fn logits(model: &Model, tokens: &[u32], kv: KvType) -> Vec<f32> {
    let session = model.session(SessionOptions { kv, context: Some(128), ..Default::default() }).unwrap();
    tokens.iter().flat_map(|&t| session.forward(&[t]).unwrap()).collect()
}

/// Largest difference, relative to the largest logit.
fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    found.iter().zip(expected).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale
}

fn check(golden: &Golden, path: &Path, model: &Model, exact: bool) {
    let tokens = ids(&golden.json["tokens"]);
    let what = format!("{} from {} on {}", golden.name, path.display(), model.info().tier);
    // A quantized golden was computed with exact arithmetic; a kernel may quantize activations to 8 bits.
    let limit = if golden.quantized && !exact { 0.05 } else { 1e-4 };
    let found = error(&logits(model, &tokens, KvType::F32), &golden.logits);
    assert!(found <= limit, "{what}: {found}");
    let half = error(&logits(model, &tokens, KvType::F16), &golden.logits);
    assert!(half <= limit.max(4e-3), "{what}, half-precision cache: {half}");
    if let Some(prompt) = golden.json["prompt"].as_str() {
        assert_eq!(model.encode(prompt).unwrap(), tokens, "{what}");
    }
    for text in golden.json["texts"].as_array().into_iter().flatten() {
        let Some(plain) = text["text"].as_str() else { continue };
        assert_eq!(model.encode(plain).unwrap(), ids(&text["tokens"]), "{what}: {plain:?}");
    }
}

#[test]
fn logits_and_tokens_equal_those_of_transformers() {
    let tiers = tiers();
    for golden in all() {
        for path in &golden.files {
            for tier in &tiers {
                check(&golden, path, &open(path, tier, 2), false);
            }
            let options = ModelOptions { backend: Some("reference".into()), ..Default::default() };
            let model = runtime().open(path, options).unwrap();
            check(&golden, path, &model, true);
        }
    }
}

#[test]
fn greedy_text_equals_that_of_transformers() {
    for golden in all() {
        let Some(expected) = golden.json["greedy"].as_array() else { continue };
        let expected = ids(&serde_json::Value::Array(expected.clone()));
        let gaps: Vec<f64> = golden.json["gaps"].as_array().unwrap().iter().map(|g| g.as_f64().unwrap()).collect();
        for path in golden.files.iter().filter(|_| !golden.quantized) {
            let model = open(path, "", 2);
            let session = model.session(SessionOptions { context: Some(128), ..Default::default() }).unwrap();
            let options = GenerateOptions { max_tokens: expected.len(), ignore_end: true, ..Default::default() };
            let events = session.generate(&ids(&golden.json["tokens"]), options).unwrap();
            let found: Vec<u32> = events
                .filter_map(|e| match e.unwrap() {
                    tern::Event::Token(t) => Some(t.id),
                    tern::Event::Done(_) => None,
                })
                .collect();
            let same = found.iter().zip(&expected).take_while(|(a, b)| a == b).count();
            let near_tie = gaps.get(same).is_some_and(|g| *g < 0.02);
            assert!(
                same == expected.len() || near_tie,
                "{} from {}: {found:?} {expected:?}",
                golden.name,
                path.display()
            );
        }
    }
}
