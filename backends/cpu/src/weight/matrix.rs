//! Matrices: which format, where its panels are.

use super::blocks::{BlockFormat, with_blocks};
use super::format::{Blocks, panel_bytes};
use super::paged::Paged;
use super::resting::Resting;
use super::rows::Rows;
use super::{float, ternary};
use crate::matmul::tokens::Form;
use crate::memory::Memory;
use tern_abi::plugin::{PluginError, Release, Result};
use tern_quant::DType;

/// Rows that workers share out: two panels of a block format, 32 of floats.
pub const STRIP: usize = 32;

/// How matrices lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Named as in the files.
pub enum Format {
    F32,
    F16,
    BF16,
    /// Codes and scales in panels.
    Blocks(BlockFormat),
    /// Two bits a code, see [`super::ternary`].
    Ternary(DType),
}

impl Format {
    /// The format of weights of this type.
    pub fn of(dtype: DType) -> Option<Self> {
        Some(match dtype {
            DType::F32 => Self::F32,
            DType::F16 => Self::F16,
            DType::BF16 => Self::BF16,
            _ if ternary::is_ternary(dtype) => Self::Ternary(dtype),
            _ => Self::Blocks(BlockFormat::of(dtype)?),
        })
    }
    /// The format for a dtype code and a number of columns, or why there is none.
    pub fn for_columns(code: u32, columns: u64) -> Result<Self> {
        let dtype = DType::from_code(code);
        let Some((dtype, format)) = dtype.and_then(|d| Some((d, Self::of(d)?))) else {
            let name = dtype.map_or_else(|| format!("dtype {code}"), |d| d.name().to_string());
            return Err(PluginError::unsupported(format!("no matrix kernel for weights of {name}")));
        };
        if !columns.is_multiple_of(dtype.block_len() as u64) {
            return Err(PluginError::argument(format!(
                "{columns} columns are not a whole number of {dtype} blocks of {}",
                dtype.block_len()
            )));
        }
        Ok(format)
    }
    /// Does it keep the file's rows?
    pub fn keeps_rows(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }
    /// The form in which its kernels take activations.
    pub fn form(self) -> Form {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => Form::Floats,
            Self::Ternary(_) => Form::Whole,
            Self::Blocks(_) => Form::Blocks,
        }
    }
    /// Rows of a panel, which is one row where the file's are kept.
    pub fn panel_rows(self) -> usize {
        if self.keeps_rows() { 1 } else { super::format::ROWS }
    }
    fn panel_bytes(self, columns: usize) -> Option<usize> {
        match self {
            Self::Blocks(format) => with_blocks!(format, |B| panel_bytes::<B>(columns)),
            Self::Ternary(dtype) => ternary::panel_bytes(dtype, columns),
            Self::F32 => columns.checked_mul(4),
            Self::F16 | Self::BF16 => columns.checked_mul(2),
        }
    }
    /// Packs a panel's rows, which follow each other in `src`. `scale` is that of the tensor, where it has one.
    fn pack(self, src: &[u8], row_bytes: usize, panel: &mut [u8], scale: Option<f32>) {
        match self {
            Self::Blocks(format) => {
                let pack = with_blocks!(format, |B| B::pack);
                for (row, src) in src.chunks_exact(row_bytes).enumerate() {
                    pack(src, row, panel);
                }
            }
            Self::Ternary(dtype) => {
                for (row, src) in src.chunks_exact(row_bytes).enumerate() {
                    ternary::pack(dtype, src, row, panel, scale);
                }
            }
            Self::F32 | Self::F16 | Self::BF16 => panel.copy_from_slice(src),
        }
    }
    fn row(self, panel: &[u8], row: usize, out: &mut [f32]) {
        match self {
            Self::F32 => float::row_f32(panel, out),
            Self::F16 => float::row_f16(panel, out),
            Self::BF16 => float::row_bf16(panel, out),
            Self::Ternary(dtype) => ternary::row(dtype, panel, row, out),
            Self::Blocks(format) => with_blocks!(format, |B| B::row(panel, row, out)),
        }
    }
}

/// A matrix, or one per expert, in panels.
pub struct Matrix {
    format: Format,
    panel_bytes: usize,
    rows: usize,
    columns: usize,
    panels: usize,
    experts: usize,
    bytes: Bytes,
}

/// Where a matrix's bytes are.
pub(super) enum Bytes {
    /// Packed, or copied.
    Own(Memory),
    /// Where the host has them.
    Resting(Resting),
    /// Experts that are packed when they are chosen.
    Paged(Box<Paged>),
}

impl Bytes {
    fn len(&self) -> usize {
        match self {
            Self::Own(memory) => memory.len(),
            Self::Resting(rows) => rows.bytes(),
            Self::Paged(paged) => paged.bytes(),
        }
    }
}

impl Matrix {
    /// `experts` matrices of `rows` x `columns`, and how many bytes they take; `bytes` says where those are.
    pub(super) fn new(dtype: DType, sizes: [usize; 3], bytes: impl FnOnce(usize) -> Result<Bytes>) -> Result<Self> {
        let [experts, rows, columns] = sizes;
        let format = Format::for_columns(dtype.code(), columns as u64)?;
        let panels = rows.div_ceil(format.panel_rows());
        let fits = || {
            let panel_bytes = format.panel_bytes(columns)?;
            Some((panel_bytes, experts.checked_mul(panels)?.checked_mul(panel_bytes)?))
        };
        let Some((panel_bytes, total)) = fits() else {
            return Err(PluginError::out_of_memory(format!("{experts} x {rows} x {columns} of {dtype}")));
        };
        Ok(Self { format, panel_bytes, rows, columns, panels, experts, bytes: bytes(total)? })
    }

