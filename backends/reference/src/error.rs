//! Why an op, a graph or a step was refused.

use tern_abi::plugin::PluginError;
use tern_abi::status;

/// Result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an op, a graph or a step was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Error {
    #[error("op {op:#x} is not known")]
    UnknownOp { op: u32 },
    #[error("{op}: {what} has {found} tensors, expected at most {expected}")]
    Arity { op: &'static str, what: &'static str, found: usize, expected: usize },
    #[error("{op}: {tensor} is missing")]
    Missing { op: &'static str, tensor: &'static str },
    #[error("{op}: {tensor} is given, but {why}")]
    Unwanted { op: &'static str, tensor: &'static str, why: &'static str },
    #[error("{op}: {tensor} has shape {found:?}, expected {expected}")]
    Shape { op: &'static str, tensor: &'static str, found: Vec<usize>, expected: String },
    #[error("{op}: {tensor} has dtype {found}, expected {expected}")]
    Dtype { op: &'static str, tensor: &'static str, found: u32, expected: &'static str },
    #[error("{op}: {tensor} is {found}, expected {expected}")]
    Place { op: &'static str, tensor: &'static str, found: &'static str, expected: &'static str },
    #[error("{op}: {field} is {found}, expected {expected}")]
    Parameter { op: &'static str, field: &'static str, found: f64, expected: &'static str },
    #[error("{op}: {tensor}[{at}] is {found}, expected {low} to {high}")]
    Index { op: &'static str, tensor: &'static str, at: usize, found: i64, low: i64, high: i64 },
    #[error("{op}: input {input} is not differentiable")]
    NotDifferentiable { op: &'static str, input: usize },
    #[error("{op}: no gradient with {what}")]
    NoGradient { op: &'static str, what: &'static str },
    #[error("weight {name}: dtype {dtype} is not known")]
    WeightDtype { name: String, dtype: u32 },
    #[error("weight {name}: {found} bytes, expected {expected}")]
    WeightBytes { name: String, found: usize, expected: usize },
    #[error(
        "weight {name}: dtype {found_dtype} shape {found:?}, the graph says dtype {expected_dtype} shape {expected:?}"
    )]
    WeightBound { name: String, found_dtype: u32, found: Vec<usize>, expected_dtype: u32, expected: Vec<usize> },
    #[error("weight {name}: rows {first}..{end} of {rows}")]
    WeightRows { name: String, first: u64, end: u64, rows: u64 },
    #[error("weight {name}: it was not prepared as trainable")]
    NotTrainable { name: String },
    #[error("weight {name}: {source}")]
    Quant { name: String, source: tern_quant::QuantError },
    #[error("tensor {tensor}: {need} bytes at {offset} exceed the {bound} bound")]
    Binding { tensor: usize, offset: u64, need: u64, bound: u64 },
    #[error("tensor {tensor}: its slot holds {found}, expected {expected}")]
    Slot { tensor: usize, found: &'static str, expected: &'static str },
    #[error("tensor {tensor}: {what}")]
    Tensor { tensor: usize, what: &'static str },
    #[error("op {op}: output tensor {output} overlaps input tensor {input}")]
    Overlap { op: usize, output: usize, input: usize },
    #[error("op {op}: tensor {tensor} is read, but {what}")]
    Arena { op: usize, tensor: usize, what: String },
    #[error("dimension {dim} is {found}, compiled for at most {max}")]
    Dim { dim: usize, found: u64, max: u64 },
    #[error("state kind {kind} dtype {dtype} dims {dims:?} is not known")]
    State { kind: u32, dtype: u32, dims: [u64; 6] },
    #[error("out of memory: {bytes} bytes")]
    OutOfMemory { bytes: u64 },
    #[error("cancelled")]
    Cancelled,
    #[error("inconsistent: {0}")]
    Internal(&'static str),
}

impl From<Error> for PluginError {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::UnknownOp { .. } | Error::NoGradient { .. } | Error::WeightDtype { .. } | Error::State { .. } => {
                status::UNSUPPORTED
            }
            Error::OutOfMemory { .. } => status::OUT_OF_MEMORY,
            Error::Cancelled => status::CANCELLED,
            Error::Internal(_) => status::INTERNAL,
            _ => status::ARGUMENT,
        };
        Self::new(status, error.to_string())
    }
}
