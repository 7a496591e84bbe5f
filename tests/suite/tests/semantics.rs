//! What a model says about itself must hold together (LOADER's S1 to S6): each rule with at least two files that break it.

use std::path::PathBuf;
use std::sync::Arc;
use tern::{Error, ModelOptions};
use tern_formats::gguf::{self, Array, Gguf, StringArray, Value, Writer};
use tern_formats::{BytesSource, DType, FileSource, Problem};
use tern_tests::{goldens, runtime};

fn tiny() -> Gguf {
    let path: PathBuf = goldens().join("tiny-untied/model.gguf");
    gguf::open(Arc::new(FileSource::open(path).unwrap())).unwrap()
}

/// The tiny model with `changes` to its keys (`None` takes one out, new ones are added), and its tensors through `tensors`.
fn model(changes: &[(&str, Option<Value>)], tensors: impl Fn(&str, &[u64]) -> Option<Vec<u64>>) -> Vec<u8> {
    let file = tiny();
    let mut w = Writer::new("model");
    let mut changes = changes.to_vec();
    for (key, value) in file.metadata.entries() {
        let changed = changes.iter().position(|c| c.0 == key).map(|i| changes.remove(i).1);
        if let Some(value) = changed.unwrap_or(Some(value)) {
            w.key(key, value).unwrap();
        }
    }
    for (key, value) in changes {
        if let Some(value) = value {
            w.key(key, value).unwrap();
        }
    }
    let mut bytes = 0;
    for t in file.checkpoint.tensors() {
        if let Some(shape) = tensors(&t.name, &t.shape) {
            bytes += 4 * shape.iter().product::<u64>().next_multiple_of(8);
            w.tensor(t.name.clone(), DType::F32, shape).unwrap();
        }
    }
    let mut body = w.begin(Vec::new()).unwrap();
    let exact: u64 = body.tensors().iter().map(|t| t.bytes).sum();
    assert!(exact <= bytes);
    body.write(&vec![0; exact as usize]).unwrap();
    body.finish().unwrap()
}

fn open(bytes: Vec<u8>) -> Result<(), Error> {
    let options = ModelOptions { backend: Some("cpu".into()), tier: "scalar".into(), threads: 1, ..Default::default() };
    runtime().open_source(Arc::new(BytesSource::new("model", bytes)), options).map(drop)
}

fn keys(changes: &[(&str, Value)]) -> Result<(), Error> {
    let changes: Vec<_> = changes.iter().map(|(k, v)| (*k, Some(v.clone()))).collect();
    open(model(&changes, |_, shape| Some(shape.to_vec())))
}

fn key(key: &str, value: Value) -> Result<(), Error> {
    keys(&[(key, value)])
}

/// A row: the rule, the outcome, a word that the message has.
fn refused(rows: Vec<(&str, Result<(), Error>, &str)>) {
    for (rule, outcome, word) in rows {
        let text = outcome.expect_err(rule).to_string();
        assert!(text.contains(word) && !text.contains('\n'), "{rule} does not say {word:?}: {text}");
    }
}

