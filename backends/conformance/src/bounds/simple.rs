//! Bounds of the ops with short arithmetic.

use super::{EPS, sum_error};
use crate::case::{Case, Data};
use tern_abi::ops::{FastWeightParams, MUON, activation};
use tern_reference::Kernel;

/// Fast weights feed their own rounding errors back through layer norms and updates. In f32 against f64 the
/// reference itself drifts by some 1e-6 of a row over 35 rows; an order of magnitude and a half is left for other
/// orders of summation.
const FAST_WEIGHT_DRIFT: f64 = 3e-5;

/// That, and what a step made orthogonal adds.
pub(super) fn drift(p: &FastWeightParams) -> f64 {
    FAST_WEIGHT_DRIFT + turning(p)
}

/// How far off a step made orthogonal may be: each round lets what is small grow by its first factor, rounding errors of directions that a
/// mini-batch of few rows does not have included.
pub(super) fn turning(p: &FastWeightParams) -> f64 {
    let growth: f64 = MUON.iter().map(|round| f64::from(round[0])).product();
    if p.muon == 1 { growth * EPS } else { 0.0 }
}

fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |m, x| m.max(x.abs()))
}

/// Applies `f` to rows of `n` elements of `x`, and joins the results.
fn rows(x: &[f64], n: usize, f: impl FnMut(&[f64]) -> Vec<f64>) -> Vec<f64> {
    x.chunks(n.max(1)).flat_map(f).collect()
}

/// Error of `act(x)`: relative to x, whatever cancels in `1 + tanh` and `1 + erf`.
pub(super) fn activation_error(id: u32, x: f64) -> f64 {
    match id {
        activation::IDENTITY => 0.0,
        activation::RELU_SQUARED => 2.0 * EPS * x * x,
        activation::SIGMOID => 16.0 * EPS,
        activation::SOFTPLUS => 16.0 * EPS * (1.0 + x.abs()),
        _ => 16.0 * EPS * x.abs(),
    }
}

pub(super) fn forward(case: &Case, want: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let first = want.first().map_or(&[][..], Vec::as_slice);
    let width = case.shape(0).last().copied().unwrap_or(1);
    let x = case.values(0);
    // One rounding of an exact result.
    let rounded = |y: &[f64]| y.iter().map(|y| y.abs() * EPS).collect::<Vec<_>>();
    vec![match &case.kernel {
        // Decoding a block in another order of operations, at most.
        Kernel::Gather(_) => match case.input(0).map(|x| &x.data) {
            Some(Data::Weight(dtype, _)) if dtype.is_quantized() => {
                rows(first, width, |row| vec![4.0 * EPS * largest(row); row.len()])
            }
            _ => vec![0.0; first.len()],
        },
        Kernel::Rows(_) | Kernel::Columns(_) => vec![0.0; first.len()],
        Kernel::ShortConv(op) => convolved(case, op.0.width as usize, first.len()),
        Kernel::Add(_) | Kernel::Mul(_) | Kernel::Scale(_) => rounded(first),
        // The sum of squares has no cancellation, so the error is relative.
        Kernel::RmsNorm(_) => first.iter().map(|y| y.abs() * sum_error(width)).collect(),
        Kernel::LayerNorm(op) => layer_norm(case, f64::from(op.0.eps)),
        Kernel::RopeTable(op) => vec![f64::from(op.0.magnitude).abs() * EPS; first.len()],
        Kernel::Rope(op) => {
            let table = largest(&case.values(1));
            rows(&x, op.0.head_dim as usize, |head| vec![4.0 * EPS * largest(head) * table; head.len()])
        }
        Kernel::Activation(op) => x.iter().map(|&x| activation_error(op.0.activation, x) + tiny()).collect(),
        Kernel::Glu(op) => {
            let p = &op.0;
            let most = |x: f64| if p.limit > 0.0 { x.min(p.limit.into()) } else { x };
            // The factor and the sum are rounded, too.
            let error = |(&gate, up): (&f64, f64)| {
                let (gate, up) = (most(gate), -most(-most(up)));
                let argument = 2.0 * EPS * gate.abs() * (f64::from(p.alpha) * gate).abs();
                let sum = up.abs() + f64::from(p.offset).abs();
                (activation_error(p.activation, gate) + argument) * sum + EPS * gate.abs() * sum
            };
            let bounds = x.iter().zip(case.values(1)).map(error).zip(first);
            bounds.map(|(b, y)| b + 2.0 * EPS * y.abs() + tiny()).collect()
        }
        // Integer ids compare exactly; e^x carries the absolute error of its argument.
        Kernel::MoeRoute(_) => {
            let weights = want.get(1).map_or(&[][..], Vec::as_slice);
            let relative = sum_error(width) + 4.0 * EPS * (1.0 + largest(&x));
            return vec![Vec::new(), weights.iter().map(|w| w.abs() * relative).collect()];
        }
        Kernel::MoeCombine(_) => combine(case),
        Kernel::CrossEntropy(_) => rows(&x, width, |row| vec![sum_error(width) + 4.0 * EPS * (1.0 + largest(row))]),
        Kernel::Sum(op) => {
            let all: f64 = x.iter().map(|x| x.abs()).sum();
            vec![f64::from(op.0.factor).abs() * all * sum_error(x.len())]
        }
        Kernel::QuantizeTokens(_) => rows(&x, width, quantized),
        Kernel::FastWeight(op) => {
            let p = &op.0;
            let head = if p.value_dim > 0 { p.value_dim } else { p.head_dim };
            rows(first, head as usize, |row| vec![drift(p) * largest(row).max(1.0); row.len()])
        }
        Kernel::Linear(_) | Kernel::LinearCrossEntropy(_) | Kernel::ExpertLinear(_) | Kernel::Attention(_) => {
            Vec::new()
        }
    }]
}

