//! A strip: 32 rows of a matrix, which one worker multiplies with all tokens.

use super::kernels::{Kernels, Products};
use super::tokens::{Form, Tile, Tiling};
use super::{Product, Unpacked};
use crate::tier::Tier;
use crate::weight::{BLOCK, Format, Matrix, QUAD, ROWS, STRIP};

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

impl Strip {
    /// First byte, and how many there are.
    pub fn bytes(&self) -> (*const u8, usize) {
        (self.w, self.panels * self.panel_bytes)
    }
}

impl Multiplier {
    /// For matrices of this format.
    pub fn new(format: Format, columns: usize, tier: Tier) -> Self {
        Self { format, columns, kernels: Kernels::of(format, tier) }
    }
    /// The form in which it takes activations.
    pub fn form(&self) -> Form {
        self.format.form()
    }
    /// Tokens of a full tile.
    pub fn tile(&self) -> usize {
        self.kernels.tile
    }
    /// Bytes of activations per token.
    pub fn token_bytes(&self) -> usize {
        self.form().bytes(self.columns)
    }
    /// Bytes of a worker's memory for [`open`](Self::open), a multiple of 64.
    pub fn scratch_bytes(&self) -> usize {
        match self.kernels.products {
            Products::Floats(_) | Products::Ternary(_) => 0,
            // Codes, scales and minima of both halves.
            Products::Blocks { .. } => STRIP / ROWS * (self.columns / BLOCK) * (8 * QUAD + 4 * ROWS * 4),
        }
    }

    /// Strip `strip` of a matrix.
    pub fn strip(&self, matrix: &Matrix, expert: usize, strip: usize) -> Strip {
        let per_strip = STRIP / self.format.panel_rows();
        let first = strip * per_strip;
        let panels = (matrix.rows().div_ceil(self.format.panel_rows()) - first).min(per_strip);
        Strip { w: matrix.panel(expert, first), panel_bytes: matrix.panel_bytes(), panels }
    }

    /// A strip of `count <= 32` rows of F32 that follow each other.
    pub fn plain_strip(&self, rows: *const f32, count: usize) -> Strip {
        Strip { w: rows.cast(), panel_bytes: self.columns * 4, panels: count }
    }

    /// Decodes the strip's weights into `scratch` where full tiles want that.
    ///
    /// # Safety
    /// The strip is of this multiplier's format and columns; `scratch` has [`scratch_bytes`](Self::scratch_bytes).
    pub unsafe fn open(&self, strip: Strip, tiling: Tiling, scratch: *mut u8) {
        match self.kernels.products {
            Products::Blocks { unpack, .. } if tiling.is_many(self.kernels.tile) => {
                let nothing = Tile { first: 0, width: 0 };
                let product = self.product(strip, std::ptr::null(), nothing, std::ptr::null_mut());
                // SAFETY: passed on; the tier is available.
                unsafe { unpack(&product, &self.unpacked(scratch)) };
            }
            Products::Blocks { .. } | Products::Floats(_) | Products::Ternary(_) => {}
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
            let product = self.product(strip, x.add(tile.first * self.token_bytes()), tile, y);
            match self.kernels.products {
                Products::Floats([one, any]) => {
                    if tile.width == 1 {
                        one(&product);
                    } else {
                        any(&product);
                    }
                }
                Products::Ternary(products) => match tile.width {
                    1 => products[0](&product),
                    2 => products[1](&product),
                    4 => products[2](&product),
                    _ => products[3](&product),
                },
                Products::Blocks { full, .. } if tile.width == self.kernels.tile && tiling.is_many(tile.width) => {
                    full(&product, &self.unpacked(scratch));
                }
                Products::Blocks { small, .. } => match tile.width {
                    1 => small[0](&product),
                    2 => small[1](&product),
                    _ => small[2](&product),
                },
            }
        }
    }

    fn product(&self, strip: Strip, x: *const u8, tile: Tile, y: *mut f32) -> Product {
        let Strip { w, panel_bytes, panels } = strip;
        Product { w, panel_bytes, panels, columns: self.columns, x, tokens: tile.width, y }
    }

    fn unpacked(&self, scratch: *mut u8) -> Unpacked {
        let blocks = STRIP / ROWS * (self.columns / BLOCK);
        let scales = scratch.wrapping_add(blocks * 8 * QUAD).cast::<f32>();
        Unpacked { codes: scratch, scales, mins: scales.wrapping_add(blocks * 2 * ROWS) }
    }
}