#[test]
fn s1_ranges() {
    let int = |name: &str, v: u32| key(&format!("llama.{name}"), Value::U32(v));
    let float = |name: &str, v: f32| key(&format!("llama.{name}"), Value::F32(v));
    assert!(int("context_length", 77).is_ok());
    refused(vec![
        ("S1 no layers", int("block_count", 0), "block_count"),
        ("S1 too many layers", int("block_count", 1025), "1024"),
        ("S1 no heads", int("attention.head_count", 0), "head_count"),
        ("S1 heads beyond all", int("attention.head_count", u32::MAX), "head_count"),
        ("S1 heads that kv heads do not divide", int("attention.head_count_kv", 4), "head_count"),
        ("S1 more kv heads than heads", int("attention.head_count_kv", 64), "head_count_kv"),
        ("S1 no kv heads", int("attention.head_count_kv", 0), "head_count_kv"),
        ("S1 rotation beyond the head", int("rope.dimension_count", 1000), "rope.dimension_count"),
        ("S1 rotation of an odd count", int("rope.dimension_count", 3), "rope.dimension_count"),
        ("S1 no width", int("embedding_length", 0), "embedding_length"),
        ("S1 a width of 2^31", int("embedding_length", 1 << 31), "embedding_length"),
        ("S1 no context", int("context_length", 0), "context_length"),
        ("S1 a context of 2^32-1", int("context_length", u32::MAX), "context_length"),
        ("S1 epsilon 0", float("attention.layer_norm_rms_epsilon", 0.0), "epsilon"),
        ("S1 epsilon negative", float("attention.layer_norm_rms_epsilon", -1e-5), "epsilon"),
        ("S1 epsilon NaN", float("attention.layer_norm_rms_epsilon", f32::NAN), "epsilon"),
        ("S1 epsilon infinite", float("attention.layer_norm_rms_epsilon", f32::INFINITY), "epsilon"),
        ("S1 base NaN", float("rope.freq_base", f32::NAN), "freq_base"),
        ("S1 base 0", float("rope.freq_base", 0.0), "freq_base"),
        ("S1 missing", open(model(&[("llama.block_count", None)], |_, s| Some(s.to_vec()))), "block_count"),
    ]);
}

#[test]
fn s2_arrays_per_layer() {
    let file = tiny();
    let heads = file.metadata.require_u32("llama.attention.head_count").unwrap();
    let layers = file.metadata.require_u32("llama.block_count").unwrap() as usize;
    let array = |values: Vec<u32>| key("llama.attention.head_count", Value::from(Array::U32(values.into())));
    assert!(array(vec![heads; layers]).is_ok(), "one value for all layers may be written for each");
    let mut different = vec![heads; layers];
    different[layers - 1] = 1;
    refused(vec![
        ("S2 too short", array(vec![heads; layers - 1]), "elements"),
        ("S2 too long", array(vec![heads; layers + 1]), "elements"),
        ("S2 empty", array(vec![]), "elements"),
        ("S2 layers that differ", array(different), "all layers"),
        (
            "S2 of strings",
            key("llama.attention.head_count", Value::from(Array::String(StringArray::new(["4"; 2]).unwrap()))),
            "array",
        ),
        (
            "S2 the count of layers itself",
            key("llama.block_count", Value::from(Array::U32([2, 2].into()))),
            "block_count",
        ),
    ]);
}

#[test]
fn s3_tensors() {
    let shaped = |name: &'static str, change: fn(&[u64]) -> Option<Vec<u64>>| {
        open(model(&[], move |n, shape| if n == name { change(shape) } else { Some(shape.to_vec()) }))
    };
    let rows: fn(&[u64]) -> Option<Vec<u64>> = |s| Some(vec![s[0] + 1, s[1]]);
    refused(vec![
        ("S3 too high", shaped("blk.1.ffn_up.weight", rows), "blk.1.ffn_up.weight"),
        ("S3 transposed", shaped("blk.0.ffn_down.weight", |s| Some(vec![s[1], s[0]])), "blk.0.ffn_down.weight"),
        ("S3 another rank", shaped("output_norm.weight", |s| Some(vec![s[0], 1])), "output_norm.weight"),
        ("S3 missing", shaped("blk.0.attn_q.weight", |_| None), "blk.0.attn_q.weight"),
        ("S3 no embedding", shaped("token_embd.weight", |_| None), "token_embd.weight"),
        ("S3 extra layers", key("llama.block_count", Value::U32(1)), "not part"),
        ("S3 too few layers", key("llama.block_count", Value::U32(3)), "missing"),
    ]);
}

/// The tiny model's tokens.
fn tokens() -> Vec<Vec<u8>> {
    tiny().metadata.require_array_str("tokenizer.ggml.tokens").unwrap().iter().map(<[u8]>::to_vec).collect()
}

fn strings(all: Vec<Vec<u8>>) -> Value<'static> {
    Value::from(Array::String(StringArray::new(all).unwrap()))
}

