//! Muon: momentum whose matrix is made nearly orthogonal, so that all its directions learn at one pace.

use super::{Optimizer, Shape, bytes, floats};

/// Newton-Schulz steps.
const STEPS: usize = 5;
/// Of the quintic `x -> a x + b x³ + c x⁵` that Jordan chose for a steep start; it leaves singular values between 0.7 and 1.2.
const QUINTIC: [f32; 3] = [3.4445, -4.7750, 2.0315];
/// Added to the norm by which the matrix is divided at first.
const EPS: f32 = 1e-7;

/// See [`OptimizerKind::Muon`](super::OptimizerKind::Muon).
pub(super) struct Muon {
    momentum: f32,
    weight_decay: f32,
    shapes: Vec<Shape>,
    velocity: Vec<Vec<f32>>,
}

impl Muon {
    pub fn new(momentum: f32, weight_decay: f32, shapes: &[Shape]) -> Self {
        let velocity = shapes.iter().map(|s| vec![0.0; s.rows * s.columns]).collect();
        Self { momentum, weight_decay, shapes: shapes.to_vec(), velocity }
    }
}

impl Optimizer for Muon {
    fn update(&mut self, index: usize, _step: u64, lr: f32, values: &mut [f32], gradient: &[f32]) {
        let (mu, Shape { rows, columns, turned }) = (self.momentum, self.shapes[index]);
        let mut direction = Vec::with_capacity(gradient.len());
        for (v, &g) in self.velocity[index].iter_mut().zip(gradient) {
            *v += (1.0 - mu) * (g - *v);
            direction.push(g + mu * (*v - g));
        }
        let direction = orthogonal(&direction, rows, columns);
        // The transpose of an orthogonal matrix is the other's; only the rate depends on which is which.
        let (outputs, inputs) = if turned { (columns, rows) } else { (rows, columns) };
        let rate = lr * (outputs as f32 / inputs as f32).max(1.0).sqrt();
        for (value, d) in values.iter_mut().zip(direction) {
            *value *= 1.0 - lr * self.weight_decay;
            *value -= rate * d;
        }
    }

    fn state(&self, index: usize) -> Vec<(&'static str, Vec<u8>)> {
        vec![("v", bytes(&self.velocity[index]))]
    }

    fn restore(&mut self, index: usize, parts: &[(&'static str, Vec<u8>)]) -> bool {
        parts.len() == 1 && floats(&parts[0].1, &mut self.velocity[index])
    }
}

/// The matrix `[rows, columns]` with its singular values near 1.
fn orthogonal(matrix: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    // The small square is the product along the longer side: a tall matrix is worked on as its transpose.
    let tall = rows > columns;
    let (short, long) = if tall { (columns, rows) } else { (rows, columns) };
    let mut x = if tall { transposed(matrix, rows, columns) } else { matrix.to_vec() };
    let norm = x.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt() as f32 + EPS;
    x.iter_mut().for_each(|v| *v /= norm);
    let [a, b, c] = QUINTIC;
    for _ in 0..STEPS {
        let square: Vec<f32> = (0..short * short)
            .map(|ij| dot(&x[ij / short * long..][..long], &x[ij % short * long..][..long]))
            .collect();
        // The square is symmetric, so its rows are its columns.
        let polynomial: Vec<f32> = (0..short * short)
            .map(|ij| {
                b * square[ij] + c * dot(&square[ij / short * short..][..short], &square[ij % short * short..][..short])
            })
            .collect();
        let mut next: Vec<f32> = x.iter().map(|v| a * v).collect();
        for (row, weights) in next.chunks_exact_mut(long).zip(polynomial.chunks_exact(short)) {
            for (&w, from) in weights.iter().zip(x.chunks_exact(long)) {
                row.iter_mut().zip(from).for_each(|(to, v)| *to += w * v);
            }
        }
        x = next;
    }
    if tall { transposed(&x, columns, rows) } else { x }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn transposed(m: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|i| m[i % rows * columns + i / rows]).collect()
}
