//! Encoders against Hugging Face transformers: tiny random ones, from their folder and from the GGUF file that Tern makes of it, on
//! the reference and on every CPU tier; and a real one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tern::{BatchOptions, EmbedOptions, Error, ErrorKind, Model, ModelOptions, Pooling, ScoreOptions, SessionOptions};
use tern_formats::{FileSource, gguf};
use tern_tests::{changed, converted, goldens, ids, json, minilm, open, quantized, runtime, tiers};

const NAMES: [&str; 10] = [
    "encoder-bert",
    "encoder-bert-mlm",
    "encoder-roberta",
    "encoder-roberta-mlm",
    "encoder-xlm-roberta",
    "encoder-xlm-roberta-mlm",
    "encoder-nomic",
    "encoder-nomic-names",
    "encoder-modern",
    "encoder-modern-mlm",
];
const POOLINGS: [Pooling; 3] = [Pooling::Mean, Pooling::Cls, Pooling::Last];

struct Golden {
    texts: Vec<String>,
    tokens: Vec<Vec<u32>>,
    json: serde_json::Value,
}

impl Golden {
    fn read(path: PathBuf) -> Self {
        let json = json(path);
        let texts = json["texts"].as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_owned()).collect();
        Self { texts, tokens: json["tokens"].as_array().unwrap().iter().map(ids).collect(), json }
    }

    fn of(name: &str) -> Self {
        Self::read(goldens().join(name).join("golden.json"))
    }

    fn texts(&self) -> Vec<&str> {
        self.texts.iter().map(String::as_str).collect()
    }

    fn vectors(&self, pooling: &str) -> Vec<Vec<f64>> {
        let row = |row: &serde_json::Value| row.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        self.json[pooling].as_array().unwrap().iter().map(row).collect()
    }
}

fn raw(pooling: Pooling) -> EmbedOptions {
    EmbedOptions { pooling: Some(pooling), normalize: Some(false), ..Default::default() }
}

/// Largest difference, relative to the largest number.
fn error(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max) / scale
}

fn cosine(a: &[f32], b: &[f64]) -> f64 {
    let dot: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * b).sum();
    let length = |sum: f64| sum.sqrt();
    dot / length(a.iter().map(|x| f64::from(*x).powi(2)).sum()) / length(b.iter().map(|x| x * x).sum())
}

