//! Half precision and bfloat16 against their definitions.

mod common;

use common::Lcg;
use tern_quant::{DType, bf16_to_f32, dequantize, f16_to_f32, f32_to_bf16, f32_to_f16, quantize};

/// The value of a half by its definition.
fn half_by_definition(h: u16) -> f64 {
    let sign = if h & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(h >> 10 & 31), f64::from(h & 1023));
    sign * match exponent {
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        0 => fraction * 2f64.powi(-24),
        e => (1024.0 + fraction) * 2f64.powi(e - 25),
    }
}

#[test]
fn every_half_decodes_and_encodes_back() {
    for h in 0..=u16::MAX {
        let value = f16_to_f32(h);
        let expected = half_by_definition(h);
        if expected.is_nan() {
            assert!(value.is_nan() && f16_to_f32(f32_to_f16(value)).is_nan(), "{h:#06x}");
            assert_eq!(f32_to_f16(value), h | 0x0200, "NaN keeps sign and payload and becomes quiet");
        } else {
            assert_eq!(f64::from(value), expected, "{h:#06x}");
            assert_eq!(value.is_sign_negative(), h & 0x8000 != 0);
            assert_eq!(f32_to_f16(value), h);
        }
    }
}

#[test]
fn halves_round_to_nearest_even() {
    // Between each pair of neighbours: just below the tie, the tie, just above.
    for h in 0..0x7bffu16 {
        let tie = ((f64::from(f16_to_f32(h)) + f64::from(f16_to_f32(h + 1))) / 2.0) as f32;
        let even = if h % 2 == 0 { h } else { h + 1 };
        assert_eq!(f32_to_f16(tie.next_down()), h, "below the tie after {h:#06x}");
        assert_eq!(f32_to_f16(tie), even, "the tie after {h:#06x}");
        assert_eq!(f32_to_f16(tie.next_up()), h + 1, "above the tie after {h:#06x}");
        assert_eq!(f32_to_f16(-tie), even | 0x8000);
    }
}

#[test]
fn halves_at_the_edges() {
    for (value, expected) in [
        (0.0, 0x0000),
        (-0.0, 0x8000),
        (1.0, 0x3c00),
        (-2.0, 0xc000),
        (65504.0, 0x7bff),
        (65519.996, 0x7bff),
        (65520.0, 0x7c00),
        (f32::MAX, 0x7c00),
        (f32::INFINITY, 0x7c00),
        (f32::NEG_INFINITY, 0xfc00),
        (f32::from_bits(1), 0x0000),
        (2f32.powi(-25), 0x0000),
        (2f32.powi(-25).next_up(), 0x0001),
    ] {
        assert_eq!(f32_to_f16(value), expected, "{value:e}");
    }
    assert!(f16_to_f32(f32_to_f16(f32::NAN)).is_nan());
}

#[test]
fn every_bfloat_decodes_and_encodes_back() {
    for b in 0..=u16::MAX {
        let value = bf16_to_f32(b);
        assert_eq!(value.to_bits(), u32::from(b) << 16);
        let expected = if value.is_nan() { b | 0x0040 } else { b };
        assert_eq!(f32_to_bf16(value), expected);
    }
}

#[test]
fn bfloats_round_to_nearest_even_and_keep_nan() {
    for (bits, expected) in [
        (0x3f80_8000, 0x3f80), // tie, down to even
        (0x3f81_8000, 0x3f82), // tie, up to even
        (0x3f80_8001, 0x3f81),
        (0x3f80_7fff, 0x3f80),
        (0x7f7f_ffff, 0x7f80), // overflow
        (0x7f80_0001, 0x7fc0), // a NaN whose payload is all in the dropped half
        (0xff80_0001, 0xffc0),
        (0xffff_ffff, 0xffff),
    ] {
        assert_eq!(f32_to_bf16(f32::from_bits(bits)), expected, "{bits:#010x}");
    }
}

#[test]
fn plain_types_keep_what_blocks_refuse() {
    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 1.5];
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let mut bytes = vec![0; dtype.row_bytes(values.len()).unwrap()];
        let mut back = [0.0; 5];
        quantize(dtype, &values, &mut bytes).unwrap();
        dequantize(dtype, &bytes, &mut back).unwrap();
        assert!(back[0].is_nan());
        assert_eq!(back[1..], values[1..]);
        assert!(back[3].is_sign_negative());
    }
}

#[test]
fn slices_equal_single_conversions() {
    let mut rng = Lcg(5);
    let values: Vec<f32> = (0..1003).map(|_| f32::from_bits(rng.next())).collect();
    let mut bytes = vec![0; 2 * values.len()];
    quantize(DType::F16, &values, &mut bytes).unwrap();
    for (pair, &v) in bytes.chunks_exact(2).zip(&values) {
        assert_eq!(u16::from_le_bytes([pair[0], pair[1]]), f32_to_f16(v));
    }
}
