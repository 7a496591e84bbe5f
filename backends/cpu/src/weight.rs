//! Weights, in the layout that their kernels want.
//!
//! ```text
//! matrix.rs   matrices: sizes, packing on all threads, reading rows back
//! format.rs   panels and what a block format says about itself
//! nibble.rs, byte.rs, q4_k.rs, q6_k.rs, float.rs   the formats
//! ```
//!
//! One layout serves products with one token or many, rows by id, and reading back. It takes as many bytes as the
//! file (Q4_K 3% more), since bytes are what decoding costs. Floats keep the file's layout, so that they need no copy
//! where the file is mapped: a copy takes longer than all else until the first token.

mod byte;
mod float;
mod format;
mod matrix;
mod nibble;
mod q4_k;
mod q6_k;

pub use byte::Q8_0;
pub use format::{BLOCK, Blocks, QUAD, ROWS};
pub use matrix::{Format, Matrix, STRIP};
pub use nibble::{Q4_0, Q4_1, Q5_0};
pub use q4_k::Q4K;
pub use q6_k::Q6K;

use crate::memory::Memory;
use crate::pool::Pool;
use tern_abi::plugin::{PluginError, Result, WeightSpec};
use tern_abi::weight::{WeightInfo, usage};
use tern_quant::DType;

/// A weight in the layout of its kernels.
pub struct Prepared {
    dtype: u32,
    shape: Vec<u64>,
    data: Data,
}

enum Data {
    /// Rank 1, as f32: norm weights and biases.
    Vector(Memory),
    /// Rank 2, and rank 3 with one matrix per expert.
    Matrix(Matrix),
}

impl Prepared {
    /// Repacks, or copies, on the pool's threads.
    pub fn new(spec: &WeightSpec<'_>, bytes: &[u8], pool: &Pool, cancel: &dyn Fn() -> bool) -> Result<Self> {
        Self::with(spec, bytes, |dtype, sizes| Matrix::pack(dtype, sizes, bytes, pool, cancel))
    }

    /// The same, but takes float matrices as they are.
    ///
    /// # Safety
    /// The bytes stay readable and unchanged while the weight lives.
    pub unsafe fn lasting(spec: &WeightSpec<'_>, bytes: &[u8], pool: &Pool, cancel: &dyn Fn() -> bool) -> Result<Self> {
        Self::with(spec, bytes, |dtype, sizes| match Format::of(dtype) {
            // SAFETY: passed on.
            Some(format) if format.is_float() => unsafe { Matrix::in_place(dtype, sizes, bytes) },
            _ => Matrix::pack(dtype, sizes, bytes, pool, cancel),
        })
    }

    fn with(
        spec: &WeightSpec<'_>,
        bytes: &[u8],
        matrix: impl FnOnce(DType, [usize; 3]) -> Result<Matrix>,
    ) -> Result<Self> {
        if spec.usage & (usage::TRAINABLE | usage::PAGED) != 0 {
            return Err(PluginError::unsupported(format!(
                "weight {}: trainable weights are bound as buffers, and paged ones are not available",
                spec.name
            )));
        }
        let named = |e: PluginError| PluginError::new(e.status, format!("weight {}: {}", spec.name, e.message));
        let dtype = DType::from_code(spec.dtype)
            .ok_or_else(|| named(PluginError::unsupported(format!("unknown dtype {}", spec.dtype))))?;
        let mut shape = [1usize; 4];
        for (to, &from) in shape.iter_mut().zip(spec.shape) {
            *to = usize::try_from(from).map_err(|_| named(PluginError::out_of_memory(format!("dimension {from}"))))?;
        }
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let expected = elements.and_then(|n| dtype.row_bytes(n));
        if expected != Some(bytes.len()) {
            return Err(named(PluginError::argument(format!(
                "{:?} of {dtype} takes {expected:?} bytes, {} are given",
                spec.shape,
                bytes.len()
            ))));
        }
        let data = match spec.shape.len() {
            1 => Data::Vector(vector(dtype, shape[0], bytes).map_err(named)?),
            2 => Data::Matrix(matrix(dtype, [1, shape[0], shape[1]]).map_err(named)?),
            3 => Data::Matrix(matrix(dtype, [shape[0], shape[1], shape[2]]).map_err(named)?),
            rank => return Err(named(PluginError::unsupported(format!("weights of rank {rank}")))),
        };
        Ok(Self { dtype: spec.dtype, shape: spec.shape.to_vec(), data })
    }

    /// Element type code.
    pub fn dtype(&self) -> u32 {
        self.dtype
    }
    /// Shape, outermost first.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }
    /// The matrix, for rank 2 and 3.
    pub fn matrix(&self) -> Option<&Matrix> {
        match &self.data {
            Data::Matrix(m) => Some(m),
            Data::Vector(_) => None,
        }
    }
    /// The elements as f32, for rank 1.
    pub fn vector(&self) -> Option<*const f32> {
        match &self.data {
            Data::Vector(m) => Some(m.ptr().cast_const().cast()),
            Data::Matrix(_) => None,
        }
    }

    /// Bytes held, and read per product.
    pub fn info(&self, info: &mut WeightInfo) {
        let (resident, stream, in_place) = match &self.data {
            Data::Vector(m) => (m.len(), m.len(), false),
            Data::Matrix(m) if m.is_in_place() => (0, m.expert_bytes(), true),
            Data::Matrix(m) => (m.bytes(), m.expert_bytes(), false),
        };
        info.resident_bytes = resident as u64;
        info.stream_bytes = stream as u64;
        info.keeps_source = u32::from(in_place);
        info.layout = 1;
    }

    /// Dequantized rows from `first` on, as many as `out` holds. A vector is one row; experts follow each other.
    pub fn read_rows(&self, first: u64, out: &mut [f32]) -> Result<()> {
        let (rows, columns) = match &self.data {
            Data::Vector(m) => (1, m.len() / 4),
            Data::Matrix(m) => (m.experts() * m.rows(), m.columns()),
        };
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        let wanted = out.len() / columns.max(1);
        if !out.len().is_multiple_of(columns.max(1)) || first.checked_add(wanted).is_none_or(|end| end > rows) {
            return Err(PluginError::argument(format!(
                "{} values from row {first} of a weight with {rows} rows of {columns}",
                out.len()
            )));
        }
        for (i, out) in out.chunks_exact_mut(columns.max(1)).enumerate() {
            match &self.data {
                Data::Matrix(m) => m.read_row(first + i, out),
                Data::Vector(m) => {
                    // SAFETY: the vector's memory, written only while it was made.
                    out.copy_from_slice(unsafe { std::slice::from_raw_parts(m.ptr().cast_const().cast(), columns) });
                }
            }
        }
        Ok(())
    }
}

fn vector(dtype: DType, n: usize, bytes: &[u8]) -> Result<Memory> {
    let memory = Memory::zeroed(n.checked_mul(4).ok_or_else(|| PluginError::out_of_memory(format!("{n} elements")))?)?;
    // SAFETY: fresh memory of n floats; zero bytes are floats.
    let out = unsafe { std::slice::from_raw_parts_mut(memory.ptr().cast::<f32>(), n) };
    tern_quant::dequantize(dtype, bytes, out)
        .map_err(|e| PluginError::unsupported(format!("a vector of {dtype}: {e}")))?;
    Ok(memory)
}
