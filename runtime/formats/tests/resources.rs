//! Memory and time of large headers: no more than twice the header's bytes, and no more than linear time.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // It tells what it measured.

mod common;
mod counting;

use common::{RawGguf, array, kv, raw_safetensors, source, string, tensor};
use counting::{allowance, peak};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tern_formats::gguf::{self, Header, ReadOptions};
use tern_formats::safetensors::{self, open_sharded};
use tern_formats::{BytesSource, Source};

#[test]
fn a_large_vocabulary_takes_twice_its_bytes_at_most() {
    for version in [2, 3] {
        let tokens: Vec<u8> = (0..100_000).flat_map(|i| string(format!("token{i}"))).collect();
        let raw = RawGguf {
            version,
            keys: vec![
                kv("tokens", 9, array(8, 100_000, tokens)),
                kv("scores", 9, array(6, 100_000, vec![0; 400_000])),
                kv("flags", 9, array(7, 100_000, vec![1; 100_000])),
                kv("longs", 9, array(10, 100_000, vec![0xff; 800_000])),
            ],
            ..RawGguf::default()
        };
        let header = raw.header().len();
        let source = source(raw.bytes());
        let used = peak(|| drop(Header::read(&source).unwrap()));
        assert!(used <= allowance(header), "{used} bytes for a header of {header}");
    }
}

fn many(keys: u64, tensors: u64) -> RawGguf {
    RawGguf {
        keys: (0..keys).map(|i| kv(format!("{i:x}"), 0, [0])).collect(),
        tensors: (0..tensors).map(|i| tensor(format!("{i:x}"), &[8], 0, 32 * i)).collect(),
        data: tensors as usize * 32,
        ..RawGguf::default()
    }
}

#[test]
fn many_small_records() {
    let raw = many(20_000, 20_000);
    let header = raw.header().len();
    let source = source(raw.bytes());
    let used = peak(|| drop(Header::read(&source).unwrap()));
    // Nearly as small as records can be.
    assert!(used <= allowance(header), "{used} bytes for a header of {header}");
}

#[test]
fn parts_together_take_what_their_headers_justify() {
    let part = |no: u16| {
        let mut raw = many(0, 0);
        raw.keys = vec![
            kv("split.no", 2, no.to_le_bytes()),
            kv("split.count", 2, 3u16.to_le_bytes()),
            kv("split.tensors.count", 5, 15_000u32.to_le_bytes()),
        ];
        raw.tensors = (0..5000u64).map(|i| tensor(format!("{no}.{i}"), &[8], 0, 32 * i)).collect();
        raw.data = 5000 * 32;
        (raw.header().len(), raw.bytes())
    };
    let (headers, files): (Vec<_>, Vec<_>) = (0..3).map(part).unzip();
    let sources: Vec<Arc<[u8]>> = files.into_iter().map(Arc::from).collect();
    let open = |name: &str| {
        let no = name.strip_prefix("m-0000").and_then(|rest| rest[..1].parse::<usize>().ok()).unwrap() - 1;
        Ok(Box::new(BytesSource::new(name, Arc::clone(&sources[no]))) as Box<dyn Source>)
    };
    let first: Arc<dyn Source> = Arc::from(open("m-00001-of-00003.gguf").unwrap());
    let used = peak(|| {
        let model = gguf::open_split(first, "m-00001-of-00003.gguf", &open, ReadOptions::default()).unwrap();
        assert_eq!(model.checkpoint.tensors().len(), 15_000);
    });
    let header = headers.iter().sum();
    assert!(used <= allowance(header), "{used} bytes for headers of {header}");
}

/// Tensors of two bytes each.
fn many_safetensors(prefix: &str, tensors: u64) -> (usize, Vec<u8>) {
    let member = |i: u64| {
        let (begin, end) = (2 * i, 2 * i + 2);
        format!(r#""{prefix}{i}":{{"dtype":"F16","shape":[1],"data_offsets":[{begin},{end}]}}"#)
    };
    let header = format!("{{{}}}", (0..tensors).map(member).collect::<Vec<_>>().join(","));
    (header.len(), raw_safetensors(header, 2 * tensors as usize))
}

#[test]
fn safetensors_with_many_tensors() {
    let (header, bytes) = many_safetensors("t", 20_000);
    let source = source(bytes);
    let used = peak(|| drop(safetensors::Header::read(&source).unwrap()));
    assert!(used <= allowance(header), "{used} bytes for a header of {header}");
}

#[test]
fn shards_together_take_what_their_headers_justify() {
    let shards: Vec<(usize, Vec<u8>)> = ["a", "b"].into_iter().map(|p| many_safetensors(p, 5000)).collect();
    let place =
        |prefix: &str| (0..5000).map(move |i| format!(r#""{prefix}{i}":"{prefix}.safetensors""#)).collect::<Vec<_>>();
    let index = format!(r#"{{"weight_map":{{{}}}}}"#, [place("a"), place("b")].concat().join(","));
    let header = shards.iter().map(|s| s.0).sum::<usize>() + index.len();
    let files: Vec<Arc<[u8]>> = shards.into_iter().map(|s| Arc::from(s.1)).collect();
    let index = source(index.into_bytes());
    let used = peak(|| {
        let open = |name: &str| {
            let bytes = Arc::clone(&files[usize::from(name.starts_with('b'))]);
            Ok(Box::new(BytesSource::new(name, bytes)) as Box<dyn Source>)
        };
        assert_eq!(open_sharded(&index, &open).unwrap().tensors().len(), 10_000);
    });
    assert!(used <= allowance(header), "{used} bytes for headers of {header}");
}

/// Processor time of this thread, where the system tells it: other processes do not count then. Else a clock's.
fn clock(start: Instant) -> Duration {
    let ours = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = ours.and_then(|s| s.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

/// Reads a header of `n` records as often as it takes to have read `total` of them.
fn time(source: &BytesSource, n: u64, total: u64, read: impl Fn(&BytesSource)) -> Duration {
    read(source);
    let epoch = Instant::now();
    let start = clock(epoch);
    (0..total / n).for_each(|_| read(source));
    clock(epoch) - start
}

/// The same number of records in larger files may take this many times the time: names are sorted, caches end, and the
/// machine has other things to do. Quadratic time would be a factor of a hundred.
const GROWTH: u32 = 8;

/// How often systems count processor time.
const TICK: Duration = Duration::from_millis(4);

fn check(what: &str, sizes: [u64; 3], file: impl Fn(u64) -> Vec<u8>, read: impl Fn(&BytesSource)) {
    let times = sizes.map(|n| time(&source(file(n)), n, sizes[2], &read));
    println!("{} {what} in files of {sizes:?}: {times:?}", sizes[2]);
    assert!(times[2] < times[0].max(TICK) * GROWTH, "{what} in files of {sizes:?}: {times:?}");
}

fn read(source: &BytesSource) {
    drop(black_box(Header::read(source).unwrap()));
}

#[test]
fn time_is_linear() {
    check("tensors", [10_000, 100_000, 1_000_000], |n| many(100, n).bytes(), read);
    check("keys", [655, 6_553, 65_535], |n| many(n, 1).bytes(), read);
    let strings = |n| {
        let elements: Vec<u8> = (0..n).flat_map(|i| string(format!("{i}"))).collect();
        RawGguf::with_key("tokens", 9, array(8, n, elements))
    };
    check("strings", [10_000, 100_000, 1_000_000], strings, read);
    let tensors = |n| many_safetensors("t", n).1;
    check("safetensors", [2_000, 20_000, 200_000], tensors, |source| {
        drop(black_box(safetensors::Header::read(source).unwrap()));
    });
}
