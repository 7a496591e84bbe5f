//! Bound of attention.

use super::{EPS, sum_error};
use crate::case::{Case, Data};
use tern_abi::ops::AttentionParams;
use tern_abi::{dtype, state};

/// Decodes a KV state into f64.
fn decode(dtype: u32, bytes: &[u8]) -> Vec<f64> {
    match dtype {
        dtype::F16 => {
            let half = |b: &[u8; 2]| f64::from(tern_quant::f16_to_f32(u16::from_le_bytes(*b)));
            bytes.as_chunks().0.iter().map(half).collect()
        }
        _ => bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
    }
}

/// Largest finite |x|.
fn largest(x: impl IntoIterator<Item = f64>) -> f64 {
    x.into_iter().map(f64::abs).filter(|x| x.is_finite()).fold(0.0, f64::max)
}

/// A score is a sum of `head_dim` products, so its error is relative to `scale |q| |k|` (Cauchy-Schwarz); with rotation
/// in front and a half-precision cache behind, a key may also land on the other side of a rounding boundary (2^-11 of
/// it). An error of scores is a relative error of weights, so outputs, which are means of values, are off by twice that
/// times the largest value, plus the error of the sums.
pub(super) fn attention(case: &Case, p: &AttentionParams) -> Vec<f64> {
    let d = p.head_dim as usize;
    let (mut keys, mut values) = (case.values(1), case.values(2));
    let mut seen = case.shape(0).first().copied().unwrap_or(0);
    for input in case.inputs.iter().flatten() {
        let Data::State(state) = &input.data else { continue };
        debug_assert_eq!(state.kind, state::kind::KV_PAGE);
        for unit in &state.units {
            let unit = decode(state.dtype, unit);
            let (k, v) = unit.split_at(unit.len() / 2);
            keys.extend(k);
            values.extend(v);
        }
        seen += state.units.len() * p.page_size as usize;
    }
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let longest_key = largest(keys.chunks(d).map(norm));
    let largest_value = largest(values);
    let moved =
        if case.input(3).is_some() && case.input(6).is_some() && p.kv_dtype == dtype::F16 { 1.0 / 2048.0 } else { 0.0 };
    let head = |q: &[f64]| {
        let score = f64::from(p.scale).abs() * norm(q) * longest_key;
        let score_error = score * (sum_error(d) + 8.0 * EPS + moved);
        vec![largest_value * (2.0 * score_error + sum_error(seen) + 16.0 * EPS); d]
    };
    case.values(0).chunks(d).flat_map(head).collect()
}
