//! How quantized weights lie in memory.
//!
//! Sixteen rows make a panel: one vector register holds the same columns of all its rows. A panel has the codes
//! of all its blocks, then the scales ("meta"). A block is 32 columns: eight quads, and a quad is four consecutive
//! columns of 16 rows, byte `4 * row + column`. So one instruction multiplies a quad by four activations, and
//! every output row has its own lane: sums need no shuffles, and one row more or less changes nothing.
//!
//! Codes are unsigned. What a format subtracts from them is taken off the sum instead: `offset * Σx`, exactly.

use crate::simd::Simd;

/// Rows of a panel.
pub const ROWS: usize = 16;
/// Columns of a block.
pub const BLOCK: usize = 32;
/// Bytes of a quad, one byte per code.
pub const QUAD: usize = 64;

/// A block format, as packing and kernels see it.
pub trait Blocks: 'static {
    /// Codes are below `2^BITS`.
    const BITS: u32;
    /// The code that means zero.
    const OFFSET: u32;
    /// Scales belong to 16 columns instead of 32.
    const HALVES: bool;
    /// There is something to add to each weight of a block.
    const MINS: bool;
    /// Bytes of a block's codes in a panel.
    const CODE_BYTES: usize;
    /// Blocks that share one piece of meta.
    const META_BLOCKS: usize;
    /// Bytes of one piece of meta in a panel.
    const META_BYTES: usize;
    /// Bytes of `META_BLOCKS` blocks of one row in the file.
    const FILE_BYTES: usize;

    /// Quads that [`codes`](Self::codes) yields for `pair` in 0..4. With `HALVES`, pairs 0 and 1 are the first half.
    fn quads(pair: usize) -> (usize, usize);

    /// Two quads of codes of the block at `block`.
    ///
    /// # Safety
    /// As for [`Simd`]; `block` has `CODE_BYTES` bytes.
    unsafe fn codes<S: Simd>(block: *const u8, pair: usize) -> (S::B, S::B);

    /// Scales of 16 rows for a block, or half of it.
    ///
    /// # Safety
    /// As for [`Simd`]; `meta` is the meta of a panel that has block `block`.
    unsafe fn scale<S: Simd>(meta: *const u8, block: usize, half: usize) -> S::F;

    /// What is added to each weight of a block, for 16 rows.
    ///
    /// # Safety
    /// As for [`Simd`]; `meta` is the meta of a panel that has block `block`.
    unsafe fn min<S: Simd>(meta: *const u8, block: usize) -> S::F;

    /// Copies a row of the file, whole blocks, to row `row` of a zeroed panel.
    fn pack(src: &[u8], row: usize, codes: &mut [u8], meta: &mut [u8]);

    /// Row `row` of a panel, bit for bit as [`tern_quant::dequantize`] gives it from the file.
    fn row(codes: &[u8], meta: &[u8], row: usize, out: &mut [f32]);
}

/// Places of a panel's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PanelLayout {
    /// Bytes of codes, after which the meta begins.
    pub codes: usize,
    /// Bytes of the panel, a multiple of a cache line.
    pub bytes: usize,
}

impl PanelLayout {
    /// Of a panel with `columns` columns, a multiple of the format's blocks. `None` where sizes overflow.
    pub fn of<B: Blocks>(columns: usize) -> Option<Self> {
        let blocks = columns / BLOCK;
        let codes = blocks.checked_mul(B::CODE_BYTES)?;
        let meta = blocks.div_ceil(B::META_BLOCKS).checked_mul(B::META_BYTES)?;
        Some(Self { codes, bytes: codes.checked_add(meta)?.checked_next_multiple_of(64)? })
    }
}

/// Half-precision number `i` of an array of them.
pub(super) fn half(bytes: &[u8], i: usize) -> f32 {
    tern_quant::f16_to_f32(u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]))
}
