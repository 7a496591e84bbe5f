//! Matrix products: the kernels, and what they are given.
//!
//! ```text
//! tokens.rs    activations in tiles of a few tokens, quantized or not
//! blocks.rs    quantized weights: integer dot products
//! floats.rs    float weights
//! ternary.rs   ternary weights: integer dot products over whole groups
//! kernels.rs   the table: kernels by format and tier
//! strip.rs     32 rows of a matrix times all tokens
//! share.rs     who multiplies which strips
//! backward.rs  their gradients
//! decode.rs    tiles of weights as plain floats, for gradients
//! dense.rs     float matrices of any size, times each other
//! finish.rs    what is done to results: bias, adapters, residual, gating
//! ```

pub mod backward;
pub mod blocks;
pub mod decode;
pub mod dense;
pub mod finish;
pub mod floats;
pub mod kernels;
pub mod share;
pub mod strip;
pub mod ternary;
pub mod tokens;

/// A product of a few panels with a tile of tokens.
///
/// `w` is the first of `panels` panels of the kernel's format with `columns` columns, `panel_bytes` apart; `x` is a
/// tile in the form that the format takes; `y` gets `[vector of 16 rows][token][16]`. A panel of a block format is one
/// vector of rows, one of floats is a row.
pub struct Product {
    /// First panel.
    pub w: *const u8,
    /// From one panel to the next.
    pub panel_bytes: usize,
    /// Number of panels.
    pub panels: usize,
    /// Columns.
    pub columns: usize,
    /// The tile.
    pub x: *const u8,
    /// Its tokens.
    pub tokens: usize,
    /// Results.
    pub y: *mut f32,
}

/// Decoded panels of a block format: one byte per code, quads in order, scales as f32.
pub struct Unpacked {
    /// `[panel][block][quad][64]`.
    pub codes: *mut u8,
    /// `[panel][block][16]`, or `[panel][block][half][16]`.
    pub scales: *mut f32,
    /// `[panel][block][16]` for formats with minima, `[panel][block][part][16]` with halves.
    pub mins: *mut f32,
}

#[cfg(test)]
mod tests;
