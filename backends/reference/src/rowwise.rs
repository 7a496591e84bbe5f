//! Gradients of ops whose rows know nothing of each other, row by row.
//!
//! The tape of a whole matrix product has an edge per multiplication; that of one row at a time stays small.

use crate::oracle::{Gradient, differentiate_whole};
use crate::{Data, Error, Kernel, Result, Value};

/// Inputs whose rows belong to tokens, where the op works row by row and its tape is large.
fn token_inputs(kernel: &Kernel) -> Option<&'static [usize]> {
    match kernel {
        Kernel::Linear(_) => Some(&[0, 2, 3]),
        Kernel::CrossEntropy(_) => Some(&[0, 1]),
        Kernel::LinearCrossEntropy(_) => Some(&[0, 2]),
        _ => None,
    }
}

fn row<T: Clone>(data: &[T], rows: usize, at: usize) -> Result<Vec<T>> {
    let width = data.len() / rows.max(1);
    Ok(data.get(at * width..(at + 1) * width).ok_or(Error::Internal("a row past the end of a tensor"))?.to_vec())
}

fn pick<'a>(value: &Value<'a, f64>, rows: usize, at: usize) -> Result<Value<'a, f64>> {
    let mut shape = value.shape.clone();
    shape[0] = 1;
    let data = match &value.data {
        Data::Real(x) => Data::Real(row(x, rows, at)?),
        Data::Int(x) => Data::Int(row(x, rows, at)?),
        other => other.clone(),
    };
    Ok(Value { shape, data })
}

/// As [`differentiate_whole`], row by row where that is the same.
pub(crate) fn differentiate(
    kernel: &Kernel,
    inputs: &[Option<Value<'_, f64>>],
    sequences: Option<usize>,
    seeds: &[Option<Vec<f64>>],
    wanted: &[bool],
) -> Result<Vec<Option<Gradient>>> {
    let rows = inputs.first().and_then(Option::as_ref).and_then(|x| x.shape.first()).copied().unwrap_or(0);
    let Some(tokens) = token_inputs(kernel).filter(|_| rows > 1) else {
        return differentiate_whole(kernel, inputs, sequences, seeds, wanted);
    };
    let mut total: Vec<Option<Gradient>> = Vec::new();
    for at in 0..rows {
        let mut own = Vec::new();
        for (i, x) in inputs.iter().enumerate() {
            own.push(match x {
                Some(x) if tokens.contains(&i) => Some(pick(x, rows, at)?),
                other => other.clone(),
            });
        }
        let seeds: Vec<_> =
            seeds.iter().map(|s| s.as_ref().map(|s| row(s, rows, at)).transpose()).collect::<Result<_>>()?;
        let gradients = differentiate_whole(kernel, &own, sequences, &seeds, wanted)?;
        if total.is_empty() {
            total = gradients;
            continue;
        }
        for (i, (total, new)) in total.iter_mut().zip(gradients).enumerate() {
            let (Some(total), Some(new)) = (total, new) else { continue };
            if tokens.contains(&i) {
                total.values.extend(new.values);
                total.magnitudes.extend(new.magnitudes);
            } else {
                add(&mut total.values, &new.values);
                add(&mut total.magnitudes, &new.magnitudes);
            }
        }
    }
    Ok(total)
}

fn add(to: &mut [f64], from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;
    use tern_abi::ops::LinearParams;

    #[test]
    fn rows_add_up_to_the_whole() {
        let real = |shape: &[usize], seed: f64| {
            let n: usize = shape.iter().product();
            Some(Value::real(shape, (0..n).map(|i| (i as f64 * 0.7 + seed).sin()).collect()))
        };
        let p = LinearParams { n_weights: 2, norm: 1, eps: 1e-3, glu: 1, activation: 1, quantize: 0 };
        let kernel = Kernel::Linear(ops::Linear(p));
        let mut inputs = vec![real(&[3, 4], 0.1), real(&[4], 0.5), None, None, None];
        inputs.extend([real(&[2, 4], 0.2), real(&[2], 0.9), None, None, real(&[2, 4], 0.3)]);
        let seeds = [Some(vec![1.0, -2.0, 0.5, 0.3, 1.5, -0.4])];
        let wanted = [true, true, false, false, false, true, true, false, false, true];
        let by_row = differentiate(&kernel, &inputs, None, &seeds, &wanted).unwrap();
        let whole = differentiate_whole(&kernel, &inputs, None, &seeds, &wanted).unwrap();
        for (a, b) in by_row.iter().zip(&whole) {
            let (Some(a), Some(b)) = (a, b) else { continue };
            assert_eq!(a.values.len(), b.values.len());
            assert!(a.values.iter().zip(&b.values).all(|(a, b)| (a - b).abs() < 1e-14));
        }
    }
}
