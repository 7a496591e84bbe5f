//! What the GGUF reader must reject, at least two files for each invariant.
#![allow(clippy::unwrap_used)]

#[macro_use]
mod common;

use common::{RawGguf, array, kv, read, read_allowing_trailing, string, tensor};
use tern_formats::Source;
use tern_formats::gguf::Header;

fn with_raw(change: impl FnOnce(&mut RawGguf)) -> Vec<u8> {
    RawGguf::with(change)
}

#[test]
fn the_default_file_is_accepted() {
    let header = read(RawGguf::default().bytes()).unwrap();
    assert_eq!((header.version, header.tensors.len()), (3, 2));
    assert_eq!(*header.tensors[0].shape, [2, 4]);
    assert_eq!(header.tensors[1].offset, header.data_start + 32);
    assert!(read(with_raw(|f| f.version = 2)).is_ok());
}

#[test]
fn framing() {
    rejects! { read;
        "G1 an empty file", vec![] => Empty,
        "G1 a text file", b"Hello, this is not a model.\n".to_vec() => WrongMagic { .. },
        "G1 a page", b"<html><body>404</body></html>".to_vec() => WrongMagic { .. },
        "G1 an old file", with_raw(|f| f.magic = *b"tjgg") => WrongMagic { .. },
        "G1 swapped", with_raw(|f| f.magic = *b"FUGG") => WrongMagic { .. },
        "G2 version 1", with_raw(|f| f.version = 1) => UnsupportedVersion { found: 1, .. },
        "G2 version 4", with_raw(|f| f.version = 4) => UnsupportedVersion { found: 4, .. },
        "G2 version 0", with_raw(|f| f.version = 0) => UnsupportedVersion { found: 0, .. },
        "G2 big-endian", with_raw(|f| f.version = 3u32.swap_bytes()) => UnsupportedVersion { .. },
        "G3 2^60 tensors", with_raw(|f| f.tensor_count = Some(1 << 60)) => TooMany { found: 0x1000_0000_0000_0000, .. },
        "G3 more tensors than fit", with_raw(|f| f.tensor_count = Some(1000)) => Truncated { .. },
        "G3 2^63 keys", with_raw(|f| f.key_count = Some(1 << 63)) => TooMany { .. },
        "G3 more keys than fit", with_raw(|f| f.key_count = Some(60_000)) => Truncated { .. },
        "G3 keys over the cap", with_raw(|f| f.key_count = Some((64 << 10) + 1)) => TooMany { .. },
        "G3 tensors over the cap", with_raw(|f| f.tensor_count = Some((1 << 20) + 1)) => TooMany { .. },
        "G5 a whole alignment trails", with_raw(|f| f.data = 64 + 32) => TrailingBytes { found: 32, .. },
        "G5 much trails", with_raw(|f| f.data = 5000) => TrailingBytes { .. },
    }
    let message = |bytes: Vec<u8>| read(bytes).unwrap_err().to_string();
    assert!(message(with_raw(|f| f.version = 1)).contains("convert the model again"));
    assert!(message(with_raw(|f| f.version = 3u32.swap_bytes())).contains("big-endian"));
    assert!(message(b"Hello, world of models".to_vec()).contains("\"Hell\""));
}

#[test]
fn trailing_bytes_up_to_padding_or_by_option() {
    assert!(read(with_raw(|f| f.data = 64 + 31)).is_ok());
    assert!(read_allowing_trailing(with_raw(|f| f.data = 5000)).is_ok());
}