#[test]
fn s4_rows_and_s5_arrays_of_the_vocabulary() {
    let with = |more: usize| {
        let mut all = tokens();
        let rows = tiny().checkpoint.require("token_embd.weight").unwrap().shape[0] as usize;
        all.extend((all.len()..rows + more).map(|i| format!("<more {i}>").into_bytes()));
        let types = Value::from(Array::I32(vec![1; all.len()].into()));
        keys(&[("tokenizer.ggml.tokens", strings(all)), ("tokenizer.ggml.token_type", types)])
    };
    assert!(with(0).is_ok(), "as many tokens as rows");
    let types = |value: Array| key("tokenizer.ggml.token_type", Value::from(value));
    let n = tokens().len();
    refused(vec![
        ("S4 one token too many", with(1), "rows"),
        ("S4 many tokens too many", with(1000), "rows"),
        ("S5 types that are floats", types(Array::F32(vec![1.0; n].into())), "token_type"),
        ("S5 types that are strings", types(Array::String(StringArray::new(vec!["1"; n]).unwrap())), "token_type"),
        ("S5 too few types", types(Array::I32(vec![1; n - 1].into())), ""),
        ("S5 too many types", types(Array::I32(vec![1; n + 1].into())), ""),
        ("S5 a type that is none", types(Array::I32(vec![77; n].into())), "token_type"),
        (
            "S5 tokens that are numbers",
            key("tokenizer.ggml.tokens", Value::from(Array::I32(vec![1; n].into()))),
            "tokens",
        ),
    ]);
}

#[test]
fn s6_tokens_merges_and_special_ids() {
    let n = tokens().len() as u32;
    let long = |len: usize| {
        let mut all = tokens();
        all[7] = vec![b'x'; len];
        key("tokenizer.ggml.tokens", strings(all))
    };
    let merges = |merge: &str| key("tokenizer.ggml.merges", strings(vec![merge.as_bytes().to_vec()]));
    let special = |name: &str, id: u32| key(&format!("tokenizer.ggml.{name}_token_id"), Value::U32(id));
    refused(vec![
        ("S6 a token of 64 KiB and one byte", long((64 << 10) + 1), ""),
        ("S6 a token of a megabyte", long(1 << 20), ""),
        ("S6 a merge of unknown tokens", merges("qqqqq zzzzz"), "qqqqq"),
        ("S6 a merge without a space", merges("ab"), "ab"),
        ("S6 bos beyond the vocabulary", special("bos", n), "bos"),
        ("S6 eos beyond the vocabulary", special("eos", u32::MAX), "eos"),
    ]);
}

#[test]
fn s8_scales() {
    // A ternary matrix of 256 columns, whose scale is infinite: found although nothing asked for a look at all data.
    let wide = |scale: [u8; 2]| {
        let file = tiny();
        let mut w =
            Writer::like("model", &gguf::Header::read(&**file.checkpoint.sources().first().unwrap()).unwrap()).unwrap();
        w.tensor("extra.weight", DType::TQ2_0, [1, 256]).unwrap();
        let mut body = w.begin(Vec::new()).unwrap();
        for t in file.checkpoint.tensors() {
            body.write(&file.checkpoint.read(t).unwrap()).unwrap();
        }
        body.write(&[0; 64]).unwrap();
        body.write(&scale).unwrap();
        let bytes: Arc<[u8]> = body.finish().unwrap().into();
        let file = gguf::open(Arc::new(BytesSource::new("model", bytes))).unwrap();
        let t = file.checkpoint.require("extra.weight").unwrap().clone();
        file.checkpoint.check_scales(&t)
    };
    assert!(wide([0, 0x3c]).is_ok());
    for scale in [[0, 0x7c], [1, 0x7c], [0, 0xfc]] {
        assert!(matches!(*wide(scale).unwrap_err().problem, Problem::NotFinite { element: 0, .. }));
    }
    // Everything, on request.
    let mut bytes = std::fs::read(goldens().join("tiny-untied/model.gguf")).unwrap();
    let options = || ModelOptions { backend: Some("cpu".into()), check_finite: true, ..Default::default() };
    let open = |bytes: &[u8]| runtime().open_bytes("model", bytes, options()).map(drop);
    assert!(open(&bytes).is_ok());
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&f32::NAN.to_le_bytes());
    let error = open(&bytes).unwrap_err();
    assert!(error.to_string().contains("NaN"), "{error}");
}
