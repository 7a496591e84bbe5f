//! Equality with an independent implementation, bit for bit, by hashes. `goldens.py` made the table.

mod common;

use common::{Lcg, fnv, rmse};
use tern_quant::{DType, dequantize, quantize};

const BLOCKS: usize = 64;

/// Format, where the upper bytes of its half-precision fields are, hash of decoded floats, hash of encoded bytes.
type Golden = (DType, &'static [usize], u64, Option<u64>);

const GOLDENS: [Golden; 6] = [
    (DType::Q4_0, &[1], 0x4af5d8d75dc6c989, Some(0x7ae22e72ec5a1434)),
    (DType::Q4_1, &[1, 3], 0x9c9d302d529a0c31, Some(0x7ea3d4a4ca0889a2)),
    (DType::Q5_0, &[1], 0xfba6474060d420ca, Some(0x7b640627001987a4)),
    (DType::Q8_0, &[1], 0xb29b75cc391b6519, Some(0x020ea74b790e5ea5)),
    (DType::Q4_K, &[1, 3], 0x75d28adb67744d53, None),
    (DType::Q6_K, &[209], 0x5c112054fdb71a7d, None),
];

#[test]
fn decoding_and_encoding_equal_the_reference() {
    for (dtype, scales, decoded, encoded) in GOLDENS {
        let mut rng = Lcg(dtype.block_bytes() as u64);
        let mut data = rng.bytes(BLOCKS * dtype.block_bytes());
        for block in data.chunks_exact_mut(dtype.block_bytes()) {
            scales.iter().for_each(|&at| block[at] &= 0xbf);
        }
        let mut values = vec![0.0; BLOCKS * dtype.block_len()];
        dequantize(dtype, &data, &mut values).unwrap();
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(fnv(&bytes), decoded, "decoding {dtype}");

        let values = rng.units(values.len());
        quantize(dtype, &values, &mut data).unwrap();
        if let Some(expected) = encoded {
            assert_eq!(fnv(&data), expected, "encoding {dtype}");
        }
    }
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
