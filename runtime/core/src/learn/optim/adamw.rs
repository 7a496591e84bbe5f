//! AdamW.

use super::{Adam, Optimizer, bytes, floats};

/// See [`OptimizerKind::AdamW`](super::OptimizerKind::AdamW).
pub(super) struct AdamW {
    settings: Adam,
    /// First and second moments of each matrix.
    moments: Vec<[Vec<f32>; 2]>,
}

impl AdamW {
    pub fn new(settings: Adam, sizes: &[usize]) -> Self {
        Self { settings, moments: sizes.iter().map(|&n| [vec![0.0; n], vec![0.0; n]]).collect() }
    }
}

impl Optimizer for AdamW {
    fn update(&mut self, index: usize, step: u64, lr: f32, values: &mut [f32], gradient: &[f32]) {
        let (s, [m, v]) = (self.settings, &mut self.moments[index]);
        let [beta1, beta2] = s.betas;
        let corrections = s.corrections(step);
        for (((value, &g), m), v) in values.iter_mut().zip(gradient).zip(m).zip(v) {
            *m += (1.0 - beta1) * (g - *m);
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            s.step(value, *m, *v, lr, corrections);
        }
    }

    fn state(&self, index: usize) -> Vec<(&'static str, Vec<u8>)> {
        let [m, v] = &self.moments[index];
        vec![("m", bytes(m)), ("v", bytes(v))]
    }

    fn restore(&mut self, index: usize, parts: &[(&'static str, Vec<u8>)]) -> bool {
        let moments = &mut self.moments[index];
        parts.len() == 2 && moments.iter_mut().zip(parts).all(|(to, (_, from))| floats(from, to))
    }
}
