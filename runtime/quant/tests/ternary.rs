//! Ternary layouts into each other: what is kept, and what is refused.

#![allow(clippy::unwrap_used)]

mod common;

use common::Lcg;
use tern_quant::ternary::bitnet::{self, Convention};
use tern_quant::ternary::{TernaryError, convert, pack, scale, unpack};
use tern_quant::{DType, QuantError, dequantize, f16_to_f32};

const LAYOUTS: [DType; 4] = [DType::TQ1_0, DType::TQ2_0, DType::I2_S, DType::I2_S_ARM];

fn codes(rng: &mut Lcg, n: usize) -> Vec<u8> {
    (0..n).map(|_| (rng.next() % 3) as u8).collect()
}

fn packed(dtype: DType, codes: &[u8], scale: f32) -> Vec<u8> {
    let mut out = vec![0xaa; dtype.tensor_bytes(codes.len() as u64).unwrap() as usize];
    pack(dtype, codes, scale, &mut out).unwrap();
    out
}

fn converted(from: DType, src: &[u8], to: DType, rows: usize, columns: usize) -> Result<Vec<u8>, TernaryError> {
    let mut out = vec![0xaa; to.tensor_bytes((rows * columns) as u64).unwrap() as usize];
    convert(from, src, to, &mut out, rows, columns).map(|()| out)
}

fn weights(dtype: DType, bytes: &[u8], n: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; n];
    dequantize(dtype, bytes, &mut out).unwrap();
    out
}

#[test]
fn every_layout_becomes_every_other_and_comes_back() {
    let mut rng = Lcg(21);
    for _ in 0..20 {
        let (rows, columns) = (1 + rng.next() as usize % 5, 256 * (1 + rng.next() as usize % 3));
        let codes = codes(&mut rng, rows * columns);
        // Any finite half.
        let d = f16_to_f32(rng.next() as u16 & 0xbfff);
        for from in LAYOUTS {
            let src = packed(from, &codes, d);
            let expected: Vec<f32> = codes.iter().map(|&c| (f32::from(c) - 1.0) * d).collect();
            assert_eq!(weights(from, &src, codes.len()), expected, "{from}");
            assert_eq!(scale(from, &src).map(f32::to_bits), Ok(d.to_bits()));
            for to in LAYOUTS {
                let there = converted(from, &src, to, rows, columns).unwrap();
                assert_eq!(there, packed(to, &codes, d), "{from} to {to}");
                assert_eq!(weights(to, &there, codes.len()), expected, "{from} to {to}");
                assert_eq!(converted(to, &there, from, rows, columns).unwrap(), src, "{from} by {to}");
            }
        }
    }
}

#[test]
fn every_byte_of_tq1_0_means_codes_that_are_kept() {
    // Encoders write 243 of the 256 values; the others decode too.
    let mut src: Vec<u8> = (0..=255u8).flat_map(|b| [b; 54]).collect();
    src.chunks_exact_mut(54).for_each(|block| block[52..].copy_from_slice(&[0, 0x3c]));
    let n = 256 * 256;
    for to in LAYOUTS {
        let there = converted(DType::TQ1_0, &src, to, 1, n).unwrap();
        assert_eq!(weights(to, &there, n), weights(DType::TQ1_0, &src, n), "{to}");
    }
}

#[test]
fn blocks_keep_their_own_scales_among_blocks_only() {
    let mut rng = Lcg(22);
    let codes = codes(&mut rng, 1024);
    let mut src = packed(DType::TQ2_0, &codes, 0.5);
    src[66 * 2 + 64..66 * 3].copy_from_slice(&[0, 0x3c]);
    let tq1 = converted(DType::TQ2_0, &src, DType::TQ1_0, 2, 512).unwrap();
    assert_eq!(converted(DType::TQ1_0, &tq1, DType::TQ2_0, 2, 512).unwrap(), src);
    assert_eq!(weights(DType::TQ1_0, &tq1, 1024), weights(DType::TQ2_0, &src, 1024));
    for (from, src) in [(DType::TQ2_0, &src), (DType::TQ1_0, &tq1)] {
        for to in [DType::I2_S, DType::I2_S_ARM] {
            let refused = TernaryError::Scales { block: 2, first: 0.5, found: 1.0 };
            assert_eq!(converted(from, src, to, 2, 512), Err(refused));
        }
    }
}

#[test]
fn a_block_of_zeros_has_no_say_in_the_scale() {
    let mut codes = codes(&mut Lcg(23), 768);
    codes[256..512].fill(1);
    let mut src = packed(DType::TQ2_0, &codes, 0.5);
    src[66 + 64..132].copy_from_slice(&[0, 0x3c]);
    let there = converted(DType::TQ2_0, &src, DType::I2_S, 3, 256).unwrap();
    assert_eq!(weights(DType::I2_S, &there, 768), weights(DType::TQ2_0, &src, 768));
    // Infinity times zero is no zero.
    src[66 + 64..132].copy_from_slice(&[0, 0x7c]);
    let refused = Err(TernaryError::Scale { block: 1, value: f32::INFINITY });
    assert_eq!(converted(DType::TQ2_0, &src, DType::I2_S, 3, 256), refused);
    assert_eq!(scale(DType::TQ2_0, &packed(DType::TQ2_0, &[1; 512], 2.0)), Ok(0.0));
}

