//! GGUF models in several files: written and read again, and what the reader must refuse (S7).
#![allow(clippy::unwrap_used)]

#[macro_use]
mod common;

use common::{RawGguf, kv, string, tensor};
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use tern_formats::gguf::{self, Gguf, ReadOptions, Value, Writer};
use tern_formats::{BytesSource, DType, FormatError, PartLimit, Problem, Source};

type Files = HashMap<String, Vec<u8>>;

/// Opens the model of which `name` is a part.
fn open(files: &Files, name: &str) -> Result<Gguf, FormatError> {
    let get = |name: &str| -> io::Result<Box<dyn Source>> {
        let bytes = files.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(Box::new(BytesSource::new(name, bytes.clone())))
    };
    gguf::open_split(Arc::from(get(name).unwrap()), name, &get, ReadOptions::default())
}

/// Tensors `t0`.. of 8 floats each, in parts.
fn write(prefix: &str, tensors: u64, limit: PartLimit) -> Files {
    let mut w = Writer::new("out.gguf");
    w.key("general.architecture", Value::String("test".into())).unwrap();
    w.key("general.alignment", Value::U32(64)).unwrap();
    w.key("test.block_count", Value::U32(2)).unwrap();
    for i in 0..tensors {
        w.tensor(format!("t{i}"), DType::F32, [8]).unwrap();
    }
    let mut names = Vec::new();
    let mut body = w
        .begin_split(prefix, limit, |name| {
            names.push(name.to_owned());
            Ok(Vec::new())
        })
        .unwrap();
    // Pieces that do not care where tensors and files end.
    let data: Vec<u8> = (0..tensors as usize * 32).map(|i| i as u8).collect();
    data.chunks(7).for_each(|piece| body.write(piece).unwrap());
    let files = body.finish().unwrap();
    names.into_iter().zip(files).collect()
}

fn name(no: u64, count: u64) -> String {
    gguf::part_name("m", no, count)
}

#[test]
fn written_and_read_again_from_any_part() {
    let files = write("m", 5, PartLimit::tensors(2));
    let mut names: Vec<_> = files.keys().cloned().collect();
    names.sort();
    assert_eq!(names, ["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"]);
    for name in &names {
        let model = open(&files, name).unwrap();
        assert_eq!((model.checkpoint.tensors().len(), model.checkpoint.sources().len()), (5, 3));
        let keys: Vec<_> = model.metadata.entries().map(|e| e.0).collect();
        assert_eq!(keys, ["general.architecture", "general.alignment", "test.block_count"]);
        for (i, t) in model.checkpoint.tensors().iter().enumerate() {
            let expected: Vec<u8> = (i * 32..i * 32 + 32).map(|i| i as u8).collect();
            assert_eq!(
                (t.name.to_string(), t.file as usize, &*model.checkpoint.read(t).unwrap()),
                (format!("t{i}"), i / 2, &*expected)
            );
        }
    }
    // A part alone is refused, with what to do.
    let source = BytesSource::new("part", files[&names[1]].clone());
    let error = gguf::open(Arc::new(source)).unwrap_err();
    assert!(matches!(*error.problem, Problem::LonePart { part: 2, count: 3 }), "{error}");
}

#[test]
fn limits_by_bytes_by_count_and_none() {
    let parts = |tensors, limit| write("m", tensors, limit).len();
    assert_eq!(parts(5, PartLimit::bytes(64)), 3);
    assert_eq!(parts(5, PartLimit::bytes(1)), 5);
    assert_eq!(parts(5, PartLimit { bytes: 96, tensors: 2 }), 3);
    assert_eq!(parts(0, PartLimit::bytes(1)), 1);
    // One part of one is a whole model, wherever it lies and whatever its name.
    let files = write("m", 5, PartLimit::bytes(u64::MAX));
    let bytes = files["m-00001-of-00001.gguf"].clone();
    assert_eq!(open(&Files::from([("renamed".into(), bytes)]), "renamed").unwrap().checkpoint.tensors().len(), 5);
}

