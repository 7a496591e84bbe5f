//! The packing of Hugging Face's `bitnet` checkpoints.
//!
//! A matrix \[rows, columns\] is stored as bytes \[q, columns\] with q = rows / 4, rounded up. The code of row
//! R, weight + 1, lies in byte row R % q, in bits 2(R / q)..2(R / q)+2. The scale is a tensor beside it,
//! `weight_scale`, which the class `BitLinear` divides by and `AutoBitLinear` multiplies with; the
//! checkpoint's `quantization_config.linear_class` says which.

use super::{TernaryError, valid};
use crate::{DType, QuantError, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};

/// What a checkpoint means by `weight_scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Convention {
    /// `bitlinear`: weight = (code - 1) / `weight_scale`.
    Divide,
    /// `autobitlinear`: weight = (code - 1) * `weight_scale`.
    Multiply,
}

impl Convention {
    /// The factor on all codes, as in I2_S: with [`Convention::Divide`], the inverse in `f32`, which is what
    /// dividing 1 gives there.
    ///
    /// # Errors
    /// [`TernaryError::Scale`] where it is not finite.
    pub fn factor(self, weight_scale: f32) -> Result<f32, TernaryError> {
        let factor = match self {
            Convention::Divide => 1.0 / weight_scale,
            Convention::Multiply => weight_scale,
        };
        if factor.is_finite() { Ok(factor) } else { Err(TernaryError::Scale { block: 0, value: weight_scale }) }
    }

    /// The `weight_scale`, to be stored as `dtype` (F32, BF16 or F16), that has exactly this factor.
    ///
    /// # Errors
    /// [`TernaryError::Precision`] where there is none; `nearest` is then the nearest factor that there is.
    /// [`TernaryError::Dtype`] for other types.
    pub fn weight_scale(self, factor: f32, dtype: DType) -> Result<f32, TernaryError> {
        let exact = match self {
            Convention::Divide => 1.0 / factor,
            Convention::Multiply => factor,
        };
        let stored = match dtype {
            DType::F32 => exact,
            DType::BF16 => bf16_to_f32(f32_to_bf16(exact)),
            DType::F16 => f16_to_f32(f32_to_f16(exact)),
            _ => return Err(TernaryError::Dtype { dtype }),
        };
        let nearest = self.factor(stored)?;
        if nearest.to_bits() == factor.to_bits() {
            Ok(stored)
        } else {
            Err(TernaryError::Precision { dtype, value: factor, nearest })
        }
    }
}

/// Bytes that a packed matrix takes; `None` where the product does not fit.
pub const fn packed_bytes(rows: usize, columns: usize) -> Option<usize> {
    rows.div_ceil(4).checked_mul(columns)
}

/// The codes 0..=2 of a matrix, row by row.
///
/// # Errors
/// [`TernaryError::Code`] for a code 3; [`QuantError::ByteLength`] in [`TernaryError::Quant`] where the
/// slices do not have the lengths that the shape needs.
pub fn unpack(packed: &[u8], rows: usize, columns: usize, codes: &mut [u8]) -> Result<(), TernaryError> {
    check(packed.len(), rows, columns, codes.len())?;
    let stored = rows.div_ceil(4);
    for (row, out) in codes.chunks_exact_mut(columns.max(1)).enumerate() {
        let bytes = packed.chunks_exact(columns.max(1)).nth(row % stored).unwrap_or_default();
        for (code, byte) in out.iter_mut().zip(bytes) {
            *code = (byte >> (2 * (row / stored))) & 3;
        }
        valid(out, row * columns)?;
    }
    Ok(())
}

/// The opposite of [`unpack`]. Rows that fill up the last byte row have code 0.
///
/// # Errors
/// As [`unpack`].
pub fn pack(codes: &[u8], rows: usize, columns: usize, packed: &mut [u8]) -> Result<(), TernaryError> {
    check(packed.len(), rows, columns, codes.len())?;
    valid(codes, 0)?;
    packed.fill(0);
    let stored = rows.div_ceil(4);
    for (row, codes) in codes.chunks_exact(columns.max(1)).enumerate() {
        let bytes = packed.chunks_exact_mut(columns.max(1)).nth(row % stored).unwrap_or_default();
        for (byte, code) in bytes.iter_mut().zip(codes) {
            *byte |= code << (2 * (row / stored));
        }
    }
    Ok(())
}

fn check(packed: usize, rows: usize, columns: usize, codes: usize) -> Result<(), TernaryError> {
    let dtype = DType::U8;
    let elements = rows.checked_mul(columns).filter(|&n| n == codes);
    let Some((elements, expected)) = elements.zip(packed_bytes(rows, columns)) else {
        let expected = rows.saturating_mul(columns);
        return Err(QuantError::ByteLength { dtype, elements: expected, found: codes, expected }.into());
    };
    if packed != expected {
        return Err(QuantError::ByteLength { dtype, elements, found: packed, expected }.into());
    }
    Ok(())
}
