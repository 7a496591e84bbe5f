//! Bound of attention.

use super::{EPS, sum_error};
use crate::case::{Case, Data};
use crate::cases::read;
use tern_abi::ops::{AttentionParams, RopeParams};
use tern_abi::{dtype, state};
use tern_reference::oracle::forward;
use tern_reference::{Kernel, Value, ops};

/// Largest finite |x|.
fn largest(x: impl IntoIterator<Item = f64>) -> f64 {
    x.into_iter().map(f64::abs).filter(|x| x.is_finite()).fold(0.0, f64::max)
}

/// A score is a sum of `head_dim` products, so its error is relative to `scale |q| |k|` (Cauchy-Schwarz); with rotation
/// in front and a half-precision cache behind, a key may also land on the other side of a rounding boundary (2^-11 of
/// it). An error of scores is a relative error of weights, so outputs, which are means of values, are off by twice that
/// times the largest value, plus the error of the sums.
///
/// With codes for keys and values the reference rounds the same way, so what the rounding loses is in no bound. What is
/// left are scales as factors (a few roundings more per score and weight), keys that rounding has made longer (by at
/// most half a code, which is 1/254 of the largest number, in every dimension), and rotated keys near a boundary.
pub(super) fn attention(case: &Case, p: &AttentionParams) -> Vec<f64> {
    let d = p.head_dim as usize;
    let (mut keys, mut values) = (case.values(1), case.values(2));
    let mut seen = case.shape(0).first().copied().unwrap_or(0);
    for input in case.inputs.iter().flatten() {
        let Data::State(state) = &input.data else { continue };
        debug_assert_eq!(state.kind, state::kind::KV_PAGE);
        for unit in &state.units {
            let (k, v) = read(state, unit);
            keys.extend(k);
            values.extend(v);
        }
        seen += state.units.len() * p.page_size as usize;
    }
    let codes = case.input(6).is_some() && p.kv_dtype == dtype::I8;
    let rotated = case.input(6).is_some() && case.input(3).is_some();
    let longer = if codes { 1.0 + (d as f64).sqrt() / 254.0 } else { 1.0 };
    let longest_key = largest(keys.chunks(d).map(norm)) * longer;
    let largest_value = largest(values);
    let moved = match p.kv_dtype {
        dtype::F16 if rotated => longest_key / 2048.0,
        dtype::I8 if rotated => longest_move(case, p),
        _ => 0.0,
    };
    let few = if codes { 12.0 } else { 8.0 } * EPS;
    let head = |q: &[f64]| {
        let score = f64::from(p.scale).abs() * norm(q);
        let score_error = score * (longest_key * (sum_error(d) + few) + moved);
        vec![largest_value * (2.0 * score_error + sum_error(seen) + 2.0 * few); d]
    };
    case.values(0).chunks(d).flat_map(head).collect()
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// How far a fresh key of codes may be from the reference's: a number that after rotation is near a boundary
/// between codes, as near as rotation and rounding in f32 may be off, can get the code on its other side.
fn longest_move(case: &Case, p: &AttentionParams) -> f64 {
    const NEAR: f64 = 127.0 * 16.0 * EPS;
    let (heads, head_dim) = (p.kv_heads, p.head_dim);
    let rope = ops::Rope(RopeParams { heads, head_dim, n_rot: p.n_rot, layout: p.rope_layout, inverse: 0 });
    let input = |i: usize| Some(Value::real(case.shape(i), case.values(i)));
    // A case that the reference refuses fails anyway.
    let keys = forward(&Kernel::Rope(rope), &[input(1), input(3)]).unwrap_or_default();
    let of_key = |key: &[f64]| {
        let max = largest(key.iter().copied());
        let boundary = |x: &&f64| ((*x / max * 127.0).rem_euclid(1.0) - 0.5).abs() < NEAR;
        (key.iter().filter(boundary).count() as f64).sqrt() * max / 127.0
    };
    largest(keys.iter().flat_map(|keys| keys.chunks(head_dim as usize)).map(of_key))
}