#[test]
fn keys() {
    let key = |key: &[u8]| with_raw(|f| f.keys.push(kv(key, 0, [1])));
    rejects! { read;
        "K1 empty", key(b"") => EmptyName { .. },
        "K1 empty and alone", with_raw(|f| f.keys = vec![kv("", 0, [1])]) => EmptyName { .. },
        "K1 too long", key(&[b'k'; 65536]) => TooLong { found: 65536, .. },
        "K1 longer", with_raw(|f| { f.keys.push(kv([b'k'; 70000], 0, [1])) }) => TooLong { .. },
        "K1 not UTF-8", key(b"\xff\xfe") => NotUtf8 { .. },
        "K1 a surrogate", key(b"\xed\xa0\x80") => NotUtf8 { .. },
        "K1 twice", key(b"general.architecture") => Duplicate { .. },
        "K1 twice among many", with_raw(|f| for i in 0..1000 { f.keys.push(kv(format!("k{}", i % 999), 0, [1])) }) => Duplicate { .. },
        "K2 type 13", RawGguf::with_key("k", 13, [0; 8]) => UnknownValueType { found: 13, .. },
        "K2 type 2^32-1", RawGguf::with_key("k", u32::MAX, [0; 8]) => UnknownValueType { .. },
        "K3 boolean 2", RawGguf::with_key("k", 7, [2]) => BadBool { found: 2, .. },
        "K3 boolean 255", RawGguf::with_key("k", 7, [255]) => BadBool { found: 255, .. },
        "K3 in an array", RawGguf::with_key("k", 9, array(7, 3, [0, 1, 9])) => BadBool { found: 9, .. },
        "K4 element type 13", RawGguf::with_key("k", 9, array(13, 1, [0; 8])) => UnknownValueType { found: 13, .. },
        "K4 element type 2^31", RawGguf::with_key("k", 9, array(1 << 31, 1, [0; 8])) => UnknownValueType { .. },
        "K4 nested", RawGguf::with_key("k", 9, array(9, 1, array(0, 1, [1]))) => NestedArray { .. },
        "K4 deeply nested", RawGguf::with_key("k", 9, [9u8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0].repeat(1000)) => NestedArray { .. },
        "K5 count over the rest", RawGguf::with_key("k", 9, array(4, 1000, [0; 8])) => Truncated { .. },
        "K5 product overflows", RawGguf::with_key("k", 9, array(10, 1 << 61, [0; 8])) => Truncated { .. },
        "K5 product wraps to 8", RawGguf::with_key("k", 9, array(10, (1 << 61) + 1, [0; 8])) => Truncated { .. },
        "K5 strings over the rest", RawGguf::with_key("k", 9, array(8, 1 << 40, [0; 8])) => Truncated { .. },
        "K6 string over the rest", RawGguf::with_key("k", 8, 10_000u64.to_le_bytes()) => Truncated { .. },
        "K6 string of 2^64-1", RawGguf::with_key("k", 8, u64::MAX.to_le_bytes()) => Truncated { .. },
        "K6 key over the rest", with_raw(|f| f.keys.push(u64::MAX.to_le_bytes().to_vec())) => Truncated { .. },
        "K6 element over the rest", RawGguf::with_key("k", 9, array(8, 2, [string("x"), u64::MAX.to_le_bytes().to_vec()].concat())) => Truncated { .. },
        "K6 string not UTF-8", RawGguf::with_key("k", 8, string(b"\xc0\x80")) => NotUtf8 { .. },
    }
}

/// A file of a terabyte: some bytes, then zeros. What it claims is backed by its length.
struct Sparse(Vec<u8>);

impl Source for Sparse {
    fn len(&self) -> u64 {
        1 << 40
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        let begin = (offset as usize).min(self.0.len());
        let n = buf.len().min(self.0.len() - begin);
        buf[..n].copy_from_slice(&self.0[begin..begin + n]);
        buf[n..].fill(0);
        Ok(())
    }

    fn name(&self) -> &str {
        "test.bin"
    }
}

