//! What a quantized file holds, and what happens when it cannot be made.
// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{LAYERS, model};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tern::CancelFlag;
use tern_convert::{ConvertError, Input, Mix, Pattern, Plan, Wish, WriteOptions};
use tern_formats::gguf::{self, Gguf, ReadOptions, Value};
use tern_formats::{DType, FileSource};
use tern_quant::i2_s::Order;

fn options() -> WriteOptions {
    WriteOptions { force: false, threads: 2, imatrix_name: String::new(), cancel: CancelFlag::new() }
}

fn wish(mix: &str) -> Wish {
    Wish { mix: Mix::find(mix), ..Wish::default() }
}

fn quantize(from: &Path, to: &Path, wish: &Wish, options: &WriteOptions) -> Result<Plan, ConvertError> {
    let input = Input::open(from, ReadOptions { i2_s_order: Some(Order::X86), ..ReadOptions::default() })?;
    let plan = Plan::new(&input, wish)?;
    tern_convert::write(&input, &plan, wish, to, options, &mut |_| {})?;
    Ok(plan)
}

fn open(path: &Path) -> Gguf {
    gguf::open(Arc::new(FileSource::open(path).unwrap())).unwrap()
}

fn values(file: &Gguf, name: &str) -> Vec<f32> {
    let t = file.checkpoint.require(name).unwrap();
    let mut values = vec![0.0; t.elements() as usize];
    tern_quant::dequantize(t.dtype, &file.checkpoint.read(t).unwrap(), &mut values).unwrap();
    values
}

/// What a folder holds: nothing may be left behind.
fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    names
}

#[test]
fn keys_keep_their_order_and_tell_the_type() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (model(folder.path(), DType::F32, 256), folder.path().join("q.gguf"));
    quantize(&from, &to, &wish("Q4_K_M"), &options()).unwrap();
    let (before, after) = (open(&from), open(&to));
    let keys = |f: &Gguf| f.metadata.entries().map(|e| e.0.to_owned()).collect::<Vec<_>>();
    let mut expected = keys(&before);
    expected.push("general.quantization_version".into());
    assert_eq!(keys(&after), expected);
    assert_eq!(after.metadata.get("general.file_type"), Some(Value::U32(15)));
    assert_eq!(after.metadata.get("general.quantization_version"), Some(Value::U32(2)));
    let order = |f: &Gguf| f.checkpoint.tensors().iter().map(|t| t.name.clone()).collect::<Vec<_>>();
    assert_eq!(order(&after), order(&before));
}

#[test]
fn matrices_get_the_types_of_the_mix_and_vectors_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (model(folder.path(), DType::F32, 256), folder.path().join("q.gguf"));
    let plan = quantize(&from, &to, &wish("Q4_K_M"), &options()).unwrap();
    let (before, after) = (open(&from), open(&to));
    let dtype = |name: &str| after.checkpoint.require(name).unwrap().dtype;
    assert_eq!(dtype("output.weight"), DType::Q6_K);
    assert_eq!(dtype("token_embd.weight"), DType::Q4_K);
    let more = |i: &u64| dtype(&format!("blk.{i}.ffn_down.weight")) == DType::Q6_K;
    assert_eq!((0..LAYERS).filter(more).collect::<Vec<_>>(), [0, 3, 6, 7]);
    assert_eq!(values(&after, "blk.0.attn_norm.weight"), values(&before, "blk.0.attn_norm.weight"));
    assert_eq!(plan.bytes(), after.checkpoint.tensors().iter().map(|t| t.bytes).sum::<u64>());
    let (exact, rounded) = (values(&before, "blk.3.attn_q.weight"), values(&after, "blk.3.attn_q.weight"));
    let error: f32 = exact.iter().zip(&rounded).map(|(a, b)| (a - b) * (a - b)).sum();
    assert!(error < 0.01 * exact.iter().map(|a| a * a).sum::<f32>(), "{error}");
}

#[test]
fn threads_and_pieces_do_not_change_a_byte() {
    let folder = tempfile::tempdir().unwrap();
    let from = model(folder.path(), DType::F32, 256);
    let make = |threads| {
        let to = folder.path().join(format!("{threads}.gguf"));
        quantize(&from, &to, &wish("Q4_0"), &WriteOptions { threads, ..options() }).unwrap();
        std::fs::read(to).unwrap()
    };
    let one = make(1);
    assert!(make(2) == one && make(7) == one);
}

