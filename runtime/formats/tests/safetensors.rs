//! What the safetensors reader must reject, at least two files for each invariant, and round trips.
#![allow(clippy::unwrap_used)]

#[macro_use]
mod common;

use common::{raw_safetensors, read_safetensors as read, source};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use tern_formats::safetensors::{Writer, open, open_sharded};
use tern_formats::{BytesSource, Checkpoint, DType, FormatError, PartLimit, Problem, Source};

/// One tensor `t`.
fn one(dtype: &str, shape: &str, begin: u64, end: u64, data: usize) -> Vec<u8> {
    raw_safetensors(format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}}}"#), data)
}

fn with_length(length: u64, rest: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes()[..], rest].concat()
}

#[test]
fn framing() {
    rejects! { read;
        "F1 empty", vec![] => Empty,
        "F1 seven bytes", vec![0; 7] => Truncated { .. },
        "F1 length over the cap", with_length(100_000_001, b"{}") => TooLong { .. },
        "F1 length 2^64-1", with_length(u64::MAX, b"{}") => TooLong { .. },
        "F1 length past the file", with_length(3, b"{}") => Truncated { .. },
        "F1 length 2^63", with_length(1 << 63, b"{}") => TooLong { .. },
        "F1 a GGUF", b"GGUF\x03\0\0\0\0\0\0\0".to_vec() => WrongMagic { .. },
        "F1 text", b"<!DOCTYPE html><html>".to_vec() => WrongMagic { .. },
        "F1 a pointer", b"version https://git-lfs".to_vec() => WrongMagic { .. },
        "F2 an array", raw_safetensors("[]", 0) => Json { .. },
        "F2 leading space", raw_safetensors(" {}", 0) => Json { .. },
        "F2 no header", raw_safetensors("", 0) => Json { .. },
        "F2 not UTF-8", raw_safetensors(b"{\"\xff\":1}", 0) => NotUtf8 { .. },
        "F2 not UTF-8 in the padding", raw_safetensors(b"{}\xff", 0) => NotUtf8 { .. },
        "F2 cut JSON", raw_safetensors(r#"{"t":"#, 0) => Json { .. },
        "F2 text after JSON", raw_safetensors("{} x", 0) => Json { .. },
        "F2 deep", raw_safetensors(format!("{{\"t\":{}", "[".repeat(100_000)), 0) => Json { .. },
    }
}

#[test]
fn names_and_metadata() {
    let t = r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    let u = r#"{"dtype":"U8","shape":[1],"data_offsets":[1,2]}"#;
    rejects! { read;
        "F3 a tensor twice", raw_safetensors(format!(r#"{{"t":{t},"t":{u}}}"#), 2) => Duplicate { .. },
        "F3 twice, escaped differently", raw_safetensors(format!(r#"{{"t":{t},"\u0074":{u}}}"#), 2) => Duplicate { .. },
        "F3 metadata twice", raw_safetensors(r#"{"__metadata__":{},"__metadata__":{}}"#, 0) => Json { .. },
        "F3 a metadata key twice", raw_safetensors(r#"{"__metadata__":{"a":"1","a":"2"}}"#, 0) => Duplicate { .. },
        "F3 a field twice", raw_safetensors(r#"{"t":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#, 1) => Json { .. },
        "F4 a number", raw_safetensors(r#"{"__metadata__":{"a":1}}"#, 0) => Json { .. },
        "F4 nested", raw_safetensors(r#"{"__metadata__":{"a":{"b":"c"}}}"#, 0) => Json { .. },
        "F4 no object", raw_safetensors(r#"{"__metadata__":"x"}"#, 0) => Json { .. },
        "an empty name", raw_safetensors(format!(r#"{{"":{t}}}"#), 1) => EmptyName { .. },
        "a name over the cap", raw_safetensors(format!(r#"{{"{}":{t}}}"#, "n".repeat(1025)), 1) => TooLong { .. },
        "an unknown field", raw_safetensors(r#"{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":0}}"#, 1) => Json { .. },
        "a missing field", raw_safetensors(r#"{"t":{"dtype":"U8","shape":[1]}}"#, 1) => Json { .. },
        "null for a tensor", raw_safetensors(r#"{"t":null}"#, 0) => Json { .. },
    }
}

#[test]
fn tensors() {
    rejects! { read;
        "F5 unknown", one("F31", "[1]", 0, 4, 4) => UnknownDtype { .. },
        "F5 quantized", one("Q4_0", "[32]", 0, 18, 18) => UnknownDtype { .. },
        "F5 lower case", one("f32", "[1]", 0, 4, 4) => UnknownDtype { .. },
        "F5 not yet", one("F8_E4M3", "[1]", 0, 1, 1) => UnsupportedDtype { .. },
        "F6 too few bytes", one("F32", "[2]", 0, 4, 4) => ByteCount { expected: 8, .. },
        "F6 too many bytes", one("F32", "[1]", 0, 8, 8) => ByteCount { expected: 4, .. },
        "F6 reversed", one("F32", "[1]", 4, 0, 4) => ByteCount { .. },
        "F6 product overflows", one("U8", "[1099511627776,1099511627776]", 0, 0, 0) => ShapeOverflow { .. },
        "F6 bytes overflow", one("F64", "[1099511627776,4194304]", 0, 0, 0) => ShapeOverflow { .. },
        "F6 a dimension over the cap", one("U8", "[18446744073709551615]", 0, 1, 1) => Dimension { .. },
        "F6 a negative dimension", one("U8", "[-1]", 0, 1, 1) => Json { .. },
        "F6 a fractional dimension", one("U8", "[1.5]", 0, 1, 1) => Json { .. },
        "F6 too many dimensions", one("U8", "[1,1,1,1,1,1,1,1,1]", 0, 1, 1) => DimensionCount { found: 9, .. },
        "F6 past the file", one("U8", "[5]", 0, 5, 4) => OutOfFile { .. },
        "F6 far past the file", one("U8", "[1]", 18446744073709551614, 18446744073709551615, 1) => OutOfFile { .. },
        "F7 does not begin at 0", one("U8", "[1]", 1, 2, 2) => Gap { .. },
        "F7 a hole", raw_safetensors(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}"#, 3) => Gap { found: 1, .. },
        "F7 overlap", raw_safetensors(r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#, 3) => Overlap { .. },
        "F7 the same bytes", raw_safetensors(r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}}"#, 2) => Overlap { .. },
        "F7 a tail", one("U8", "[1]", 0, 1, 2) => TrailingBytes { found: 1, .. },
        "F7 data without tensors", raw_safetensors("{}", 8) => TrailingBytes { .. },
    }
}

#[test]
fn legal_oddities() {
    assert!(read(raw_safetensors("{}", 0)).unwrap().tensors.is_empty());
    assert!(read(raw_safetensors("{}      ", 0)).is_ok());
    let empty = r#"{"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"e":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},"z":{"dtype":"F32","shape":[3,0],"data_offsets":[1,1]}}"#;
    assert_eq!(read(raw_safetensors(empty, 1)).unwrap().tensors[1].bytes, 0);
    let scalar = read(one("I64", "[]", 0, 8, 8)).unwrap();
    assert_eq!((scalar.tensors[0].elements(), scalar.tensors[0].shape.len()), (1, 0));
    for (name, bytes) in
        [("BOOL", 1), ("U16", 2), ("I16", 2), ("F16", 2), ("BF16", 2), ("U32", 4), ("F64", 8), ("U64", 8)]
    {
        assert!(read(one(name, "[1]", 0, bytes, bytes as usize)).is_ok(), "{name}");
    }
}

fn write(tensors: &[(&str, DType, &[u64])], seed: u8) -> Vec<u8> {
    let mut w = Writer::new("out.safetensors");
    w.metadata("format", "pt").unwrap().metadata("quote\"", "line\nbreak ü").unwrap();
    for (name, dtype, shape) in tensors {
        w.tensor(*name, *dtype, *shape).unwrap();
    }
    let mut body = w.begin(Vec::new()).unwrap();
    let total: u64 = body.tensors().iter().map(|t| t.bytes).sum();
    body.write(&(0..total).map(|i| i as u8 ^ seed).collect::<Vec<_>>()).unwrap();
    body.finish().unwrap()
}

#[test]
fn written_again_it_is_the_same_file() {
    let first = write(
        &[("z\"q", DType::F32, &[2, 3]), ("a", DType::BF16, &[5]), ("e", DType::F32, &[0]), ("s", DType::U8, &[])],
        7,
    );
    let file = open(Arc::new(source(first.clone()))).unwrap();
    assert_eq!(file.metadata.get(1), Some(("quote\"", "line\nbreak ü")));
    let header = read(first.clone()).unwrap();
    let w = Writer::like("again.safetensors", &header).unwrap();
    let mut body = w.begin(Vec::new()).unwrap();
    for t in file.checkpoint.tensors() {
        body.write(&file.checkpoint.read(t).unwrap()).unwrap();
    }
    assert_eq!(body.finish().unwrap(), first);
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let fails = |f: &dyn Fn(&mut Writer) -> Result<(), FormatError>, expected: fn(&Problem) -> bool| {
        let mut w = Writer::new("out.safetensors");
        w.metadata("k", "v").unwrap().tensor("t", DType::F32, [1]).unwrap();
        let error = match f(&mut w) {
            Err(error) => error,
            Ok(()) => w.begin(Vec::new()).map(drop).unwrap_err(),
        };
        assert!(expected(&error.problem), "{error}");
    };
    fails(&|w| w.tensor("", DType::F32, [1]).map(drop), |p| matches!(p, Problem::EmptyName { .. }));
    fails(&|w| w.tensor("__metadata__", DType::F32, [1]).map(drop), |p| matches!(p, Problem::EmptyName { .. }));
    fails(&|w| w.tensor("t", DType::F32, [1]).map(drop), |p| matches!(p, Problem::Duplicate { .. }));
    fails(&|w| w.tensor("q", DType::Q8_0, [32]).map(drop), |p| matches!(p, Problem::UnsupportedDtype { .. }));
    fails(&|w| w.tensor("q", DType::U8, vec![1; 9]).map(drop), |p| matches!(p, Problem::DimensionCount { .. }));
    fails(&|w| w.tensor("q", DType::U8, [1 << 41]).map(drop), |p| matches!(p, Problem::Dimension { .. }));
    fails(&|w| w.metadata("k", "again").map(drop), |p| matches!(p, Problem::Duplicate { .. }));
}

/// Opens `index` with two shards: `a` has t1 and t2, `b` has t3.
fn sharded(index: &str) -> Result<Checkpoint, FormatError> {
    let files = HashMap::from([
        ("a.safetensors", write(&[("t1", DType::U8, &[4]), ("t2", DType::U8, &[4])], 0)),
        ("b.safetensors", write(&[("t3", DType::U8, &[4])], 1)),
    ]);
    open_sharded(&source(index.as_bytes().to_vec()), &|name| {
        let bytes = files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(BytesSource::new(name, bytes.clone())) as Box<dyn Source>)
    })
}

#[test]
fn shards() {
    let good = r#"{"metadata":{"total_size":12},"weight_map":{"t3":"b.safetensors","t1":"a.safetensors","t2":"a.safetensors"}}"#;
    let checkpoint = sharded(good).unwrap();
    assert_eq!((checkpoint.tensors().len(), checkpoint.sources().len()), (3, 2));
    let t3 = checkpoint.require("t3").unwrap();
    assert_eq!((t3.file, &*checkpoint.read(t3).unwrap()), (1, &[1u8, 0, 3, 2][..]));

    let place = |name: &str| sharded(&format!(r#"{{"weight_map":{{"t1":"{name}"}}}}"#));
    rejects! { |r: Result<_, _>| r;
        "F8 parent", place("../a.safetensors") => UnsafeFileName { .. },
        "F8 parent alone", place("..") => UnsafeFileName { .. },
        "F8 absolute", place("/etc/a.safetensors") => UnsafeFileName { .. },
        "F8 a folder", place("x/a.safetensors") => UnsafeFileName { .. },
        "F8 backslashes", place(r"..\\a.safetensors") => UnsafeFileName { .. },
        "F8 a drive", place("c:a.safetensors") => UnsafeFileName { .. },
        "F8 empty", place("") => UnsafeFileName { .. },
        "F8 hidden", place(".safetensors") => UnsafeFileName { .. },
        "F8 NUL", place(r"a\u0000.safetensors") => UnsafeFileName { .. },
        "F8 another kind", place("config.json") => UnsafeFileName { .. },
        "F8 missing shard", place("c.safetensors") => Open { .. },
        "F8 a tensor unlisted", sharded(r#"{"weight_map":{"t1":"a.safetensors"}}"#) => NotInIndex { .. },
        "F8 a tensor elsewhere", sharded(&good.replace(r#""t3":"b"#, r#""t3":"a"#)) => NotInShard { .. },
        "F8 swapped", sharded(r#"{"weight_map":{"t3":"a.safetensors","t1":"b.safetensors","t2":"a.safetensors"}}"#) => NotInIndex { .. },
        "F8 a tensor too many", sharded(&good.replace(r#""t1""#, r#""t4":"b.safetensors","t1""#)) => NotInShard { .. },
        "F8 listed twice", sharded(&good.replace(r#""t1""#, r#""t3":"b.safetensors","t1""#)) => Duplicate { .. },
        "no map", sharded("{}") => Json { .. },
        "a map of numbers", sharded(r#"{"weight_map":{"t1":1}}"#) => Json { .. },
        "no JSON", sharded("weights") => Json { .. },
    }
}

#[test]
fn shards_written_and_read_again() {
    let mut w = Writer::new("out");
    w.metadata("format", "pt").unwrap();
    for i in 0..5u8 {
        w.tensor(format!("t{i}"), DType::U8, [u64::from(i) + 1]).unwrap();
    }
    let mut names = Vec::new();
    let create = |name: &str| {
        names.push(name.to_owned());
        Ok(Vec::new())
    };
    let (mut body, index) = w.begin_shards("model", PartLimit::bytes(6), create).unwrap();
    body.write(&(0..15).collect::<Vec<u8>>()).unwrap();
    let files: HashMap<String, Vec<u8>> = body
        .finish()
        .unwrap()
        .into_iter()
        .enumerate()
        .map(|(i, f)| (format!("model-{:05}-of-00003.safetensors", i + 1), f))
        .collect();
    names.iter().for_each(|name| assert!(files.contains_key(name), "{name}"));
    let header = read(files["model-00001-of-00003.safetensors"].clone()).unwrap();
    assert!(header.metadata.iter().eq([("format", "pt")]));
    assert!(
        index.starts_with(
            "{\n  \"metadata\": {\n    \"total_size\": 15\n  },\n  \"weight_map\": {\n    \"t0\": \"model-00001-of-"
        ),
        "{index}"
    );
    let checkpoint = open_sharded(&source(index.into_bytes()), &|name| {
        let bytes = files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(BytesSource::new(name, bytes.clone())) as Box<dyn Source>)
    })
    .unwrap();
    let all: Vec<u8> = (0..5)
        .flat_map(|i| checkpoint.read(checkpoint.require(&format!("t{i}")).unwrap()).unwrap().into_owned())
        .collect();
    assert_eq!(all, (0..15).collect::<Vec<u8>>());
    assert_eq!(checkpoint.sources().len(), 3);
}

#[test]
fn a_tensor_in_two_shards_is_refused() {
    let both = |name: &str| -> io::Result<Box<dyn Source>> {
        Ok(Box::new(BytesSource::new(name, write(&[("t", DType::U8, &[4])], 0))))
    };
    let index = r#"{"weight_map":{"t":"a.safetensors","u":"b.safetensors"}}"#;
    let error = open_sharded(&source(index.as_bytes().to_vec()), &both).unwrap_err();
    assert!(matches!(*error.problem, Problem::NotInIndex { .. }), "{error}");
}