#[test]
fn strings_and_headers_over_their_caps() {
    use tern_formats::limits::{MAX_GGUF_HEADER, MAX_STRING_BYTES};
    let sparse = |bytes: Vec<u8>| Header::read(&Sparse(bytes));
    let last_key = |kind, value: Vec<u8>| {
        RawGguf { keys: vec![kv("k", kind, value)], tensors: vec![], ..RawGguf::default() }.header()
    };
    rejects! { sparse;
        "K6 a string over the cap", last_key(8, (MAX_STRING_BYTES + 1).to_le_bytes().to_vec()) => TooLong { .. },
        "K6 a string of the whole file", last_key(8, (1u64 << 39).to_le_bytes().to_vec()) => TooLong { .. },
        "K5 an array over the cap", last_key(9, array(0, MAX_GGUF_HEADER, [])) => TooLong { .. },
        "K5 an array of the whole file", last_key(9, array(10, 1 << 36, [])) => TooLong { .. },
        "K5 strings over the cap", last_key(9, array(8, 1 << 36, [])) => TooLong { .. },
    }
}

#[test]
fn alignment() {
    let with = |value: u32| RawGguf::with_key("general.alignment", 4, value.to_le_bytes());
    rejects! { read;
        "K8 zero", with(0) => BadAlignment { found: 0 },
        "K8 no power of two", with(48) => BadAlignment { found: 48 },
        "K8 too small", with(4) => BadAlignment { found: 4 },
        "K8 too large", with(128 << 10) => BadAlignment { .. },
        "K8 a u64", RawGguf::with_key("general.alignment", 10, 32u64.to_le_bytes()) => WrongType { .. },
        "K8 a string", RawGguf::with_key("general.alignment", 8, string("32")) => WrongType { .. },
    }
    let wide = RawGguf::with(|f| {
        f.keys.push(kv("general.alignment", 4, 64u32.to_le_bytes()));
        f.tensors[1] = tensor("b", &[8], 0, 64);
        (f.alignment, f.data) = (64, 128);
    });
    assert_eq!(read(wide).unwrap().alignment, 64);
}