fn opened(path: &Path, backend: &str, tier: &str, threads: u32) -> Model {
    let options = ModelOptions { backend: Some(backend.into()), tier: tier.into(), threads, ..Default::default() };
    runtime().open(path, options).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn check(golden: &Golden, model: &Model, what: &str) {
    for (text, tokens) in golden.texts.iter().zip(&golden.tokens) {
        assert_eq!(model.encode(text).unwrap(), *tokens, "{what}: {text:?}");
    }
    for pooling in POOLINGS {
        let found = model.embed(&golden.texts(), &raw(pooling)).unwrap();
        for (i, (found, expected)) in found.iter().zip(golden.vectors(pooling.name())).enumerate() {
            let error = error(found, &expected);
            assert!(error <= 1e-4, "{what}, {}, text {i}: {error}", pooling.name());
        }
    }
}

#[test]
fn vectors_and_tokens_equal_those_of_transformers() {
    let folder = tempfile::tempdir().unwrap();
    for name in NAMES {
        let golden = Golden::of(name);
        let file = converted(&goldens().join(name), &folder.path().join(format!("{name}.gguf")));
        for path in [goldens().join(name), file] {
            let what = |on: &str| format!("{} on {on}", path.display());
            for tier in tiers() {
                check(&golden, &opened(&path, "cpu", tier, 2), &what(tier));
            }
            check(&golden, &opened(&path, "reference", "", 0), &what("reference"));
        }
    }
}

#[test]
fn files_say_how_texts_become_vectors() {
    let folder = tempfile::tempdir().unwrap();
    for name in NAMES {
        let golden = Golden::of(name);
        let file = converted(&goldens().join(name), &folder.path().join(format!("{name}.gguf")));
        let scaled = golden.json["scaled"].as_bool().unwrap();
        for path in [goldens().join(name), file] {
            let found = open(&path, "", 1).embed(&golden.texts(), &EmbedOptions::default()).unwrap();
            let expected = golden.vectors(golden.json["pooling"].as_str().unwrap());
            for (found, expected) in found.iter().zip(expected) {
                let length = if scaled { expected.iter().map(|x| x * x).sum::<f64>().sqrt() } else { 1.0 };
                let expected: Vec<f64> = expected.iter().map(|x| x / length).collect();
                assert!(error(found, &expected) <= 1e-4, "{}", path.display());
            }
        }
    }
    let copy = folder.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    changed("encoder-bert", &copy, &serde_json::json!({}));
    let refused = |modules: &str| {
        std::fs::write(copy.join("modules.json"), modules).unwrap();
        runtime().open(&copy, ModelOptions::default()).map(|_| ()).unwrap_err().to_string()
    };
    let dense = refused(r#"[{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]"#);
    assert!(dense.contains("sentence_transformers.models.Dense"), "{dense}");
    for path in ["../elsewhere", "/etc", "..", "a/b", ""] {
        let error = refused(&format!(r#"[{{"type": "models.Pooling", "path": "{path}"}}]"#));
        assert!(error.contains("path in modules.json"), "{error}");
    }
}

#[test]
fn company_threads_and_order_do_not_change_a_bit() {
    let name = &goldens().join("encoder-bert");
    let texts: Vec<Vec<u32>> = (0..150u32).map(|n| (0..=n).map(|i| (i * 7 + n) % 390).collect()).collect();
    let model = open(name, "", 1);
    for pooling in POOLINGS {
        let together = model.embed_tokens(&texts, &raw(pooling)).unwrap();
        assert!(together == open(name, "", 3).embed_tokens(&texts, &raw(pooling)).unwrap(), "threads");
        let turned: Vec<Vec<u32>> = texts.iter().rev().cloned().collect();
        let mut other = model.embed_tokens(&turned, &raw(pooling)).unwrap();
        other.reverse();
        assert!(together == other, "order");
        for (text, vector) in texts.iter().zip(&together).step_by(13) {
            let alone = model.embed_tokens(std::slice::from_ref(text), &raw(pooling)).unwrap();
            assert!(alone[0] == *vector, "{} tokens", text.len());
        }
    }
}

#[test]
fn long_texts_are_refused_or_cut_as_the_caller_says() {
    let model = open(&goldens().join("encoder-bert"), "", 1);
    let long = ["tern ".repeat(400)];
    let texts: Vec<&str> = long.iter().map(String::as_str).collect();
    let error = model.embed(&texts, &EmbedOptions::default()).unwrap_err();
    assert!(matches!(error, Error::ContextFull { capacity: 150, .. }), "{error}");
    let cut = EmbedOptions { truncate: true, ..Default::default() };
    let found = model.embed(&texts, &cut).unwrap();
    // What closes a text stays, as it does where transformers cuts it.
    let mut tokens = model.encode(texts[0]).unwrap();
    let close = *tokens.last().unwrap();
    tokens.truncate(149);
    tokens.push(close);
    assert!(found == model.embed_tokens(&[tokens], &EmbedOptions::default()).unwrap());
    let wide = ModelOptions { context: Some(151), ..Default::default() };
    let error = runtime().open(goldens().join("encoder-bert"), wide).unwrap().embed(&["x"], &cut).unwrap_err();
    assert!(matches!(error, Error::Setting { setting: "context", .. }), "{error}");
}

#[test]
fn an_encoder_neither_writes_nor_scores() {
    let model = open(&goldens().join("encoder-bert"), "", 1);
    assert!(model.info().encoder && !open(&goldens().join("tiny-llama"), "", 1).info().encoder);
    let options = SessionOptions::default();
    let errors = [
        model.session(options).map(|_| ()).unwrap_err(),
        model.reserve(&options, 2).unwrap_err(),
        model.batch(BatchOptions::default()).map(|_| ()).unwrap_err(),
        model.score(&[5, 6, 7], &ScoreOptions::default(), &mut |_, _| {}).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(&error, Error::Encoder { architecture } if architecture == "BertModel"), "{error}");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn other_variants_of_bert_are_refused_by_name() {
    for (setting, value) in [
        ("position_embedding_type", serde_json::json!("relative_key")),
        ("hidden_act", serde_json::json!("relu")),
        ("is_decoder", serde_json::json!(true)),
        ("num_attention_heads", serde_json::json!(7)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        changed("encoder-bert", folder.path(), &serde_json::json!({ setting: value }));
        let error = runtime().open(folder.path(), ModelOptions::default()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(setting) || error.contains("attention.head_count"), "{error}");
    }
}

#[test]
fn files_have_the_keys_that_llama_cpp_wants() {
    let folder = tempfile::tempdir().unwrap();
    let file = converted(&goldens().join("encoder-bert"), &folder.path().join("m.gguf"));
    let file = gguf::open(Arc::new(FileSource::open(&file).unwrap())).unwrap();
    let m = &file.metadata;
    assert_eq!(m.require_str("general.architecture").unwrap(), "bert");
    assert_eq!(m.require_str("tokenizer.ggml.model").unwrap(), "bert");
    for (key, value) in [
        ("bert.block_count", 3),
        ("bert.context_length", 150),
        ("bert.embedding_length", 45),
        ("bert.feed_forward_length", 70),
        ("bert.attention.head_count", 3),
        ("bert.pooling_type", 1),
        ("tokenizer.ggml.token_type_count", 3),
    ] {
        assert_eq!(m.u64(key).unwrap(), Some(value), "{key}");
    }
    assert_eq!(m.bool("bert.attention.causal").unwrap(), Some(false));
    assert!((m.f64("bert.attention.layer_norm_epsilon").unwrap().unwrap() - 1e-5).abs() < 1e-9);
    for name in ["token_types.weight", "position_embd.weight", "token_embd_norm.bias", "blk.2.layer_output_norm.weight"]
    {
        assert!(file.checkpoint.get(name).is_some(), "{name}");
    }
}

#[test]
fn a_real_encoder_gives_the_vectors_of_transformers() {
    let golden = Golden::read(goldens().join("encoder-minilm.json"));
    let folder = tempfile::tempdir().unwrap();
    let file = converted(&minilm(), &folder.path().join("minilm.gguf"));
    let types = [("F16", 0.999_99), ("Q8_0", 0.999)];
    let others = types.map(|(name, least)| (quantized(&file, &folder.path().join(name), name), least));
    let files = [(minilm(), 0.999_999_9), (file, 0.999_999_9)].into_iter().chain(others);
    for (path, least) in files {
        let model = open(&path, "", 2);
        for (text, tokens) in golden.texts.iter().zip(&golden.tokens) {
            assert_eq!(model.encode(text).unwrap(), *tokens, "{}: {text:?}", path.display());
        }
        let found = model.embed(&golden.texts(), &EmbedOptions::default()).unwrap();
        let vectors = golden.vectors("mean");
        let worst = found.iter().zip(&vectors).map(|(a, b)| cosine(a, b)).fold(1.0, f64::min);
        println!("{}: smallest cosine {worst}", path.display());
        assert!(worst >= least, "{}: {worst}", path.display());
        // The texts about terns are nearer to each other than to the one about bread, in any language.
        let near = |a: usize, b: usize| found[a].iter().zip(&found[b]).map(|(a, b)| a * b).sum::<f32>();
        assert!(near(0, 1) > 0.5 && near(2, 3) > 0.4 && near(0, 2) < 0.2, "{}", path.display());
    }
}

#[test]
fn what_is_kept_for_the_next_texts_is_given_back_on_demand() {
    let model = open(&goldens().join("encoder-bert"), "", 1);
    let before = model.memory().used;
    let embed = || model.embed(&["a tern"], &EmbedOptions::default()).unwrap();
    let vector = embed();
    let kept = model.memory().used;
    assert!(kept > before);
    embed();
    assert_eq!(model.memory().used, kept);
    model.trim().unwrap();
    assert_eq!(model.memory().used, before);
    assert_eq!(embed(), vector);
}

/// A measurement, for `cargo test --release -p tern-tests --test encoders -- --ignored --nocapture texts_per_second`: of the lines of
/// the file in TERN_TEXTS, all in one call and one in each call, by the real encoder on TERN_THREADS threads.
#[test]
#[ignore = "a measurement"]
fn texts_per_second() {
    let text = std::fs::read_to_string(std::env::var("TERN_TEXTS").unwrap()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let threads = std::env::var("TERN_THREADS").map_or(2, |n| n.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = converted(&minilm(), &folder.path().join("minilm.gguf"));
    let others = ["F16", "Q8_0"].map(|name| quantized(&file, &folder.path().join(name), name));
    for path in [minilm()].into_iter().chain(others) {
        let model = open(&path, "", threads);
        let per_second = |run: &dyn Fn()| {
            run();
            let start = std::time::Instant::now();
            run();
            lines.len() as f64 / start.elapsed().as_secs_f64()
        };
        let embed = |texts: &[&str]| drop(model.embed(texts, &EmbedOptions::default()).unwrap());
        let together = per_second(&|| embed(&lines));
        let alone = per_second(&|| lines.iter().for_each(|line| embed(&[line])));
        println!("{}: {together:.0} texts a second in one call, {alone:.0} one by one", path.display());
    }
}
