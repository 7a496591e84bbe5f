//! The factors that are trained: on the host, where the optimizer changes them, and on the devices, which compute with them.

use super::options::TrainingOptions;
use crate::backend::{Bound, Device};
use crate::banks::{Banks, turned};
use crate::error::Error;
use crate::learn::optim::{Optimizer, Shape};
use crate::learn::{Adapter, AdapterError, Factors, Layout};
use crate::models::{AdapterBanks, bank_names, inputs};
use crate::random::{GOLDEN, mix, unit};
use std::collections::HashMap;
use std::sync::Arc;

/// See the module.
pub struct FactorSet {
    /// One A and one B for each matrix, in turns, as the banks have them.
    matrices: Vec<Matrix>,
    /// The matrices' names.
    targets: Vec<String>,
    rank: usize,
    scale: f32,
    banks: Banks,
}

/// A factor.
struct Matrix {
    bank: String,
    rows: usize,
    columns: usize,
    values: Vec<f32>,
    gradient: Vec<f32>,
    /// Factors on the columns, where some sit out.
    mask: Option<Vec<f32>>,
}

impl FactorSet {
    /// A from a uniform distribution of variance `1 / (3 columns)` (what PEFT and PyTorch's `kaiming_uniform_(a=sqrt(5))` give), B zero.
    pub fn new(
        devices: &[Arc<Device>],
        layout: &Layout<'_>,
        shape: &AdapterBanks,
        options: &TrainingOptions,
    ) -> Result<Self, Error> {
        let rank = shape.rank as usize;
        let mut matrices = Vec::new();
        for (i, spec) in shape.targets.iter().filter_map(|t| layout.spec(t)).enumerate() {
            let (rows, columns) = (spec.shape[0] as usize, spec.shape[1] as usize);
            let bound = 1.0 / (columns as f64).sqrt();
            let uniform = |at: usize| ((2.0 * random(options.seed, [INIT, i as u64, at as u64]) - 1.0) * bound) as f32;
            let a = (0..rank * columns).map(uniform).collect();
            let [bank_a, bank_b] = bank_names(&spec.gguf);
            matrices.push(Matrix::new(bank_a, rank, columns, a));
            matrices.push(Matrix::new(bank_b, rank, rows, vec![0.0; rows * rank]));
        }
        let targets = shape.targets.iter().cloned().collect();
        let banks = Banks::new(devices, layout, shape.clone())?;
        let this = Self { matrices, targets, rank, scale: options.scale(), banks };
        this.banks.put(inputs::ADAPTER_SCALE, 0, &[this.scale])?;
        this.upload()?;
        Ok(this)
    }

    /// Constants for each device.
    pub fn bound(&self) -> Vec<HashMap<String, Bound>> {
        self.banks.bound()
    }

    /// The banks.
    pub fn banks(&self) -> &Banks {
        &self.banks
    }

    /// The shape of every A and B.
    pub fn shapes(&self) -> Vec<Shape> {
        let each = self.matrices.iter().enumerate();
        each.map(|(i, m)| Shape { rows: m.rows, columns: m.columns, turned: !is_a(i) }).collect()
    }

    /// Each factor's name and numbers.
    pub fn named(&mut self) -> impl Iterator<Item = (&str, &mut Vec<f32>)> {
        self.matrices.iter_mut().map(|m| (m.bank.as_str(), &mut m.values))
    }

    /// Sends the numbers as they are to the devices.
    pub fn upload(&self) -> Result<(), Error> {
        self.matrices.iter().try_for_each(|m| self.banks.put(&m.bank, 0, &m.values))
    }

    /// Lets columns of each A sit out in step `step`; false where none do.
    pub fn begin(&mut self, step: u64, dropout: f32, seed: u64) -> Result<bool, Error> {
        for (i, m) in self.matrices.iter_mut().enumerate() {
            let masked = dropout > 0.0 && is_a(i);
            let kept = |c: usize| random(seed, [DROPOUT, step, (i as u64) << 32 | c as u64]) >= f64::from(dropout);
            m.mask =
                masked.then(|| (0..m.columns).map(|c| if kept(c) { 1.0 / (1.0 - dropout) } else { 0.0 }).collect());
            if m.mask.is_some() {
                let mut values = m.values.clone();
                m.masked(&mut values);
                self.banks.put(&m.bank, 0, &values)?;
            }
        }
        Ok(dropout > 0.0)
    }

    pub fn clear_gradients(&mut self) {
        self.matrices.iter_mut().for_each(|m| m.gradient.fill(0.0));
    }

