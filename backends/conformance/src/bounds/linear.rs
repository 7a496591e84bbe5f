//! Bounds of matrix products.

use super::simple::activation_error;
use super::{EPS, sum_error};
use crate::case::{Case, Data, Input};
use tern_abi::ops::{LinearCrossEntropyParams, LinearParams, activation};
use tern_quant::DType;

pub(super) fn is_quantized(input: &Input) -> bool {
    scale_columns(input).is_some()
}

/// Activations that may share an 8-bit scale: 32, or, beside ternary weights, all of a token, as BitNet b1.58 has it
/// (arXiv 2402.17764). `None` where they are not quantized.
fn scale_columns(input: &Input) -> Option<usize> {
    match &input.data {
        Data::Weight(DType::TQ1_0 | DType::TQ2_0 | DType::I2_S | DType::I2_S_ARM, _) => Some(usize::MAX),
        Data::Weight(dtype, _) if dtype.is_quantized() => Some(32),
        _ => None,
    }
}

/// Error of each activation where they are rounded to 8 bits, `columns` with one scale: half a step of their largest over
/// 127, and a scale in half precision, which moves every value by up to 2^-11 of the largest.
fn rounding(h: &[f64], columns: usize) -> Vec<f64> {
    let block = |block: &[f64]| {
        let largest = block.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        vec![largest * (0.5 / 127.0 + 1.0 / 2048.0); block.len()]
    };
    h.chunks(columns).flat_map(block).collect()
}

/// Error and magnitude of `Σ w h`: f32 sums, plus 8-bit activations where `scale_columns` of them share a scale.
fn product(w: &[f64], h: &[f64], scale_columns: Option<usize>) -> (f64, f64) {
    let magnitude: f64 = w.iter().zip(h).map(|(w, h)| (w * h).abs()).sum();
    let mut error = magnitude * sum_error(h.len());
    if let Some(columns) = scale_columns {
        error += w.iter().zip(rounding(h, columns)).map(|(w, r)| w.abs() * r).sum::<f64>() * 1.01;
    }
    (error, magnitude)
}

/// `h` of each row: x, or its RMS norm.
///
/// Where the op itself rounds it, plugins round the same values: the bound that holds for rounding of their own is wide enough
/// for the few that fall on the other side of a tie.
fn prologue(case: &Case, p: &LinearParams) -> Vec<Vec<f64>> {
    let k = case.shape(0).last().copied().unwrap_or(1);
    let (x, w) = (case.values(0), case.values(1));
    let row = |x: &[f64]| -> Vec<f64> {
        if p.norm == 0 {
            return x.to_vec();
        }
        let root = (x.iter().map(|x| x * x).sum::<f64>() / k as f64 + f64::from(p.eps)).sqrt();
        x.iter().enumerate().map(|(i, x)| x / root * w.get(i).copied().unwrap_or(1.0)).collect()
    };
    x.chunks(k).map(row).collect()
}

/// Errors of `W h + bias + adapters` of the group at input `w`, and the values.
fn group(case: &Case, h: &[Vec<f64>], w: usize) -> (Vec<f64>, Vec<f64>) {
    let [n, k] = *case.shape(w) else { return (Vec::new(), Vec::new()) };
    let (weight, bias) = (case.values(w), case.values(w + 1));
    let (a, b, index, scales) = (case.values(w + 2), case.values(w + 3), case.values(3), case.values(4));
    let rank = case.shape(w + 2).get(1).copied().unwrap_or(0);
    let scale_columns = case.input(w).and_then(scale_columns);
    let (mut errors, mut values) = (Vec::new(), Vec::new());
    for (t, h) in h.iter().enumerate() {
        let dot = |row: &[f64], x: &[f64]| row.iter().zip(x).map(|(a, b)| a * b).sum::<f64>();
        for i in 0..n {
            let row = &weight[i * k..(i + 1) * k];
            let (mut error, mut magnitude) = product(row, h, scale_columns);
            let mut value = dot(row, h);
            if let Some(bias) = bias.get(i) {
                value += bias;
                magnitude += bias.abs();
            }
            let adapter = index.get(t).filter(|&&i| i >= 0.0).map(|&i| i as usize).filter(|_| rank > 0);
            if let Some(adapter) = adapter {
                let a = &a[adapter * rank * k..(adapter + 1) * rank * k];
                let up = b[adapter * rank * n + i..].iter().step_by(n);
                for (a, up) in a.chunks(k).zip(up) {
                    let (e, m) = product(a, h, None);
                    error += scales[adapter].abs() * up.abs() * (e + m * sum_error(rank));
                    magnitude += scales[adapter].abs() * up.abs() * m;
                    value += scales[adapter] * up * dot(a, h);
                }
            }
            errors.push(error + magnitude * 4.0 * EPS);
            values.push(value);
        }
    }
    (errors, values)
}

