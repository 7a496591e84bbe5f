//! How far a plugin's output may be from the reference's, element by element, computed from the data.
//!
//! A bound follows from what a plugin may do, never from what one was seen to do: work in f32 with sums in
//! eight or more chains, use polynomials good to a few units in the last place, and, for prepared weights of
//! quantized types, round activations to 8 bits per block of 32 with a half-precision scale. What is only
//! a choice or a copy has bound 0. Each function states its op's.

mod attention;
mod linear;
mod simple;

use crate::case::Case;
use tern_reference::Kernel;
use tern_reference::oracle::Gradient;

/// Distance between 1 and the next f32.
pub(crate) const EPS: f64 = f32::EPSILON as f64;

/// Relative error of a sum of `n` terms in eight chains, and of a few operations around it.
pub(crate) fn sum_error(n: usize) -> f64 {
    EPS * (8.0 + n as f64 / 8.0)
}

/// Bounds of a forward case, one per element of every real output (empty for others). `want` is what is right.
pub fn forward(case: &Case, want: &[Vec<f64>]) -> Vec<Vec<f64>> {
    match &case.kernel {
        Kernel::Linear(op) => linear::linear(case, &op.0, want),
        Kernel::ExpertLinear(_) => vec![linear::expert(case)],
        Kernel::LinearCrossEntropy(op) => vec![linear::cross_entropy(case, &op.0)],
        Kernel::Attention(op) => vec![attention::attention(case, &op.0), Vec::new()],
        _ => simple::forward(case, want),
    }
}

/// Bounds of a gradient.
///
/// The reference's tape adds up the magnitudes of all paths from outputs to an input; each path is a product of
/// partial derivatives, each of which is good to a few units in the last place, and sums are as long as the longest
/// dimension. Where a GLU epilogue or a softmax sits on quantized weights, the values that the derivative is taken at
/// may carry the error of 8-bit activations: about a hundredth of a typical value, which moves the derivative likewise. So does the error
/// of fast weights' steps that are made orthogonal.
///
/// Derivatives of activations have an absolute error, too: of what cancels in `1 + tanh`, `1 + erf` and `1 - tanh²`.
pub fn gradient(case: &Case, input: usize, gradient: &Gradient) -> Vec<f64> {
    let longest = case.inputs.iter().flatten().flat_map(|x| &x.shape).max().copied().unwrap_or(1);
    let curved = match &case.kernel {
        Kernel::Linear(op) => op.0.glu == 1,
        Kernel::LinearCrossEntropy(_) => true,
        _ => false,
    };
    let quantized = curved && case.inputs.iter().flatten().any(linear::is_quantized);
    let off = match &case.kernel {
        Kernel::FastWeight(op) => simple::turning(&op.0),
        _ if quantized => 0.05,
        _ => 0.0,
    };
    let relative = off + EPS * (64.0 + longest as f64 / 2.0);
    let floor = slope_error(case, input);
    let bound = |(i, m): (usize, &f64)| m * relative + floor.get(i).unwrap_or(&0.0) + f64::from(f32::MIN_POSITIVE);
    gradient.magnitudes.iter().enumerate().map(bound).collect()
}

/// What errors of an activation and of its derivative make of gradients; empty for other ops.
fn slope_error(case: &Case, input: usize) -> Vec<f64> {
    let seed = case.backward.as_ref().and_then(|b| b.seeds.first()).and_then(Option::as_ref);
    let Some(seed) = seed else { return Vec::new() };
    let error = |x: &f32| 4.0 * EPS * f64::from(x.abs());
    match (&case.kernel, input) {
        (Kernel::Activation(_), 0) => seed.iter().map(error).collect(),
        (Kernel::Glu(op), 0) => {
            let offset = f64::from(op.0.offset).abs();
            seed.iter().zip(case.values(1)).map(|(seed, up)| error(seed) * (up.abs() + offset)).collect()
        }
        (Kernel::Glu(op), 1) => {
            let of =
                |(seed, gate): (&f32, f64)| f64::from(seed.abs()) * simple::activation_error(op.0.activation, gate);
            seed.iter().zip(case.values(0)).map(of).collect()
        }
        _ => Vec::new(),
    }
}

/// How far a state's element may be off: a rotated key that falls on the other side of a rounding boundary
/// of the cache moves by one unit there, which for codes is 1; fast weights drift like the op's output.
pub fn state(case: &Case, want: f64, dtype: u32) -> f64 {
    match (&case.kernel, dtype) {
        (Kernel::FastWeight(op), _) => simple::drift(&op.0) * want.abs().max(1.0),
        (_, tern_abi::dtype::F16) if case.input(3).is_some() => want.abs().max(1e-4) / 1024.0,
        (_, tern_abi::dtype::I8) if case.input(3).is_some() => 1.0,
        (_, tern_abi::dtype::I8) => 0.0,
        _ if case.input(3).is_some() => 8.0 * EPS * want.abs().max(1.0),
        _ => 0.0,
    }
}

/// How far a scale of codes may be off: like the largest number it stands for, which a rotation may have made.
pub fn scale(case: &Case, want: f64) -> f64 {
    if case.input(3).is_some() { 8.0 * EPS * want.abs() } else { 0.0 }
}
