//! Matrices of BitLinears as codes and one factor, whatever a file has.

use crate::error::Error;
use crate::models::BitLinear;
use tern_formats::{DType, TensorInfo};
use tern_quant::ternary::{self, TernaryError, bitnet};
use tern_quant::{QuantError, dequantize};

/// A matrix of weights `factor * (code - 1)`.
pub struct Codes {
    /// 0, 1 or 2, row by row.
    pub codes: Vec<u8>,
    /// On all of them.
    pub factor: f32,
}

/// Magnitudes count as this at least, where training took their mean.
const LEAST: f32 = 1e-5;

impl Codes {
    /// The matrix of `rows` by `columns` that is stored in `bytes` as `info` and `how` say, with the number `beside` it.
    ///
    /// # Errors
    /// [`Error::Ternary`]: it is no such matrix.
    pub fn read(
        how: BitLinear,
        info: &TensorInfo,
        bytes: &[u8],
        beside: Option<f32>,
        (rows, columns): (usize, usize),
    ) -> Result<Self, Error> {
        let failed = |error| Error::Ternary { tensor: info.name.to_string(), error };
        let mut codes = vec![0; rows.saturating_mul(columns)];
        let beside = beside.unwrap_or(1.0);
        let factor = match how {
            BitLinear::Packed(convention) => {
                bitnet::unpack(bytes, rows, columns, &mut codes).map_err(failed)?;
                convention.factor(beside).map_err(failed)?
            }
            BitLinear::Stored => {
                ternary::unpack(info.dtype, bytes, &mut codes).map_err(failed)?;
                ternary::scale(info.dtype, bytes).map_err(failed)? * beside
            }
            BitLinear::Master => {
                let mut values = vec![0.0; codes.len()];
                dequantize(info.dtype, bytes, &mut values).map_err(|e: QuantError| failed(e.into()))?;
                absmean(&values, &mut codes)
            }
        };
        let finite = if factor.is_finite() { Ok(()) } else { Err(TernaryError::Scale { block: 0, value: factor }) };
        finite.map_err(failed)?;
        Ok(Self { codes, factor })
    }

    /// As bytes of `dtype`: I2_S, or F32.
    ///
    /// # Errors
    /// [`TernaryError`]: rows are no whole blocks.
    pub fn bytes(&self, dtype: DType) -> Result<Vec<u8>, TernaryError> {
        if dtype == DType::F32 {
            return Ok(self.codes.iter().flat_map(|&c| self.value(c).to_le_bytes()).collect());
        }
        let bytes = dtype.tensor_bytes(self.codes.len() as u64).and_then(|n| usize::try_from(n).ok());
        let mut out = vec![0; bytes.unwrap_or(0)];
        ternary::pack(dtype, &self.codes, self.factor, &mut out)?;
        Ok(out)
    }

    /// The weight that a code stands for.
    pub fn value(&self, code: u8) -> f32 {
        self.factor * (f32::from(code) - 1.0)
    }
}

/// `round(w / mean |w|)`, at most 1 in magnitude, ties to even (arXiv 2402.17764, section 2), as codes. Yields the factor.
fn absmean(values: &[f32], codes: &mut [u8]) -> f32 {
    let sum: f64 = values.iter().map(|v| f64::from(v.abs())).sum();
    let mean = (sum / values.len().max(1) as f64) as f32;
    if !mean.is_finite() {
        return mean;
    }
    let inverse = 1.0 / mean.max(LEAST);
    for (code, value) in codes.iter_mut().zip(values) {
        *code = ((value * inverse).round_ties_even().clamp(-1.0, 1.0) + 1.0) as u8;
    }
    1.0 / inverse
}

/// The type in which a device gets such a matrix: two bits a weight where rows are whole blocks.
pub fn dtype(columns: u64) -> DType {
    if columns.is_multiple_of(DType::I2_S.block_len() as u64) { DType::I2_S } else { DType::F32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masters_are_rounded_to_their_mean_magnitude() {
        let values = [0.5, -0.5, 0.2, -1.3, 0.0, 0.5];
        let mut codes = [9; 6];
        // The mean is 0.5: 1, -1, 0.4, -2.6, 0, 1.
        assert_eq!(absmean(&values, &mut codes), 0.5);
        assert_eq!(codes, [2, 0, 1, 0, 1, 2]);
        // Small ones count as 1e-5.
        assert!((absmean(&[1e-7, -1e-7], &mut codes[..2]) - 1e-5).abs() < 1e-12);
        assert_eq!(codes[..2], [1, 1]);
    }
}
