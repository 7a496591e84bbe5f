//! Tiny random models made by transformers: from safetensors, from GGUF, and from the GGUF that Tern makes of the folder, on the
//! reference and on every CPU tier.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use tern::{GenerateOptions, KvType, Model, ModelOptions, SessionOptions};
use tern_formats::{FileSource, gguf};
use tern_tests::{converted, goldens, ids, json, runtime, tiers};

struct Golden {
    name: String,
    /// The folder, the GGUF file beside it, and the file made of the folder.
    files: Vec<PathBuf>,
    json: serde_json::Value,
    logits: Vec<f32>,
    quantized: bool,
    /// Experts whose choice may turn with a rounding, so that what a single position gives says little.
    routed: bool,
}

impl Golden {
    fn read(folder: PathBuf, name: String, made: &Path) -> Self {
        let exists = |file: &str| Some(folder.join(file)).filter(|p| p.exists());
        let bytes = std::fs::read(folder.join("logits.bin")).unwrap();
        let logits = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let mut files: Vec<PathBuf> = exists("model.gguf").into_iter().collect();
        if exists("config.json").is_some() {
            files.push(converted(&folder, &made.join(format!("{name}.gguf"))));
            files.push(folder.clone());
        }
        let quantized = name.contains("-q4") || name.contains("-mxfp4");
        let routed = name.contains("-mxfp4");
        Self { json: json(folder.join("golden.json")), quantized, routed, name, files, logits }
    }

    fn open(&self, path: &Path, backend: &str, tier: &str) -> Model {
        let options = ModelOptions {
            backend: Some(backend.into()),
            tier: tier.into(),
            // Results do not depend on it, and the models are too small for more.
            threads: 1,
            context: Some(self.length()),
            ..Default::default()
        };
        runtime().open(path, options).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// Length of the texts that the golden is right for.
    fn length(&self) -> u64 {
        self.json["length"].as_u64().unwrap_or(128)
    }

    fn session(&self, model: &Model, kv: KvType) -> tern::Session {
        model.session(SessionOptions { kv, ..Default::default() }).unwrap()
    }
}

/// Where converted files lie.
fn made() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

static ALL: LazyLock<Vec<Golden>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(goldens()).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("tiny-") {
            all.push(Golden::read(folder, name, &made()));
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(all.len() >= 6, "goldens are missing");
    all
});

/// Those of `TERN_GOLDENS`, a part of their names, where it is set.
fn all() -> impl Iterator<Item = &'static Golden> {
    let part = std::env::var("TERN_GOLDENS").unwrap_or_default();
    ALL.iter().filter(move |g| g.name.contains(&part))
}

/// Largest difference, relative to the largest logit.
fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    found.iter().zip(expected).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale
}

/// The same row by row; a tenth of the rows may be further away.
fn most_rows_error(found: &[f32], expected: &[f32], width: usize) -> f32 {
    let rows = found.chunks_exact(width).zip(expected.chunks_exact(width));
    let mut errors: Vec<f32> = rows.map(|(a, b)| error(a, b)).collect();
    errors.sort_by(f32::total_cmp);
    errors[errors.len() * 9 / 10]
}

fn check(golden: &Golden, path: &Path, (backend, tier): (&str, &str)) {
    let (model, exact) = (&golden.open(path, backend, tier), backend == "reference");
    let tokens = ids(&golden.json["tokens"]);
    let what = format!("{} from {} on {backend} {tier}", golden.name, path.display());
    // A quantized golden was computed with exact arithmetic; a kernel may quantize activations to 8 bits.
    let limit = if golden.quantized && !exact { 0.05 } else { 1e-4 };
    let one_by_one = |kv| {
        let session = golden.session(model, kv);
        tokens.iter().flat_map(|&t| session.forward(&[t]).unwrap()).collect::<Vec<f32>>()
    };
    let distance = |logits: &[f32]| match golden.routed && !exact {
        true => most_rows_error(logits, &golden.logits, logits.len() / tokens.len()),
        false => error(logits, &golden.logits),
    };
    let stepwise = one_by_one(KvType::F32);
    let found = distance(&stepwise);
    println!("{what}: {found:.1e}");
    assert!(found <= limit, "{what}: {found}");
    let half = distance(&one_by_one(KvType::F16));
    // Where the model itself rounds activations, half precision moves some of them by a whole step.
    let coarse = if golden.json["rounds"].as_bool() == Some(true) { 0.1 } else { 4e-3 };
    assert!(half <= limit.max(coarse), "{what}, half-precision cache: {half}");
    let last = golden.session(model, KvType::F32).forward(&tokens).unwrap();
    let at_once = error(&last, &stepwise[stepwise.len() - last.len()..]);
    assert!(at_once <= 1e-5, "{what}, all tokens at once: {at_once}");
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
                check(golden, path, ("cpu", tier));
            }
            check(golden, path, ("reference", ""));
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
            let model = golden.open(path, "cpu", "");
            let session = golden.session(&model, KvType::default());
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

#[test]
fn every_architecture_has_goldens() {
    // Those that encoders.rs looks at, too.
    let encoders = std::fs::read_dir(goldens()).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    let encoders: Vec<String> = encoders.filter(|name| name.starts_with("encoder-") && !name.contains('.')).collect();
    for name in &encoders {
        converted(&goldens().join(name), &made().join(format!("{name}.gguf")));
    }
    let folders: Vec<(String, String)> = ALL
        .iter()
        .map(|g| &g.name)
        .chain(&encoders)
        .filter_map(|name| {
            let config = Some(goldens().join(name).join("config.json")).filter(|p| p.exists()).map(json)?;
            let made = FileSource::open(made().join(format!("{name}.gguf"))).unwrap();
            let made = gguf::open(Arc::new(made)).unwrap();
            let name = made.metadata.require_str(gguf::ARCHITECTURE_KEY).unwrap();
            Some((config["architectures"][0].as_str()?.to_owned(), name.to_owned()))
        })
        .collect();
    for architecture in tern::models::ARCHITECTURES {
        for class in architecture.hf {
            assert!(folders.iter().any(|f| f.0 == *class), "no golden of {class}");
        }
        let name = architecture.gguf[0];
        assert!(folders.iter().any(|f| f.1 == name), "no golden of {name}");
    }
}
