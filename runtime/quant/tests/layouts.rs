//! Each block layout on a block whose values are worked out by hand, and views against each other.

#![allow(clippy::unwrap_used)]

mod common;

use common::Lcg;
use tern_quant::{DType, dequantize, f32_to_f16, q4_0, q4_1, q4_k, q5_0, q6_k, q8_0};

fn half(value: f32) -> [u8; 2] {
    f32_to_f16(value).to_le_bytes()
}

fn decoded(dtype: DType, block: &[u8]) -> Vec<f32> {
    let mut out = vec![f32::NAN; dtype.block_len()];
    dequantize(dtype, block, &mut out).unwrap();
    out
}

#[test]
fn q4_0_by_hand() {
    let mut block = [0u8; q4_0::BYTES];
    block[..2].copy_from_slice(&half(0.5));
    block[2] = 0xf1; // element 0: 1 - 8, element 16: 15 - 8
    block[17] = 0x98; // element 15: 8 - 8, element 31: 9 - 8
    let y = decoded(DType::Q4_0, &block);
    assert_eq!((y[0], y[16], y[15], y[31], y[1]), (-3.5, 3.5, 0.0, 0.5, -4.0));
}

#[test]
fn q4_1_by_hand() {
    let mut block = [0u8; q4_1::BYTES];
    block[..2].copy_from_slice(&half(0.25));
    block[2..4].copy_from_slice(&half(-1.0));
    block[4] = 0xf1;
    let y = decoded(DType::Q4_1, &block);
    assert_eq!((y[0], y[16], y[1]), (-0.75, 2.75, -1.0));
}

#[test]
fn q5_0_by_hand() {
    let mut block = [0u8; q5_0::BYTES];
    block[..2].copy_from_slice(&half(1.0));
    block[2] = 0b01; // bit 4 of element 0
    block[5] = 0x80; // bit 4 of element 31
    block[6] = 0x21;
    block[21] = 0x30;
    let y = decoded(DType::Q5_0, &block);
    assert_eq!((y[0], y[16], y[31], y[15]), (1.0, -14.0, 3.0, -16.0));
}

#[test]
fn q8_0_by_hand() {
    let mut block = [0u8; q8_0::BYTES];
    block[..2].copy_from_slice(&half(-2.0));
    block[2] = 127;
    block[33] = 0x80;
    let y = decoded(DType::Q8_0, &block);
    assert_eq!((y[0], y[31]), (-254.0, 256.0));
}

#[test]
fn q4_k_by_hand() {
    let mut block = [0u8; q4_k::BYTES];
    block[..2].copy_from_slice(&half(0.5));
    block[2..4].copy_from_slice(&half(0.25));
    block[4] = 0b10_000011; // scale of 0: 3; upper bits of scale 4: 2
    block[4 + 4] = 0b01_000100; // min of 0: 4; upper bits of min 4: 1
    block[4 + 8] = 0x75; // scale of 4: 5 + 2*16, min of 4: 7 + 1*16
    block[16] = 0xa2; // element 0: 2, element 32: 10
    block[16 + 64] = 0x0f; // element 128: 15
    assert_eq!(q4_k::Block(&block).scales_mins()[0], (3, 4));
    assert_eq!(q4_k::Block(&block).scales_mins()[4], (37, 23));
    let y = decoded(DType::Q4_K, &block);
    assert_eq!(y[0], 0.5 * 3.0 * 2.0 - 0.25 * 4.0);
    assert_eq!(y[1], -1.0);
    assert_eq!(y[32], 0.0); // scale of 1 is 0
    assert_eq!(y[128], 0.5 * 37.0 * 15.0 - 0.25 * 23.0);
}

#[test]
fn q6_k_by_hand() {
    let mut block = [0u8; q6_k::BYTES];
    block[208..].copy_from_slice(&half(0.5));
    block[192] = 2;
    block[192 + 15] = (-3i8).cast_unsigned();
    block[0] = 0x01; // element 0 low: 1
    block[128] = 0b11; // element 0 high: 3
    block[64 + 63] = 0xf0; // element 255 low: 15
    block[128 + 63] = 0b01_000000; // element 255 high: 1
    let y = decoded(DType::Q6_K, &block);
    assert_eq!(y[0], 0.5 * 2.0 * (49.0 - 32.0));
    assert_eq!(y[1], 0.5 * 2.0 * -32.0);
    assert_eq!(y[255], 0.5 * -3.0 * (31.0 - 32.0));
    assert_eq!(y[16], 0.0);
}

/// `unpack`, `quant` and `dequantize` must tell the same story.
macro_rules! views_agree {
    ($test:ident, $module:ident, $value:expr) => {
        #[test]
        fn $test() {
            let mut rng = Lcg(9);
            for _ in 0..50 {
                let bytes: [u8; $module::BYTES] = rng.bytes($module::BYTES).try_into().unwrap();
                let block = $module::Block(&bytes);
                let mut codes = [Default::default(); $module::LEN];
                block.unpack(&mut codes);
                let mut weights = [0.0; $module::LEN];
                block.dequantize(&mut weights);
                for i in 0..$module::LEN {
                    assert_eq!(block.quant(i), codes[i]);
                    let expected: f32 = $value(&block, i);
                    assert!(weights[i] == expected || weights[i].is_nan() && expected.is_nan(), "element {i}");
                }
            }
        }
    };
}

views_agree!(q4_0_views, q4_0, |b: &q4_0::Block<'_>, i| (f32::from(b.quant(i)) - 8.0) * b.d());
views_agree!(q4_1_views, q4_1, |b: &q4_1::Block<'_>, i| f32::from(b.quant(i)) * b.d() + b.m());
views_agree!(q5_0_views, q5_0, |b: &q5_0::Block<'_>, i| (f32::from(b.quant(i)) - 16.0) * b.d());
views_agree!(q8_0_views, q8_0, |b: &q8_0::Block<'_>, i| f32::from(b.quant(i)) * b.d());
views_agree!(q4_k_views, q4_k, |b: &q4_k::Block<'_>, i: usize| {
    let (scale, min) = b.scales_mins()[i / 32];
    b.d() * f32::from(scale) * f32::from(b.quant(i)) - b.dmin() * f32::from(min)
});
views_agree!(q6_k_views, q6_k, |b: &q6_k::Block<'_>, i: usize| {
    b.d() * f32::from(b.scale(i / 16)) * (f32::from(b.quant(i)) - 32.0)
});
