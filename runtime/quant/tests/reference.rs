//! Equality with libggml, bit for bit, by checksums. `tests/goldens/quant/make.py` made the table.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Lcg, rmse};
use tern_quant::{DType, dequantize, quantize};

const BLOCKS: usize = 64;
const PATTERNS: [u8; 8] = [0x00, 0xff, 0x55, 0xaa, 0x80, 0x7f, 0x01, 0x3c];
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

type Draw = fn(&mut Lcg) -> f32;

/// RMS errors of ggml's `quantize_row_*_ref` on the same data, measured with its C code of August 2026.
#[test]
fn searched_scales_are_no_worse_than_ggmls() {
    let shapes: [(&str, Draw, f64, f64); 3] = [
        ("uniform", |r| r.unit(), UNIFORM.0, UNIFORM.1),
        ("normal", |r| r.normal() * 0.02, NORMAL.0, NORMAL.1),
        ("outliers", |r| r.normal() * if r.next() % 97 == 0 { 1.0 } else { 0.02 }, OUTLIERS.0, OUTLIERS.1),
    ];
    for (name, draw, q4_k, q6_k) in shapes {
        let mut rng = Lcg(11);
        let x: Vec<f32> = (0..256 * 512).map(|_| draw(&mut rng)).collect();
        for (dtype, ggml) in [(DType::Q4_K, q4_k), (DType::Q6_K, q6_k)] {
            let mut bytes = vec![0; dtype.row_bytes(x.len()).unwrap()];
            let mut y = vec![0.0; x.len()];
            quantize(dtype, &x, &mut bytes).unwrap();
            dequantize(dtype, &bytes, &mut y).unwrap();
            assert!(rmse(&x, &y) <= ggml, "{dtype} {name}: {} against {ggml}", rmse(&x, &y));
        }
    }
}

/// Q4_K, Q6_K.
const UNIFORM: (f64, f64) = (3.1511e-2, 7.6398e-3);
const NORMAL: (f64, f64) = (1.4038e-3, 3.4899e-4);
const OUTLIERS: (f64, f64) = (8.0516e-3, 3.3994e-3);
