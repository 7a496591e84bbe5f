//! Damaged files: cut at every byte, and every byte replaced by every value. No panic, and no more
//! memory than the file justifies, which a counting allocator watches.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
mod counting;

use common::{RawGguf, array, kv, raw_safetensors, read, read_safetensors, source, string, tensor};
use counting::{allowance, peak};
use std::sync::Arc;
use tern_formats::gguf::Header;
use tern_formats::hf::Config;
use tern_formats::safetensors::{self, open_sharded};
use tern_formats::{Problem, adapter, gguf};

/// 4 KiB, with every kind of value, every kind of type id, the keys of a split model and of an adapter.
fn small() -> RawGguf {
    let mut f = RawGguf::default();
    let tokens: Vec<u8> = (0..90).flat_map(|i| string(format!("t{i}"))).collect();
    f.keys.extend([
        kv("general.alignment", 4, 32u32.to_le_bytes()),
        kv("general.type", 8, string("adapter")),
        kv("adapter.type", 8, string("lora")),
        kv("adapter.lora.alpha", 6, 16f32.to_le_bytes()),
        kv("split.no", 2, [0, 0]),
        kv("split.count", 2, [1, 0]),
        kv("split.tensors.count", 5, 7u32.to_le_bytes()),
        kv("test.flag", 7, [1]),
        kv("test.eps", 6, 1e-5f32.to_le_bytes()),
        kv("test.long", 10, 9u64.to_le_bytes()),
        kv("test.negative", 11, (-9i64).to_le_bytes()),
        kv("test.double", 12, 1.5f64.to_le_bytes()),
        kv("test.byte", 1, [0xff]),
        kv("test.short", 3, [0xff; 2]),
        kv("test.bytes", 9, array(0, 5, [1, 2, 3, 4, 5])),
        kv("test.flags", 9, array(7, 3, [0, 1, 1])),
        kv("test.longs", 9, array(10, 3, [0; 24])),
        kv("tokenizer.tokens", 9, array(8, 90, tokens)),
        kv("tokenizer.scores", 9, array(6, 90, [0; 360])),
        kv("tokenizer.types", 9, array(5, 90, [0; 360])),
    ]);
    f.tensors.push(tensor("blk.0.q4", &[32, 2], 2, 64));
    f.tensors.push(tensor("blk.0.q6", &[256], 14, 128));
    f.tensors.push(tensor("blk.0.mxfp4", &[32, 8], 39, 352));
    f.tensors.push(tensor("blk.0.i2_s", &[64, 16], 36, 512));
    f.tensors.push(tensor("blk.0.q2_0", &[256, 8], 42, 800));
    f.data = 800 + 576;
    f
}

#[test]
fn gguf_cut_anywhere() {
    let raw = small();
    let (whole, header) = (raw.bytes(), raw.header().len());
    assert!((4000..4200).contains(&whole.len()), "{}", whole.len());
    assert!(read(whole.clone()).is_ok());
    let data = header.next_multiple_of(32);
    for len in 0..whole.len() {
        let error = read(whole[..len].to_vec()).map(drop).unwrap_err();
        match *error.problem {
            Problem::Empty => assert_eq!(len, 0),
            Problem::Truncated { offset, .. } => assert!(offset <= len as u64 && len < header, "{error}"),
            Problem::OutOfFile { file_len, .. } => assert!(file_len == len as u64 && len >= header, "{error}"),
            // Sizes tell what contested ids mean, so a cut just before such a tensor's end leaves them open.
            Problem::NoReading { .. } | Problem::AmbiguousDtype { .. } | Problem::UnsupportedDtype { .. } => {
                assert!(len >= header && len < data + 1376, "{error}");
            }
            _ => panic!("cut to {len}: {error}"),
        }
    }
}

/// Every byte replaced by every value; `check` gets each file.
fn mutations(bytes: &mut [u8], mut check: impl FnMut(usize, &[u8])) {
    for at in 0..bytes.len() {
        let original = bytes[at];
        for value in 0..=255 {
            bytes[at] = value;
            check(at, bytes);
        }
        bytes[at] = original;
    }
}

#[test]
fn gguf_with_every_byte_replaced() {
    let mut bytes = small().bytes();
    let limit = allowance(bytes.len());
    let (mut cases, mut accepted) = (0u32, 0u32);
    mutations(&mut bytes, |at, bytes| {
        let source = source(bytes);
        let used = peak(|| accepted += u32::from(Header::read(&source).is_ok()));
        assert!(used <= limit, "byte {at} as {}: {used} bytes of memory", bytes[at]);
        cases += 1;
    });
    assert!(cases > 1_000_000 && accepted > cases / 4 && accepted < cases, "{accepted} of {cases}");
}

