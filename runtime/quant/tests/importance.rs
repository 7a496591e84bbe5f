//! Encoding with importance: what counts more becomes more exact, and what does not fit is refused.

#![allow(clippy::unwrap_used)]

mod common;

use common::Lcg;
use tern_quant::{DType, Kind, QuantError, dequantize, quantize, quantize_weighted};

fn encoded() -> impl Iterator<Item = DType> {
    let quantized = DType::ALL.iter().copied().filter(|d| d.kind() == Kind::Quantized);
    quantized.filter(|&d| {
        let mut out = vec![0; d.tensor_bytes(256).unwrap() as usize];
        quantize(d, &[0.0; 256], &mut out) != Err(QuantError::Unsupported { dtype: d })
    })
}

fn weighted_error(dtype: DType, x: &[f32], given: Option<&[f32]>, counted: &[f32]) -> f64 {
    let mut bytes = vec![0; dtype.tensor_bytes(x.len() as u64).unwrap() as usize];
    let mut y = vec![0.0; x.len()];
    quantize_weighted(dtype, x, given, &mut bytes).unwrap();
    dequantize(dtype, &bytes, &mut y).unwrap();
    let pairs = x.iter().zip(&y).enumerate();
    pairs.map(|(i, (x, y))| f64::from(counted[i % counted.len()]) * f64::from(x - y).powi(2)).sum()
}

#[test]
fn importance_lowers_the_error_that_counts() {
    let mut rng = Lcg(5);
    let columns: Vec<f32> =
        (0..512).map(|_| rng.normal().exp() * if rng.next().is_multiple_of(50) { 100.0 } else { 1.0 }).collect();
    let scales: [fn(&mut Lcg) -> f32; 3] =
        [|r| r.normal() * 0.02, |r| r.unit(), |r| r.normal() * if r.next() % 97 == 0 { 1.0 } else { 0.02 }];
    for draw in scales {
        let x: Vec<f32> = (0..512 * 32).map(|_| draw(&mut rng)).collect();
        for dtype in encoded() {
            let plain = weighted_error(dtype, &x, None, &columns);
            let weighted = weighted_error(dtype, &x, Some(&columns), &columns);
            assert!(weighted <= plain, "{dtype}: {weighted} against {plain}");
        }
    }
}

#[test]
fn only_ratios_within_a_block_matter() {
    let mut rng = Lcg(6);
    let x: Vec<f32> = (0..1024).map(|_| rng.normal()).collect();
    let columns: Vec<f32> = (0..256).map(|_| rng.unit().abs()).collect();
    for dtype in encoded() {
        let encode = |factor: f32| {
            let scaled: Vec<f32> = columns.iter().map(|v| v * factor).collect();
            let mut out = vec![0; dtype.tensor_bytes(1024).unwrap() as usize];
            quantize_weighted(dtype, &x, Some(&scaled), &mut out).map(|()| out)
        };
        let once = encode(1.0).unwrap();
        assert!(
            encode(2f32.powi(-60)).as_ref() == Ok(&once) && encode(2f32.powi(100)).as_ref() == Ok(&once),
            "{dtype}"
        );
        assert!(encode(0.0).is_ok(), "{dtype}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (x, mut out) = ([1.0; 1024], vec![0; 4096]);
    for dtype in encoded() {
        let out = &mut out[..dtype.tensor_bytes(1024).unwrap() as usize];
        for n in [0, 1, 255, 257, 768, 2048] {
            let refused = quantize_weighted(dtype, &x, Some(&vec![1.0; n]), out);
            assert_eq!(refused, Err(QuantError::Columns { dtype, elements: 1024, columns: n }));
        }
        for bad in [-1.0, f32::INFINITY, f32::NAN] {
            let mut columns = [1.0; 256];
            columns[77] = bad;
            let refused = quantize_weighted(dtype, &x, Some(&columns), out);
            assert!(matches!(refused, Err(QuantError::Importance { column: 77, .. })), "{dtype} {bad}");
        }
    }
    // Plain types have nothing to choose, but a wrong length is a mistake all the same.
    assert!(quantize_weighted(DType::F32, &[1.0; 4], Some(&[1.0; 3]), &mut [0; 16]).is_err());
}