    /// Adds what `read` gives for every factor.
    pub fn add_gradients(&mut self, read: impl Fn(usize, &mut [f32]) -> Result<(), Error>) -> Result<(), Error> {
        let mut more = Vec::new();
        for (i, m) in self.matrices.iter_mut().enumerate() {
            more.resize(m.values.len(), 0.0);
            read(i, &mut more)?;
            m.masked(&mut more);
            m.gradient.iter_mut().zip(&more).for_each(|(sum, g)| *sum += g);
        }
        Ok(())
    }

    /// Length of the whole gradient.
    pub fn gradient_norm(&self) -> f64 {
        let all = self.matrices.iter().flat_map(|m| &m.gradient);
        all.map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt()
    }

    /// A step with the gradient times `clip`.
    pub fn update(&mut self, optimizer: &mut dyn Optimizer, step: u64, lr: f32, clip: f32) {
        for (i, m) in self.matrices.iter_mut().enumerate() {
            m.gradient.iter_mut().filter(|_| clip != 1.0).for_each(|g| *g *= clip);
            optimizer.update(i, step, lr, &mut m.values, &m.gradient);
        }
    }

    /// As an adapter.
    pub fn adapter(&self, layout: &Layout<'_>) -> Adapter {
        self.in_layout(layout, |m| &m.values)
    }

    /// The gradients in their factors' places.
    pub fn gradients(&self, layout: &Layout<'_>) -> Adapter {
        self.in_layout(layout, |m| &m.gradient)
    }

    fn in_layout(&self, layout: &Layout<'_>, numbers: impl Fn(&Matrix) -> &[f32]) -> Adapter {
        let pairs = self.targets.iter().zip(self.matrices.chunks_exact(2));
        let factors = pairs.map(|(tensor, pair)| {
            layout.gguf_of_graph(Factors {
                tensor: tensor.clone(),
                rank: self.rank,
                rows: pair[1].columns,
                columns: pair[0].columns,
                scale: self.scale,
                a: numbers(&pair[0]).to_vec(),
                b: turned(numbers(&pair[1]), pair[1].columns),
            })
        });
        Adapter { architecture: layout.architecture().to_owned(), factors: factors.collect() }
    }

    /// Takes an adapter's numbers; matrices that it does not change get a B of zeros. Its scale becomes part of B.
    pub fn set(&mut self, layout: &Layout<'_>, adapter: &Adapter) -> Result<(), Error> {
        for f in &adapter.factors {
            if !self.targets.contains(&f.tensor) {
                return Err(AdapterError::Tensor { tensor: f.tensor.clone() }.into());
            }
            if f.rank != self.rank {
                let (found, expected) = (f.rank as u64, self.rank as u64);
                return Err(AdapterError::Rank { tensor: f.tensor.clone(), found, expected }.into());
            }
        }
        for (tensor, pair) in self.targets.iter().zip(self.matrices.chunks_exact_mut(2)) {
            match adapter.get(tensor) {
                Some(f) => {
                    let (f, factor) = (layout.to_graph(f), f.scale / self.scale);
                    pair[1].values = turned(&f.b, f.rank);
                    pair[0].values = f.a;
                    pair[1].values.iter_mut().filter(|_| factor != 1.0).for_each(|v| *v *= factor);
                }
                None => pair[1].values.fill(0.0),
            }
        }
        Ok(())
    }
}

impl Matrix {
    fn new(bank: String, rows: usize, columns: usize, values: Vec<f32>) -> Self {
        Self { bank, rows, columns, gradient: vec![0.0; values.len()], values, mask: None }
    }

    fn masked(&self, values: &mut [f32]) {
        let Some(mask) = &self.mask else { return };
        for row in values.chunks_exact_mut(self.columns.max(1)) {
            row.iter_mut().zip(mask).for_each(|(v, m)| *v *= m);
        }
    }
}

/// Is matrix number `i` an A?
fn is_a(i: usize) -> bool {
    i.is_multiple_of(2)
}

/// What random numbers are for.
const INIT: u64 = 1;
const DROPOUT: u64 = 2;

/// A number in [0, 1) for a place, of the seed and each part of the place.
fn random(seed: u64, place: [u64; 3]) -> f64 {
    let next = |state: u64, &part: &u64| mix(state.wrapping_add(GOLDEN) ^ mix(part.wrapping_add(GOLDEN)));
    unit(place.iter().fold(mix(seed ^ GOLDEN), next))
}
