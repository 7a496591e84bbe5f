//! How quantized weights lie in memory.
//!
//! Sixteen rows make a panel: one vector register holds the same columns of all its rows. A block is 32 columns: eight
//! quads, and a quad is four consecutive columns of 16 rows, byte `4 * row + column`. So one instruction multiplies a quad by
//! four activations, and every output row has its own lane: sums need no shuffles, and one row more or less changes nothing.
//!
//! A panel is a sequence of groups of a few blocks (the last may have fewer): their scales ("meta"), then their codes. What is used
//! together must lie together and in the order of use, or the processor does not see what comes next: with a panel's scales behind
//! all of its codes one core of a Zen 4 read 13 GB/s, with those of eight blocks behind theirs 8 to 27, in order it reads 30 to 36
//! like plain memory.
//!
//! A format is a choice of [`Planes`], of [`Scales`], and of what codes stand for. Codes are unsigned when they are
//! multiplied. What a format subtracts from them is taken off the sum instead: `offset * Σx`, exactly.

use super::planes::Planes;
use super::scales::Scales;
use crate::simd::Simd;
use tern_quant::DType;

/// Rows of a panel.
pub const ROWS: usize = 16;
/// Columns of a block.
pub const BLOCK: usize = 32;
/// Bytes of a quad, one byte per code.
pub const QUAD: usize = 64;
/// Columns of the longest block that a file has.
pub const LONGEST: usize = 256;

/// Levels of sixteen codes, each moved up by the format's offset so that none is negative.
pub type Table = [u8; 16];

/// A block format, as packing and kernels see it.
pub trait Blocks: 'static {
    /// The type in files.
    const DTYPE: DType;
    /// Where the bits of codes are.
    type Planes: Planes;
    /// What codes are multiplied with.
    type Scales: Scales;
    /// Codes, as they are multiplied, are below `2^BITS`; 4, 5, 6 or 8.
    const BITS: u32;
    /// The code, as it is multiplied, that means zero. With `BITS` of 8 it is 128, which tiers with signed products rely on.
    const OFFSET: u32;
    /// What is multiplied in place of codes, for levels that are not evenly spaced.
    const TABLE: Option<&'static Table> = None;
    /// Blocks of a full group: so few that their meta fills a cache line.
    const GROUP: usize = Self::Scales::BLOCKS * 64usize.div_ceil(Self::Scales::BYTES);

    /// Codes and scales of one block of one row of the file; `None` where `file` is shorter than a block.
    fn read(file: &[u8], codes: &mut [u8; LONGEST]) -> Option<<Self::Scales as Scales>::Numbers>;

    /// Quads `2 * pair` and `2 * pair + 1` of the block at `block`, as they are multiplied.
    ///
    /// # Safety
    /// As for [`Simd`]; `block` has [`Planes::BYTES`].
    #[inline(always)]
    unsafe fn codes<S: Simd>(block: *const u8, pair: usize) -> (S::B, S::B) {
        // SAFETY: passed on.
        unsafe {
            let (a, b) = Self::Planes::codes::<S>(block, pair);
            match Self::TABLE {
                Some(table) => (S::lookup(table, a), S::lookup(table, b)),
                None => (a, b),
            }
        }
    }

    /// What a code, as [`read`](Self::read) gives it, stands for.
    fn level(code: u8) -> i32 {
        let code = match Self::TABLE {
            Some(table) => table[usize::from(code & 15)],
            None => code << Self::Planes::SHIFT,
        };
        i32::from(code) - Self::OFFSET as i32
    }

    /// Copies a row of the file, whole blocks, to row `row` of a zeroed panel.
    fn pack(src: &[u8], row: usize, panel: &mut [u8]) {
        let mut plain = [0; LONGEST];
        let of_row = Self::GROUP / Self::Scales::BLOCKS * Self::DTYPE.block_bytes();
        for (src, group) in src.chunks(of_row).zip(panel.chunks_mut(group_bytes::<Self>(Self::GROUP))) {
            let pieces = src.len() / Self::DTYPE.block_bytes();
            let Some((meta, codes)) = group.split_at_mut_checked(pieces * Self::Scales::BYTES) else { return };
            let places = codes.chunks_exact_mut(Self::Scales::BLOCKS * Self::Planes::BYTES);
            let places = places.zip(meta.chunks_exact_mut(Self::Scales::BYTES));
            for (file, (codes, meta)) in src.chunks_exact(Self::DTYPE.block_bytes()).zip(places) {
                let Some(numbers) = Self::read(file, &mut plain) else { return };
                Self::Scales::put(meta, row, &numbers);
                for (codes, plain) in codes.chunks_exact_mut(Self::Planes::BYTES).zip(plain.as_chunks().0) {
                    Self::Planes::put(codes, row, plain);
                }
            }
        }
    }

    /// Row `row` of a panel, bit for bit as [`tern_quant::dequantize`] gives it from the file.
    fn row(panel: &[u8], row: usize, out: &mut [f32]) {
        let groups = panel.chunks(group_bytes::<Self>(Self::GROUP));
        for (out, group) in out.chunks_mut(Self::GROUP * BLOCK).zip(groups) {
            let (meta, codes) = group.split_at(meta_bytes::<Self>(out.len() / BLOCK));
            let blocks = out.as_chunks_mut::<BLOCK>().0.iter_mut().zip(codes.chunks_exact(Self::Planes::BYTES));
            for (block, (out, codes)) in blocks.enumerate() {
                let plain = Self::Planes::get(codes, row);
                let meta = &meta[block / Self::Scales::BLOCKS * Self::Scales::BYTES..];
                let halves = out.as_chunks_mut::<16>().0.iter_mut().zip(plain.as_chunks::<16>().0);
                for (half, (out, plain)) in halves.enumerate() {
                    let factors = Self::Scales::factors(meta, row, block % Self::Scales::BLOCKS, half);
                    for (y, &code) in out.iter_mut().zip(plain) {
                        *y = Self::Scales::weight(factors, Self::level(code));
                    }
                }
            }
        }
    }
}