/// Largest slope of an activation between the value and what the error may make of it.
fn slope(id: u32, y: f64, error: f64) -> f64 {
    match id {
        activation::IDENTITY => 1.0,
        activation::RELU_SQUARED => 2.0 * (y.abs() + error),
        activation::SIGMOID => 0.25,
        // SiLU's slope is below 1.1, both GELUs' below 1.13, tanh's is at most 1.
        _ => 1.13,
    }
}

/// Of LINEAR: the product's error (above), carried through the activation of a GLU and its second factor.
pub(super) fn linear(case: &Case, p: &LinearParams, want: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let h = prologue(case, p);
    let groups: Vec<_> = (0..p.n_weights as usize).map(|i| group(case, &h, 5 + 4 * i)).collect();
    if let ([gate, up], 1) = (&groups[..], p.glu) {
        let at = |i: usize| {
            let ((e0, y0), (e1, y1)) = ((gate.0[i], gate.1[i]), (up.0[i], up.1[i]));
            let e0 = e0 * slope(p.activation, y0, e0) + activation_error(p.activation, y0);
            // |act(y)| is at most |y|, y² for the squared ReLU, 1 for the sigmoid, ln 2 more for the softplus.
            let act = match p.activation {
                activation::RELU_SQUARED => y0 * y0,
                activation::SIGMOID => 1.0,
                activation::SOFTPLUS => y0.abs() + std::f64::consts::LN_2,
                _ => y0.abs(),
            };
            e0 * (y1.abs() + e1) + act * e1 + 4.0 * EPS * (act * y1).abs()
        };
        return vec![(0..gate.0.len()).map(at).collect()];
    }
    let residual = case.values(2);
    let add = |(i, e): (usize, f64)| e + residual.get(i).map_or(0.0, |r| r.abs()) * 2.0 * EPS;
    let bounds: Vec<Vec<f64>> = groups.into_iter().map(|(e, _)| e.into_iter().enumerate().map(add).collect()).collect();
    debug_assert_eq!(bounds.len(), want.len());
    bounds
}

/// Of LINEAR_CROSS_ENTROPY: a loss is off by at most twice what its logits are, besides its own sums.
pub(super) fn cross_entropy(case: &Case, p: &LinearCrossEntropyParams) -> Vec<f64> {
    let [v, k] = case.shape(1) else { return Vec::new() };
    let (x, w) = (case.values(0), case.values(1));
    let scale = if p.scale == 0.0 { 1.0 } else { f64::from(p.scale).abs() };
    let scale_columns = case.input(1).and_then(scale_columns);
    let row = |x: &[f64]| {
        let each = w.chunks(*k).map(|w| product(w, x, scale_columns));
        let (error, magnitude) =
            each.fold((0.0f64, 0.0f64), |(e, m), (error, magnitude)| (e.max(error), m.max(magnitude)));
        2.0 * scale * (error + 8.0 * EPS * magnitude) + sum_error(*v) + 4.0 * EPS * (1.0 + scale * magnitude)
    };
    x.chunks(*k).map(row).collect()
}

/// Of EXPERT_LINEAR: as LINEAR without prologue and epilogue.
pub(super) fn expert(case: &Case) -> Vec<f64> {
    let [_, n, k] = *case.shape(1) else { return Vec::new() };
    let (x, w, bias, ids) = (case.values(0), case.values(1), case.values(2), case.values(3));
    let ranks = case.shape(3).get(1).copied().unwrap_or(1);
    let scale_columns = case.input(1).and_then(scale_columns);
    let per_rank = case.shape(0).len() == 3;
    let mut out = Vec::new();
    for (at, &expert) in ids.iter().enumerate() {
        let row = if per_rank { at } else { at / ranks };
        let x = &x[row * k..(row + 1) * k];
        for i in expert as usize * n..(expert as usize + 1) * n {
            let (error, _) = product(&w[i * k..(i + 1) * k], x, scale_columns);
            out.push(error + bias.get(i).map_or(0.0, |b| b.abs()) * 2.0 * EPS);
        }
    }
    out
}