/// A few roundings of the step, or a whole step where a value is so near to a tie that they decide.
fn quantized(row: &[f64]) -> Vec<f64> {
    let top = largest(row);
    let bound = |x: &f64| {
        let code = x.abs() / top * 127.0;
        let tie = (code.fract() - 0.5).abs() < 4.0 * EPS * code.max(1.0);
        top / 127.0 * if tie { 1.0 + 4.0 * EPS * code } else { 4.0 * EPS * code } + tiny()
    };
    if top < 1e-36 { vec![1e-36; row.len()] } else { row.iter().map(bound).collect() }
}

/// Relative to the sum of magnitudes, with the largest |x| of a channel for those that an output sees.
fn convolved(case: &Case, width: usize, n: usize) -> Vec<f64> {
    let (x, w, bias) = (case.values(0), case.values(1), case.values(2));
    let channels = w.len() / width.max(1);
    // Rows of a state are noise of the same size.
    let top = largest(&x).max(2.0);
    let of = |c: usize| {
        let weights: f64 = w[c * width..(c + 1) * width].iter().map(|w| w.abs()).sum();
        (weights * top + bias.get(c).map_or(0.0, |b| b.abs())) * sum_error(width)
    };
    (0..n).map(|i| of(i % channels)).collect()
}

/// Results may be flushed to zero.
fn tiny() -> f64 {
    f64::from(f32::MIN_POSITIVE)
}

/// Relative to the largest |x| of the row over its deviation: that is what cancels in `x - mean`.
fn layer_norm(case: &Case, eps: f64) -> Vec<f64> {
    let (w, b) = (case.values(1), case.values(2));
    let d = case.shape(0).last().copied().unwrap_or(1);
    rows(&case.values(0), d, |row| {
        let mean = row.iter().sum::<f64>() / d as f64;
        let var = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
        let scale = largest(row) / (var + eps).sqrt();
        let at = |i: usize| scale * w.get(i).map_or(1.0, |w| w.abs()) + b.get(i).map_or(0.0, |b| b.abs());
        // Where the variance vanishes against eps, an error of the mean is all there is.
        (0..row.len()).map(|i| at(i) * 2.0 * sum_error(d) * (1.0 + eps / (var + eps))).collect()
    })
}

/// `Σ |w| |y| + |residual|`.
fn combine(case: &Case) -> Vec<f64> {
    let (y, w, residual) = (case.values(0), case.values(1), case.values(2));
    let (k, n) = (case.shape(1).last().copied().unwrap_or(1), case.shape(0).last().copied().unwrap_or(1));
    let t = case.shape(1).first().copied().unwrap_or(0);
    let at = |t: usize, i: usize| {
        let sum: f64 = (0..k).map(|j| (w[t * k + j] * y[(t * k + j) * n + i]).abs()).sum();
        (sum + residual.get(t * n + i).map_or(0.0, |r| r.abs())) * sum_error(k)
    };
    (0..t).flat_map(|t| (0..n).map(move |i| (t, i))).map(|(t, i)| at(t, i)).collect()
}
