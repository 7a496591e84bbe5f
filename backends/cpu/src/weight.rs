//! Weights, in the layout that their kernels want.
//!
//! ```text
//! matrix.rs   matrices: sizes, packing on all threads, reading rows back
//! format.rs   panels and what a block format says about itself
//! blocks.rs   the table of block formats
//! planes.rs   where the bits of codes are
//! scales.rs   what codes are multiplied with
//! simple.rs, k.rs, iq.rs   the block formats, each a choice of planes and scales
//! ternary.rs  ternary ones
//! float.rs    floats
//! rows.rs     a file's rows, packing.rs all of them into memory
//! paged.rs    experts that are packed when they are chosen
//! resting.rs  rows where the host has them, until they have moved
//! ```
//!
//! One layout serves products with one token or many, gradients with respect to their input, rows by id, and reading back. It takes about as many bytes as the
//! file (Q4_K 3% more), since bytes are what decoding costs. Only formats below four bits that code several weights together
//! are written out, see `iq.rs`. Floats keep the file's rows, so
//! that they need no copy before the first token where the file is mapped: it takes longer than all else until then.

pub(crate) mod blocks;
mod float;
mod format;
pub(crate) mod iq;
pub(crate) mod k;
mod matrix;
mod packing;
mod paged;
mod planes;
mod resting;
mod rows;
mod scales;
pub(crate) mod simple;
pub(crate) mod ternary;

pub use blocks::BlockFormat;
pub use format::{BLOCK, Blocks, LONGEST, QUAD, ROWS, group_bytes, meta_bytes};
pub use matrix::{Format, Matrix, STRIP};
pub use paged::{Paged, Turns};
pub use planes::Planes;
pub use resting::Resting;
pub use scales::Scales;
pub use ternary::has_group_scales;

