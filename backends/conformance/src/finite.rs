//! Gradients of the reference against central differences of its forward, in f64.

use crate::case::{Case, CaseError, Result};
use crate::judge::Verdict;
use crate::noise::Noise;
use tern_reference::oracle::{Tensor, forward_tensors};
use tern_reference::{Data, Value};

/// Largest difference allowed, relative to the largest derivative towards the same input.
///
/// Central differences with a step of 1e-4 or so are off by the third derivative times the step squared over six;
/// Richardson's extrapolation from two steps removes that term, so rounding (1e-16 over the step) is what is left.
pub const TOLERANCE: f64 = 1e-6;
/// Elements of each input that are tried.
const SAMPLES: usize = 24;
const STEP: f64 = 2e-4;

/// Checks a gradient case on the reference. Passed carries the largest error as a share of the tolerance.
pub fn check(case: &Case) -> Verdict {
    checked(case).unwrap_or_else(|error| Verdict::of_error(&error))
}

fn checked(case: &Case) -> Result<Verdict> {
    let Some(backward) = &case.backward else { return Ok(Verdict::Passed(0.0)) };
    let weights = case.weights()?;
    let mut inputs = case.reference_inputs(&weights);
    let loss = |inputs: &[Option<Value<'_, f64>>]| -> Result<f64> {
        let outputs = forward_tensors(&case.kernel, inputs).map_err(CaseError::Case)?;
        let term = |(output, seed): (&Tensor, &Option<Vec<f32>>)| match (output, seed) {
            (Tensor::Real(y), Some(seed)) => y.iter().zip(seed).map(|(y, &s)| y * f64::from(s)).sum(),
            _ => 0.0,
        };
        Ok(outputs.iter().zip(&backward.seeds).map(term).sum())
    };
    let mut worst = 0.0;
    let mut noise = Noise::new(&case.title());
    for (i, gradient) in case.gradients()?.into_iter().enumerate() {
        let Some(gradient) = gradient else { continue };
        let scale = gradient.values.iter().fold(1e-6f64, |m, g| m.max(g.abs()));
        for at in noise.shuffled(gradient.values.len()).into_iter().take(SAMPLES) {
            let mut difference = |h: f64| -> Result<f64> {
                let mut at_offset = |h: f64| -> Result<f64> {
                    let before = nudge(&mut inputs, i, at, h);
                    let value = loss(&inputs);
                    restore(&mut inputs, i, at, before);
                    value
                };
                Ok((at_offset(h)? - at_offset(-h)?) / (2.0 * h))
            };
            let found = (4.0 * difference(STEP / 2.0)? - difference(STEP)?) / 3.0;
            let share = (found - gradient.values[at]).abs() / scale / TOLERANCE;
            // A NaN is no less than any bound.
            if share.is_nan() || share > 1.0 {
                let tape = gradient.values[at];
                return Ok(Verdict::Failed(format!("input {i} element {at}: tape {tape:e}, differences {found:e}")));
            }
            worst = share.max(worst);
        }
    }
    Ok(Verdict::Passed(worst))
}

/// Adds `h` to an element and returns what it was.
fn nudge(inputs: &mut [Option<Value<'_, f64>>], input: usize, at: usize, h: f64) -> f64 {
    match inputs.get_mut(input).and_then(Option::as_mut).map(|v| &mut v.data) {
        Some(Data::Real(x)) => {
            let before = x[at];
            x[at] += h;
            before
        }
        _ => 0.0,
    }
}

fn restore(inputs: &mut [Option<Value<'_, f64>>], input: usize, at: usize, before: f64) {
    if let Some(Data::Real(x)) = inputs.get_mut(input).and_then(Option::as_mut).map(|v| &mut v.data) {
        x[at] = before;
    }
}
