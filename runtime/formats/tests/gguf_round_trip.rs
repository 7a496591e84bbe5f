//! What the writer writes, the reader reads; written again it is the same file.
#![allow(clippy::unwrap_used)]

mod common;

use common::{open, read, source};
use tern_formats::gguf::{Array, StringArray, Value, Writer};
use tern_formats::{DType, FormatError, Problem};

fn rich() -> Writer {
    let mut w = Writer::new("out.gguf");
    let strings = StringArray::new([&b"<s>"[..], b"", b"\xf0\x9f", "ä".as_bytes()]).unwrap();
    let values = [
        ("general.alignment", Value::U32(64)),
        ("u8", Value::U8(255)),
        ("i8", Value::I8(-128)),
        ("u16", Value::U16(65535)),
        ("i16", Value::I16(-2)),
        ("i32", Value::I32(i32::MIN)),
        ("f32", Value::F32(-0.0)),
        ("bool", Value::Bool(true)),
        ("string", Value::String("Grüße".into())),
        ("u64", Value::U64(u64::MAX)),
        ("i64", Value::I64(i64::MIN)),
        ("f64", Value::F64(f64::MIN_POSITIVE)),
        ("a.u8", Value::from(Array::U8([1, 2].into()))),
        ("a.i8", Value::from(Array::I8([-1].into()))),
        ("a.u16", Value::from(Array::U16([1, 600].into()))),
        ("a.i16", Value::from(Array::I16([-600].into()))),
        ("a.u32", Value::from(Array::U32((0..700).collect()))),
        ("a.i32", Value::from(Array::I32([-1, 1].into()))),
        ("a.f32", Value::from(Array::F32([0.1, f32::INFINITY].into()))),
        ("a.bool", Value::from(Array::Bool([true, false, true].into()))),
        ("a.string", Value::from(Array::String(strings))),
        ("a.u64", Value::from(Array::U64([1 << 63].into()))),
        ("a.i64", Value::from(Array::I64([-(1 << 62)].into()))),
        ("a.f64", Value::from(Array::F64([1e300].into()))),
        ("a.empty", Value::from(Array::String(StringArray::default()))),
    ];
    for (key, value) in values {
        w.key(key, value).unwrap();
    }
    w.tensor("norm", DType::F32, [5]).unwrap();
    w.tensor("blk.0.w", DType::Q4_K, [3, 256]).unwrap();
    w.tensor("blk.0.b", DType::BF16, [2, 1, 3, 7]).unwrap();
    w.tensor("ids", DType::I64, [1]).unwrap();
    w
}

fn written() -> Vec<u8> {
    let mut body = rich().begin(Vec::new()).unwrap();
    let total: u64 = body.tensors().iter().map(|t| t.bytes).sum();
    let data: Vec<u8> = (0..total).map(|i| (i * 7 + 3) as u8).collect();
    // Pieces that end inside tensors and span them.
    data.chunks(13).for_each(|piece| body.write(piece).unwrap());
    body.finish().unwrap()
}

fn rewrite(bytes: &[u8]) -> Vec<u8> {
    let header = read(bytes.to_vec()).unwrap();
    let file = open(bytes.to_vec()).unwrap();
    let mut body = Writer::like("again.gguf", &header).unwrap().begin(Vec::new()).unwrap();
    for t in file.checkpoint.tensors() {
        assert_eq!(body.current().unwrap().name, t.name);
        body.write(&file.checkpoint.read(t).unwrap()).unwrap();
    }
    body.finish().unwrap()
}

#[test]
fn everything_comes_back() {
    let file = open(written()).unwrap();
    assert_eq!((file.version, file.alignment), (3, 64));
    assert_eq!(file.metadata.entries().len(), 25);
    assert_eq!(file.metadata.get("a.u32"), Some(Value::from(Array::U32((0..700).collect()))));
    assert_eq!(file.metadata.require_array_str("a.string").unwrap().get(2), Some(&b"\xf0\x9f"[..]));
    let names: Vec<&str> = file.checkpoint.tensors().iter().map(|t| &*t.name).collect();
    assert_eq!(names, ["norm", "blk.0.w", "blk.0.b", "ids"]);
    let w = file.checkpoint.require("blk.0.w").unwrap();
    assert_eq!((&*w.shape, w.dtype, w.bytes, w.offset % 64), (&[3, 256][..], DType::Q4_K, 432, 0));
    let bytes = file.checkpoint.read(w).unwrap();
    assert_eq!((bytes[0], bytes[431]), (20 * 7 + 3, (451u64 * 7 + 3) as u8));
}

