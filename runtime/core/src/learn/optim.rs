//! Optimizers: from gradients to better factors. They work on the host, in f32, element by element in order, so that a run can be
//! repeated bit for bit.
//!
//! ```text
//! adamw.rs     Adam with decoupled weight decay
//! adamw8.rs    the same with 8-bit moments; dynamic.rs: their codes
//! sgd.rs       momentum
//! muon.rs      momentum, made orthogonal
//! ```

mod adamw;
mod adamw8;
mod dynamic;
mod muon;
mod sgd;

use serde::{Deserialize, Serialize};

/// Which optimizer, with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// AdamW (Loshchilov and Hutter, arXiv 1711.05101).
    AdamW {
        /// Decay of the first and the second moment.
        betas: [f32; 2],
        /// Added to the root of the second moment.
        eps: f32,
        /// Share of a weight that goes, times the learning rate, in a step.
        weight_decay: f32,
    },
    /// AdamW with moments of 8 bits in blocks of 256 (Dettmers et al., arXiv 2110.02861): a quarter of the memory.
    AdamW8 {
        /// As for AdamW.
        betas: [f32; 2],
        /// As for AdamW.
        eps: f32,
        /// As for AdamW.
        weight_decay: f32,
    },
    /// Stochastic gradient descent with momentum (PyTorch's form: `v = momentum * v + g`).
    Sgd {
        /// 0 for none.
        momentum: f32,
        /// Share of a weight that is added to its gradient.
        weight_decay: f32,
    },
    /// Muon (Jordan et al. 2024): Nesterov momentum, its matrix made orthogonal by five Newton-Schulz steps, times
    /// `sqrt(max(1, rows / columns))`.
    Muon {
        /// Usually 0.95.
        momentum: f32,
        /// As for AdamW.
        weight_decay: f32,
    },
}

impl Default for OptimizerKind {
    fn default() -> Self {
        Self::AdamW { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 }
    }
}

impl OptimizerKind {
    /// Bytes of state for matrices of so many numbers.
    pub fn state_bytes(&self, numbers: u64) -> u64 {
        match self {
            Self::AdamW { .. } => 8 * numbers,
            // Two codes, and two scales per block.
            Self::AdamW8 { .. } => 2 * numbers + numbers.div_ceil(dynamic::BLOCK as u64) * 8,
            Self::Sgd { .. } | Self::Muon { .. } => 4 * numbers,
        }
    }

    /// Its name, as [`TrainingOptions`](super::TrainingOptions) are saved with.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AdamW { .. } => "adamw",
            Self::AdamW8 { .. } => "adamw8",
            Self::Sgd { .. } => "sgd",
            Self::Muon { .. } => "muon",
        }
    }

    /// An optimizer for matrices of these shapes.
    pub(crate) fn build(self, shapes: &[Shape]) -> Box<dyn Optimizer> {
        let sizes: Vec<usize> = shapes.iter().map(|s| s.rows * s.columns).collect();
        match self {
            Self::AdamW { betas, eps, weight_decay } => {
                Box::new(adamw::AdamW::new(Adam { betas, eps, weight_decay }, &sizes))
            }
            Self::AdamW8 { betas, eps, weight_decay } => {
                Box::new(adamw8::AdamW8::new(Adam { betas, eps, weight_decay }, &sizes))
            }
            Self::Sgd { momentum, weight_decay } => Box::new(sgd::Sgd::new(momentum, weight_decay, &sizes)),
            Self::Muon { momentum, weight_decay } => Box::new(muon::Muon::new(momentum, weight_decay, shapes)),
        }
    }
}

/// A matrix's shape in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    pub rows: usize,
    pub columns: usize,
    /// Is it the transpose of what it stands for?
    pub turned: bool,
}

/// An optimizer with its state.
pub(crate) trait Optimizer: Send {
    /// One step for matrix number `index`; `step` counts from 0.
    fn update(&mut self, index: usize, step: u64, lr: f32, values: &mut [f32], gradient: &[f32]);

    /// The state of matrix `index`: parts by name.
    fn state(&self, index: usize) -> Vec<(&'static str, Vec<u8>)>;

    /// Takes such a state back; false where a part's size does not fit.
    fn restore(&mut self, index: usize, parts: &[(&'static str, Vec<u8>)]) -> bool;
}

/// Settings of both forms of AdamW.
#[derive(Clone, Copy, Debug)]
struct Adam {
    betas: [f32; 2],
    eps: f32,
    weight_decay: f32,
}

impl Adam {
    /// `1 - beta^t` for both moments in step number `step`, counted from 0.
    fn corrections(&self, step: u64) -> [f64; 2] {
        let t = i32::try_from(step + 1).unwrap_or(i32::MAX);
        self.betas.map(|beta| 1.0 - f64::from(beta).powi(t))
    }

    /// One number's step, with its moments after it.
    fn step(&self, value: &mut f32, m: f32, v: f32, lr: f32, corrections: [f64; 2]) {
        let rate = (f64::from(lr) / corrections[0]) as f32;
        *value *= 1.0 - lr * self.weight_decay;
        *value -= rate * m / ((f64::from(v) / corrections[1]).sqrt() as f32 + self.eps);
    }
}

fn floats(bytes: &[u8], into: &mut [f32]) -> bool {
    let (values, rest) = bytes.as_chunks::<4>();
    if values.len() != into.len() || !rest.is_empty() {
        return false;
    }
    into.iter_mut().zip(values).for_each(|(to, &b)| *to = f32::from_le_bytes(b));
    true
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests;
