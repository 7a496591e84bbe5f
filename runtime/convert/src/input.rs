//! A model to be converted: keys and tensors as a GGUF file has them, wherever they come from.

use crate::error::ConvertError;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tern::models::{BitLinear, Change, HeadOrder};
use tern::{Codes, StackSource};
use tern_formats::gguf::{self, Metadata, ReadOptions, Value};
use tern_formats::{Checkpoint, DType, FileSource, FormatError, Problem, Source, TensorInfo};

/// See the module.
pub struct Input {
    /// "gguf" or "safetensors".
    pub format: &'static str,
    /// Where it lies.
    pub path: PathBuf,
    /// Keys in the order of the file.
    pub metadata: Metadata,
    /// Tensors in the order in which they are written.
    pub tensors: Vec<Tensor>,
    pub(crate) checkpoint: Checkpoint,
}

/// A tensor of an [`Input`].
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Its name in GGUF.
    pub name: String,
    /// As it is stored.
    pub dtype: DType,
    /// Row-major, outermost first.
    pub shape: Vec<u64>,
    pub(crate) rows: Rows,
}

/// Where a tensor's rows are.
#[derive(Clone, Debug)]
pub(crate) enum Rows {
    /// In the file, which may have it otherwise than GGUF.
    Stored { info: TensorInfo, change: Change },
    /// In a folder, with heads in another order.
    Ordered { info: TensorInfo, order: HeadOrder },
    /// In the file of GGUF, for a folder: the two rows of a rotated pair half a head apart.
    Parted { info: TensorInfo, head_dim: u64 },
    /// Experts' matrices of a folder.
    Stack(StackSource),
    /// In a folder as a matrix of weights -1, 0 and 1; here as such codes without a factor, or as numbers.
    Ternary { info: TensorInfo, how: BitLinear, beside: Option<f32>, change: Change },
    /// Not in the file.
    Computed(Vec<f32>),
}

impl Tensor {
    /// Elements of a row.
    pub fn row_len(&self) -> u64 {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Rows of all matrices together.
    pub fn row_count(&self) -> u64 {
        self.shape.split_last().map_or(1, |(_, outer)| outer.iter().fold(1, |n, &d| n.saturating_mul(d)))
    }

    /// Elements.
    pub fn elements(&self) -> u64 {
        self.row_count().saturating_mul(self.row_len())
    }

    /// Is it a stack of matrices, one per expert?
    pub fn experts(&self) -> u64 {
        if let [n, _, _] = self.shape[..] { n } else { 1 }
    }

    /// Bytes of a row as stored.
    ///
    /// # Errors
    /// [`ConvertError::NoType`] where rows are not whole blocks, which no reader lets through.
    pub(crate) fn row_bytes(&self, dtype: DType) -> Result<usize, ConvertError> {
        let row = usize::try_from(self.row_len()).ok().and_then(|n| dtype.row_bytes(n));
        row.ok_or_else(|| ConvertError::NoType {
            tensor: self.name.clone(),
            dtype: self.dtype,
            row: self.row_len(),
            wanted: dtype,
        })
    }
}

impl Input {
    /// Opens a GGUF file (of several parts any one), read as `read` says, or a Hugging Face folder.
    ///
    /// # Errors
    /// [`ConvertError`]: no model, a broken one, or one that is not known here.
    pub fn open(path: &Path, read: ReadOptions) -> Result<Self, ConvertError> {
        let io = |error| ConvertError::Io { path: path.to_owned(), error };
        if std::fs::metadata(path).map_err(io)?.is_dir() {
            return crate::hf::open(path);
        }
        let source = FileSource::open(path).map_err(io)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let part = |name: &str| Ok(Box::new(FileSource::open(path.with_file_name(name))?) as Box<dyn Source>);
        let file = gguf::open_split(Arc::new(source), &name, &part, read)?;
        let tensors = file.checkpoint.tensors().iter().map(|t| Tensor {
            name: t.name.to_string(),
            dtype: t.dtype,
            shape: t.shape.to_vec(),
            rows: Rows::Stored { info: t.clone(), change: Change::None },
        });
        Ok(Self {
            format: "gguf",
            path: path.to_owned(),
            tensors: tensors.collect(),
            metadata: file.metadata,
            checkpoint: file.checkpoint,
        })
    }

