//! What can go wrong when blocks are converted.

use crate::DType;
use core::fmt;

/// Why [`quantize`](crate::quantize) or [`dequantize`](crate::dequantize) refused.
///
/// Written by hand rather than derived because this crate has no dependencies.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum QuantError {
    /// The element count is not a whole number of blocks.
    PartialBlock {
        /// The block format.
        dtype: DType,
        /// Elements given.
        elements: usize,
        /// Elements per block.
        block_len: usize,
    },
    /// The byte slice does not have the length that the element count needs.
    ByteLength {
        /// The format of the bytes.
        dtype: DType,
        /// Elements on the other side.
        elements: usize,
        /// Bytes given.
        found: usize,
        /// Bytes needed.
        expected: usize,
    },
    /// This dtype has no conversion to or from `f32` here.
    Unsupported {
        /// The dtype that was asked for.
        dtype: DType,
    },
    /// A NaN or an infinity, which no block format can represent.
    NotFinite {
        /// The block format.
        dtype: DType,
        /// Index of the first such element.
        index: usize,
        /// The element.
        value: f32,
    },
    /// An importance that does not fit the matrix: its length is no whole number of blocks, or the
    /// elements are no whole number of rows of that length.
    Columns {
        /// The block format.
        dtype: DType,
        /// Elements of the matrix.
        elements: usize,
        /// Numbers given, one per column.
        columns: usize,
    },
    /// An importance that is negative or not finite.
    Importance {
        /// The column.
        column: usize,
        /// The number given for it.
        value: f32,
    },
    /// A block whose scale or minimum exceeds what it is stored in (65504 in half precision).
    ScaleOverflow {
        /// The block format.
        dtype: DType,
        /// Index of the block's first element.
        index: usize,
        /// The scale or minimum that does not fit.
        value: f32,
    },
}

impl fmt::Display for QuantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::PartialBlock { dtype, elements, block_len } => {
                write!(f, "{elements} elements are not a whole number of {dtype} blocks of {block_len}")
            }
            Self::ByteLength { dtype, elements, found, expected } => {
                write!(f, "{elements} elements of {dtype} take {expected} bytes, but the slice has {found}")
            }
            Self::Unsupported { dtype } => {
                write!(f, "{dtype} cannot be converted to or from f32")
            }
            Self::NotFinite { dtype, index, value } => {
                write!(f, "element {index} is {value}, which {dtype} cannot represent")
            }
            Self::Columns { dtype, elements, columns } => {
                write!(f, "importances of {columns} columns do not fit {elements} elements in {dtype} blocks")
            }
            Self::Importance { column, value } => write!(f, "the importance of column {column} is {value}"),
            Self::ScaleOverflow { dtype, index, value } => {
                write!(f, "the {dtype} block at element {index} needs a scale of {value}, more than it can hold")
            }
        }
    }
}

impl core::error::Error for QuantError {}
