//! Ops on plain vectors, in f64: what conformance measures against, and how gradients come about.

use crate::{Args, Data, Error, Kernel, Output, Real, Result, Signature, Tape, Value, Var};

/// An output with its data.
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor {
    /// Real numbers.
    Real(Vec<f64>),
    /// Integers.
    Int(Vec<i32>),
    /// The state, which was written in place.
    State,
}

/// Derivatives with respect to one input.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient {
    /// The derivatives.
    pub values: Vec<f64>,
    /// See [`crate::Adjoints::magnitude`].
    pub magnitudes: Vec<f64>,
}

fn signature(kernel: &Kernel, inputs: &[Option<Value<'_, f64>>], sequences: Option<usize>) -> Signature {
    let inputs = inputs.iter().map(|v| v.as_ref().map(|v| v.meta(false))).collect();
    Signature { op: kernel.name(), exact: false, sequences, inputs }
}

/// Runs an op.
pub fn forward_tensors(kernel: &Kernel, inputs: &[Option<Value<'_, f64>>]) -> Result<Vec<Tensor>> {
    kernel.infer(&signature(kernel, inputs, None))?;
    let args = Args { op: kernel.name(), sequences: None, values: inputs.to_vec() };
    let tensor = |output| match output {
        Output::Real(x) => Tensor::Real(x),
        Output::Int(x) => Tensor::Int(x),
        Output::State => Tensor::State,
    };
    Ok(kernel.forward(&args)?.into_iter().map(tensor).collect())
}

/// Runs an op and returns its real outputs.
pub fn forward(kernel: &Kernel, inputs: &[Option<Value<'_, f64>>]) -> Result<Vec<Vec<f64>>> {
    let real = |tensor| match tensor {
        Tensor::Real(x) => Some(x),
        _ => None,
    };
    Ok(forward_tensors(kernel, inputs)?.into_iter().filter_map(real).collect())
}

/// Gradients of `Σ seed * output` with respect to the `wanted` inputs. A missing seed is zero.
pub fn gradient(
    kernel: &Kernel,
    inputs: &[Option<Value<'_, f64>>],
    seeds: &[Option<Vec<f64>>],
    wanted: &[bool],
) -> Result<Vec<Option<Gradient>>> {
    kernel.infer(&signature(kernel, inputs, None))?;
    crate::rowwise::differentiate(kernel, inputs, None, seeds, wanted)
}

/// The same for inputs that have been checked: runs the forward on the tape and reads adjoints.
pub(crate) fn differentiate_whole(
    kernel: &Kernel,
    inputs: &[Option<Value<'_, f64>>],
    sequences: Option<usize>,
    seeds: &[Option<Vec<f64>>],
    wanted: &[bool],
) -> Result<Vec<Option<Gradient>>> {
    let tape = Tape::new();
    let wanted = |i: usize| wanted.get(i).copied().unwrap_or(false);
    let mut values = Vec::new();
    for (i, input) in inputs.iter().enumerate() {
        if wanted(i) && !kernel.differentiable(i) {
            return Err(Error::NotDifferentiable { op: kernel.name(), input: i });
        }
        let on_tape = |x: f64| if wanted(i) { tape.leaf(x) } else { Var::of(x) };
        let data = match input.as_ref().map(|v| &v.data) {
            None => {
                values.push(None);
                continue;
            }
            Some(Data::Real(x)) => Data::Real(x.iter().copied().map(on_tape).collect()),
            Some(Data::Int(x)) => Data::Int(x.clone()),
            Some(Data::Weight(w)) => Data::Weight(w),
            Some(Data::State(_)) => return Err(Error::NoGradient { op: kernel.name(), what: "a state" }),
        };
        values.push(input.as_ref().map(|v| Value { shape: v.shape.clone(), data }));
    }
    let args = Args { op: kernel.name(), sequences, values };
    let outputs = kernel.forward(&args)?;
    let seeded = outputs.iter().zip(seeds).filter_map(|(output, seed)| match (output, seed) {
        (Output::Real(y), Some(seed)) => Some(y.iter().copied().zip(seed.iter().copied())),
        _ => None,
    });
    let adjoints = tape.adjoints(seeded.flatten());
    let read = |(i, value): (usize, &Option<Value<'_, Var<'_>>>)| match value.as_ref().map(|v| &v.data) {
        Some(Data::Real(x)) if wanted(i) => Ok(Some(Gradient {
            values: x.iter().map(|&x| adjoints.of(x)).collect(),
            magnitudes: x.iter().map(|&x| adjoints.magnitude(x)).collect(),
        })),
        _ if wanted(i) => Err(Error::NotDifferentiable { op: kernel.name(), input: i }),
        _ => Ok(None),
    };
    args.values.iter().enumerate().map(read).collect()
}
