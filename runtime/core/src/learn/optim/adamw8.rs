//! AdamW with 8-bit moments.

use super::dynamic::{BLOCK, Codes, levels};
use super::{Adam, Optimizer, bytes, floats};

/// See [`OptimizerKind::AdamW8`](super::OptimizerKind::AdamW8).
pub(super) struct AdamW8 {
    settings: Adam,
    /// Levels of the first and the second moment.
    levels: [[f32; 256]; 2],
    moments: Vec<[Codes; 2]>,
}

impl AdamW8 {
    pub fn new(settings: Adam, sizes: &[usize]) -> Self {
        let levels = [levels(true), levels(false)];
        let zeros = |&n: &usize| [Codes::zeros(n, &levels[0]), Codes::zeros(n, &levels[1])];
        Self { settings, moments: sizes.iter().map(zeros).collect(), levels }
    }
}

impl Optimizer for AdamW8 {
    fn update(&mut self, index: usize, step: u64, lr: f32, values: &mut [f32], gradient: &[f32]) {
        let (s, levels) = (self.settings, &self.levels);
        let [beta1, beta2] = s.betas;
        let corrections = s.corrections(step);
        let [first, second] = &mut self.moments[index];
        let (mut m, mut v) = ([0.0; BLOCK], [0.0; BLOCK]);
        for (block, (values, gradient)) in values.chunks_mut(BLOCK).zip(gradient.chunks(BLOCK)).enumerate() {
            first.read(block, &levels[0], &mut m);
            second.read(block, &levels[1], &mut v);
            for (i, (value, &g)) in values.iter_mut().zip(gradient).enumerate() {
                m[i] += (1.0 - beta1) * (g - m[i]);
                v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
                // The numbers themselves step with the exact moments; only what is kept is rounded.
                s.step(value, m[i], v[i], lr, corrections);
            }
            first.write(block, &levels[0], &m[..values.len()]);
            second.write(block, &levels[1], &v[..values.len()]);
        }
    }

    fn state(&self, index: usize) -> Vec<(&'static str, Vec<u8>)> {
        let [m, v] = &self.moments[index];
        vec![
            ("m", m.codes.clone()),
            ("m.scales", bytes(&m.scales)),
            ("v", v.codes.clone()),
            ("v.scales", bytes(&v.scales)),
        ]
    }

    fn restore(&mut self, index: usize, parts: &[(&'static str, Vec<u8>)]) -> bool {
        let moments = &mut self.moments[index];
        let whole = parts.len() == 4;
        whole
            && moments.iter_mut().zip(parts.chunks_exact(2)).all(|(to, from)| {
                let fits = to.codes.len() == from[0].1.len();
                if fits {
                    to.codes.copy_from_slice(&from[0].1);
                }
                fits && floats(&from[1].1, &mut to.scales)
            })
    }
}
