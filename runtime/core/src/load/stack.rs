//! Stacks of experts' matrices as folders have them, and some GGUF files: put together row by row as they are read, so that what
//! is in memory is the rows asked for and never a second model.

use crate::models::{Stack, StackForm, TensorSpec};
use std::borrow::Cow;
use tern_formats::{Checkpoint, DType, FormatError, Problem, TensorInfo};

/// Weights of an MXFP4 block, and its bytes in a GGUF file: an exponent, then codes of weights `j` and `j + 16`.
const BLOCK: u64 = 32;
const BLOCK_BYTES: usize = 17;

/// See the module.
#[derive(Clone, Debug)]
pub struct StackSource {
    stack: Stack,
    dtype: DType,
    /// One per expert, or one; of MXFP4 the codes and the exponents.
    tensors: Vec<TensorInfo>,
    /// Rows of an expert and elements of a row.
    rows: u64,
    columns: u64,
}

impl StackSource {
    /// The stack of `spec` in `tensors`, which [`TensorSpec::sources`] names and whose shapes fit. `None` for a type that cannot be
    /// taken apart that way.
    pub fn new(spec: &TensorSpec, stack: Stack, tensors: Vec<TensorInfo>) -> Option<Self> {
        let (rows, columns) = match spec.shape[..] {
            [_, rows] => (rows, 1),
            [_, rows, columns] => (rows, columns),
            _ => return None,
        };
        let stored = tensors.first()?.dtype;
        if stack.form == StackForm::Mxfp4 {
            let bytes = tensors.iter().all(|t| t.dtype == DType::U8) && columns.is_multiple_of(BLOCK);
            return bytes.then_some(Self { stack, dtype: DType::MXFP4, tensors, rows, columns });
        }
        let alike = tensors.iter().all(|t| t.dtype == stored) && stored.tail_bytes() == 0;
        let unit = spec.shape.len() < 3 || stack.form == StackForm::Transposed;
        (alike && (!unit || stored.block_len() == 1)).then_some(Self { stack, dtype: stored, tensors, rows, columns })
    }

    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The file's tensors that it is in.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> Option<usize> {
        self.dtype.row_bytes(usize::try_from(self.columns).ok()?)
    }

    /// Bytes that are in memory while rows are read, besides these: one expert's at most.
    pub fn extra_bytes(&self) -> u64 {
        let experts = if self.stack.form == StackForm::Apart { 1 } else { self.experts() };
        self.tensors.iter().map(|t| t.bytes).max().unwrap_or(0) / experts.max(1)
    }

    /// Fills `out` with rows from `first` on, rows of all experts counted through. `out` is a whole number of rows.
    ///
    /// # Errors
    /// [`FormatError`] where reading fails.
    pub fn read_rows(&self, checkpoint: &Checkpoint, first: u64, out: &mut [u8]) -> Result<(), FormatError> {
        let row_bytes = self.row_bytes().unwrap_or(0).max(1);
        let (mut first, mut rest) = (first, out);
        while !rest.is_empty() {
            let (expert, row) = (first / self.rows.max(1), first % self.rows.max(1));
            let left = usize::try_from(self.rows - row).unwrap_or(usize::MAX).saturating_mul(row_bytes);
            let (now, later) = rest.split_at_mut(left.min(rest.len()));
            self.of_expert(checkpoint, expert, row, row_bytes, now)?;
            first += (now.len() / row_bytes).max(1) as u64;
            rest = later;
        }
        Ok(())
    }

    fn experts(&self) -> u64 {
        self.tensors.first().and_then(|t| t.shape.first().copied()).unwrap_or(1)
    }

    /// Rows of one expert.
    fn of_expert(
        &self,
        checkpoint: &Checkpoint,
        expert: u64,
        row: u64,
        row_bytes: usize,
        out: &mut [u8],
    ) -> Result<(), FormatError> {
        let Stack { form, first, step, of } = self.stack;
        // Rows there: from this one on, so many, every `step`th.
        let (there, rows) = (first + row * step, (out.len() / row_bytes) as u64);
        let span = (rows.saturating_sub(1) * step + 1).min(of.saturating_sub(there));
        let step = usize::try_from(step).unwrap_or(usize::MAX).max(1);
        let (whole, before) = match form {
            StackForm::Apart => (self.tensors.get(usize::try_from(expert).unwrap_or(usize::MAX)), 0),
            _ => (self.tensors.first(), expert.saturating_mul(of)),
        };
        match form {
            StackForm::Apart | StackForm::Whole => {
                let bytes = part(checkpoint, whole, before + there, span, row_bytes as u64)?;
                for (to, from) in out.chunks_exact_mut(row_bytes).zip(bytes.chunks_exact(row_bytes).step_by(step)) {
                    to.copy_from_slice(from);
                }
            }
            StackForm::Transposed => {
                let unit = self.dtype.block_bytes().max(1);
                let lines = part(checkpoint, whole, expert * self.columns, self.columns, of * unit as u64)?;
                let line = usize::try_from(of).unwrap_or(usize::MAX).saturating_mul(unit).max(1);
                let start = usize::try_from(there).unwrap_or(usize::MAX).saturating_mul(unit);
                for (column, line) in lines.chunks_exact(line).enumerate() {
                    let values = line.get(start..).unwrap_or_default().chunks_exact(unit).step_by(step);
                    for (row, value) in out.chunks_exact_mut(row_bytes).zip(values) {
                        row[column * unit..][..unit].copy_from_slice(value);
                    }
                }
            }
            StackForm::Mxfp4 => {
                let blocks = self.columns / BLOCK;
                let codes = part(checkpoint, whole, before + there, span, blocks * 16)?;
                let exponents = part(checkpoint, self.tensors.get(1), before + there, span, blocks)?;
                let n = usize::try_from(blocks).unwrap_or(usize::MAX).max(1);
                let rows = codes.chunks_exact(16 * n).zip(exponents.chunks_exact(n)).step_by(step);
                for (row, (codes, exponents)) in out.chunks_exact_mut(row_bytes).zip(rows) {
                    let blocks = codes.as_chunks().0.iter().zip(exponents);
                    for (block, (codes, &exponent)) in row.chunks_exact_mut(BLOCK_BYTES).zip(blocks) {
                        mxfp4(exponent, codes, block);
                    }
                }
            }
        }
        Ok(())
    }
}

