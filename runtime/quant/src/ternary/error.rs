//! Why a ternary tensor cannot be converted without loss.

use crate::{DType, QuantError};
use core::fmt;

/// Why a ternary tensor cannot be converted without loss.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum TernaryError {
    /// The type is not ternary.
    Dtype {
        /// The type.
        dtype: DType,
    },
    /// Lengths that do not match.
    Quant(QuantError),
    /// A code that stands for none of -1, 0, 1.
    Code {
        /// Index of the first such element.
        index: usize,
        /// The code.
        found: u8,
    },
    /// Two blocks have different scales, and the target has one for the whole tensor.
    Scales {
        /// Number of the first block that differs.
        block: usize,
        /// The scale of the blocks before it.
        first: f32,
        /// Its scale.
        found: f32,
    },
    /// A scale that is infinite or not a number, or has no inverse where one is needed.
    Scale {
        /// Number of the block; 0 for a tensor's scale.
        block: usize,
        /// The scale.
        value: f32,
    },
    /// The target stores scales less precisely and does not hold this one.
    Precision {
        /// What the target stores scales in, or its type.
        dtype: DType,
        /// The scale.
        value: f32,
        /// The nearest scale that the target holds.
        nearest: f32,
    },
}

impl fmt::Display for TernaryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Dtype { dtype } => write!(f, "{dtype} is no ternary type"),
            Self::Quant(ref e) => e.fmt(f),
            Self::Code { index, found } => write!(f, "element {index} has code {found}, which is not ternary"),
            Self::Scales { block, first, found } => {
                write!(f, "block {block} has scale {found} and those before it {first}, but the target has one for all")
            }
            Self::Scale { block, value } => write!(f, "block {block} has scale {value}"),
            Self::Precision { dtype, value, nearest } => {
                write!(f, "{dtype} does not hold the scale {value} exactly; the nearest is {nearest}")
            }
        }
    }
}

impl core::error::Error for TernaryError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Quant(e) => Some(e),
            _ => None,
        }
    }
}

impl From<QuantError> for TernaryError {
    fn from(e: QuantError) -> Self {
        Self::Quant(e)
    }
}
