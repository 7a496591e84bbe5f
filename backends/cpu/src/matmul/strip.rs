//! A strip: 32 rows of a matrix, which one worker multiplies with all tokens.

use super::kernels::{Full, Kernels};
use super::tokens::{RECORD, Tile, Tiling};
use super::{Product, Unpacked};
use crate::tier::Tier;
use crate::weight::{BLOCK, FLOAT_ROWS, Format, Matrix, QUAD, ROWS, STRIP};

/// Floats that a tile's results take at most, see [`Strip::multiply`].
pub const RESULTS: usize = STRIP * 16;

/// Kernels of one matrix.
#[derive(Clone, Copy)]
pub struct Multiplier {
    format: Format,
    columns: usize,
    kernels: Kernels,
}

/// Where a strip's weights are.
#[derive(Clone, Copy)]
pub struct Strip {
    w: *const u8,
    panel_bytes: usize,
    panels: usize,
}

impl Multiplier {
    /// For matrices of this format.
    pub fn new(format: Format, columns: usize, tier: Tier) -> Self {
        Self { format, columns, kernels: Kernels::of(format, tier) }
    }
    /// Does it take float activations?
    pub fn is_float(&self) -> bool {
        self.format.is_float()
    }
    /// Tokens of a full tile.
    pub fn tile(&self) -> usize {
        self.kernels.tile
    }
    /// Bytes of activations per token.
    pub fn token_bytes(&self) -> usize {
        token_bytes(self.columns, self.is_float())
    }
    /// Bytes of a worker's memory for [`open`](Self::open), a multiple of 64.
    pub fn scratch_bytes(&self) -> usize {
        if self.is_float() {
            // A strip of rows that are not packed.
            self.columns * FLOAT_ROWS * 4
        } else {
            // Codes, scales of both halves, minima.
            let blocks = self.columns / BLOCK;
            STRIP / ROWS * blocks * (8 * QUAD + 3 * ROWS * 4)
        }
    }

    /// Strip `strip` of a packed matrix.
    pub fn strip(&self, matrix: &Matrix, expert: usize, strip: usize) -> Strip {
        let per_strip = STRIP / self.format.panel_rows();
        let first = strip * per_strip;
        let panels = (matrix.rows().div_ceil(self.format.panel_rows()) - first).min(per_strip);
        Strip { w: matrix.panel(expert, first), panel_bytes: matrix.panel_bytes(), panels }
    }

    /// Packs `count <= 32` rows of F32, `columns` apart, into a strip in `scratch`.
    ///
    /// # Safety
    /// The rows are readable; `scratch` has [`scratch_bytes`](Self::scratch_bytes); the format is F32.
    pub unsafe fn pack_rows(&self, rows: *const f32, count: usize, scratch: *mut u8) -> Strip {
        let to = scratch.cast::<f32>();
        // SAFETY: `columns` x 32 floats fit the scratch.
        unsafe {
            for k in 0..self.columns {
                for r in 0..FLOAT_ROWS {
                    let value = if r < count { rows.add(r * self.columns + k).read() } else { 0.0 };
                    to.add(k * FLOAT_ROWS + r).write(value);
                }
            }
        }
        Strip { w: scratch, panel_bytes: 0, panels: 1 }
    }

    /// Decodes the strip's weights into `scratch` where full tiles want that.
    ///
    /// # Safety
    /// The strip is of this multiplier's format and columns; `scratch` has [`scratch_bytes`](Self::scratch_bytes).
    pub unsafe fn open(&self, strip: Strip, tiling: Tiling, scratch: *mut u8) {
        if let (Full::Unpacked { unpack, .. }, true) = (self.kernels.full, tiling.is_many(self.kernels.tile)) {
            // SAFETY: passed on; the tier is available.
            unsafe { unpack(&self.product(strip, std::ptr::null(), std::ptr::null_mut()), &self.unpacked(scratch)) };
        }
    }

    /// Multiplies a strip with a tile. `x` is where the activations of all tokens begin; `y` gets
    /// `[vector of 16 rows][token][16]`.
    ///
    /// # Safety
    /// As [`open`](Self::open), which was called with the same arguments; `y` has room for [`RESULTS`].
    pub unsafe fn multiply(
        &self,
        strip: Strip,
        tiling: Tiling,
        scratch: *mut u8,
        x: *const u8,
        tile: Tile,
        y: *mut f32,
    ) {
        // SAFETY: passed on; the tile's activations follow those of the tokens before.
        unsafe {
            let product = self.product(strip, x.add(tile.first * self.token_bytes()), y);
            match (tile.width, self.kernels.full) {
                (width, full) if width == self.kernels.tile && tiling.is_many(width) => match full {
                    Full::Packed(f) => f(&product),
                    Full::Unpacked { tile, .. } => tile(&product, &self.unpacked(scratch)),
                },
                (1, _) => self.kernels.small[0](&product),
                (2, _) => self.kernels.small[1](&product),
                _ => self.kernels.small[2](&product),
            }
        }
    }

    fn product(&self, strip: Strip, x: *const u8, y: *mut f32) -> Product {
        Product { w: strip.w, panel_bytes: strip.panel_bytes, panels: strip.panels, columns: self.columns, x, y }
    }

    fn unpacked(&self, scratch: *mut u8) -> Unpacked {
        let blocks = STRIP / ROWS * (self.columns / BLOCK);
        let scales = scratch.wrapping_add(blocks * 8 * QUAD).cast::<f32>();
        Unpacked { codes: scratch, scales, mins: scales.wrapping_add(blocks * 2 * ROWS) }
    }
}

/// Bytes of activations per token.
pub fn token_bytes(columns: usize, float: bool) -> usize {
    if float { columns * 4 } else { columns / BLOCK * RECORD }
}
