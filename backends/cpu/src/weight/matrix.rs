//! Packed matrices: which format, where its panels are.

use super::byte::Q8_0;
use super::float;
use super::format::{Blocks, PanelLayout};
use super::nibble::{Q4_0, Q4_1, Q5_0};
use super::q4_k::Q4K;
use super::q6_k::Q6K;
use crate::memory::Memory;
use crate::pool::Pool;
use crate::stop::Stop;
use std::sync::atomic::{AtomicBool, Ordering};
use tern_abi::plugin::{PluginError, Result};
use tern_quant::DType;

/// Rows that workers share out: two panels of a block format, one of floats.
pub const STRIP: usize = 32;

/// Formats that matrix kernels exist for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Named as in the files.
pub enum Format {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q8_0,
    Q4K,
    Q6K,
}

/// Calls `$f::<B>($args)` for the block format, or `$else` for floats.
macro_rules! with_blocks {
    ($format:expr, |$b:ident| $f:expr, else $other:expr) => {
        match $format {
            Format::Q4_0 => {
                type $b = Q4_0;
                $f
            }
            Format::Q4_1 => {
                type $b = Q4_1;
                $f
            }
            Format::Q5_0 => {
                type $b = Q5_0;
                $f
            }
            Format::Q8_0 => {
                type $b = Q8_0;
                $f
            }
            Format::Q4K => {
                type $b = Q4K;
                $f
            }
            Format::Q6K => {
                type $b = Q6K;
                $f
            }
            Format::F32 | Format::F16 | Format::BF16 => $other,
        }
    };
}

