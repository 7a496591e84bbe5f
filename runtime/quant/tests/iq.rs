//! The formats with codebooks.

#![allow(clippy::unwrap_used)]

mod common;

use common::Lcg;
use tern_quant::{DType, dequantize, quantize};

const FORMATS: [DType; 7] =
    [DType::IQ1_S, DType::IQ1_M, DType::IQ2_XXS, DType::IQ2_XS, DType::IQ2_S, DType::IQ3_XXS, DType::IQ3_S];

/// Writes d, which IQ1_M keeps in the upper nibbles of its last four words.
fn set_d(dtype: DType, block: &mut [u8], half: u16) {
    if dtype == DType::IQ1_M {
        for k in 0..4 {
            let byte = &mut block[49 + 2 * k];
            *byte = *byte & 15 | ((half >> (4 * k) & 15) as u8) << 4;
        }
    } else {
        block[..2].copy_from_slice(&half.to_le_bytes());
    }
}

fn decode(dtype: DType, bytes: &[u8]) -> Vec<f32> {
    let mut y = vec![0.0; bytes.len() / dtype.block_bytes() * dtype.block_len()];
    dequantize(dtype, bytes, &mut y).unwrap();
    y
}

#[test]
fn whatever_the_bytes_weights_are_finite_where_d_is() {
    for dtype in FORMATS {
        let mut rng = Lcg(5);
        for i in 0..2000 {
            let mut block = rng.bytes(dtype.block_bytes());
            let half = rng.next() as u16;
            set_d(dtype, &mut block, half);
            let finite = half & 0x7c00 != 0x7c00;
            assert!(decode(dtype, &block).iter().all(|v| v.is_finite() == finite), "{dtype}, block {i}");
        }
    }
}

/// Sum of squared differences as a share of the squares of `x`.
fn loss(x: &[f32], y: &[f32]) -> f64 {
    let squares = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
    squares(&mut x.iter().zip(y).map(|(x, y)| x - y)) / squares(&mut x.iter().copied())
}

#[test]
fn what_a_format_can_express_comes_back_nearly() {
    for dtype in FORMATS {
        let mut rng = Lcg(6);
        for _ in 0..200 {
            let mut block = rng.bytes(dtype.block_bytes());
            // From 2^-13 to 2^13, so that neither d nor its multiples leave the range of half precision.
            set_d(dtype, &mut block, 0x0800 + (rng.next() % 0x6800) as u16);
            let x = decode(dtype, &block);
            quantize(dtype, &x, &mut block).unwrap();
            let found = loss(&x, &decode(dtype, &block));
            assert!(found < 0.02, "{dtype}: {found}");
        }
    }
}
