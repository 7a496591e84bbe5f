//! What codes are multiplied with.
//!
//! ```text
//! scales/plain.rs   a number per block, or per few
//! scales/sub.rs     small integers per block or half of one, times a number per 256 columns
//! ```
//!
//! A piece of meta has the scales of [`Scales::BLOCKS`] blocks of a panel's rows, which are so many as share a number: vectors
//! of 16, one element per row. As many bytes as in the file, or slightly more where unpacking would take long: K-quants'
//! six-bit numbers take bytes.

mod plain;
mod sub;

pub use plain::{Half, HalfAndMin, PowerOfTwo, Single, SmallFloat};
pub use sub::{Affine, AffineNibbles, Sub, SubBytes, SubMins, SubNibbles, SubSigned};

use crate::simd::Simd;

/// The scales of a format.
pub trait Scales: 'static {
    /// A row's numbers of one piece, as the file has them.
    type Numbers;
    /// Blocks that share a piece of meta.
    const BLOCKS: usize;
    /// Bytes of a piece in a panel.
    const BYTES: usize;
    /// Scales belong to 16 columns instead of 32.
    const HALVES: bool = false;
    /// There is something to add to each weight of a block.
    const MINS: bool = false;

    /// Scales of 16 rows for a block, or half of it. Exact, as all scales here are products of few bits.
    ///
    /// # Safety
    /// As for [`Simd`]; `meta` is that of a group with a block number `block`.
    unsafe fn scale<S: Simd>(meta: *const u8, block: usize, half: usize) -> S::F;

    /// What is added to each weight of a block, for 16 rows. With halves, part 0 is for all of the block, and part 1 is what
    /// the first half has besides.
    ///
    /// # Safety
    /// As for [`Simd`]; `meta` is that of a group with a block number `block`.
    #[inline(always)]
    unsafe fn min<S: Simd>(_meta: *const u8, _block: usize, _part: usize) -> S::F {
        // SAFETY: passed on.
        unsafe { S::zero() }
    }

    /// Puts a row's numbers into a zeroed piece of meta.
    fn put(meta: &mut [u8], row: usize, numbers: &Self::Numbers);

    /// Scale and minimum of a row, in half `half` of block `block` of a piece of meta.
    fn factors(meta: &[u8], row: usize, block: usize, half: usize) -> (f32, f32);

    /// The weight for a level, rounded as the file's format has it.
    #[inline(always)]
    fn weight((scale, min): (f32, f32), level: i32) -> f32 {
        let product = scale * level as f32;
        if Self::MINS { product + min } else { product }
    }
}
