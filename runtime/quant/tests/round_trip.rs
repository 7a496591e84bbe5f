//! Encode, decode: error bounds, fixed points, refusals.

#![allow(clippy::unwrap_used)]

mod common;

use common::Lcg;
use tern_quant::{DType, QuantError, dequantize, quantize, quantize_weighted};

/// All block formats that are encoded here.
const BLOCKS: [DType; 28] = [
    DType::Q4_0,
    DType::Q4_1,
    DType::Q5_0,
    DType::Q5_1,
    DType::Q8_0,
    DType::Q2_K,
    DType::Q3_K,
    DType::Q4_K,
    DType::Q5_K,
    DType::Q6_K,
    DType::Q8_K,
    DType::IQ1_S,
    DType::IQ1_M,
    DType::IQ2_XXS,
    DType::IQ2_XS,
    DType::IQ2_S,
    DType::IQ3_XXS,
    DType::IQ3_S,
    DType::IQ4_NL,
    DType::IQ4_XS,
    DType::TQ1_0,
    DType::TQ2_0,
    DType::I2_S,
    DType::I2_S_ARM,
    DType::MXFP4,
    DType::NVFP4,
    DType::Q1_0,
    DType::Q2_0,
];

fn encode(dtype: DType, x: &[f32]) -> Result<Vec<u8>, QuantError> {
    let mut bytes = vec![0; dtype.tensor_bytes(x.len() as u64).unwrap() as usize];
    quantize(dtype, x, &mut bytes).map(|()| bytes)
}

fn decode(dtype: DType, bytes: &[u8]) -> Vec<f32> {
    let mut y = vec![f32::NAN; bytes.len() / dtype.block_bytes() * dtype.block_len()];
    // The tail of I2_S counts as blocks above.
    y.truncate(y.len() - dtype.tail_bytes() / dtype.block_bytes() * dtype.block_len());
    dequantize(dtype, bytes, &mut y).unwrap();
    y
}

/// Largest error as a share of the block's range (largest minus smallest, zero included), and the
/// largest multiple of a stored scale, which is itself rounded to units of 2^-24 when small.
fn bound(dtype: DType) -> (f32, f32) {
    match dtype {
        // A step is 1/8 of the magnitude and the far end lacks one code: a whole step at worst.
        DType::Q4_0 => (1.0 / 8.0, 8.0),
        DType::Q4_1 => (0.51 / 15.0, 16.0),
        DType::Q5_0 => (1.0 / 16.0, 16.0),
        // Half a step, and 127 steps of a scale with 11 bits.
        DType::Q8_0 => (0.57 / 127.0, 127.0),
        DType::Q5_1 => (0.51 / 31.0, 32.0),
        DType::Q8_K => (1.1 / 127.0, 0.0),
        // Searched for least squares, which may clip one extreme.
        DType::Q2_K => (1.5 / 3.0, 15.0 * 4.0),
        DType::Q3_K => (1.5 / 4.0, 32.0 * 4.0),
        DType::Q4_K => (1.5 / 15.0, 63.0 * 16.0),
        DType::Q5_K => (1.5 / 31.0, 63.0 * 32.0),
        DType::Q6_K => (1.5 / 32.0, 128.0 * 32.0),
        DType::IQ4_NL | DType::IQ4_XS => (0.2, 32.0 * 127.0),
        DType::MXFP4 | DType::NVFP4 => (0.3, 12.0 * 2f32.powi(15)),
        // Two to four levels hardly follow.
        _ => (1.0, 1.0),
    }
}

