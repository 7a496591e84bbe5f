//! Damaged files: cut at every byte, and every byte replaced by every value. No panic, and no more
//! memory than the file justifies, which a counting allocator watches.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{RawGguf, array, kv, raw_safetensors, read, read_safetensors, source, string, tensor};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use tern_formats::Problem;
use tern_formats::gguf::Header;

/// Counts bytes per thread, so that tests may run side by side.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    let live = LIVE.get() + bytes;
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

// SAFETY: forwards every call unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most memory that `f` held at once.
fn peak(f: impl FnOnce()) -> usize {
    let before = LIVE.get();
    PEAK.set(before);
    f();
    (PEAK.get() - before) as usize
}

/// What parsing may take: twice the header, a record per name, and a constant for the read window.
fn allowance(header: usize, names: usize) -> usize {
    2 * header + 160 * names + (64 << 10)
}

/// About 1 KiB, with every kind of value.
fn small() -> RawGguf {
    let mut f = RawGguf::default();
    f.keys.extend([
        kv("general.alignment", 4, 32u32.to_le_bytes()),
        kv("test.flag", 7, [1]),
        kv("test.eps", 6, 1e-5f32.to_le_bytes()),
        kv("test.long", 10, 9u64.to_le_bytes()),
        kv("test.double", 12, 1.5f64.to_le_bytes()),
        kv("test.bytes", 9, array(0, 5, [1, 2, 3, 4, 5])),
        kv("test.flags", 9, array(7, 3, [0, 1, 1])),
        kv("tokenizer.tokens", 9, array(8, 3, [string("a"), string("bc"), string("")].concat())),
        kv("tokenizer.scores", 9, array(6, 3, [0; 12])),
        kv("tokenizer.types", 9, array(5, 3, [0; 12])),
    ]);
    f.tensors.push(tensor("blk.0.q4", &[32, 2], 2, 64));
    f.tensors.push(tensor("blk.0.q6", &[256], 14, 128));
    f.data = 128 + 210;
    f
}

#[test]
fn gguf_cut_anywhere() {
    let raw = small();
    let (whole, header) = (raw.bytes(), raw.header().len());
    assert!(read(whole.clone()).is_ok());
    for len in 0..whole.len() {
        let error = read(whole[..len].to_vec()).map(drop).unwrap_err();
        match *error.problem {
            Problem::Empty => assert_eq!(len, 0),
            Problem::Truncated { offset, .. } => assert!(offset <= len as u64 && len < header, "{error}"),
            Problem::OutOfFile { file_len, .. } => assert!(file_len == len as u64 && len >= header, "{error}"),
            _ => panic!("cut to {len}: {error}"),
        }
    }
}

#[test]
fn gguf_with_every_byte_replaced() {
    let raw = small();
    let (mut bytes, header) = (raw.bytes(), raw.header().len());
    let limit = allowance(bytes.len(), 24);
    // Data bytes mean nothing to the reader; a few suffice.
    for at in 0..header + 40 {
        let original = bytes[at];
        for value in 0..=255 {
            bytes[at] = value;
            let source = source(bytes.clone());
            let used = peak(|| drop(Header::read(&source)));
            assert!(used <= limit, "byte {at} as {value}: {used} bytes of memory");
        }
        bytes[at] = original;
    }
}

#[test]
fn gguf_with_random_damage() {
    let raw = small();
    let whole = raw.bytes();
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize
    };
    for _ in 0..50_000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + next() % 8 {
            let at = next() % bytes.len();
            match next() % 4 {
                // Lengths and counts are where damage hurts: overwrite eight bytes with extremes.
                0 => {
                    let word = [0, 1, 1 << 31, u64::MAX, 1 << 63, 1 << 60, 1 << 32][next() % 7];
                    for (b, w) in bytes[at..].iter_mut().zip(word.to_le_bytes()) {
                        *b = w;
                    }
                }
                1 => bytes[at] ^= 1 << (next() % 8),
                2 => drop(bytes.splice(at..at, (0..next() % 16).map(|i| i as u8))),
                _ => bytes[at] = next() as u8,
            }
        }
        let limit = allowance(bytes.len(), 24);
        let source = source(bytes);
        assert!(peak(|| drop(Header::read(&source))) <= limit);
    }
}

#[test]
fn a_large_vocabulary_takes_twice_its_bytes_at_most() {
    let tokens: Vec<u8> = (0..100_000).flat_map(|i| string(format!("token{i}"))).collect();
    let raw = RawGguf {
        keys: vec![
            kv("tokens", 9, array(8, 100_000, tokens)),
            kv("scores", 9, array(6, 100_000, vec![0; 400_000])),
            kv("flags", 9, array(7, 100_000, vec![1; 100_000])),
        ],
        ..RawGguf::default()
    };
    let header = raw.header().len();
    let source = source(raw.bytes());
    let used = peak(|| drop(Header::read(&source).unwrap()));
    assert!(used <= allowance(header, 5), "{used} bytes for a header of {header}");
}

#[test]
fn many_small_records() {
    let raw = RawGguf {
        keys: (0..20_000).map(|i| kv(format!("{i:x}"), 0, [0])).collect(),
        tensors: (0..20_000u64).map(|i| tensor(format!("{i:x}"), &[8], 0, 32 * i)).collect(),
        data: 20_000 * 32,
        ..RawGguf::default()
    };
    let header = raw.header().len();
    let source = source(raw.bytes());
    let used = peak(|| drop(Header::read(&source).unwrap()));
    assert!(used <= allowance(header, 40_000), "{used} bytes for a header of {header}");
}

#[test]
fn claims_cost_nothing_until_they_are_backed() {
    for value in [array(8, 1 << 20, []), array(10, 1 << 20, []), array(0, 1 << 40, [])] {
        // The file is large enough for the claim to be plausible to a reader that only looks at the total.
        let source = source(RawGguf::with_key("k", 9, value));
        let used = peak(|| assert!(Header::read(&source).is_err()));
        assert!(used <= 64 << 10, "{used}");
    }
}

fn small_safetensors() -> Vec<u8> {
    let header = concat!(
        r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"#,
        r#""b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]},"s":{"dtype":"U8","shape":[],"data_offsets":[22,23]}}   "#
    );
    raw_safetensors(header, 23)
}

#[test]
fn safetensors_cut_anywhere() {
    let whole = small_safetensors();
    assert_eq!(read_safetensors(whole.clone()).unwrap().tensors.len(), 3);
    for len in 0..whole.len() {
        assert!(read_safetensors(whole[..len].to_vec()).is_err(), "cut to {len}");
    }
}

#[test]
fn safetensors_with_every_byte_replaced() {
    let mut bytes = small_safetensors();
    for at in 0..bytes.len() {
        let original = bytes[at];
        for value in 0..=255 {
            bytes[at] = value;
            let source = source(bytes.clone());
            let used = peak(|| drop(tern_formats::safetensors::Header::read(&source)));
            assert!(used <= allowance(bytes.len(), 24), "byte {at} as {value}: {used} bytes of memory");
        }
        bytes[at] = original;
    }
}
