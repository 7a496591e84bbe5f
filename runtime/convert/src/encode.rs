//! Rows of one type into rows of another, on several threads.

use crate::error::ConvertError;
use crate::input::Tensor;
use std::sync::{Mutex, PoisonError};
use tern::CancelFlag;
use tern_formats::DType;

/// What is done to the rows of a tensor.
pub(crate) struct Recode<'a> {
    pub tensor: &'a Tensor,
    pub to: DType,
    /// How much every column matters, `[experts, columns]`.
    pub weights: Option<Vec<f32>>,
    pub threads: usize,
    pub cancel: &'a CancelFlag,
}

/// Rows that one thread takes at a time: few enough that all have work until the end.
const ROWS: usize = 8;

impl Recode<'_> {
    /// Recodes `input`, the tensor's rows from `first` on, into `out`.
    ///
    /// # Errors
    /// [`ConvertError::Quantize`] for the first bad row found, [`ConvertError::Cancelled`].
    pub fn rows(&self, first: u64, input: &[u8], out: &mut [u8]) -> Result<(), ConvertError> {
        let (from, to) = (self.tensor.row_bytes(self.tensor.dtype)?, self.tensor.row_bytes(self.to)?);
        let pieces = input.chunks(ROWS * from.max(1)).zip(out.chunks_mut(ROWS * to.max(1)));
        let queue = Mutex::new((first..).step_by(ROWS).zip(pieces));
        let failure = Mutex::new(None);
        let work = || {
            let mut row = vec![0.0f32; self.tensor.row_len() as usize];
            loop {
                let piece = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((first, (input, out))) = piece else { return };
                let rows = input.chunks_exact(from.max(1)).zip(out.chunks_exact_mut(to.max(1)));
                for (number, (input, out)) in (first..).zip(rows) {
                    if let Err(error) = self.row(number, input, out, &mut row) {
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        return;
                    }
                }
                if failure.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.threads {
                scope.spawn(work);
            }
            work();
        });
        let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        failure.map_or(Ok(()), Err)
    }

    fn row(&self, number: u64, input: &[u8], out: &mut [u8], row: &mut [f32]) -> Result<(), ConvertError> {
        if self.cancel.is_cancelled() {
            return Err(ConvertError::Cancelled);
        }
        let failed = |error| ConvertError::Quantize { tensor: self.tensor.name.clone(), row: number, error };
        tern_quant::dequantize(self.tensor.dtype, input, row).map_err(failed)?;
        match self.weights(number) {
            Some(weights) => {
                let _ = weights;
                tern_quant::quantize(self.to, row, out).map_err(failed)
            }
            None => tern_quant::quantize(self.to, row, out).map_err(failed),
        }
    }

    /// The weights of the columns of a row.
    fn weights(&self, row: u64) -> Option<&[f32]> {
        let columns = self.tensor.row_len() as usize;
        let rows_per_expert = (self.tensor.row_count() / self.tensor.experts().max(1)).max(1);
        let start = ((row / rows_per_expert) as usize).checked_mul(columns)?;
        self.weights.as_ref()?.get(start..start.checked_add(columns)?)
    }
}