#[test]
fn written_again_it_is_the_same_file() {
    let first = written();
    assert_eq!(rewrite(&first), first);
    // Version 2 stays version 2.
    let mut second = first;
    second[4] = 2;
    assert_eq!(rewrite(&second), second);
}

#[test]
fn a_file_without_tensors() {
    let mut w = Writer::new("vocab.gguf");
    w.key("general.architecture", Value::String("llama".into())).unwrap();
    let bytes = w.begin(Vec::new()).unwrap().finish().unwrap();
    assert!(read(bytes).unwrap().tensors.is_empty());
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let fails = |f: &dyn Fn(&mut Writer) -> Result<(), FormatError>, expected: fn(&Problem) -> bool| {
        let mut w = rich();
        let error = match f(&mut w) {
            Err(error) => error,
            Ok(()) => w.begin(Vec::new()).map(drop).unwrap_err(),
        };
        assert!(expected(&error.problem), "{error}");
    };
    fails(&|w| w.key("", Value::U8(1)).map(drop), |p| matches!(p, Problem::EmptyName { .. }));
    fails(&|w| w.key("k".repeat(65536), Value::U8(1)).map(drop), |p| matches!(p, Problem::TooLong { .. }));
    fails(&|w| w.key("u8", Value::U8(1)).map(drop), |p| matches!(p, Problem::Duplicate { .. }));
    fails(&|w| w.tensor("norm", DType::F32, [1]).map(drop), |p| matches!(p, Problem::Duplicate { .. }));
    fails(&|w| w.tensor("t", DType::F32, []).map(drop), |p| matches!(p, Problem::DimensionCount { .. }));
    fails(&|w| w.tensor("t", DType::F32, [1, 1, 1, 1, 1]).map(drop), |p| matches!(p, Problem::DimensionCount { .. }));
    fails(&|w| w.tensor("t", DType::F32, [0]).map(drop), |p| matches!(p, Problem::Dimension { .. }));
    fails(&|w| w.tensor("t", DType::Q4_0, [33]).map(drop), |p| matches!(p, Problem::PartialBlock { .. }));
    fails(&|w| w.tensor("t", DType::U8, [33]).map(drop), |p| matches!(p, Problem::UnsupportedDtype { .. }));
    fails(&|w| w.tensor("t", DType::F32, [1 << 40, 1 << 40]).map(drop), |p| matches!(p, Problem::ShapeOverflow { .. }));
    fails(&|w| w.key("general.alignment", Value::U32(32)).map(drop), |p| matches!(p, Problem::BadAlignment { .. }));
}

#[test]
fn incomplete_and_excessive_data_are_refused() {
    let mut body = rich().begin(Vec::new()).unwrap();
    body.write(&[0; 30]).unwrap();
    let error = body.finish().unwrap_err();
    assert!(matches!(*error.problem, Problem::Unfinished { written: 10, expected: 432, .. }), "{error}");

    let mut body = rich().begin(Vec::new()).unwrap();
    let total: u64 = body.tensors().iter().map(|t| t.bytes).sum();
    let error = body.write(&vec![0; total as usize + 5]).unwrap_err();
    assert!(matches!(*error.problem, Problem::TooMuchData { found: 5 }), "{error}");
}

#[test]
fn reads_are_checked() {
    let file = open(written()).unwrap();
    let t = file.checkpoint.require("norm").unwrap();
    let error = file.checkpoint.read_into(t, &mut [0; 19]).unwrap_err();
    assert!(matches!(*error.problem, Problem::BufferLength { expected: 20, found: 19, .. }));
    let mut forged = t.clone();
    forged.offset = u64::MAX - 3;
    assert!(matches!(*file.checkpoint.read(&forged).unwrap_err().problem, Problem::Io { .. }));
    forged.file = 1;
    assert!(matches!(*file.checkpoint.read(&forged).unwrap_err().problem, Problem::NoSuchFile { .. }));
    assert!(matches!(*file.checkpoint.require("nothing").unwrap_err().problem, Problem::NoSuchTensor { .. }));
    let _ = source(vec![]);
}
