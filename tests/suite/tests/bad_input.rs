//! Bad input ends in one line that says what is wrong and what to do; nothing panics, nothing large is allocated.

use std::path::PathBuf;
use std::sync::Arc;
use tern::{Chat, Error, ErrorKind, GenerateOptions, Message, Model, ModelOptions, SessionOptions};
use tern_formats::gguf::{self, Array, Value};
use tern_formats::{DType, FileSource};
use tern_tests::{goldens, open, runtime};

fn tiny() -> PathBuf {
    goldens().join("tiny-untied/model.gguf")
}

fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("tern-bad-input-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn refused(path: &PathBuf) -> Error {
    let options = ModelOptions { backend: Some("cpu".into()), ..Default::default() };
    match runtime().open(path, options) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

fn says(path: PathBuf, words: &[&str]) {
    let text = refused(&path).to_string();
    assert!(!text.contains('\n') && text.len() < 600, "{text}");
    for word in words {
        assert!(text.contains(word), "{:?} does not say {word:?}: {text}", path.file_name());
    }
}

/// The tiny model with a changed key, and with its tensors through `tensor`; `None` leaves one out.
fn rewritten(
    name: &str,
    changed: Option<(&str, Value<'_>)>,
    tensor: impl Fn(&str, &[u64]) -> Option<(String, Vec<u64>)>,
) -> PathBuf {
    let file_in = gguf::open(Arc::new(FileSource::open(tiny()).unwrap())).unwrap();
    let mut writer = gguf::Writer::new(name);
    for (k, v) in file_in.metadata.entries() {
        writer.key(k, changed.clone().filter(|c| c.0 == k).map_or(v, |c| c.1)).unwrap();
    }
    let mut bytes = Vec::new();
    for t in file_in.checkpoint.tensors() {
        if let Some((name, shape)) = tensor(&t.name, &t.shape) {
            let n: u64 = shape.iter().product();
            writer.tensor(name, DType::F32, shape).unwrap();
            bytes.push(vec![0; n as usize * 4]);
        }
    }
    let mut body = writer.begin(Vec::new()).unwrap();
    for b in &bytes {
        body.write(b).unwrap();
    }
    file(name, &body.finish().unwrap())
}

fn same_tensor(name: &str, shape: &[u64]) -> Option<(String, Vec<u64>)> {
    Some((name.to_owned(), shape.to_vec()))
}

fn with_template(name: &str, template: &str) -> Model {
    let path = rewritten(name, None, same_tensor);
    let file_in = gguf::open(Arc::new(FileSource::open(&path).unwrap())).unwrap();
    let mut writer = gguf::Writer::new(name);
    for (k, v) in file_in.metadata.entries().filter(|(k, _)| *k != "tokenizer.chat_template") {
        writer.key(k, v).unwrap();
    }
    writer.key("tokenizer.chat_template", Value::from(template)).unwrap();
    for t in file_in.checkpoint.tensors() {
        writer.tensor(t.name.clone(), t.dtype, t.shape.clone()).unwrap();
    }
    let mut body = writer.begin(Vec::new()).unwrap();
    for t in file_in.checkpoint.tensors() {
        body.write(&file_in.checkpoint.read(t).unwrap()).unwrap();
    }
    open(&file(name, &body.finish().unwrap()), "", 1)
}

#[test]
fn files_that_are_no_models() {
    says(file("text.gguf", b"Dear reader, this is a letter and not a model."), &["text file", ".gguf"]);
    says(file("empty.gguf", b""), &["empty"]);
    says(file("short.gguf", b"GGUF"), &["short.gguf"]);
    says(PathBuf::from("/nowhere/at/all.gguf"), &["/nowhere/at/all.gguf"]);
    says(file("archive.gguf", b"PK\x03\x04 and more of it"), &["zip"]);
    assert_eq!(refused(&PathBuf::from("/nowhere/at/all.gguf")).kind(), ErrorKind::Io);
}

#[test]
fn truncated_and_lying_files() {
    let whole = std::fs::read(tiny()).unwrap();
    for cut in [9, 24, 100, 2000, whole.len() / 2, whole.len() - 1] {
        says(file(&format!("cut-{cut}.gguf"), &whole[..cut]), &[]);
    }
    let mut lying = whole;
    lying[8..16].copy_from_slice(&(1u64 << 60).to_le_bytes());
    says(file("many.gguf", &lying), &["tensors"]);
}

#[test]
fn models_that_do_not_fit_their_hyper_parameters() {
    let wide = |name: &str, shape: &[u64]| match name {
        "blk.1.ffn_up.weight" => Some((name.to_owned(), vec![shape[0] + 1, shape[1]])),
        _ => same_tensor(name, shape),
    };
    says(rewritten("shape.gguf", None, wide), &["blk.1.ffn_up.weight", "shape"]);
    let without =
        |name: &str, shape: &[u64]| if name == "output_norm.weight" { None } else { same_tensor(name, shape) };
    says(rewritten("missing.gguf", None, without), &["output_norm.weight", "missing"]);
    let renamed = |name: &str, shape: &[u64]| match name {
        "output_norm.weight" => Some(("other.weight".to_owned(), shape.to_vec())),
        _ => same_tensor(name, shape),
    };
    says(rewritten("renamed.gguf", None, renamed), &["weight"]);
    let named = rewritten("arch.gguf", Some(("general.architecture", Value::String("moonshine".into()))), same_tensor);
    says(named.clone(), &["moonshine", "llama"]);
    assert_eq!(refused(&named).kind(), ErrorKind::Unsupported);
    says(
        rewritten("heads.gguf", Some(("llama.attention.head_count", Value::U32(0))), same_tensor),
        &["head_count", "0"],
    );
    says(
        rewritten("blocks.gguf", Some(("llama.block_count", Value::U32(4_000_000_000))), same_tensor),
        &["block_count"],
    );
    says(
        rewritten("type.gguf", Some(("llama.embedding_length", Value::String("48".into()))), same_tensor),
        &["embedding_length"],
    );
    let few = Value::from(Array::F32(vec![0.0; 3].into()));
    says(rewritten("types.gguf", Some(("tokenizer.ggml.token_type", few)), same_tensor), &["token_type"]);
}

#[test]
fn templates_that_never_end_or_fill_memory() {
    let hostile = [
        ("loop", "{% for a in range(100000) %}{% for b in range(100000) %}{{ a * b }}{% endfor %}{% endfor %}"),
        (
            "double",
            "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        ),
        ("product", "{{ 'a' * 100000000000 }}"),
        ("recursion", "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}"),
    ];
    for (name, template) in hostile {
        let model = with_template(&format!("template-{name}.gguf"), template);
        let started = std::time::Instant::now();
        let error = model.encode_chat(&[Message::new("user", "Hello")], true).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        assert!(started.elapsed().as_secs() < 20, "{name} took {:?}", started.elapsed());
    }
}

#[test]
fn settings_and_calls_that_make_no_sense() {
    let capped = ModelOptions { backend: Some("cpu".into()), max_bytes: Some(256 << 20), ..Default::default() };
    let model = runtime().open(tiny(), capped).unwrap();
    let error = model.session(SessionOptions { context: Some(1 << 22), ..Default::default() }).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Memory);
    assert!(error.to_string().contains("would fit"), "{error}");
    let session = model.session(SessionOptions { context: Some(16), ..Default::default() }).unwrap();
    assert!(matches!(session.generate(&[], GenerateOptions::default()), Err(Error::Empty)));
    assert!(matches!(session.forward(&[1 << 20]), Err(Error::Token { .. })));
    assert!(matches!(session.forward(&[1; 17]), Err(Error::ContextFull { .. })));
    assert!(session.tokens().is_empty());
    let sampling = tern::Sampling { temperature: f32::NAN, ..Default::default() };
    assert!(matches!(
        session.generate(&[1], GenerateOptions { sampling, ..Default::default() }),
        Err(Error::Setting { .. })
    ));
    assert!(matches!(Chat::new(&model, session, None), Err(Error::NoTemplate)));
}

#[test]
fn a_generation_ends_at_the_context_and_when_cancelled() {
    let model = open(&tiny(), "", 2);
    let session = model.session(SessionOptions { context: Some(16), ..Default::default() }).unwrap();
    let options = GenerateOptions { ignore_end: true, ..Default::default() };
    let last = session.generate(&[1, 2, 3], options.clone()).unwrap().last().unwrap().unwrap();
    let tern::Event::Done(finish) = last else { panic!("no end") };
    assert_eq!((finish.reason.as_str(), finish.timings.generated_tokens), ("context", 13));
    session.reset().unwrap();
    let mut generation = session.generate(&[1, 2, 3], options).unwrap();
    generation.next().unwrap().unwrap();
    session.cancel_flag().cancel();
    let Some(Ok(tern::Event::Done(finish))) = generation.next() else { panic!("not cancelled") };
    assert_eq!(finish.reason.as_str(), "cancelled");
    assert!(generation.next().is_none());
}