/// Bytes of a group in a panel.
pub const fn group_bytes<B: Blocks + ?Sized>(blocks: usize) -> usize {
    meta_bytes::<B>(blocks) + blocks * B::Planes::BYTES
}

/// Bytes of its meta, which is where it begins.
pub const fn meta_bytes<B: Blocks + ?Sized>(blocks: usize) -> usize {
    blocks / B::Scales::BLOCKS * B::Scales::BYTES
}

/// Bytes of a panel with `columns` columns, a multiple of the format's blocks, and of a cache line. `None` where they overflow.
pub fn panel_bytes<B: Blocks>(columns: usize) -> Option<usize> {
    const { assert!(is_consistent::<B>()) };
    let blocks = columns / BLOCK;
    let codes = blocks.checked_mul(B::Planes::BYTES)?;
    let meta = (blocks / B::Scales::BLOCKS).checked_mul(B::Scales::BYTES)?;
    codes.checked_add(meta)?.checked_next_multiple_of(64)
}

/// Does a piece of meta go with a block of the file, do groups fill 256 columns, and does every code fit the bits that kernels
/// are told?
const fn is_consistent<B: Blocks>() -> bool {
    let len = B::DTYPE.block_len();
    let mut fits = len == BLOCK * B::Scales::BLOCKS && (LONGEST / BLOCK).is_multiple_of(B::GROUP);
    if let Some(table) = B::TABLE {
        let mut i = 0;
        while i < table.len() {
            fits &= (table[i] as u32) < 1 << B::BITS;
            i += 1;
        }
    }
    fits
}

/// Half-precision number `i` of an array of them.
pub(super) fn half(bytes: &[u8], i: usize) -> f32 {
    tern_quant::f16_to_f32(u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]))
}
