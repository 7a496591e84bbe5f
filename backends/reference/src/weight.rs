//! Weights: kept as given, dequantized on the fly.

use crate::{Error, Result};
use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};
use tern_quant::DType;

/// A weight.
#[derive(Debug)]
pub struct Weight {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    trainable: bool,
    bytes: RwLock<Vec<u8>>,
}

impl Weight {
    /// Takes a copy of `bytes`, stored as ggml type `dtype`, outermost dimension first.
    pub fn new(name: &str, dtype: u32, shape: &[usize], trainable: bool, bytes: &[u8]) -> Result<Self> {
        let known = DType::from_code(dtype).filter(|d| !matches!(d.kind(), tern_quant::Kind::Integer));
        let dtype = known.ok_or_else(|| Error::WeightDtype { name: name.to_owned(), dtype })?;
        let (rows, columns) = match shape.split_last() {
            Some((&columns, outer)) => (outer.iter().product::<usize>(), columns),
            None => return Err(Error::Internal("a weight without dimensions")),
        };
        let blocks = dtype.row_bytes(columns).and_then(|row| row.checked_mul(rows));
        let expected = blocks.and_then(|blocks| blocks.checked_add(dtype.tail_bytes()));
        if expected != Some(bytes.len()) {
            let expected = expected.unwrap_or(0);
            return Err(Error::WeightBytes { name: name.to_owned(), found: bytes.len(), expected });
        }
        let mut own = Vec::new();
        own.try_reserve_exact(bytes.len()).map_err(|_| Error::OutOfMemory { bytes: bytes.len() as u64 })?;
        own.extend_from_slice(bytes);
        Ok(Self { name: name.to_owned(), dtype, shape: shape.to_vec(), trainable, bytes: RwLock::new(own) })
    }
    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }
    /// Sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Elements of the innermost dimension.
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(0)
    }
    /// Product of the outer dimensions.
    pub fn rows(&self) -> usize {
        self.shape.iter().rev().skip(1).product()
    }
    /// Bytes kept.
    pub fn byte_len(&self) -> usize {
        self.bytes.read().unwrap_or_else(PoisonError::into_inner).len()
    }
    /// Row `row`, dequantized.
    pub fn row(&self, row: usize) -> Result<Vec<f64>> {
        let bytes = self.bytes.read().unwrap_or_else(PoisonError::into_inner);
        let range = self.range(row, 1)?;
        if self.dtype == DType::F64 {
            return Ok(bytes[range].as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect());
        }
        let mut out = vec![0.0; self.columns()];
        // What belongs to the whole tensor comes after all rows.
        let tail = &bytes[bytes.len() - self.dtype.tail_bytes()..];
        let row = if tail.is_empty() { Cow::from(&bytes[range]) } else { [&bytes[range], tail].concat().into() };
        tern_quant::dequantize(self.dtype, &row, &mut out).map_err(|source| self.quant(source))?;
        Ok(out.into_iter().map(f64::from).collect())
    }
    /// Replaces rows from `first` on, quantizing to the weight's type.
    pub fn update(&self, first: usize, src: &[f32]) -> Result<()> {
        if !self.trainable {
            return Err(Error::NotTrainable { name: self.name.clone() });
        }
        let range = self.range(first, src.len().div_ceil(self.columns().max(1)))?;
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        tern_quant::quantize(self.dtype, src, &mut bytes[range]).map_err(|source| self.quant(source))
    }
    fn range(&self, first: usize, n: usize) -> Result<std::ops::Range<usize>> {
        let rows = self.rows();
        let end = first.checked_add(n).filter(|&end| end <= rows);
        let end = end.ok_or_else(|| Error::WeightRows {
            name: self.name.clone(),
            first: first as u64,
            end: first as u64 + n as u64,
            rows: rows as u64,
        })?;
        let row = self.dtype.row_bytes(self.columns()).ok_or(Error::Internal("a weight's row has no whole blocks"))?;
        Ok(first * row..end * row)
    }
    fn quant(&self, source: tern_quant::QuantError) -> Error {
        Error::Quant { name: self.name.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back() {
        let bytes: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let w = Weight::new("w", 0, &[3, 2], true, &bytes).unwrap();
        assert_eq!(w.row(2).unwrap(), [5.0, 6.0]);
        w.update(1, &[7.0, 8.0]).unwrap();
        assert_eq!(w.row(1).unwrap(), [7.0, 8.0]);
        assert!(matches!(w.row(3), Err(Error::WeightRows { .. })));
        assert!(matches!(w.update(2, &[0.0; 4]), Err(Error::WeightRows { .. })));
    }

    #[test]
    fn wrong_bytes_are_refused() {
        assert!(matches!(Weight::new("w", 0, &[3, 2], false, &[0; 23]), Err(Error::WeightBytes { .. })));
        assert!(matches!(Weight::new("w", 26, &[1], false, &[0; 4]), Err(Error::WeightDtype { .. })));
    }
}
