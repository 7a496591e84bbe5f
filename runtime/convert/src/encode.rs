//! Rows of one type into rows of another, on several threads.

use crate::error::ConvertError;
use crate::input::Tensor;
use crate::policy::is_ternary;
use std::sync::{Mutex, PoisonError};
use tern::CancelFlag;
use tern_formats::DType;
use tern_quant::QuantError;

/// What is done to the rows of a tensor.
pub(crate) struct Recode<'a> {
    pub tensor: &'a Tensor,
    pub to: DType,
    /// How much every column matters, `[experts, columns]`.
    pub weights: Option<Vec<f32>>,
    pub threads: usize,
    /// What stands behind all rows of the input.
    pub tail: Vec<u8>,
    /// May rounded values change? If not, a type that cannot hold them is an error.
    pub requantize: bool,
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
        self.decode(number, input, row)?;
        tern_quant::quantize_weighted(self.to, row, self.weights(number), out).map_err(|e| self.failed(number, e))
    }

    /// All of a tensor at once, for types with one scale for all of it, and for ternary ones that become another: without
    /// loss, unless rounding is allowed. Importance does not count: such weights are ternary before.
    ///
    /// # Errors
    /// As [`Recode::rows`]; [`ConvertError::Ternary`], [`ConvertError::OutOfMemory`].
    pub fn whole(&self, input: &[u8], out: &mut [u8]) -> Result<(), ConvertError> {
        let from = self.tensor.dtype;
        if is_ternary(from) && is_ternary(self.to) && !self.requantize {
            let (rows, columns) = (self.tensor.row_count() as usize, self.tensor.row_len() as usize);
            let tensor = || self.tensor.name.clone();
            return tern_quant::ternary::convert(from, &[input, &self.tail].concat(), self.to, out, rows, columns)
                .map_err(|error| ConvertError::Ternary { tensor: tensor(), to: self.to, error });
        }
        let (len, elements) = (self.tensor.row_len() as usize, self.tensor.elements());
        let bytes = elements.saturating_mul(4);
        let none = || ConvertError::OutOfMemory { what: self.tensor.name.clone(), bytes };
        let count = usize::try_from(elements).map_err(|_| none())?;
        let mut values = Vec::new();
        values.try_reserve_exact(count).map_err(|_| none())?;
        values.resize(count, 0.0);
        let from = self.tensor.row_bytes(self.tensor.dtype)?;
        let rows = input.chunks_exact(from.max(1)).zip(values.chunks_exact_mut(len.max(1)));
        for (number, (input, row)) in (0..).zip(rows) {
            if self.cancel.is_cancelled() {
                return Err(ConvertError::Cancelled);
            }
            self.decode(number, input, row)?;
        }
        tern_quant::quantize(self.to, &values, out).map_err(|e| self.failed(0, e))
    }

    fn decode(&self, number: u64, input: &[u8], row: &mut [f32]) -> Result<(), ConvertError> {
        let decoded = match self.tail.is_empty() {
            true => tern_quant::dequantize(self.tensor.dtype, input, row),
            false => tern_quant::dequantize(self.tensor.dtype, &[input, &self.tail].concat(), row),
        };
        decoded.map_err(|e| self.failed(number, e))
    }

    fn failed(&self, row: u64, error: QuantError) -> ConvertError {
        ConvertError::Quantize { tensor: self.tensor.name.clone(), row, error }
    }

    /// The weights of the columns of a row.
    fn weights(&self, row: u64) -> Option<&[f32]> {
        let columns = self.tensor.row_len() as usize;
        let rows_per_expert = (self.tensor.row_count() / self.tensor.experts().max(1)).max(1);
        let start = ((row / rows_per_expert) as usize).checked_mul(columns)?;
        self.weights.as_ref()?.get(start..start.checked_add(columns)?)
    }
}
