//! Stochastic gradient descent with momentum.

use super::{Optimizer, bytes, floats};

/// See [`OptimizerKind::Sgd`](super::OptimizerKind::Sgd).
pub(super) struct Sgd {
    momentum: f32,
    weight_decay: f32,
    velocity: Vec<Vec<f32>>,
}

impl Sgd {
    pub fn new(momentum: f32, weight_decay: f32, sizes: &[usize]) -> Self {
        Self { momentum, weight_decay, velocity: sizes.iter().map(|&n| vec![0.0; n]).collect() }
    }
}

impl Optimizer for Sgd {
    fn update(&mut self, index: usize, _step: u64, lr: f32, values: &mut [f32], gradient: &[f32]) {
        for ((value, &g), v) in values.iter_mut().zip(gradient).zip(&mut self.velocity[index]) {
            *v = self.momentum * *v + (g + self.weight_decay * *value);
            *value -= lr * *v;
        }
    }

    fn state(&self, index: usize) -> Vec<(&'static str, Vec<u8>)> {
        vec![("v", bytes(&self.velocity[index]))]
    }

    fn restore(&mut self, index: usize, parts: &[(&'static str, Vec<u8>)]) -> bool {
        parts.len() == 1 && floats(&parts[0].1, &mut self.velocity[index])
    }
}