impl Format {
    /// The format of weights of this type.
    pub fn of(dtype: DType) -> Option<Self> {
        Some(match dtype {
            DType::F32 => Self::F32,
            DType::F16 => Self::F16,
            DType::BF16 => Self::BF16,
            DType::Q4_0 => Self::Q4_0,
            DType::Q4_1 => Self::Q4_1,
            DType::Q5_0 => Self::Q5_0,
            DType::Q8_0 => Self::Q8_0,
            DType::Q4_K => Self::Q4K,
            DType::Q6_K => Self::Q6K,
            _ => return None,
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
    /// Are its elements floats, which take float activations?
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }
    /// Rows of a panel.
    pub fn panel_rows(self) -> usize {
        if self.is_float() { float::ROWS } else { super::format::ROWS }
    }
    fn layout(self, columns: usize) -> Option<PanelLayout> {
        with_blocks!(self, |B| PanelLayout::of::<B>(columns), else {
            let bytes = columns.checked_mul(float::ROWS * if self == Self::F32 { 4 } else { 2 })?;
            Some(PanelLayout { codes: bytes, bytes })
        })
    }
    /// Packs a panel's rows, which follow each other in `src`.
    fn pack(self, src: &[u8], row_bytes: usize, panel: &mut [u8], layout: PanelLayout) {
        let (codes, meta) = panel.split_at_mut(layout.codes);
        with_blocks!(self, |B| {
            for (row, src) in src.chunks_exact(row_bytes).enumerate() {
                B::pack(src, row, codes, meta);
            }
        }, else match self {
            Self::F32 => float::pack::<4>(src, row_bytes, codes),
            _ => float::pack::<2>(src, row_bytes, codes),
        });
    }
    fn row(self, panel: &[u8], row: usize, out: &mut [f32], layout: PanelLayout) {
        let (codes, meta) = panel.split_at(layout.codes);
        with_blocks!(self, |B| B::row(codes, meta, row, out), else match self {
            Self::F32 => float::row_f32(codes, row, out),
            Self::F16 => float::row_f16(codes, row, out),
            _ => float::row_bf16(codes, row, out),
        });
    }
}

/// A matrix, or one per expert, in panels.
pub struct Matrix {
    format: Format,
    layout: PanelLayout,
    rows: usize,
    columns: usize,
    panels: usize,
    experts: usize,
    memory: Memory,
}

impl Matrix {
    /// Packs `experts` matrices of `rows` x `columns`, on the pool's threads.
    pub fn pack(
        dtype: DType,
        [experts, rows, columns]: [usize; 3],
        src: &[u8],
        pool: &Pool,
        cancel: &dyn Fn() -> bool,
    ) -> Result<Self> {
        let format = Format::for_columns(dtype.code(), columns as u64)?;
        let panels = rows.div_ceil(format.panel_rows());
        let sizes = || {
            let layout = format.layout(columns)?;
            let total = experts.checked_mul(panels)?;
            Some((layout, total, total.checked_mul(layout.bytes)?, dtype.row_bytes(columns)?))
        };
        let Some((layout, total, bytes, row_bytes)) = sizes() else {
            return Err(PluginError::out_of_memory(format!("{experts} x {rows} x {columns} of {dtype}")));
        };
        let this = Self { format, layout, rows, columns, panels, experts, memory: Memory::zeroed(bytes)? };
        let given_up = AtomicBool::new(false);
        // About a quarter of a megabyte at a time: long enough for a claim to cost nothing, short enough to cancel.
        let chunk = ((256 << 10) / layout.bytes.max(1)).max(1);
        let packer = Packer { matrix: &this, given_up: &given_up };
        // The caller's function must stay on its thread: worker 0, which every run has.
        let cancel = OnWorkerZero(cancel);
        pool.run(&Stop::never(), &|worker| {
            while let Some(range) = worker.claim(total, chunk) {
                if worker.index() == 0 && cancel.ask() {
                    packer.given_up.store(true, Ordering::Relaxed);
                }
                if packer.given_up.load(Ordering::Relaxed) {
                    return;
                }
                for panel in range {
                    packer.panel(panel, src, row_bytes);
                }
            }
        })?;
        if given_up.into_inner() {
            return Err(PluginError::cancelled());
        }
        Ok(this)
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
    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.memory.len()
    }
    /// Bytes that one product of one expert's matrix reads.
    pub fn expert_bytes(&self) -> usize {
        self.memory.len() / self.experts.max(1)
    }
    /// Number of experts.
    pub fn experts(&self) -> usize {
        self.experts
    }
    /// Bytes from one panel to the next.
    pub fn panel_bytes(&self) -> usize {
        self.layout.bytes
    }
    /// Panel `panel` of an expert's matrix, both in range.
    pub fn panel(&self, expert: usize, panel: usize) -> *const u8 {
        self.memory.ptr().wrapping_add((expert * self.panels + panel) * self.layout.bytes)
    }
    /// Dequantizes row `row` of `experts * rows`; `out` has `columns` places.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        let (expert, row) = (row / self.rows, row % self.rows);
        let height = self.format.panel_rows();
        // SAFETY: the panel lies in the memory, which is not written after packing.
        let panel = unsafe { std::slice::from_raw_parts(self.panel(expert, row / height), self.layout.bytes) };
        self.format.row(panel, row % height, out, self.layout);
    }
}

/// Calls a function that is tied to the thread that made this.
struct OnWorkerZero<'a>(&'a dyn Fn() -> bool);
// SAFETY: `ask` is called by worker 0 only, which is the thread that runs the pool.
unsafe impl Sync for OnWorkerZero<'_> {}
impl OnWorkerZero<'_> {
    fn ask(&self) -> bool {
        (self.0)()
    }
}

/// What workers share while they pack.
struct Packer<'a> {
    matrix: &'a Matrix,
    given_up: &'a AtomicBool,
}

impl Packer<'_> {
    fn panel(&self, index: usize, src: &[u8], row_bytes: usize) {
        let m = self.matrix;
        let height = m.format.panel_rows();
        let first = index % m.panels * height;
        let to = m.memory.ptr().wrapping_add(index * m.layout.bytes);
        // SAFETY: in the memory; each panel is claimed by one worker, and nobody reads before all are done.
        let panel = unsafe { std::slice::from_raw_parts_mut(to, m.layout.bytes) };
        let at = (index / m.panels * m.rows + first) * row_bytes;
        if let Some(rows) = src.get(at..at + height.min(m.rows - first) * row_bytes) {
            m.format.pack(rows, row_bytes, panel, m.layout);
        }
    }
}