#[test]
fn errors_are_bounded_at_every_magnitude() {
    let mut rng = Lcg(1);
    for dtype in BLOCKS {
        for exponent in if dtype == DType::NVFP4 { -3..=2 } else { -3..=4 } {
            let scale = 10f32.powi(exponent);
            for _ in 0..40 {
                let shift = rng.unit();
                let x: Vec<f32> = (0..256).map(|_| (rng.unit() + shift) * scale).collect();
                let y = decode(dtype, &encode(dtype, &x).unwrap());
                let (lo, hi) = x.iter().fold((0f32, 0f32), |(l, h), &v| (l.min(v), h.max(v)));
                let (share, multiple) = bound(dtype);
                let limit = share * (hi - lo) + multiple * 2f32.powi(-25);
                for (x, y) in x.iter().zip(&y) {
                    assert!((x - y).abs() <= limit, "{dtype}: {x} became {y}, limit {limit}");
                }
            }
        }
    }
}

#[test]
fn zeros_and_constants_survive() {
    for dtype in BLOCKS {
        let zeros = decode(dtype, &encode(dtype, &[0.0; 256]).unwrap());
        assert!(zeros.iter().all(|&v| v == 0.0), "{dtype}");
        for value in [1.0f32, -1.0, 0.125, -3.0] {
            let y = decode(dtype, &encode(dtype, &[value; 256]).unwrap());
            assert!(y.iter().all(|v| (v - value).abs() < 2e-3 * value.abs()), "{dtype} {value}: {y:?}");
        }
    }
}

#[test]
fn the_smallest_floats_neither_fail_nor_explode() {
    for dtype in BLOCKS {
        for tiny in [f32::from_bits(1), f32::MIN_POSITIVE, 1e-30, 1e-12, 1e-8] {
            let x: Vec<f32> = (0..256).map(|i| tiny * if i % 3 == 0 { -1.0 } else { 1.0 }).collect();
            let y = decode(dtype, &encode(dtype, &x).unwrap());
            assert!(y.iter().all(|v| v.abs() <= tiny.max(1e-5)), "{dtype} {tiny:e}");
        }
    }
}

#[test]
fn a_decoded_block_encodes_to_nearly_itself() {
    let mut rng = Lcg(3);
    for dtype in BLOCKS {
        let x: Vec<f32> = (0..256 * 16).map(|_| rng.normal()).collect();
        let once = decode(dtype, &encode(dtype, &x).unwrap());
        let twice = decode(dtype, &encode(dtype, &once).unwrap());
        let first = common::rmse(&x, &once);
        assert!(common::rmse(&once, &twice) < 0.5 * first, "{dtype}");
    }
}

#[test]
fn what_is_not_finite_is_named() {
    for dtype in BLOCKS {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![0.5; 512];
            x[300] = bad;
            match encode(dtype, &x) {
                Err(QuantError::NotFinite { index: 300, value, .. }) => assert_eq!(value.to_bits(), bad.to_bits()),
                other => panic!("{dtype}: {other:?}"),
            }
        }
    }
}

#[test]
fn scales_too_large_are_refused() {
    // The scales of these reach as far as the numbers do.
    let unbounded = [DType::Q8_K, DType::I2_S, DType::I2_S_ARM, DType::MXFP4];
    for dtype in BLOCKS.into_iter().filter(|d| !unbounded.contains(d)) {
        for huge in [f32::MAX, 1e30, 1e10] {
            let mut x = vec![0.5; 512];
            x[301] = huge;
            x[302] = -huge;
            match encode(dtype, &x) {
                Err(QuantError::ScaleOverflow { index, value, .. }) => {
                    assert_eq!(index, 301 / dtype.block_len() * dtype.block_len());
                    let limit = if dtype == DType::NVFP4 { 448.0 } else { 65520.0 };
                    assert!(value.is_nan() || value.abs() >= limit);
                }
                other => panic!("{dtype}: {other:?}"),
            }
        }
    }
}