#[test]
fn a_scale_that_half_precision_rounds_is_refused() {
    let codes = codes(&mut Lcg(24), 256);
    for value in [0.1f32, 1.0 + f32::EPSILON, 1e-9, 1e6, -0.3] {
        let src = packed(DType::I2_S, &codes, value);
        for to in [DType::TQ1_0, DType::TQ2_0] {
            match converted(DType::I2_S, &src, to, 1, 256) {
                Err(TernaryError::Precision { dtype, value: found, nearest }) => {
                    assert!(dtype == to && found == value && nearest != value);
                }
                other => panic!("{value}: {other:?}"),
            }
        }
        let arm = converted(DType::I2_S, &src, DType::I2_S_ARM, 1, 256).unwrap();
        assert_eq!(weights(DType::I2_S_ARM, &arm, 256), weights(DType::I2_S, &src, 256));
    }
}

#[test]
fn code_three_and_wrong_shapes_are_refused() {
    let codes = codes(&mut Lcg(25), 512);
    for from in [DType::TQ2_0, DType::I2_S, DType::I2_S_ARM] {
        let mut src = packed(from, &codes, 1.0);
        // Second block of TQ2_0; the code in the lowest bits of a byte.
        let at = from.block_bytes() * 2 - from.block_bytes().min(66) / 2;
        src[at] |= 3;
        assert!(matches!(converted(from, &src, DType::TQ1_0, 1, 512), Err(TernaryError::Code { found: 3, .. })));
        assert!(matches!(unpack(from, &src, &mut [0; 512]), Err(TernaryError::Code { found: 3, .. })));
    }
    let i2_s = packed(DType::I2_S, &codes, 1.0);
    // As many elements, but rows of 128 or 64 are no whole blocks there.
    for (to, rows, columns) in [(DType::TQ1_0, 4, 128), (DType::TQ2_0, 4, 128), (DType::I2_S, 8, 64)] {
        let refused = converted(DType::I2_S, &i2_s, to, rows, columns);
        assert!(matches!(refused, Err(TernaryError::Quant(QuantError::PartialBlock { .. }))), "{refused:?}");
    }
    let refused = converted(DType::I2_S, &i2_s[..100], DType::TQ1_0, 1, 512);
    assert!(matches!(refused, Err(TernaryError::Quant(QuantError::ByteLength { found: 100, .. }))));
    assert_eq!(converted(DType::I2_S, &i2_s, DType::Q4_0, 1, 512), Err(TernaryError::Dtype { dtype: DType::Q4_0 }));
    assert!(matches!(scale(DType::I2_S, &[0; 31]), Err(TernaryError::Quant(_))));
    assert_eq!(pack(DType::TQ1_0, &[4; 256], 1.0, &mut [0; 54]), Err(TernaryError::Code { index: 0, found: 4 }));
}

#[test]
fn bitnet_rows_are_strided() {
    // Eight rows of one column: two byte rows, row r + 2i in bits 2i.
    let codes = [0, 1, 2, 0, 1, 2, 2, 1];
    let mut bytes = [0; 2];
    bitnet::pack(&codes, 8, 1, &mut bytes).unwrap();
    assert_eq!(bytes, [0b10_01_10_00, 0b01_10_00_01]);
    let mut rng = Lcg(26);
    for (rows, columns) in [(8, 256), (5, 7), (1, 3), (0, 4), (4, 0)] {
        let codes = self::codes(&mut rng, rows * columns);
        let mut bytes = vec![0xff; bitnet::packed_bytes(rows, columns).unwrap()];
        bitnet::pack(&codes, rows, columns, &mut bytes).unwrap();
        let mut back = vec![9; codes.len()];
        bitnet::unpack(&bytes, rows, columns, &mut back).unwrap();
        assert_eq!(back, codes);
    }
    assert!(matches!(bitnet::unpack(&[0xff; 2], 8, 1, &mut [0; 8]), Err(TernaryError::Code { index: 0, found: 3 })));
    assert!(bitnet::unpack(&[0; 3], 8, 1, &mut [0; 8]).is_err());
    assert!(bitnet::unpack(&[0; 2], usize::MAX, 2, &mut [0; 8]).is_err());
}

#[test]
fn both_conventions_of_the_bitnet_scale_are_kept_or_refused() {
    assert_eq!(Convention::Divide.factor(4.0), Ok(0.25));
    assert_eq!(Convention::Multiply.factor(4.0), Ok(4.0));
    assert!(matches!(Convention::Divide.factor(0.0), Err(TernaryError::Scale { value: 0.0, .. })));
    assert!(matches!(Convention::Multiply.factor(f32::NAN), Err(TernaryError::Scale { .. })));
    let mut rng = Lcg(27);
    for _ in 0..1000 {
        // A scale as a checkpoint stores it, in bfloat16.
        let stored = f32::from_bits((rng.next() & 0x07ff_0000) + 0x3c00_0000);
        for convention in [Convention::Divide, Convention::Multiply] {
            let factor = convention.factor(stored).unwrap();
            assert_eq!(convention.weight_scale(factor, DType::BF16), Ok(stored), "{convention:?}");
        }
    }
    let refused = Convention::Multiply.weight_scale(0.1, DType::F16);
    assert!(matches!(refused, Err(TernaryError::Precision { dtype: DType::F16, .. })));
    assert!(matches!(Convention::Divide.weight_scale(0.1, DType::I8), Err(TernaryError::Dtype { .. })));
}
