//! Each block layout on a block whose values are worked out by hand, and views against each other.

#![allow(clippy::unwrap_used)]

mod common;

use common::Lcg;
use tern_quant::{DType, dequantize, f32_to_f16, iq4_nl, iq4_xs, mxfp4, nvfp4, q1_0, q2_0, q2_k, q3_k};
use tern_quant::{q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0, q8_k, tq1_0, tq2_0};

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

views_agree!(q5_1_views, q5_1, |b: &q5_1::Block<'_>, i| f32::from(b.quant(i)) * b.d() + b.m());
views_agree!(q8_k_views, q8_k, |b: &q8_k::Block<'_>, i| f32::from(b.quant(i)) * b.d());
views_agree!(q2_k_views, q2_k, |b: &q2_k::Block<'_>, i: usize| {
    let (scale, min) = b.scales_mins()[i / 16];
    b.d() * f32::from(scale) * f32::from(b.quant(i)) - b.dmin() * f32::from(min)
});
views_agree!(q3_k_views, q3_k, |b: &q3_k::Block<'_>, i: usize| {
    b.d() * f32::from(b.scales()[i / 16]) * (f32::from(b.quant(i)) - 4.0)
});
views_agree!(q5_k_views, q5_k, |b: &q5_k::Block<'_>, i: usize| {
    let (scale, min) = b.scales_mins()[i / 32];
    b.d() * f32::from(scale) * f32::from(b.quant(i)) - b.dmin() * f32::from(min)
});
views_agree!(iq4_nl_views, iq4_nl, |b: &iq4_nl::Block<'_>, i| {
    b.d() * f32::from(iq4_nl::LEVELS[usize::from(b.quant(i))])
});
views_agree!(iq4_xs_views, iq4_xs, |b: &iq4_xs::Block<'_>, i: usize| {
    b.d() * f32::from(b.scales()[i / 32]) * f32::from(iq4_nl::LEVELS[usize::from(b.quant(i))])
});
views_agree!(tq1_0_views, tq1_0, |b: &tq1_0::Block<'_>, i| (f32::from(b.quant(i)) - 1.0) * b.d());
views_agree!(tq2_0_views, tq2_0, |b: &tq2_0::Block<'_>, i| (f32::from(b.quant(i)) - 1.0) * b.d());
views_agree!(mxfp4_views, mxfp4, |b: &mxfp4::Block<'_>, i| {
    f32::from(mxfp4::LEVELS[usize::from(b.quant(i))]) * b.d()
});
views_agree!(nvfp4_views, nvfp4, |b: &nvfp4::Block<'_>, i: usize| {
    f32::from(mxfp4::LEVELS[usize::from(b.quant(i))]) * b.scales()[i / 16]
});
views_agree!(q1_0_views, q1_0, |b: &q1_0::Block<'_>, i| (f32::from(b.quant(i)) * 2.0 - 1.0) * b.d());
views_agree!(q2_0_views, q2_0, |b: &q2_0::Block<'_>, i| (f32::from(b.quant(i)) - 1.0) * b.d());

#[test]
fn power_of_two_scales_by_hand() {
    // Code 7 is 6, code 15 is -6, code 1 is a half.
    let value = |e: u8, byte: u8| {
        let mut block = [0u8; mxfp4::BYTES];
        (block[0], block[1]) = (e, byte);
        let y = decoded(DType::MXFP4, &block);
        (y[0], y[16])
    };
    assert_eq!(value(127, 0xf7), (6.0, -6.0));
    assert_eq!(value(0, 0x21), (2f32.powi(-126) / 4.0, 2f32.powi(-126) / 2.0)); // 2^-128 and 2^-127, subnormal
    assert_eq!(value(255, 0x21), (2f32.powi(127), f32::INFINITY)); // not NaN: ggml's reading
    assert_eq!(value(127, 0x88), (0.0, 0.0));
}

#[test]
fn eight_bit_scales_by_hand() {
    let value = |scale: u8| {
        let mut block = [0u8; nvfp4::BYTES];
        (block[3], block[4 + 24]) = (scale, 0xa2); // elements 48 and 56: 1 and -1
        let y = decoded(DType::NVFP4, &block);
        assert_eq!(y[48], -y[56]);
        y[48]
    };
    assert_eq!(value(0x38), 1.0);
    assert_eq!(value(0x39), 1.125);
    assert_eq!(value(0x01), 2f32.powi(-9)); // subnormal
    assert_eq!(value(0x7e), 448.0);
    assert_eq!(value(0x7f), 0.0); // NaN in the format, zero in ggml
    assert_eq!(value(0xb8), 1.0); // the sign bit is no part of it
}

#[test]
fn i2_s_by_hand_in_both_orders() {
    let mut bytes = [0b01_01_01_01u8; 32 + 32];
    bytes[1] = 0b10_01_00_01; // byte 1: fields 0 and 2
    bytes[17] = 0b01_01_01_00; // byte 17, or byte 1 of the second block on ARM: field 3
    bytes[32..36].copy_from_slice(&0.5f32.to_le_bytes());
    let nonzero = |dtype| {
        let mut y = [f32::NAN; 128];
        dequantize(dtype, &bytes, &mut y).unwrap();
        y.iter().enumerate().filter(|(_, v)| **v != 0.0).map(|(i, v)| (i, *v)).collect::<Vec<_>>()
    };
    assert_eq!(nonzero(DType::I2_S), [(1, 0.5), (65, -0.5), (113, -0.5)]);
    assert_eq!(nonzero(DType::I2_S_ARM), [(1, 0.5), (33, -0.5), (113, -0.5)]);
}
