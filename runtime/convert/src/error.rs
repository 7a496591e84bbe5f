//! What can go wrong when a model is converted.

use std::path::PathBuf;
use tern_formats::{DType, FormatError};
use tern_quant::QuantError;
use tern_quant::ternary::TernaryError;

/// See the module. Messages are one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// A file breaks its format, cannot be read or written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The model is not one that this program knows.
    #[error(transparent)]
    Model(#[from] tern::Error),
    /// The tokenizer is not one that this program knows.
    #[error(transparent)]
    Text(#[from] tern_text::TextError),
    /// The operating system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        error: std::io::Error,
    },
    /// The output cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        error: std::io::Error,
    },
    /// The output exists.
    #[error("{} exists; choose another name, or --force to replace it", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// Input and output are one file.
    #[error("{} is the input; choose another name for the output", path.display())]
    SameFile {
        /// The output.
        path: PathBuf,
    },
    /// No such type.
    #[error("no type is called {found:?}; there are: {known}")]
    UnknownType {
        /// What was asked for.
        found: String,
        /// All names.
        known: String,
    },
    /// A pattern that cannot be read.
    #[error("the pattern {pattern:?}: {why}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// Values that are rounded already would be rounded again.
    #[error(
        "{tensor} is {dtype} already: rounding it again loses more than its type tells; start from the F16 or BF16 \
         file, or allow it with --allow-requantize"
    )]
    Requantize {
        /// The first such tensor.
        tensor: String,
        /// What it is.
        dtype: DType,
    },
    /// A ternary layout that cannot hold another's numbers.
    #[error("{tensor} cannot become {to} without loss: {error}; --allow-requantize rounds")]
    Ternary {
        /// The tensor.
        tensor: String,
        /// What it should be.
        to: DType,
        /// The cause.
        #[source]
        error: TernaryError,
    },
    /// Values that a block format refuses, or a format that cannot be read or written.
    #[error("{tensor}, row {row}: {error}")]
    Quantize {
        /// The tensor.
        tensor: String,
        /// The row.
        row: u64,
        /// The cause.
        #[source]
        error: QuantError,
    },
    /// A tensor for which no type works.
    #[error("{tensor} ({dtype}, rows of {row}) cannot become {wanted}")]
    NoType {
        /// The tensor.
        tensor: String,
        /// What it is.
        dtype: DType,
        /// Elements of a row.
        row: u64,
        /// What was wanted.
        wanted: DType,
    },
    /// An importance matrix of another model.
    #[error("the importance matrix has {found} columns for {tensor}, which has {expected}: it is of another model")]
    ImatrixSize {
        /// The tensor.
        tensor: String,
        /// Columns times experts in the matrix.
        found: u64,
        /// Columns times experts of the tensor.
        expected: u64,
    },
    /// An importance matrix that cannot be used.
    #[error("{file}: {what}")]
    Imatrix {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// Weights in blocks, where only plain numbers can be written.
    #[error(
        "{tensor} is {dtype}, which a Hugging Face folder cannot hold; --type F16, BF16 or F32 says what its numbers \
         become"
    )]
    Quantized {
        /// The first such tensor.
        tensor: String,
        /// What it is.
        dtype: DType,
    },
    /// Something of the model that the other format cannot hold, or that is not known here.
    #[error("{what}")]
    Unsupported {
        /// What, and what is supported.
        what: String,
    },
    /// No memory for a row or a piece of a tensor.
    #[error("{bytes} bytes for {what} cannot be allocated")]
    OutOfMemory {
        /// For what.
        what: String,
        /// How much.
        bytes: u64,
    },
    /// The caller's flag was set. Nothing is left behind.
    #[error("cancelled")]
    Cancelled,
}