#[test]
fn kept_tensors_and_patterns_that_match_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let input = Input::open(&model(folder.path(), DType::F32, 256), ReadOptions::default()).unwrap();
    let keep = |p: &str, d| (Pattern::new(p).unwrap(), d);
    let keep = vec![keep("blk.0.attn_q", DType::F16), keep("attn_q", DType::Q8_0), keep("attn_z", DType::F32)];
    let plan = Plan::new(&input, &Wish { keep, ..wish("Q4_0") }).unwrap();
    let to = |name: &str| plan.assignments.iter().find(|a| a.name == name).unwrap().to;
    assert_eq!(to("blk.0.attn_q.weight"), DType::F16);
    assert_eq!(to("blk.1.attn_q.weight"), DType::Q8_0);
    assert_eq!(to("blk.1.attn_v.weight"), DType::Q4_0);
    assert_eq!(plan.unmatched, ["attn_z"]);
}

#[test]
fn rows_that_are_no_super_blocks_fall_back() {
    let folder = tempfile::tempdir().unwrap();
    let input = Input::open(&model(folder.path(), DType::F32, 96), ReadOptions::default()).unwrap();
    let plan = Plan::new(&input, &wish("Q4_K_S")).unwrap();
    let a = plan.assignments.iter().find(|a| a.name == "blk.5.attn_q.weight").unwrap();
    assert_eq!((a.wanted, a.to), (DType::Q4_K, DType::Q5_0));
    assert!(plan.fallbacks().iter().any(|f| f.wanted == DType::Q4_K && f.to == DType::Q5_0 && f.tensors > 8));
}

#[test]
fn rounded_weights_are_rounded_again_only_when_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (model(folder.path(), DType::Q8_0, 256), folder.path().join("q.gguf"));
    let refused = quantize(&from, &to, &wish("Q4_0"), &options());
    assert!(matches!(refused, Err(ConvertError::Requantize { dtype: DType::Q8_0, .. })), "{refused:?}");
    // Nothing is lost by writing the numbers out, nor by leaving them as they are.
    quantize(&from, &to, &wish("F32"), &options()).unwrap();
    assert_eq!(values(&open(&to), "blk.0.attn_q.weight"), values(&open(&from), "blk.0.attn_q.weight"));
    let same = folder.path().join("same.gguf");
    quantize(&from, &same, &wish("Q8_0"), &options()).unwrap();
    let bytes = |p: &Path| {
        let f = open(p);
        let t = f.checkpoint.require("blk.0.attn_q.weight").unwrap();
        f.checkpoint.read(t).unwrap().into_owned()
    };
    assert!(bytes(&same) == bytes(&from));
    let again = folder.path().join("again.gguf");
    quantize(&from, &again, &Wish { allow_requantize: true, ..wish("Q4_0") }, &options()).unwrap();
}

#[test]
fn nothing_is_overwritten_or_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (model(folder.path(), DType::F32, 256), folder.path().join("q.gguf"));
    std::fs::write(&to, "precious").unwrap();
    let before = names(folder.path());
    let run = |to: &Path, options: &WriteOptions| quantize(&from, to, &wish("Q8_0"), options);
    assert!(matches!(run(&to, &options()), Err(ConvertError::Exists { .. })));
    let force = WriteOptions { force: true, ..options() };
    assert!(matches!(run(&from, &force), Err(ConvertError::SameFile { .. })));
    force.cancel.cancel();
    assert!(matches!(run(&to, &force), Err(ConvertError::Cancelled)));
    assert!(matches!(run(&folder.path().join("no/such/q.gguf"), &options()), Err(ConvertError::Output { .. })));
    assert_eq!(std::fs::read(&to).unwrap(), b"precious");
    assert_eq!(names(folder.path()), before);
    run(&to, &WriteOptions { force: true, ..options() }).unwrap();
    assert_eq!(open(&to).metadata.get("general.file_type"), Some(Value::U32(7)));
}

#[test]
fn bad_numbers_are_named_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let from = model(folder.path(), DType::F32, 256);
    let mut bytes = std::fs::read(&from).unwrap();
    let at = open(&from).checkpoint.require("blk.2.attn_q.weight").unwrap().offset as usize + 5 * 256 * 4;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&from, bytes).unwrap();
    let before = names(folder.path());
    match quantize(&from, &folder.path().join("q.gguf"), &wish("Q8_0"), &options()) {
        Err(ConvertError::Quantize { tensor, row, .. }) => assert_eq!((&*tensor, row), ("blk.2.attn_q.weight", 5)),
        other => panic!("{other:?}"),
    }
    assert_eq!(names(folder.path()), before);
}

