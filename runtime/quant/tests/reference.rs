//! Equality with libggml, bit for bit, by checksums; and its errors, which ours must not exceed.
//! `tests/goldens/quant/make.py` made the tables.

#![allow(clippy::unwrap_used)]

mod common;

use common::Lcg;
use tern_quant::{DType, dequantize, quantize, quantize_weighted};

const BLOCKS: usize = 64;
const PATTERNS: [u8; 8] = [0x00, 0xff, 0x55, 0xaa, 0x80, 0x7f, 0x01, 0x3c];
const ROWS: usize = 64;
const COLUMNS: usize = 512;
const ERRORS: &str = include_str!("../../../tests/goldens/quant/errors.txt");
const GOLDENS: &str = include_str!("../../../tests/goldens/quant/blocks.txt");

/// FNV-1a over words.
fn checksum(words: impl IntoIterator<Item = u32>) -> String {
    let sum = words.into_iter().fold(0xcbf2_9ce4_8422_2325u64, |h, w| (h ^ u64::from(w)).wrapping_mul(0x100_0000_01b3));
    format!("{sum:016x}")
}

fn decoded(dtype: DType, data: &[u8]) -> Vec<u32> {
    let mut values = vec![0.0; data.len() / dtype.block_bytes() * dtype.block_len()];
    dequantize(dtype, data, &mut values).unwrap();
    values.iter().map(|v| if v.is_nan() { 0x7fc0_0000 } else { v.to_bits() }).collect()
}

#[test]
fn decoding_and_encoding_equal_libggml() {
    let mut seen = 0;
    for line in GOLDENS.lines().filter(|l| !l.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let &[name, random, patterns, encoded, first, middle, last] = &fields[..] else { panic!("{line}") };
        let dtype: DType = name.parse().unwrap();
        let size = dtype.block_bytes();

        let mut rng = Lcg(size as u64);
        let mut data = rng.bytes(BLOCKS * size);
        let words = decoded(dtype, &data);
        let spelled = [words[0], words[words.len() / 2], words[words.len() - 1]].map(|w| format!("{w:08x}"));
        assert_eq!(spelled, [first, middle, last], "{dtype}");
        assert_eq!(checksum(words), random, "{dtype}");
        let edges: Vec<u8> = PATTERNS.iter().flat_map(|&p| vec![p; size]).collect();
        assert_eq!(checksum(decoded(dtype, &edges)), patterns, "{dtype}");

        if encoded != "-" {
            quantize(dtype, &rng.units(BLOCKS * dtype.block_len()), &mut data).unwrap();
            assert_eq!(checksum(data.iter().map(|&b| u32::from(b))), encoded, "encoding {dtype}");
        }
        seen += 1;
    }
    assert_eq!(seen, 26);
}

/// The distributions of `make.py`, and the importance of the columns.
fn draws() -> ([(&'static str, Vec<f32>); 3], Vec<f32>) {
    let mut rng = Lcg(11);
    let n = ROWS * COLUMNS;
    let importance =
        rng.units(COLUMNS).into_iter().enumerate().map(|(i, v)| v * v * if i % 50 == 0 { 100.0 } else { 1.0 });
    let importance = importance.collect();
    let mut normal = vec![0.0f32; n];
    for _ in 0..12 {
        normal.iter_mut().zip(rng.units(n)).for_each(|(sum, v)| *sum += v / 2.0);
    }
    let outliers = normal.iter().enumerate().map(|(i, v)| v * if i % 97 == 0 { 1.0 } else { 0.02 }).collect();
    ([("uniform", rng.units(n)), ("normal", normal), ("outliers", outliers)], importance)
}

#[test]
fn errors_are_no_larger_than_libggmls() {
    let (draws, importance) = draws();
    let mut seen = 0;
    for line in ERRORS.lines().filter(|l| !l.starts_with('#')) {
        let &[name, draw, plain, weighted] = &line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let dtype: DType = name.parse().unwrap();
        let (_, x) = draws.iter().find(|(name, _)| *name == draw).unwrap();
        let ones = vec![1.0; COLUMNS];
        for (given, counted, theirs) in [(None, &ones, plain), (Some(&importance[..]), &importance, weighted)] {
            let mut bytes = vec![0; dtype.row_bytes(x.len()).unwrap()];
            let mut y = vec![0.0; x.len()];
            quantize_weighted(dtype, x, given, &mut bytes).unwrap();
            dequantize(dtype, &bytes, &mut y).unwrap();
            let squares = x.iter().zip(&y).map(|(x, y)| f64::from(x - y).powi(2));
            let ours: f64 = squares.zip(counted.iter().cycle()).map(|(e, &w)| e * f64::from(w)).sum();
            // The table has seven digits.
            let theirs: f64 = theirs.parse().unwrap();
            assert!(ours <= theirs * 1.000001, "{dtype} {draw}: {ours} against {theirs}");
        }
        seen += 1;
    }
    assert_eq!(seen, 26 * 3);
}
