//! CROSS_ENTROPY, LINEAR_CROSS_ENTROPY and SUM.

use super::{backward, case};
use crate::case::{Case, Input};
use crate::noise::{Noise, dims, ints, weight_dtypes};
use tern_abi::graph::dim;
use tern_abi::ops::{LinearCrossEntropyParams, ScaleParams};
use tern_quant::DType;
use tern_reference::{Kernel, ops};

fn cross_entropy(r: usize, v: usize, deviation: f32) -> Case {
    let name = format!("R={r} V={v} deviation={deviation}");
    let mut noise = Noise::new(&name);
    let logits = noise.tokens(&[r, v], deviation).map(|x| Input { lead: dim::OUTPUTS, ..x });
    let targets = (0..r).map(|i| if i % 5 == 3 { -1 - i as i32 } else { noise.below(v) as i32 }).collect();
    let inputs = vec![logits, ints(dim::OUTPUTS, targets)];
    case(name, Kernel::CrossEntropy(ops::CrossEntropy), inputs, dims(0, 0, r))
}

/// `dtype` of the weight: none for reals in plain memory.
fn linear(dtype: Option<DType>, (r, v, blocks): (usize, usize, usize), scale: f32, softcap: f32) -> Option<Case> {
    let block = dtype.map_or(1, |d| d.block_len());
    let k = if block == 1 { 21 * blocks } else { block * blocks };
    let name = format!("{} R={r} V={v} K={k} scale={scale} cap={softcap}", dtype.map_or("plain", |d| d.name()));
    let mut noise = Noise::new(&name);
    let x = noise.tokens(&[r, k], 1.0).map(|x| Input { lead: dim::OUTPUTS, ..x });
    let deviation = 1.5 / (k as f32).sqrt();
    let w = match dtype {
        Some(dtype) => noise.weight(dtype, &[v, k], deviation)?,
        None => noise.fixed(&[v, k], deviation)?,
    };
    let targets = (0..r).map(|i| if i % 5 == 3 { -1 } else { noise.below(v) as i32 }).collect();
    let kernel = Kernel::LinearCrossEntropy(ops::LinearCrossEntropy(LinearCrossEntropyParams { scale, softcap }));
    Some(case(name, kernel, vec![x, Some(w), ints(dim::OUTPUTS, targets)], dims(0, 0, r)))
}

fn linears() -> Vec<Case> {
    let mut out: Vec<Option<Case>> =
        weight_dtypes().into_iter().map(|d| linear(Some(d), (7, 37, 1), 0.0, 0.0)).collect();
    for dtype in [None, Some(DType::F16), Some(DType::Q4_0), Some(DType::Q6_K)] {
        out.push(linear(dtype, (1, 1, 1), 0.0, 0.0));
        out.push(linear(dtype, (19, 50, 1), 0.5, 0.0));
        out.push(linear(dtype, (3, 33, 2), 2.0, 3.0));
    }
    // More than one part of the vocabulary, and more than one block of parts.
    out.push(linear(None, (5, 2500, 1), 0.0, 0.0));
    out.push(linear(Some(DType::Q8_0), (2, 2500, 1), 0.0, 30.0));
    out.into_iter().flatten().collect()
}

fn sum(shape: &[usize], factor: f32) -> Case {
    let name = format!("{shape:?} by {factor}");
    let inputs = vec![Noise::new(&name).tokens(shape, 1.0)];
    case(name, Kernel::Sum(ops::Sum(ScaleParams { factor })), inputs, dims(shape[0], 0, 0))
}

fn all() -> Vec<Case> {
    let mut out = linears();
    out.extend([
        cross_entropy(1, 7, 1.0),
        cross_entropy(2, 1, 1.0),
        cross_entropy(7, 100, 3.0),
        cross_entropy(33, 515, 10.0),
        cross_entropy(3, 9, 1e4),
        cross_entropy(2, 5000, 2.0),
        sum(&[1, 1], 1.0),
        sum(&[7, 33], -0.25),
        sum(&[33], 1.0 / 33.0),
    ]);
    out
}

pub(super) fn forward() -> Vec<Case> {
    all()
}

pub(super) fn gradients() -> Vec<Case> {
    all().into_iter().map(backward).collect()
}
