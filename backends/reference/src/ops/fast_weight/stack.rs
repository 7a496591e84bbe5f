//! Layers of an inner model under the rule of TTT: one (TTT-Linear), or two with GELU between them (TTT-MLP).

use super::super::elementwise::activate;
use super::super::norm::standardized;
use super::{Inner, Place};
use crate::ops::linear::dot;
use crate::{Real, Result};
use tern_abi::ops::activation::GELU_TANH;

/// The inner layer norm's parameters of one head.
pub(super) struct Norm<'a, R> {
    pub w: &'a [R],
    pub b: &'a [R],
    pub eps: f32,
}

impl<R: Real> Norm<'_, R> {
    pub fn affine(&self, normal: &[R]) -> Vec<R> {
        normal.iter().zip(self.w.iter().zip(self.b)).map(|(&x, (&w, &b))| w * x + b).collect()
    }
    /// Gradient of `½ |LN(z) - (v - k)|²` with respect to `z`.
    pub fn gradient(&self, z: &[R], k: &[R], v: &[R]) -> Vec<R> {
        let (normal, root) = standardized(z, self.eps);
        let y = self.affine(&normal);
        let e: Vec<R> = (0..k.len()).map(|i| (y[i] - (v[i] - k[i])) * self.w[i]).collect();
        let (sum, along) = (R::sum(e.iter().copied()), dot(&e, &normal));
        let f = R::of(k.len() as f64);
        (0..k.len()).map(|i| (f * e[i] - sum - normal[i] * along) / (f * root)).collect()
    }
}

fn gelu<R: Real>(x: &[R]) -> Result<Vec<R>> {
    x.iter().map(|&x| activate(GELU_TANH, x)).collect()
}

/// The derivative of GELU by tanh.
pub(super) fn gelu_slope<R: Real>(x: R) -> R {
    let (one, half, root) = (R::of(1.0), R::of(0.5), R::of((2.0 / std::f64::consts::PI).sqrt()));
    let t = (root * (x + R::of(0.044715) * x * x * x)).tanh();
    half * (one + t) + half * x * (one - t * t) * root * (one + R::of(3.0 * 0.044715) * x * x)
}

/// Takes a row in as a place of every layer: its input there, and the inner loss's gradient at its output.
pub(super) fn take_in<R: Real>(layers: &mut [Inner<R>], k: &[R], v: &[R], lr: R, norm: &Norm<'_, R>) -> Result<()> {
    let mut passed: Vec<(Vec<R>, Vec<R>)> = Vec::new();
    for layer in layers.iter() {
        let x = passed.last().map_or_else(|| Ok(k.to_vec()), |(_, z)| gelu(z))?;
        let z = layer.apply(&x);
        passed.push((x, z));
    }
    let mut g = passed.last().map(|(_, z)| norm.gradient(z, k, v)).unwrap_or_default();
    for layer in layers.iter_mut().rev() {
        let Some((x, _)) = passed.pop() else { break };
        let back = |(row, &z): (&Vec<R>, &R)| dot(row, &g) * gelu_slope(z);
        let before = passed.last().map(|(_, z)| layer.w.iter().zip(z).map(back).collect());
        layer.open.push(Place { k: x, g, lr });
        g = before.unwrap_or_default();
    }
    Ok(())
}

/// The output row, with what the mini-batch has learned so far.
pub(super) fn output<R: Real>(layers: &[Inner<R>], q: &[R], s: R, norm: &Norm<'_, R>) -> Result<Vec<R>> {
    let mut z = Vec::new();
    for (i, layer) in layers.iter().enumerate() {
        z = if i == 0 { layer.now(q, s) } else { layer.now(&gelu(&z)?, s) };
    }
    let (normal, _) = standardized(&z, norm.eps);
    Ok(norm.affine(&normal).into_iter().zip(q).map(|(y, &q)| q + y).collect())
}