#[test]
fn ternary_layouts_become_each_other_without_loss() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let from = model(folder.path(), DType::TQ2_0, 256);
    let exact = values(&open(&from), "blk.0.attn_q.weight");
    quantize(&from, &path("tq1.gguf"), &wish("TQ1_0"), &options()).unwrap();
    let file = open(&path("tq1.gguf"));
    assert_eq!(file.checkpoint.require("blk.0.attn_q.weight").unwrap().dtype, DType::TQ1_0);
    assert_eq!(values(&file, "blk.0.attn_q.weight"), exact);
    quantize(&path("tq1.gguf"), &path("back.gguf"), &wish("TQ2_0"), &options()).unwrap();
    assert_eq!(values(&open(&path("back.gguf")), "blk.0.attn_q.weight"), exact);
    // I2_S has one scale for the whole tensor, and this model has one per block.
    let refused = quantize(&from, &path("i2.gguf"), &wish("I2_S"), &options());
    assert!(matches!(refused, Err(ConvertError::Ternary { to: DType::I2_S, .. })), "{refused:?}");
    assert!(!path("i2.gguf").exists());
}

#[test]
fn weights_of_a_type_come_back_as_they_were() {
    // Models of one bit, for example, are published in F16.
    for (mix, dtype) in [("Q1_0", DType::Q1_0), ("Q2_0", DType::Q2_0), ("NVFP4", DType::NVFP4)] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let from = model(folder.path(), dtype, 256);
        quantize(&from, &path("float.gguf"), &wish("F32"), &options()).unwrap();
        quantize(&path("float.gguf"), &path("back.gguf"), &wish(mix), &options()).unwrap();
        let file = open(&path("back.gguf"));
        for name in ["blk.0.attn_q.weight", "blk.7.ffn_down.weight"] {
            assert_eq!(file.checkpoint.require(name).unwrap().dtype, dtype);
            // Its encoder looks at scales that bring the largest weight near the largest level, which need not be the old one.
            if dtype != DType::NVFP4 {
                assert_eq!(values(&file, name), values(&open(&from), name), "{mix}");
            }
        }
    }
}

#[test]
fn one_scale_for_all_goes_to_i2_s_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let from = model(folder.path(), DType::TQ2_0, 256);
    let mut bytes = std::fs::read(&from).unwrap();
    for t in open(&from).checkpoint.tensors().iter().filter(|t| t.dtype == DType::TQ2_0) {
        for block in bytes[t.offset as usize..][..t.bytes as usize].chunks_exact_mut(66) {
            block[64..].copy_from_slice(&tern_quant::f32_to_f16(0.375).to_le_bytes());
        }
    }
    std::fs::write(&from, bytes).unwrap();
    quantize(&from, &path("i2.gguf"), &wish("I2_S"), &options()).unwrap();
    assert!(gguf::open(Arc::new(FileSource::open(path("i2.gguf")).unwrap())).is_err(), "nothing tells the order");
    quantize(&path("i2.gguf"), &path("back.gguf"), &wish("TQ2_0"), &options()).unwrap();
    let (before, after) = (open(&from), open(&path("back.gguf")));
    for t in before.checkpoint.tensors() {
        assert_eq!(values(&after, &t.name), values(&before, &t.name), "{}", t.name);
    }
}

#[test]
fn a_matrix_of_another_model_is_refused_and_one_of_this_changes_the_codes() {
    use tern_convert::imatrix::{Entry, Imatrix};
    let folder = tempfile::tempdir().unwrap();
    let from = model(folder.path(), DType::F32, 256);
    let matrix = |columns: usize| {
        let sums = (0..columns).map(|i| if i % 7 == 0 { 100.0 } else { 0.01 }).collect();
        let entry = Entry { sums, counts: vec![1.0] };
        Imatrix { entries: [("blk.1.attn_q.weight".to_owned(), entry)].into(), ..Imatrix::default() }
    };
    let run = |imatrix, name: &str| {
        let to = folder.path().join(name);
        let options = WriteOptions { imatrix_name: "m.gguf".into(), ..options() };
        quantize(&from, &to, &Wish { imatrix, ..wish("Q4_K_S") }, &options).map(|_| open(&to))
    };
    assert!(matches!(run(Some(matrix(255)), "bad.gguf"), Err(ConvertError::ImatrixSize { found: 255, .. })));
    let (plain, weighted) = (run(None, "plain.gguf").unwrap(), run(Some(matrix(256)), "weighted.gguf").unwrap());
    let exact = values(&open(&from), "blk.1.attn_q.weight");
    let error = |file: &Gguf| -> f32 {
        let rounded = values(file, "blk.1.attn_q.weight");
        exact
            .iter()
            .zip(rounded)
            .enumerate()
            .filter(|(i, _)| i % 256 % 7 == 0)
            .map(|(_, (a, b))| (a - b) * (a - b))
            .sum()
    };
    assert!(error(&weighted) < 0.8 * error(&plain), "{} {}", error(&weighted), error(&plain));
    let key = |k: &str| weighted.metadata.get(k);
    assert_eq!(key("quantize.imatrix.file"), Some(Value::String("m.gguf".into())));
    assert_eq!(key("quantize.imatrix.entries_count"), Some(Value::U32(1)));
}