#[test]
fn keys_of_splitting_are_the_writers_own() {
    let mut w = Writer::new("out.gguf");
    w.key("split.count", Value::U16(3)).unwrap();
    let error = w.begin_split("m", PartLimit::bytes(1), |_| Ok(Vec::new())).unwrap_err();
    assert!(matches!(*error.problem, Problem::Duplicate { .. }), "{error}");
}

#[test]
fn too_much_too_little_and_what_cannot_be_created() {
    let begin = || {
        let mut w = Writer::new("out.gguf");
        w.tensor("a", DType::F32, [8]).unwrap().tensor("b", DType::F32, [8]).unwrap();
        w
    };
    let mut body = begin().begin_split("m", PartLimit::tensors(1), |_| Ok(Vec::new())).unwrap();
    let error = body.write(&[0; 65]).unwrap_err();
    assert!(matches!(*error.problem, Problem::TooMuchData { found: 1 }), "{error}");
    for written in [0, 31, 32, 63] {
        let mut body = begin().begin_split("m", PartLimit::tensors(1), |_| Ok(Vec::new())).unwrap();
        body.write(&vec![0; written]).unwrap();
        let error = body.finish().unwrap_err();
        assert!(matches!(*error.problem, Problem::Unfinished { .. }), "{written}: {error}");
    }
    let refuse = |_: &str| -> io::Result<Vec<u8>> { Err(ErrorKind::StorageFull.into()) };
    let error = begin().begin_split("m", PartLimit::tensors(1), refuse).unwrap().write(&[0; 8]).unwrap_err();
    assert!(matches!(*error.problem, Problem::Create { .. }) && error.file == name(0, 2), "{error}");
}

/// A part by hand: `no` and `count` as u16, `total` as i32, further keys, and tensors.
fn part(no: u16, count: u16, total: Option<i32>, keys: &[Vec<u8>], tensors: &[&str]) -> Vec<u8> {
    let mut own = vec![kv("split.no", 2, no.to_le_bytes()), kv("split.count", 2, count.to_le_bytes())];
    own.extend(total.map(|n| kv("split.tensors.count", 5, n.to_le_bytes())));
    let tensors: Vec<_> = tensors.iter().enumerate().map(|(i, t)| tensor(t, &[8], 0, 32 * i as u64)).collect();
    RawGguf { data: 32 * tensors.len(), keys: [own, keys.to_vec()].concat(), tensors, ..RawGguf::default() }.bytes()
}

fn architecture(name: &str) -> Vec<u8> {
    kv("general.architecture", 8, string(name))
}

/// Two parts of a model of three tensors.
fn good() -> Files {
    let first = part(0, 2, Some(3), &[architecture("test")], &["a"]);
    Files::from([(name(0, 2), first), (name(1, 2), part(1, 2, Some(3), &[], &["b", "c"]))])
}

/// `good` with its second part replaced.
fn second(part: Vec<u8>) -> Result<Gguf, FormatError> {
    let mut files = good();
    files.insert(name(1, 2), part);
    open(&files, &name(0, 2))
}

/// `good` with its first part replaced.
fn first(part: Vec<u8>) -> Result<Gguf, FormatError> {
    let mut files = good();
    files.insert(name(0, 2), part);
    open(&files, &name(0, 2))
}