    /// The files that it is in, which must not be written to.
    pub(crate) fn files(&self) -> Vec<&Path> {
        let sources = self.checkpoint.sources().iter().map(|s| Path::new(s.name()));
        sources.chain([self.path.as_path()]).collect()
    }

    /// Bytes of all tensors as stored.
    pub fn bytes(&self) -> u64 {
        self.checkpoint.tensors().iter().map(|t| t.bytes).fold(0, u64::saturating_add)
    }

    /// A hyper-parameter: the key without the architecture's name. The first number of an array, 0 where there is none.
    pub(crate) fn hyper(&self, key: &str) -> u64 {
        let architecture = self.metadata.str("general.architecture").ok().flatten().unwrap_or_default();
        match self.metadata.get(&format!("{architecture}.{key}")) {
            Some(Value::Array(a)) => a.integer(0).and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            Some(v) => v.as_integer().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            None => 0,
        }
    }

    /// Fills `out` with rows from `first` on, as stored. `out` is a whole number of rows.
    pub(crate) fn read_rows(&self, tensor: &Tensor, first: u64, out: &mut [u8]) -> Result<(), ConvertError> {
        let row_bytes = tensor.row_bytes(tensor.dtype)?;
        match &tensor.rows {
            Rows::Stored {
                info,
                change:
                    Change::None
                    | Change::PlusOne
                    | Change::NegativeExp
                    | Change::Squeezed
                    | Change::Row
                    | Change::Stack(_)
                    | Change::Column { .. }
                    | Change::LowRank { .. },
            } => self.read_at(info, first.saturating_mul(row_bytes as u64), out),
            Rows::Stored { info, change: Change::Within { first: before, .. } } => {
                // Of a bias, the elements are what rows are of a matrix.
                let (unit, row) = match tensor.shape.len() {
                    1 => (tensor.dtype.block_bytes(), 0),
                    _ => (row_bytes, first),
                };
                self.read_at(info, row.saturating_add(*before).saturating_mul(unit as u64), out)
            }
            Rows::Stored { info, change: Change::Transposed } => {
                let (unit, rows) = (tensor.dtype.block_bytes().max(1), tensor.row_count());
                let mut line = vec![0; out.len() / row_bytes.max(1) * unit];
                for column in 0..tensor.row_len() {
                    // A stretch of one of the file's rows is one column here.
                    self.read_at(
                        info,
                        column.saturating_mul(rows).saturating_add(first).saturating_mul(unit as u64),
                        &mut line,
                    )?;
                    let place = usize::try_from(column).unwrap_or(usize::MAX).saturating_mul(unit);
                    for (row, value) in out.chunks_exact_mut(row_bytes.max(1)).zip(line.chunks_exact(unit)) {
                        row[place..place + unit].copy_from_slice(value);
                    }
                }
                Ok(())
            }
            Rows::Stored { info, change: Change::Pairs(head_dim) } | Rows::Parted { info, head_dim } => {
                // Of a bias, the elements are what rows are of a matrix.
                let unit = if tensor.shape.len() > 1 { row_bytes } else { tensor.dtype.block_bytes() };
                let half = (head_dim / 2).max(1);
                for (i, row) in (first..).zip(out.chunks_exact_mut(unit.max(1))) {
                    let (head, at) = (i / head_dim, i % head_dim);
                    // Row 2i+h of a head is row i+h*half of it.
                    let from = match tensor.rows {
                        Rows::Stored { .. } => at / 2 + at % 2 * half,
                        _ => at % half * 2 + at / half,
                    };
                    self.read_at(info, (head * head_dim + from).saturating_mul(unit as u64), row)?;
                }
                Ok(())
            }
            Rows::Ordered { info, order } if order.columns => {
                let mut line = vec![0; row_bytes];
                for (i, out) in (first..).zip(out.chunks_exact_mut(row_bytes.max(1))) {
                    self.read_at(info, i.saturating_mul(row_bytes as u64), &mut line)?;
                    out.copy_from_slice(&of_columns(order, &line, tensor.dtype.block_bytes()));
                }
                Ok(())
            }
            Rows::Ordered { info, order } => {
                // Of a vector, the elements are what rows are of a matrix.
                let unit = if tensor.shape.len() > 1 { row_bytes } else { tensor.dtype.block_bytes() };
                for (i, row) in (first..).zip(out.chunks_exact_mut(unit.max(1))) {
                    self.read_at(info, order.in_folder(i).saturating_mul(unit as u64), row)?;
                }
                Ok(())
            }
            Rows::Stack(stack) => Ok(stack.read_rows(&self.checkpoint, first, out)?),
            Rows::Ternary { change, .. } => {
                let codes = self.codes(tensor)?;
                let columns = usize::try_from(tensor.row_len()).unwrap_or(0).max(1);
                for (i, out) in (first..).zip(out.chunks_exact_mut(row_bytes.max(1))) {
                    let from = match change {
                        Change::Pairs(head_dim) => {
                            let (head, at) = (i / head_dim, i % head_dim);
                            head * head_dim + at / 2 + at % 2 * (head_dim / 2)
                        }
                        _ => i,
                    };
                    let row = usize::try_from(from).ok().and_then(|r| codes.codes.chunks_exact(columns).nth(r));
                    let row = row.unwrap_or_default();
                    if tensor.dtype == DType::F32 {
                        for (b, &c) in out.as_chunks_mut().0.iter_mut().zip(row) {
                            *b = codes.value(c).to_le_bytes();
                        }
                    } else {
                        tern_quant::ternary::pack(tensor.dtype, row, 1.0, out).map_err(|error| {
                            ConvertError::Ternary { tensor: tensor.name.clone(), to: tensor.dtype, error }
                        })?;
                    }
                }
                Ok(())
            }
            Rows::Computed(values) => {
                let at = usize::try_from(first.saturating_mul(tensor.row_len())).unwrap_or(usize::MAX);
                for (b, v) in out.as_chunks_mut().0.iter_mut().zip(values.iter().skip(at)) {
                    *b = v.to_le_bytes();
                }
                Ok(())
            }
        }
    }

