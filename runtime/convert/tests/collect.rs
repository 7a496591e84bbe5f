//! An importance matrix against a computation by hand, and collected in parts.
// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use tern::backend::Registry;
use tern::{CancelFlag, Model, ModelOptions, Runtime};
use tern_convert::ConvertError;
use tern_convert::imatrix::{CollectOptions, Imatrix};
use tern_formats::hf;

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/tiny-llama")
}

fn model() -> Model {
    open(&tiny())
}

fn open(path: &Path) -> Model {
    let mut registry = Registry::new();
    registry.register(tern_cpu::entry).unwrap();
    Runtime::new(registry).open(path, ModelOptions::default()).unwrap()
}

fn options(context: u32) -> CollectOptions {
    CollectOptions { context, chunks: None, resumed: None, cancel: CancelFlag::new() }
}

fn texts() -> Vec<(String, String)> {
    vec![("poem".into(), "The river runs, the river sleeps, and all that it has seen it keeps. ".repeat(8))]
}

#[test]
fn the_first_layers_columns_are_those_of_normed_embeddings() {
    let model = model();
    let found = Imatrix::collect(&model, &texts(), &options(70), &mut |_, _| {}).unwrap().imatrix;
    let folder = hf::open_dir(tiny()).unwrap();
    let floats = |name: &str| -> Vec<f64> {
        let t = folder.checkpoint.require(name).unwrap();
        let mut values = vec![0.0; t.elements() as usize];
        tern_quant::dequantize(t.dtype, &folder.checkpoint.read(t).unwrap(), &mut values).unwrap();
        values.into_iter().map(f64::from).collect()
    };
    let (table, weight) = (floats("model.embed_tokens.weight"), floats("model.layers.0.input_layernorm.weight"));
    let eps = folder.config.require_f64("rms_norm_eps").unwrap();
    let tokens = model.encode(&texts()[0].1).unwrap();
    let mut pieces: Vec<Vec<u32>> = tokens.chunks_exact(70).map(<[u32]>::to_vec).collect();
    if let Some(bos) = model.tokenizer().bos().filter(|_| model.tokenizer().adds_bos()) {
        pieces.iter_mut().for_each(|p| p[0] = bos);
    }
    assert_eq!(found.chunks as usize, pieces.len());
    let (width, read) = (weight.len(), pieces.concat());
    let mut expected = vec![0.0; width];
    for &token in &read {
        let row = &table[token as usize * width..][..width];
        let scale = 1.0 / (row.iter().map(|x| x * x).sum::<f64>() / width as f64 + eps).sqrt();
        (0..width).for_each(|i| expected[i] += (row[i] * scale * weight[i]).powi(2));
    }
    for name in ["attn_q", "attn_k", "attn_v"] {
        let entry = found.get(&format!("blk.0.{name}.weight")).unwrap();
        assert_eq!(entry.counts, [read.len() as f32]);
        let near = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs() <= 1e-5 * b.abs();
        assert!(entry.sums.iter().zip(&expected).all(near), "{name}: {:?} {expected:?}", entry.sums);
    }
    // Seven matrices per layer, and not the head.
    assert_eq!(found.entries.len() as u64, 7 * model.info().layers);
    let same = |a: &str, b: &str| found.get(a).unwrap() == found.get(b).unwrap();
    assert!(same("blk.1.ffn_gate.weight", "blk.1.ffn_up.weight"));
    assert!(!same("blk.0.attn_q.weight", "blk.0.attn_output.weight"));
}

#[test]
fn matrices_that_files_have_as_one_have_one_entry() {
    let model = open(&tiny().with_file_name("tiny-phi"));
    let found = Imatrix::collect(&model, &texts(), &options(70), &mut |_, _| {}).unwrap().imatrix;
    let first: Vec<_> = found.entries.iter().map(|e| e.0.as_str()).filter(|n| n.starts_with("blk.0.")).collect();
    let files = ["blk.0.attn_output.weight", "blk.0.attn_qkv.weight", "blk.0.ffn_down.weight", "blk.0.ffn_up.weight"];
    assert_eq!(first, files);
}

#[test]
fn what_is_resumed_equals_what_is_made_at_once() {
    let model = model();
    let collect = |options: &CollectOptions| Imatrix::collect(&model, &texts(), options, &mut |_, _| {});
    let whole = collect(&options(32)).unwrap().imatrix;
    let first = collect(&CollectOptions { chunks: Some(2), ..options(32) }).unwrap().imatrix;
    assert!(first.chunks == 2 && whole.chunks > 3);
    let rest = collect(&CollectOptions { resumed: Some(first.clone()), ..options(32) }).unwrap().imatrix;
    assert_eq!((rest.chunks, &rest.datasets), (whole.chunks, &whole.datasets));
    for (name, entry) in &whole.entries {
        let other = rest.get(name).unwrap();
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-6 * a.abs();
        assert!(entry.counts == other.counts && entry.sums.iter().zip(&other.sums).all(near), "{name}");
    }
    let other = CollectOptions { resumed: Some(first), ..options(33) };
    assert!(matches!(collect(&other), Err(ConvertError::Imatrix { .. })));
}

#[test]
fn cancelling_keeps_complete_pieces_and_short_texts_are_refused() {
    let model = model();
    let stop = options(32);
    let collected = Imatrix::collect(&model, &texts(), &stop, &mut |done, _| {
        if done == 2 {
            stop.cancel.cancel();
        }
    })
    .unwrap();
    assert!(collected.cancelled);
    assert_eq!((collected.imatrix.chunks, collected.pieces > 2), (2, true));
    assert_eq!(collected.imatrix.get("blk.0.attn_q.weight").unwrap().counts, [64.0]);
    let short = [("short".to_owned(), "Hello".to_owned())];
    let refused = Imatrix::collect(&model, &short, &options(64), &mut |_, _| {});
    assert!(matches!(refused, Err(ConvertError::Imatrix { .. })));
}