    /// As it would be packed, or left in place, but without its bytes: only to ask for sizes.
    pub fn sketch(dtype: DType, sizes: [usize; 3]) -> Result<Self> {
        Self::new(dtype, sizes, |len| Ok(Bytes::Resting(Resting::new(std::ptr::null(), len))))
    }

    /// Matrices that keep the file's rows, where they are; with `release` until steps have moved them.
    ///
    /// # Safety
    /// The bytes stay readable and unchanged, and `release` callable, while the matrix lives.
    pub unsafe fn in_place(dtype: DType, sizes: [usize; 3], src: &[u8], release: Option<Release>) -> Result<Self> {
        let row_bytes = dtype.row_bytes(sizes[2]).unwrap_or(0);
        Self::new(dtype, sizes, |bytes| match (src.len(), release) {
            (len, _) if len != bytes => {
                Err(PluginError::argument(format!("{sizes:?} of {dtype} takes {bytes} bytes, {len} are given")))
            }
            (len, None) => Ok(Bytes::Resting(Resting::new(src.as_ptr(), len))),
            (len, Some(release)) => Ok(Bytes::Resting(Resting::new(src.as_ptr(), len).may_move(row_bytes, release))),
        })
    }

    /// Matrices of experts that stay where they are, and a cache of `cache_bytes` for what is made of those that are chosen.
    ///
    /// # Safety
    /// The bytes stay readable and unchanged, and `release` callable, while the matrix lives.
    pub unsafe fn paged(
        dtype: DType,
        sizes: [usize; 3],
        src: &[u8],
        cache_bytes: u64,
        release: Release,
    ) -> Result<Self> {
        let sketch = Self::sketch(dtype, sizes)?;
        let [experts, rows, columns] = sizes;
        // SAFETY: passed on.
        let file = unsafe { Rows::new(dtype, columns, src) };
        let bytes = (sketch.expert_bytes(), rows * file.row_bytes);
        let slots = Paged::slots(experts, bytes.0, cache_bytes);
        let paged = Paged::new(file, release, experts, bytes, slots)?;
        Ok(Self { bytes: Bytes::Paged(Box::new(paged)), ..sketch })
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }
    /// Rows of one expert's matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }
    /// Bytes in memory: of all experts, unless they are paged.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
    /// Those that are the host's, or were.
    pub fn as_resting(&self) -> Option<&Resting> {
        match &self.bytes {
            Bytes::Resting(rows) => Some(rows),
            _ => None,
        }
    }
    /// Bytes that one product of one expert's matrix reads.
    pub fn expert_bytes(&self) -> usize {
        self.panels * self.panel_bytes
    }
    /// Panels of one expert's matrix.
    pub fn panels(&self) -> usize {
        self.panels
    }
    /// The cache of those that are paged.
    pub fn as_paged(&self) -> Option<&Paged> {
        match &self.bytes {
            Bytes::Paged(paged) => Some(paged),
            _ => None,
        }
    }
    /// Number of experts.
    pub fn experts(&self) -> usize {
        self.experts
    }
    /// Bytes from one panel to the next.
    pub fn panel_bytes(&self) -> usize {
        self.panel_bytes
    }
    /// Panel `panel` of an expert's matrix, both in range. A paged expert is one of the current turn.
    pub fn panel(&self, expert: usize, panel: usize) -> *const u8 {
        let offset = (expert * self.panels + panel) * self.panel_bytes;
        match &self.bytes {
            Bytes::Own(memory) => memory.ptr().wrapping_add(offset),
            Bytes::Resting(rows) => rows.at(offset),
            Bytes::Paged(paged) => paged.expert(expert).wrapping_add(panel * self.panel_bytes),
        }
    }
    /// Packs a panel of a paged expert that the current turn misses.
    ///
    /// # Safety
    /// Nobody else has to do with this panel before the next barrier.
    pub unsafe fn pack_missing(&self, paged: &Paged, expert: usize, panel: usize) {
        let to = paged.expert(expert).wrapping_add(panel * self.panel_bytes);
        // SAFETY: the slot's memory, which is this worker's alone.
        let to = unsafe { std::slice::from_raw_parts_mut(to, self.panel_bytes) };
        to.fill(0);
        self.pack_panel(paged.file(), expert, panel, to);
    }
    /// Packs a panel's rows into zeros.
    pub(super) fn pack_panel(&self, file: &Rows, expert: usize, panel: usize, to: &mut [u8]) {
        let height = self.format.panel_rows();
        let first = panel * height;
        let at = (expert * self.rows + first) * file.row_bytes;
        if let Some(rows) = file.get(at, height.min(self.rows - first) * file.row_bytes) {
            self.format.pack(rows, file.row_bytes, to, file.scale);
        }
    }
    /// Dequantizes row `row` of `experts * rows`; `out` has `columns` places.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        let (expert, row) = (row / self.rows, row % self.rows);
        let height = self.format.panel_rows();
        if let Some(paged) = self.as_paged() {
            // What is in the cache is the steps' affair, so its rows come from the file.
            let mut panel = vec![0; self.panel_bytes];
            self.pack_panel(paged.file(), expert, row / height, &mut panel);
            return self.format.row(&panel, row % height, out);
        }
        // SAFETY: the panel lies in the bytes, which are not written any more.
        let panel = unsafe { std::slice::from_raw_parts(self.panel(expert, row / height), self.panel_bytes) };
        self.format.row(panel, row % height, out);
    }
}