/// A block of GGUF out of a folder's, whose neighbours share a byte.
fn mxfp4(exponent: u8, codes: &[u8; 16], block: &mut [u8]) {
    let code = |i: usize| codes[i / 2] >> (i % 2 * 4) & 15;
    for (i, byte) in block.iter_mut().enumerate() {
        *byte = match i {
            0 => exponent,
            _ => code(i - 1) | code(i + 15) << 4,
        };
    }
}

/// Rows of a tensor, each of so many bytes.
fn part<'a>(
    checkpoint: &'a Checkpoint,
    whole: Option<&TensorInfo>,
    first: u64,
    rows: u64,
    row_bytes: u64,
) -> Result<Cow<'a, [u8]>, FormatError> {
    let Some(whole) = whole else { return Ok(Cow::Borrowed(&[])) };
    let (at, bytes) = (first.saturating_mul(row_bytes), rows.saturating_mul(row_bytes));
    if at.saturating_add(bytes) > whole.bytes {
        let (expected, found) = (whole.bytes, at.saturating_add(bytes));
        let problem = Problem::BufferLength { tensor: whole.name.to_string(), expected, found };
        return Err(FormatError::new(checkpoint.source(whole)?.name(), problem));
    }
    checkpoint.read(&TensorInfo { offset: whole.offset.saturating_add(at), bytes, ..whole.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_move_to_their_places_and_keep_their_values() {
        // Element i has code i % 16; neighbours share a byte in a folder.
        let folder: [u8; 16] = std::array::from_fn(|j| (2 * j % 16 + (2 * j + 1) % 16 * 16) as u8);
        let mut block = [0; BLOCK_BYTES];
        mxfp4(127, &folder, &mut block);
        let mut values = [0.0; 32];
        tern_quant::dequantize(DType::MXFP4, &block, &mut values).unwrap();
        let levels = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
        for (i, v) in values.into_iter().enumerate() {
            let sign = if i % 16 < 8 { 1.0 } else { -1.0 };
            assert_eq!(v, sign * levels[i % 8]);
        }
    }
}
