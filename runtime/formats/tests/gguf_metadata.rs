//! Typed access to keys: the right type, a wrong one, absence.
#![allow(clippy::unwrap_used)]

#[macro_use]
mod common;

use tern_formats::Problem;
use tern_formats::gguf::{Array, Metadata, StringArray, Value};

fn sample() -> Metadata {
    let entries = [
        ("u32", Value::U32(7)),
        ("i32", Value::I32(-7)),
        ("u64", Value::U64(1 << 40)),
        ("u8", Value::U8(200)),
        ("f32", Value::F32(0.5)),
        ("f64", Value::F64(0.1)),
        ("bool", Value::Bool(true)),
        ("str", Value::String("text".into())),
        ("ints", Value::from(Array::I32([1, -2, 3].into()))),
        ("counts", Value::from(Array::U64([1, 2, 1 << 33].into()))),
        ("small", Value::from(Array::U8([1, 2].into()))),
        ("floats", Value::from(Array::F32([1.0, 2.0].into()))),
        ("bools", Value::from(Array::Bool([true, false].into()))),
        ("strings", Value::from(Array::String(StringArray::new(["a", "", "ccc"]).unwrap()))),
        ("empty", Value::from(Array::F32([].into()))),
    ];
    Metadata::new("test.bin", entries).unwrap()
}

#[test]
fn the_right_type() {
    let m = sample();
    assert_eq!(m.require_u32("u32").unwrap(), 7);
    assert_eq!(m.require_i32("i32").unwrap(), -7);
    assert_eq!(m.require_u64("u64").unwrap(), 1 << 40);
    assert_eq!(m.require_f32("f32").unwrap(), 0.5);
    assert_eq!(m.require_f64("f32").unwrap(), 0.5);
    assert_eq!(m.require_f64("f64").unwrap(), 0.1);
    assert!(m.require_bool("bool").unwrap());
    assert_eq!(m.require_str("str").unwrap(), "text");
    assert_eq!(*m.require_array_i32("ints").unwrap(), [1, -2, 3]);
    assert_eq!(*m.require_array_u32("small").unwrap(), [1, 2]);
    assert_eq!(m.require_array_f32("floats").unwrap(), [1.0, 2.0]);
    assert_eq!(m.require_array_bool("bools").unwrap(), [true, false]);
    let strings = m.require_array_str("strings").unwrap();
    assert_eq!(strings.iter().collect::<Vec<_>>(), [&b"a"[..], b"", b"ccc"]);
    assert_eq!((strings.get_str(2), strings.get(3), strings.len()), (Some("ccc"), None, 3));
}

#[test]
fn integers_widen_and_narrow_where_the_value_fits() {
    let m = sample();
    assert_eq!(m.u64("u32").unwrap(), Some(7));
    assert_eq!(m.i64("u64").unwrap(), Some(1 << 40));
    assert_eq!(m.u32("u8").unwrap(), Some(200));
    assert_eq!(m.u8("u32").unwrap(), Some(7));
    rejects! { |r: Result<_, _>| r;
        "too large", m.u32("u64").map(drop) => OutOfRange { .. },
        "negative", m.u32("i32").map(drop) => OutOfRange { .. },
        "element too large", m.array_u32("counts").map(drop) => OutOfRange { .. },
        "element negative", m.array_u32("ints").map(drop) => OutOfRange { .. },
    }
}

#[test]
fn a_wrong_type_is_never_reinterpreted() {
    let m = sample();
    rejects! { |r: Result<_, _>| r;
        "K7 f32 as u32", m.u32("f32").map(drop) => WrongType { .. },
        "K7 bool as u32", m.u32("bool").map(drop) => WrongType { .. },
        "K7 string as u32", m.u32("str").map(drop) => WrongType { .. },
        "K7 array as u32", m.u32("ints").map(drop) => WrongType { .. },
        "K7 u32 as f32", m.f32("u32").map(drop) => WrongType { .. },
        "K7 f64 as f32", m.f32("f64").map(drop) => WrongType { .. },
        "K7 u8 as bool", m.bool("u8").map(drop) => WrongType { .. },
        "K7 u32 as string", m.str("u32").map(drop) => WrongType { .. },
        "K7 strings as string", m.str("strings").map(drop) => WrongType { .. },
        "K7 floats as ints", m.array_i32("floats").map(drop) => WrongType { .. },
        "K7 ints as floats", m.array_f32("ints").map(drop) => WrongType { .. },
        "K7 bools as ints", m.array_u8("bools").map(drop) => WrongType { .. },
        "K7 u32 as strings", m.array_str("u32").map(drop) => WrongType { .. },
        "K7 u32 as array", m.array("u32").map(drop) => WrongType { .. },
    }
    let message = m.array_i32("floats").unwrap_err().to_string();
    assert_eq!(message, "test.bin: key 'floats' is array of f32, expected array of i32");
}

#[test]
fn absence() {
    let m = sample();
    assert_eq!(m.u32("none").unwrap(), None);
    assert_eq!(m.str("none").unwrap(), None);
    assert!(m.array_i32("none").unwrap().is_none());
    rejects! { |r: Result<_, _>| r;
        "a number", m.require_u32("none").map(drop) => MissingKey { .. },
        "an array", m.require_array_str("none").map(drop) => MissingKey { .. },
    }
}

#[test]
fn per_layer_values() {
    let m = sample();
    assert_eq!(m.u32_per_layer("u32", 3).unwrap(), Some(vec![7; 3]));
    assert_eq!(m.u32_per_layer("small", 2).unwrap(), Some(vec![1, 2]));
    assert_eq!(m.u32_per_layer("none", 2).unwrap(), None);
    let error = m.u32_per_layer("small", 3).unwrap_err();
    assert!(matches!(*error.problem, Problem::ArrayLength { expected: 3, found: 2, .. }));
}
