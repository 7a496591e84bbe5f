//! How much the columns of a matrix count when it is encoded.

use crate::{DType, QuantError};

/// One number per column, checked; or nothing, where all columns are alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Importance<'a>(Option<&'a [f32]>);

impl<'a> Importance<'a> {
    /// Checks the numbers against a matrix of `elements` elements.
    pub(crate) fn new(dtype: DType, elements: usize, columns: Option<&'a [f32]>) -> Result<Self, QuantError> {
        let Some(numbers) = columns else { return Ok(Self(None)) };
        let n = numbers.len();
        if n == 0 || !elements.is_multiple_of(n) || !n.is_multiple_of(dtype.block_len()) {
            return Err(QuantError::Columns { dtype, elements, columns: n });
        }
        match numbers.iter().position(|v| !v.is_finite() || *v < 0.0) {
            Some(column) => Err(QuantError::Importance { column, value: numbers[column] }),
            None => Ok(Self(columns)),
        }
    }

    /// The number of an element by its place in the tensor; 1 where all elements count alike.
    pub(crate) fn of_element(&self, index: usize) -> f32 {
        self.0.map_or(1.0, |columns| columns[index % columns.len()])
    }

    /// The weights of a block by its number in the tensor, the largest being 1: encoders add up products of
    /// them, which must neither overflow nor vanish. `None` where all elements count alike.
    pub(crate) fn of_block<const N: usize>(&self, number: usize) -> Option<[f32; N]> {
        let blocks = self.0?.as_chunks::<N>().0;
        let block = blocks.get(number.checked_rem(blocks.len())?)?;
        let largest = block.iter().fold(0.0f32, |l, &v| l.max(v));
        (largest > 0.0).then(|| block.map(|v| v / largest))
    }
}
