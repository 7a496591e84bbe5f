//! GLU, ADD, MUL, SCALE, ACTIVATION, QUANTIZE_TOKENS.

use super::{TOKENS, backward, case};
use crate::case::{Case, Data, Input};
use crate::noise::{Noise, dims};
use tern_abi::graph::dim;
use tern_abi::ops::{ActivationParams, GluParams, ScaleParams, activation};
use tern_reference::{Kernel, ops};

/// All activations, with names.
pub(crate) const ACTIVATIONS: [(u32, &str); 8] = [
    (activation::IDENTITY, "identity"),
    (activation::SILU, "silu"),
    (activation::GELU_TANH, "gelu-tanh"),
    (activation::GELU, "gelu"),
    (activation::RELU_SQUARED, "relu-squared"),
    (activation::SIGMOID, "sigmoid"),
    (activation::TANH, "tanh"),
    (activation::SOFTPLUS, "softplus"),
];

fn glu(id: u32, label: &str, t: usize, n: usize) -> Case {
    let name = format!("{label} T={t} N={n}");
    let mut noise = Noise::new(&name);
    let inputs = vec![noise.tokens(&[t, n], 3.0), noise.tokens(&[t, n], 1.0)];
    let params = GluParams { activation: id, ..Default::default() };
    case(name, Kernel::Glu(ops::Glu(params)), inputs, dims(t, 0, 0))
}

/// With bounds that many values are beyond.
fn bounded(params: GluParams, shape: &[usize]) -> Case {
    let name = format!(
        "{} alpha={} limit={} offset={} {shape:?}",
        params.activation, params.alpha, params.limit, params.offset
    );
    let mut noise = Noise::new(&name);
    let inputs = vec![noise.tokens(shape, 3.0), noise.tokens(shape, 3.0)];
    case(name, Kernel::Glu(ops::Glu(params)), inputs, dims(shape[0], 0, 0))
}

fn bounds() -> Vec<Case> {
    let silu = GluParams { activation: activation::SILU, ..Default::default() };
    let all = GluParams { alpha: 1.702, limit: 2.5, offset: 1.0, ..silu };
    vec![
        bounded(all, &[7, 37]),
        bounded(all, &[3, 4, 33]),
        bounded(GluParams { alpha: 1.702, ..silu }, &[2, 19]),
        bounded(GluParams { limit: 1.5, ..silu }, &[2, 19]),
        bounded(GluParams { offset: -0.5, activation: activation::GELU, ..silu }, &[2, 19]),
    ]
}

fn activate(id: u32, label: &str, shape: &[usize]) -> Case {
    let name = format!("{label} {shape:?}");
    let inputs = vec![Noise::new(&name).tokens(shape, 4.0)];
    case(name, Kernel::Activation(ops::Activation(ActivationParams { activation: id })), inputs, dims(shape[0], 0, 0))
}

/// Two operands; `cut` leading dimensions of the second left out.
fn pair(kernel: Kernel, shape: &[usize], cut: usize) -> Case {
    let name = format!("{shape:?} and {:?}", &shape[cut..]);
    let mut noise = Noise::new(&name);
    let a = noise.tokens(shape, 1.0);
    let b = if cut == 0 { noise.tokens(shape, 1.0) } else { noise.fixed(&shape[cut..], 1.0) };
    case(name, kernel, vec![a, b], dims(shape[0], 0, 0))
}

/// Where exponentials and powers overflow or vanish.
const EXTREMES: [f32; 16] =
    [0.0, -0.0, 1e-30, -1e-30, 1e-6, -1e-6, 10.0, -10.0, 30.0, -30.0, 100.0, -100.0, 1e4, -1e4, 1e15, -1e15];

fn extreme(id: u32, label: &str) -> Case {
    let kernel = Kernel::Activation(ops::Activation(ActivationParams { activation: id }));
    let x = Input { shape: vec![1, EXTREMES.len()], lead: dim::TOKENS, data: Data::Real(EXTREMES.to_vec()) };
    case(format!("{label} extremes"), kernel, vec![Some(x)], dims(1, 0, 0))
}

fn scale(shape: &[usize], factor: f32) -> Case {
    let name = format!("{shape:?} by {factor}");
    let inputs = vec![Noise::new(&name).tokens(shape, 1.0)];
    case(name, Kernel::Scale(ops::Scale(ScaleParams { factor })), inputs, dims(shape[0], 0, 0))
}

fn quantize(name: &str, shape: &[usize], x: impl Fn(usize) -> f32) -> Case {
    let data = Data::Real((0..shape.iter().product()).map(x).collect());
    let x = Input { shape: shape.to_vec(), lead: dim::TOKENS, data };
    let kernel = Kernel::QuantizeTokens(ops::QuantizeTokens);
    case(format!("{name} {shape:?}"), kernel, vec![Some(x)], dims(shape[0], 0, 0))
}

fn quantizations() -> Vec<Case> {
    let wave = |i: usize| (i as f32 * 0.7).sin() * (1.0 + (i % 11) as f32);
    let shapes: [&[usize]; 5] = [&[1, 1], &[2, 19], &[7, 32], &[33, 67], &[2, 3, 40]];
    let mut out: Vec<Case> = shapes.map(|shape| quantize("wave", shape, wave)).into();
    // The largest is 127, so that halves are ties.
    let tie = |i: usize| if i.is_multiple_of(16) { -127.0 } else { i as f32 - 20.5 };
    out.push(quantize("ties", &[1, 48], tie));
    out.push(quantize("zeros", &[2, 17], |_| 0.0));
    out.push(quantize("tiny", &[2, 17], |i| 1e-30 * wave(i)));
    out.push(quantize("huge", &[2, 17], |i| 1e30 * wave(i)));
    out.push(quantize("one far above", &[2, 65], |i| if i % 65 == 64 { -1000.0 } else { wave(i) }));
    out
}

fn pairs() -> Vec<Case> {
    let mut out = Vec::new();
    for kernel in [Kernel::Add(ops::Add), Kernel::Mul(ops::Mul)] {
        for t in TOKENS {
            out.push(pair(kernel, &[t, 19], 0));
            out.push(pair(kernel, &[t, 64], 1));
        }
        out.push(pair(kernel, &[3, 4, 5], 0));
        out.push(pair(kernel, &[3, 4, 5], 1));
        out.push(pair(kernel, &[3, 4, 5], 2));
    }
    out
}

pub(super) fn forward() -> Vec<Case> {
    let mut out = pairs();
    for (id, label) in ACTIVATIONS {
        for t in TOKENS {
            out.push(glu(id, label, t, 37));
            out.push(activate(id, label, &[t, 19]));
        }
        out.push(extreme(id, label));
        out.push(glu(id, label, 2, 256));
        out.push(activate(id, label, &[2, 3, 8]));
    }
    out.extend(bounds());
    out.extend(TOKENS.map(|t| scale(&[t, 23], -0.37)));
    out.push(scale(&[2, 3, 5], 0.0));
    out.extend(quantizations());
    out
}

pub(super) fn gradients() -> Vec<Case> {
    let mut out = pairs();
    for (id, label) in ACTIVATIONS {
        out.push(glu(id, label, 7, 37));
        out.push(activate(id, label, &[7, 19]));
    }
    out.extend(bounds());
    out.push(scale(&[7, 23], -0.37));
    out.into_iter().map(backward).collect()
}
