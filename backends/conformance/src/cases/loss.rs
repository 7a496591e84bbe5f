//! CROSS_ENTROPY and SUM.

use super::{backward, case};
use crate::case::{Case, Input};
use crate::noise::{Noise, dims, ints};
use tern_abi::graph::dim;
use tern_abi::ops::ScaleParams;
use tern_reference::{Kernel, ops};

fn cross_entropy(r: usize, v: usize, deviation: f32) -> Case {
    let name = format!("R={r} V={v} deviation={deviation}");
    let mut noise = Noise::new(&name);
    let logits = noise.tokens(&[r, v], deviation).map(|x| Input { lead: dim::OUTPUTS, ..x });
    let targets = (0..r).map(|i| if i % 5 == 3 { -1 - i as i32 } else { noise.below(v) as i32 }).collect();
    let inputs = vec![logits, ints(dim::OUTPUTS, targets)];
    case(name, Kernel::CrossEntropy(ops::CrossEntropy), inputs, dims(0, 0, r))
}

fn sum(shape: &[usize], factor: f32) -> Case {
    let name = format!("{shape:?} by {factor}");
    let inputs = vec![Noise::new(&name).tokens(shape, 1.0)];
    case(name, Kernel::Sum(ops::Sum(ScaleParams { factor })), inputs, dims(shape[0], 0, 0))
}

fn all() -> Vec<Case> {
    vec![
        cross_entropy(1, 7, 1.0),
        cross_entropy(2, 1, 1.0),
        cross_entropy(7, 100, 3.0),
        cross_entropy(33, 515, 10.0),
        cross_entropy(3, 9, 1e4),
        cross_entropy(2, 5000, 2.0),
        sum(&[1, 1], 1.0),
        sum(&[7, 33], -0.25),
        sum(&[33], 1.0 / 33.0),
    ]
}

pub(super) fn forward() -> Vec<Case> {
    all()
}

pub(super) fn gradients() -> Vec<Case> {
    all().into_iter().map(backward).collect()
}