#[test]
fn tensor_infos() {
    let one = RawGguf::with_tensor;
    rejects! { read;
        "T1 no name", one(tensor("", &[16], 0, 0)) => EmptyName { .. },
        "T1 no second name", with_raw(|f| f.tensors[1] = tensor("", &[8], 0, 32)) => EmptyName { .. },
        "T1 name over the cap", one(tensor([b't'; 1025], &[16], 0, 0)) => TooLong { found: 1025, .. },
        "T1 name far over the cap", one(tensor([b't'; 70000], &[16], 0, 0)) => TooLong { .. },
        "T1 not UTF-8", one(tensor(b"\xff", &[16], 0, 0)) => NotUtf8 { .. },
        "T1 twice", with_raw(|f| f.tensors[1] = tensor("a", &[8], 0, 32)) => Duplicate { .. },
        "T1 twice in one place", with_raw(|f| f.tensors[1] = f.tensors[0].clone()) => Overlap { .. } | Duplicate { .. },
        "T2 no dimensions", one(tensor("t", &[], 0, 0)) => DimensionCount { found: 0, .. },
        "T2 five dimensions", one(tensor("t", &[2, 2, 2, 2, 1], 0, 0)) => DimensionCount { found: 5, .. },
        "T2 2^32-1 dimensions", one([string("t"), vec![0xff; 24]].concat()) => DimensionCount { .. },
        "T3 zero", one(tensor("t", &[0], 0, 0)) => Dimension { found: 0, .. },
        "T3 zero inside", one(tensor("t", &[4, 0, 2], 0, 0)) => Dimension { found: 0, axis: 1, .. },
        "T3 over 2^40", one(tensor("t", &[(1 << 40) + 1], 0, 0)) => Dimension { .. },
        "T3 negative", one(tensor("t", &[4, u64::MAX], 0, 0)) => Dimension { .. },
        "T4 product overflows", one(tensor("t", &[1 << 40, 1 << 40], 0, 0)) => ShapeOverflow { .. },
        "T4 product wraps to 0", one(tensor("t", &[1 << 32, 1 << 32], 0, 0)) => ShapeOverflow { .. },
        "T4 product wraps to 16", one(tensor("t", &[1 << 34, 1 << 34, 16], 0, 0)) => ShapeOverflow { .. },
        "T5 removed Q4_2", one(tensor("t", &[32], 4, 0)) => RemovedDtype { found: 4, .. },
        "T5 removed Q4_0_4_4", one(tensor("t", &[32], 31, 0)) => RemovedDtype { found: 31, .. },
        "T5 unknown 43", one(tensor("t", &[32], 43, 0)) => UnknownDtype { .. },
        "T5 unknown 2^32-1", one(tensor("t", &[32], u32::MAX, 0)) => UnknownDtype { .. },
        "T5 our own id", one(tensor("t", &[32], 0x1000, 0)) => UnknownDtype { .. },
        "T6 half a block", one(tensor("t", &[16, 2], 2, 0)) => PartialBlock { found: 16, .. },
        "T6 half a super-block", one(tensor("t", &[128, 2], 12, 0)) => PartialBlock { found: 128, .. },
        "T7 bytes overflow", one(tensor("t", &[1 << 40, 1 << 22], 0, 0)) => ShapeOverflow { .. },
        "T7 bytes wrap to 64", one(tensor("t", &[1 << 31, (1 << 31) + 1], 28, 0)) => ShapeOverflow { .. },
        "T8 off by one", one(tensor("t", &[8], 0, 1)) => Misaligned { offset: 1, .. },
        "T8 off by half", with_raw(|f| f.tensors[1] = tensor("b", &[4], 0, 48)) => Misaligned { offset: 48, .. },
        "T9 end past the file", with_raw(|f| f.data = 63) => OutOfFile { .. },
        "T9 begin past the file", one(tensor("t", &[8], 0, 1 << 40)) => OutOfFile { .. },
        "T9 the sum wraps", one(tensor("t", &[16], 0, u64::MAX - 31)) => OutOfFile { .. },
        "T9 no data at all", with_raw(|f| f.data = 0) => OutOfFile { .. },
        "T10 the same place", with_raw(|f| f.tensors[1] = tensor("b", &[8], 0, 0)) => Overlap { .. },
        "T10 partly", with_raw(|f| f.tensors = vec![tensor("a", &[9], 0, 0), tensor("b", &[8], 0, 32)]) => Overlap { .. },
        "T10 a gap before the first", with_raw(|f| { f.tensors.remove(0); }) => Gap { found: 32, .. },
        "T10 a gap between", with_raw(|f| { f.tensors[1] = tensor("b", &[8], 0, 64); f.data = 96 }) => Gap { found: 32, .. },
    }
}

#[test]
fn padding_at_the_edges() {
    // T11: a header that ends exactly at the alignment needs no padding, one byte more needs 31.
    for extra in 0..64 {
        let raw = RawGguf { keys: vec![kv("k", 8, string("x".repeat(extra)))], ..RawGguf::default() };
        let header = read(raw.bytes()).unwrap();
        assert_eq!(header.data_start, raw.header().len().next_multiple_of(32) as u64);
    }
    rejects! { read;
        "T11 data before its padded place", { let raw = RawGguf::default(); [raw.header(), vec![0; 64]].concat() } => OutOfFile { .. },
        "T11 padded to a smaller alignment", with_raw(|f| { f.keys.push(kv("general.alignment", 4, 65536u32.to_le_bytes())); f.tensors.truncate(1) }) => OutOfFile { .. },
    }
}

#[test]
fn dtypes_that_are_not_read_are_named() {
    let error = read(RawGguf::with_tensor(tensor("blk.0.w", &[256], 9, 0))).unwrap_err().to_string();
    assert!(error.contains("blk.0.w") && error.contains("Q8_1") && error.contains("Q4_K"), "{error}");
}

#[test]
fn a_file_without_tensors_may_end_after_its_keys() {
    let mut raw = RawGguf::default();
    raw.tensors.clear();
    assert!(read(raw.header()).is_ok());
    raw.data = 0;
    assert!(read(raw.bytes()).is_ok());
    raw.data = 64;
    rejects! { read; "G5 data without tensors", raw.bytes() => TrailingBytes { .. }, }
}