use crate::memory::{self, Memory};
use crate::pool::Pool;
use tern_abi::plugin::{PluginError, Release, Result, WeightSpec};
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

    /// The same, but leaves rows that are kept as they are where they are. Those of a matrix that products read whole move into
    /// memory of our own once steps wait for them.
    ///
    /// # Safety
    /// The bytes stay readable and unchanged, and `release` callable, while the weight lives.
    pub unsafe fn lasting(
        spec: &WeightSpec<'_>,
        bytes: &[u8],
        release: Release,
        pool: &Pool,
        cancel: &dyn Fn() -> bool,
    ) -> Result<Self> {
        let moves = spec.shape.len() == 2 && spec.usage & usage::FORWARD != 0 && memory::has_huge_pages();
        Self::with(spec, bytes, |dtype, sizes| match Format::of(dtype) {
            // SAFETY: passed on.
            Some(format) if format.keeps_rows() => unsafe {
                Matrix::in_place(dtype, sizes, bytes, moves.then_some(release))
            },
            _ => Matrix::pack(dtype, sizes, bytes, pool, cancel),
        })
    }

    /// Experts' matrices that are packed when they are chosen; what [`lasting`](Self::lasting) leaves in place needs no packing.
    ///
    /// # Safety
    /// The bytes stay readable and unchanged, and `release` callable, while the weight lives.
    pub unsafe fn paged(spec: &WeightSpec<'_>, bytes: &[u8], release: Release) -> Result<Self> {
        Self::with(spec, bytes, |dtype, sizes| match Format::of(dtype) {
            // SAFETY: passed on.
            Some(format) if format.keeps_rows() => unsafe { Matrix::in_place(dtype, sizes, bytes, None) },
            // SAFETY: passed on.
            _ => unsafe { Matrix::paged(dtype, sizes, bytes, spec.cache_bytes, release) },
        })
    }

    fn with(
        spec: &WeightSpec<'_>,
        bytes: &[u8],
        matrix: impl FnOnce(DType, [usize; 3]) -> Result<Matrix>,
    ) -> Result<Self> {
        let (dtype, form) = form(spec)?;
        let expected = form.elements().and_then(|n| dtype.tensor_bytes(n as u64));
        if expected != Some(bytes.len() as u64) {
            return Err(named(
                spec,
                PluginError::argument(format!(
                    "{:?} of {dtype} takes {expected:?} bytes, {} are given",
                    spec.shape,
                    bytes.len()
                )),
            ));
        }
        let data = match form {
            Form::Vector(n) => vector(dtype, n, bytes).map(Data::Vector),
            Form::Matrix(sizes) => matrix(dtype, sizes).map(Data::Matrix),
        };
        Ok(Self { dtype: spec.dtype, shape: spec.shape.to_vec(), data: data.map_err(|e| named(spec, e))? })
    }

    /// What a weight would take, without making it.
    pub fn layout(spec: &WeightSpec<'_>, lasting: bool, info: &mut WeightInfo) -> Result<()> {
        let (dtype, form) = form(spec)?;
        let is_paged = spec.usage & usage::PAGED != 0;
        if is_paged && !lasting {
            return Err(named(spec, PluginError::argument("a paged weight needs a source that lasts")));
        }
        let (bytes, stream, keeps) = match form {
            Form::Vector(n) => (n.saturating_mul(4), n.saturating_mul(4), false),
            Form::Matrix(sizes) => {
                let sketch = Matrix::sketch(dtype, sizes).map_err(|e| named(spec, e))?;
                let stream = sketch.expert_bytes();
                match (lasting && sketch.format().keeps_rows(), is_paged) {
                    (true, _) => (0, stream, true),
                    (false, true) => (Paged::slots(sizes[0], stream, spec.cache_bytes) * stream, stream, true),
                    (false, false) => (sketch.bytes(), stream, false),
                }
            }
        };
        told(info, bytes, stream, keeps);
        Ok(())
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
        match &self.data {
            Data::Vector(m) => told(info, m.len(), m.len(), false),
            Data::Matrix(m) => {
                if let Some(rows) = m.as_resting() {
                    // What is left in place takes no memory of ours.
                    return told(info, rows.moved(), m.expert_bytes(), true);
                }
                told(info, m.bytes(), m.expert_bytes(), m.as_paged().is_some());
                if let Some(paged) = m.as_paged() {
                    paged.count(info);
                }
            }
        }
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

/// Shapes of weights.
enum Form {
    /// So many elements.
    Vector(usize),
    /// Experts, rows, columns.
    Matrix([usize; 3]),
}

impl Form {
    fn elements(&self) -> Option<usize> {
        match *self {
            Self::Vector(n) => Some(n),
            Self::Matrix([experts, rows, columns]) => experts.checked_mul(rows)?.checked_mul(columns),
        }
    }
}

/// What a weight is, or why it cannot be taken.
fn form(spec: &WeightSpec<'_>) -> Result<(DType, Form)> {
    if spec.usage & usage::TRAINABLE != 0 {
        return Err(named(spec, PluginError::unsupported("trainable weights are bound as buffers")));
    }
    if spec.usage & usage::PAGED != 0 && spec.shape.len() != 3 {
        return Err(named(spec, PluginError::unsupported("only matrices of experts, [expert, out, in], can be paged")));
    }
    let unknown = || named(spec, PluginError::unsupported(format!("unknown dtype {}", spec.dtype)));
    let dtype = DType::from_code(spec.dtype).ok_or_else(unknown)?;
    let size = |from: u64| {
        usize::try_from(from).map_err(|_| named(spec, PluginError::out_of_memory(format!("dimension {from}"))))
    };
    let form = match *spec.shape {
        [n] => Form::Vector(size(n)?),
        [rows, columns] => Form::Matrix([1, size(rows)?, size(columns)?]),
        [experts, rows, columns] => Form::Matrix([size(experts)?, size(rows)?, size(columns)?]),
        _ => return Err(named(spec, PluginError::unsupported(format!("weights of rank {}", spec.shape.len())))),
    };
    Ok((dtype, form))
}

fn named(spec: &WeightSpec<'_>, e: PluginError) -> PluginError {
    PluginError::new(e.status, format!("weight {}: {}", spec.name, e.message))
}

fn told(info: &mut WeightInfo, bytes: usize, stream: usize, keeps_source: bool) {
    info.resident_bytes = bytes as u64;
    info.stream_bytes = stream as u64;
    info.keeps_source = u32::from(keeps_source);
    info.layout = 1;
}

fn vector(dtype: DType, n: usize, bytes: &[u8]) -> Result<Memory> {
    let memory = Memory::zeroed(n.checked_mul(4).ok_or_else(|| PluginError::out_of_memory(format!("{n} elements")))?)?;
    // SAFETY: fresh memory of n floats; zero bytes are floats.
    let out = unsafe { std::slice::from_raw_parts_mut(memory.ptr().cast::<f32>(), n) };
    tern_quant::dequantize(dtype, bytes, out)
        .map_err(|e| PluginError::unsupported(format!("a vector of {dtype}: {e}")))?;
    Ok(memory)
}