#[test]
fn parts_that_do_not_belong_together() {
    assert_eq!(open(&good(), &name(1, 2)).unwrap().checkpoint.tensors().len(), 3);
    let arch = || [architecture("test")];
    let renamed = |to: &str| {
        let files = good();
        open(&Files::from([(to.to_owned(), files[&name(0, 2)].clone())]), to)
    };
    rejects! { |r: Result<_, _>| r;
        "S7 the same part twice", second(part(0, 2, Some(3), &arch(), &["b", "c"])) => PartMismatch { .. },
        "S7 of more parts", second(part(1, 3, Some(3), &[], &["b", "c"])) => PartMismatch { .. },
        "S7 a whole model", second(RawGguf::default().bytes()) => PartMismatch { .. },
        "S7 of a model with more tensors", second(part(1, 2, Some(4), &[], &["b", "c"])) => PartMismatch { .. },
        "S7 fewer tensors than announced", second(part(1, 2, Some(3), &[], &["b"])) => PartMismatch { .. },
        "S7 more tensors than announced", second(part(1, 2, Some(3), &[], &["b", "c", "d"])) => PartMismatch { .. },
        "S7 another architecture", second(part(1, 2, Some(3), &[architecture("other")], &["b", "c"])) => PartMismatch { .. },
        "S7 another type of a key", second(part(1, 2, Some(3), &[kv("general.architecture", 4, [0; 4])], &["b", "c"])) => PartMismatch { .. },
        "S7 a tensor of the first part", second(part(1, 2, Some(3), &[], &["b", "a"])) => Duplicate { .. },
        "S7 all tensors of the first part", second(part(1, 2, Some(2), &[], &["a"])) => PartMismatch { .. } | Duplicate { .. },
        "S7 damaged", second(b"GGUF".to_vec()) => Truncated { .. },
        "S7 no such part", open(&Files::from([(name(0, 2), good()[&name(0, 2)].clone())]), &name(0, 2)) => Open { .. },
        "S7 no such first part", open(&Files::from([(name(1, 2), good()[&name(1, 2)].clone())]), &name(1, 2)) => Open { .. },
        "S7 part 2 of 2 from 0", first(part(2, 2, Some(3), &arch(), &["a"])) => PartMismatch { .. },
        "S7 part 65536 of 2", first(part(u16::MAX, 2, Some(3), &arch(), &["a"])) => PartMismatch { .. },
        "S7 more parts than allowed", first(part(0, u16::MAX, Some(3), &arch(), &["a"])) => TooMany { .. },
        "S7 no total", first(part(0, 2, None, &arch(), &["a"])) => MissingKey { .. },
        "S7 a negative total", first(part(0, 2, Some(-1), &arch(), &["a"])) => OutOfRange { .. },
        "S7 no number", first(RawGguf::with_key("split.count", 2, 2u16.to_le_bytes())) => MissingKey { .. },
        "S7 a count that is a string", first(RawGguf::with_key("split.count", 8, string("2"))) => WrongType { .. },
        "S7 alone, with a wrong total", first(part(0, 1, Some(3), &arch(), &["a"])) => PartMismatch { .. },
        "S7 renamed", renamed("model.gguf") => PartName { part: 1, count: 2, .. },
        "S7 under another part's name", renamed("m-00002-of-00002.gguf") => PartName { .. },
    }
    // What the files of existing writers do.
    assert!(second(part(1, 2, None, &[], &["b", "c"])).is_ok(), "only the first part must have the total");
    assert!(second(part(1, 2, Some(3), &arch(), &["b", "c"])).is_ok(), "keys may be repeated");
    assert!(second(part(1, 2, Some(3), &[kv("general.alignment", 4, 32u32.to_le_bytes())], &["b", "c"])).is_ok());
    assert!(first(part(0, 0, Some(3), &arch(), &["a"])).is_ok(), "a merged model has a count of 0");
}

#[test]
fn a_first_part_without_tensors() {
    let files = Files::from([
        (name(0, 2), part(0, 2, Some(1), &[architecture("test")], &[])),
        (name(1, 2), part(1, 2, Some(1), &[], &["a"])),
    ]);
    assert_eq!(open(&files, &name(0, 2)).unwrap().checkpoint.require("a").unwrap().file, 1);
}

#[test]
fn the_message_names_part_key_and_both_values() {
    let error = second(part(1, 2, Some(3), &[architecture("other")], &["b", "c"])).unwrap_err().to_string();
    let expected = r#"m-00002-of-00002.gguf: general.architecture is "other", but "test" by the other parts; are these files of one model?"#;
    assert_eq!(error, expected);
}