#[test]
fn formats_with_a_wide_scale_take_every_finite_number() {
    let mut rng = Lcg(4);
    for dtype in [DType::Q8_K, DType::I2_S, DType::I2_S_ARM, DType::MXFP4] {
        for exponent in [-100, 0, 100, 126, 127] {
            let x: Vec<f32> = (0..256).map(|_| rng.unit() * 2f32.powi(exponent)).collect();
            for importance in [None, Some(vec![1.0; 256])] {
                let mut bytes = vec![0; dtype.tensor_bytes(256).unwrap() as usize];
                quantize_weighted(dtype, &x, importance.as_deref(), &mut bytes).unwrap();
                let y = decode(dtype, &bytes);
                let limit = bound(dtype).0 * 2f32.powi(exponent + 1).min(f32::MAX);
                x.iter().zip(&y).for_each(|(x, y)| assert!((x - y).abs() <= limit, "{dtype} {exponent}: {x} {y}"));
            }
        }
    }
}

#[test]
fn lengths_are_checked() {
    let mut out = [0u8; 40];
    assert!(matches!(
        quantize(DType::Q4_0, &[0.0; 33], &mut out),
        Err(QuantError::PartialBlock { elements: 33, block_len: 32, .. })
    ));
    assert!(matches!(
        quantize(DType::Q4_0, &[0.0; 32], &mut out),
        Err(QuantError::ByteLength { found: 40, expected: 18, .. })
    ));
    assert!(matches!(
        dequantize(DType::Q4_K, &out, &mut [0.0; 128]),
        Err(QuantError::PartialBlock { elements: 128, block_len: 256, .. })
    ));
    assert!(matches!(dequantize(DType::F16, &out[..5], &mut [0.0; 2]), Err(QuantError::ByteLength { found: 5, .. })));
    assert!(matches!(dequantize(DType::I32, &out, &mut [0.0; 10]), Err(QuantError::Unsupported { dtype: DType::I32 })));
    assert_eq!(quantize(DType::Q6_K, &[], &mut []), Ok(()));
}

#[test]
fn the_table_is_consistent() {
    for &dtype in DType::ALL {
        assert_eq!(DType::from_code(dtype.code()), Some(dtype));
        assert_eq!(dtype.name().parse(), Ok(dtype));
        assert_eq!(dtype.name().to_lowercase().parse(), Ok(dtype));
        assert_eq!(dtype.row_bytes(0), Some(0));
        assert_eq!(dtype.row_bytes(dtype.block_len()), Some(dtype.block_bytes()));
        assert_eq!(dtype.row_bytes(dtype.block_len() + 1).is_some(), dtype.block_len() == 1);
        assert_eq!(dtype.is_quantized(), dtype.block_len() > 1);
        assert_eq!(dtype.ggml_code().is_some(), dtype.code() < 0x1000);
        let tail = if matches!(dtype, DType::I2_S | DType::I2_S_ARM) { 32 } else { 0 };
        assert_eq!(dtype.tensor_bytes(dtype.block_len() as u64), Some(dtype.block_bytes() as u64 + tail));
        assert_eq!(dtype.tensor_bytes(dtype.block_len() as u64 + 1).is_some(), dtype.block_len() == 1);
    }
    assert_eq!(DType::F64.tensor_bytes(u64::MAX), None);
    // Ids that only a fork of ggml defines need more than the id.
    assert_eq!(DType::from_ggml_code(36), None);
    assert_eq!(DType::F64.row_bytes(usize::MAX), None);
    assert_eq!(DType::from_code(4), None);
    assert_eq!(DType::from_ggml_code(DType::U8.code()), None);
    assert!("Q4_7".parse::<DType>().unwrap_err().to_string().contains("Q4_K"));
}

/// Found by fuzzing: a search for scales among numbers so small that multiplying no longer changes them did not end.
#[test]
fn values_far_below_the_largest_of_their_block() {
    for dtype in DType::ALL.iter().copied().filter(|d| d.is_quantized()) {
        let n = 256;
        let mut src = vec![1e-44f32; n];
        src[n - 1] = 1.0;
        let mut bytes = vec![0; dtype.tensor_bytes(n as u64).unwrap() as usize];
        quantize(dtype, &src, &mut bytes).unwrap();
    }
}