    /// The codes of a matrix of weights -1, 0 and 1.
    pub(crate) fn codes(&self, tensor: &Tensor) -> Result<Codes, ConvertError> {
        let Rows::Ternary { info, how, beside, .. } = &tensor.rows else {
            return Ok(Codes { codes: Vec::new(), factor: 1.0 });
        };
        let size = |n: u64| usize::try_from(n).unwrap_or(0);
        let bytes = self.checkpoint.read(info)?;
        Ok(Codes::read(*how, info, &bytes, *beside, (size(tensor.row_count()), size(tensor.row_len())))?)
    }

    /// What stands behind all rows: the scale of types that have one for the whole tensor.
    pub(crate) fn tail(&self, tensor: &Tensor) -> Result<Vec<u8>, ConvertError> {
        let mut tail = vec![0; tensor.dtype.tail_bytes()];
        if let Rows::Stored { info, .. } | Rows::Parted { info, .. } | Rows::Ordered { info, .. } = &tensor.rows {
            self.read_at(info, info.bytes.saturating_sub(tail.len() as u64), &mut tail)?;
        }
        Ok(tail)
    }

    fn read_at(&self, info: &TensorInfo, at: u64, out: &mut [u8]) -> Result<(), ConvertError> {
        let source = self.checkpoint.source(info)?;
        let (offset, len) = (info.offset.saturating_add(at), out.len() as u64);
        if at.saturating_add(len) > info.bytes {
            let (expected, found) = (info.bytes, at.saturating_add(len));
            let problem = Problem::BufferLength { tensor: info.name.to_string(), expected, found };
            return Err(FormatError::new(source.name(), problem).into());
        }
        let failed = |error| FormatError::new(source.name(), Problem::Io { offset, len, error });
        Ok(source.read_at(offset, out).map_err(failed)?)
    }
}

/// A row whose elements, of so many bytes each, have GGUF's order.
fn of_columns(order: &HeadOrder, row: &[u8], unit: usize) -> Vec<u8> {
    let elements: Vec<&[u8]> = row.chunks_exact(unit.max(1)).collect();
    order.apply(&elements, elements.len(), |i| order.in_folder(i)).concat()
}