#[test]
fn adapters_and_parts_with_every_byte_replaced() {
    let mut bytes = {
        let mut f = small();
        f.tensors = vec![tensor("x.lora_a", &[4, 2], 0, 0), tensor("x.lora_b", &[2, 4], 0, 32)];
        f.keys.retain(|key| !key.windows(10).any(|w| w == b"tokenizer." || w == b"split.tens"));
        f.keys.push(kv("split.tensors.count", 5, 2u32.to_le_bytes()));
        f.data = 64;
        f.bytes()
    };
    let limit = allowance(bytes.len());
    assert!(adapter::open_gguf(Arc::new(source(bytes.clone()))).is_ok());
    mutations(&mut bytes, |at, bytes| {
        let source = Arc::new(source(bytes));
        let used = peak(|| {
            drop(adapter::open_gguf(source.clone()));
            // A part whose neighbours are itself.
            let again = |_: &str| Ok(Box::new(common::source(bytes.to_vec())) as Box<dyn tern_formats::Source>);
            let name = "x-00001-of-00002.gguf";
            drop(gguf::open_split(source.clone(), name, &again, gguf::ReadOptions::default()));
        });
        assert!(used <= limit + bytes.len() * 2, "byte {at} as {}: {used} bytes of memory", bytes[at]);
    });
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
        let limit = allowance(bytes.len());
        let source = source(bytes);
        assert!(peak(|| drop(Header::read(&source))) <= limit);
    }
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

/// 4 KiB: metadata, many tensors, escapes.
fn small_safetensors() -> Vec<u8> {
    let mut header = r#"{"__metadata__":{"format":"pt","q\"":"\u00fc\n"}"#.to_owned();
    for i in 0..57 {
        header += &format!(r#","blk.{i}.w":{{"dtype":"BF16","shape":[1,2],"data_offsets":[{},{}]}}"#, 4 * i, 4 * i + 4);
    }
    header += r#","s\u0041":{"dtype":"U8","shape":[],"data_offsets":[228,229]},"e":{"dtype":"F32","shape":[0,3],"data_offsets":[229,229]}}   "#;
    raw_safetensors(header, 229)
}

#[test]
fn safetensors_cut_anywhere() {
    let whole = small_safetensors();
    assert!((4000..4300).contains(&whole.len()), "{}", whole.len());
    assert_eq!(read_safetensors(whole.clone()).unwrap().tensors.len(), 59);
    for len in 0..whole.len() {
        let error = read_safetensors(whole[..len].to_vec()).map(drop).unwrap_err();
        let expected = match *error.problem {
            Problem::Empty => len == 0,
            Problem::Truncated { .. } => len < whole.len() - 229,
            Problem::OutOfFile { .. } => len >= whole.len() - 229,
            _ => false,
        };
        assert!(expected, "cut to {len}: {error}");
    }
}

#[test]
fn safetensors_with_every_byte_replaced() {
    let mut bytes = small_safetensors();
    let limit = allowance(bytes.len());
    let mut cases = 0u32;
    mutations(&mut bytes, |at, bytes| {
        let source = source(bytes);
        let used = peak(|| drop(safetensors::Header::read(&source)));
        assert!(used <= limit, "byte {at} as {}: {used} bytes of memory", bytes[at]);
        cases += 1;
    });
    assert!(cases > 1_000_000, "{cases}");
}

#[test]
fn an_index_and_settings_with_every_byte_replaced() {
    let mut index = br#"{"metadata":{"total_size":12},"weight_map":{"a":"x-1.safetensors","b":"x-2.safetensors","c":"x-1.safetensors"}}"#.to_vec();
    let missing = |_: &str| Err(std::io::ErrorKind::NotFound.into());
    mutations(&mut index, |_, bytes| {
        let limit = allowance(bytes.len());
        let source = source(bytes);
        assert!(peak(|| assert!(open_sharded(&source, &missing).is_err())) <= limit);
    });
    let mut config =
        br#"{"a":{"b":[1,2.5,-3e-7,null,true,"\u00e4"],"c":{}},"rope_scaling":{"factor":8.0},"x":"y"}"#.to_vec();
    mutations(&mut config, |_, bytes| {
        // Parsed JSON takes more than its text; what it may take is 20 times as much.
        let limit = 20 * bytes.len() + (64 << 10);
        let source = source(bytes);
        assert!(peak(|| drop(Config::read(&source, 1 << 20))) <= limit);
    });
}
