//! Looking for numbers that are none: NaN and infinities in a tensor's data.

use crate::{Checkpoint, DType, FormatError, Problem, TensorInfo};
use tern_quant::{Kind, f16_to_f32};

/// Bytes read at once where the source is not in memory.
const CHUNK: usize = 1 << 20;
/// Elements decoded at once.
const DECODED: usize = 16 << 10;

impl Checkpoint {
    /// Checks that the scales of a ternary tensor are finite: one that is not makes noise of a whole block, or of everything.
    /// Other dtypes pass unread; this is cheap enough for every load.
    ///
    /// # Errors
    /// [`Problem::NotFinite`] naming the first element of the block; those of [`Checkpoint::read_into`].
    pub fn check_scales(&self, tensor: &TensorInfo) -> Result<(), FormatError> {
        let at = match tensor.dtype {
            DType::TQ1_0 => 52,
            DType::TQ2_0 => 64,
            DType::Q1_0 | DType::Q2_0 => 0,
            DType::I2_S | DType::I2_S_ARM => return self.check_finite(tensor),
            _ => return Ok(()),
        };
        let (block_len, block_bytes) = (tensor.dtype.block_len() as u64, tensor.dtype.block_bytes());
        let mut first = 0;
        self.for_blocks(tensor, |bytes| {
            let scales = bytes.chunks_exact(block_bytes).map(|block| match block.get(at..at + 2) {
                Some(&[low, high]) => f16_to_f32(u16::from_le_bytes([low, high])),
                _ => 0.0,
            });
            let wrong = not_finite(tensor, first, block_len, scales);
            first += (bytes.len() / block_bytes) as u64 * block_len;
            wrong
        })
    }

    /// Checks that every element is finite. Integers are. It decodes the whole tensor, so it takes about as long as reading it.
    ///
    /// # Errors
    /// [`Problem::NotFinite`]; [`Problem::UnsupportedDtype`] for a dtype that cannot be decoded; those of
    /// [`Checkpoint::read_into`].
    pub fn check_finite(&self, tensor: &TensorInfo) -> Result<(), FormatError> {
        if tensor.dtype.kind() == Kind::Integer {
            return Ok(());
        }
        if tensor.dtype.tail_bytes() > 0 {
            return self.check_tail(tensor);
        }
        let (block_len, block_bytes) = (tensor.dtype.block_len(), tensor.dtype.block_bytes());
        let mut values = vec![0.0f32; (DECODED / block_len).max(1) * block_len];
        let mut first = 0;
        self.for_blocks(tensor, |bytes| {
            for part in bytes.chunks((values.len() / block_len) * block_bytes) {
                let n = part.len() / block_bytes * block_len;
                let values = values.get_mut(..n).unwrap_or_default();
                decode(tensor, part, values)?;
                not_finite(tensor, first, 1, values.iter().copied())?;
                first += n as u64;
            }
            Ok(())
        })
    }

    /// For dtypes with one scale per tensor, behind the codes.
    fn check_tail(&self, tensor: &TensorInfo) -> Result<(), FormatError> {
        let source = self.source(tensor)?;
        let offset = tensor.offset.saturating_add(tensor.bytes.saturating_sub(tensor.dtype.tail_bytes() as u64));
        let mut scale = [0; 4];
        let fail = |problem| FormatError::new(source.name(), problem);
        source.read_at(offset, &mut scale).map_err(|error| fail(Problem::Io { offset, len: 4, error }))?;
        not_finite(tensor, 0, 1, [f32::from_le_bytes(scale)].into_iter()).map_err(fail)
    }

    /// Gives a tensor's bytes in pieces of whole blocks.
    fn for_blocks(
        &self,
        tensor: &TensorInfo,
        mut check: impl FnMut(&[u8]) -> Result<(), Problem>,
    ) -> Result<(), FormatError> {
        let source = self.source(tensor)?;
        let fail = |problem| FormatError::new(source.name(), problem);
        if let Some(bytes) = source.slice(tensor.offset, tensor.bytes) {
            return check(bytes).map_err(fail);
        }
        let block = tensor.dtype.block_bytes();
        let piece = (CHUNK / block).max(1) * block;
        let mut buffer = vec![0; piece.min(usize::try_from(tensor.bytes).unwrap_or(piece))];
        let (mut offset, end) = (tensor.offset, tensor.offset.saturating_add(tensor.bytes));
        while offset < end {
            let len = (end - offset).min(buffer.len() as u64);
            let part = buffer.get_mut(..len as usize).unwrap_or_default();
            source.read_at(offset, part).map_err(|error| fail(Problem::Io { offset, len, error }))?;
            check(part).map_err(fail)?;
            offset += len;
        }
        Ok(())
    }
}

fn decode(tensor: &TensorInfo, bytes: &[u8], values: &mut [f32]) -> Result<(), Problem> {
    if tensor.dtype == DType::F64 {
        // Rounding keeps what matters here: only a number beyond f32's range becomes an infinity, and no model has those.
        for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *value = f64::from_le_bytes(*bytes) as f32;
        }
        return Ok(());
    }
    tern_quant::dequantize(tensor.dtype, bytes, values).map_err(|_| Problem::UnsupportedDtype {
        tensor: tensor.name.to_string(),
        found: tensor.dtype.name().to_owned(),
        supported: "dtypes that can be decoded".to_owned(),
    })
}

/// Refuses the first of `values` that is not finite; value i belongs to element `first + i * step`.
fn not_finite(
    tensor: &TensorInfo,
    first: u64,
    step: u64,
    mut values: impl Iterator<Item = f32>,
) -> Result<(), Problem> {
    match values.by_ref().enumerate().find(|(_, v)| !v.is_finite()) {
        None => Ok(()),
        Some((i, found)) => {
            let element = first.saturating_add((i as u64).saturating_mul(step));
            Err(Problem::NotFinite { tensor: tensor.name.to_string(), element, found })
        }
    }
}
