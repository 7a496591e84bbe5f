//! Products of float weights with float activations.
//!
//! One chain of fused multiply-adds per output, over columns in order, whatever the number of tokens. A panel has 32
//! rows, so even a single token has two vectors of chains, enough to keep up with memory.

use super::{AHEAD, Product};
use crate::simd::{LANES, Simd};
use crate::weight::FLOAT_ROWS;

/// More tokens than any tier's tile has.
const MAX_TILE: usize = 16;

/// An element type of weights.
pub trait Element: 'static {
    /// Bytes of an element.
    const BYTES: usize;
    /// Sixteen elements.
    ///
    /// # Safety
    /// As for [`Simd`]; `p` has 16 elements.
    unsafe fn load<S: Simd>(p: *const u8) -> S::F;
}

/// Single precision.
pub struct F32;
/// Half precision.
pub struct F16;
/// Upper half of single precision.
pub struct BF16;

impl Element for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8) -> S::F {
        // SAFETY: passed on.
        unsafe { S::load(p.cast()) }
    }
}
impl Element for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8) -> S::F {
        // SAFETY: passed on.
        unsafe { S::load_f16(p.cast()) }
    }
}
impl Element for BF16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8) -> S::F {
        // SAFETY: passed on.
        unsafe { S::load_bf16(p.cast()) }
    }
}

/// A panel times `T` tokens.
///
/// # Safety
/// As for [`Simd`] and [`Product`].
#[inline(always)]
pub unsafe fn small<S: Simd, E: Element, const T: usize>(a: &Product) {
    // SAFETY: passed on.
    unsafe {
        if S::PAIR || T <= 2 {
            vectors::<S, E, 2>(a, 0, T);
        } else {
            vectors::<S, E, 1>(a, 0, T);
            vectors::<S, E, 1>(a, 1, T);
        }
    }
}

/// A panel times a full tile.
///
/// # Safety
/// As for [`Simd`] and [`Product`].
#[inline(always)]
pub unsafe fn full<S: Simd, E: Element>(a: &Product) {
    // SAFETY: passed on.
    unsafe {
        if S::PAIR {
            vectors::<S, E, 2>(a, 0, S::FLOAT_TILE);
        } else {
            vectors::<S, E, 1>(a, 0, S::FLOAT_TILE);
            vectors::<S, E, 1>(a, 1, S::FLOAT_TILE);
        }
    }
}

/// `V` vectors of a panel, from vector `first` on, times `width` tokens, which is a constant at every call.
///
/// # Safety
/// As [`small`].
#[inline(always)]
unsafe fn vectors<S: Simd, E: Element, const V: usize>(a: &Product, first: usize, width: usize) {
    // SAFETY: reads the panel and the tile, writes the results.
    unsafe {
        let w = a.w.add(first * LANES * E::BYTES);
        let x = a.x.cast::<f32>();
        let mut sum = [[S::zero(); MAX_TILE]; V];
        for k in 0..a.columns {
            let column = w.add(k * FLOAT_ROWS * E::BYTES);
            for line in 0..V * LANES * E::BYTES / 64 {
                S::prefetch(column.wrapping_add(AHEAD + 64 * line));
            }
            let w: [S::F; V] = std::array::from_fn(|v| E::load::<S>(column.add(v * LANES * E::BYTES)));
            // Sums beyond the tile are never used, and vanish.
            #[allow(clippy::needless_range_loop)]
            for t in 0..width {
                let token = S::splat(x.add(k * width + t).read_unaligned());
                for v in 0..V {
                    sum[v][t] = S::fma(w[v], token, sum[v][t]);
                }
            }
        }
        for (v, sum) in sum.iter().enumerate() {
            for (t, &sum) in sum.iter().enumerate().take(width) {
                S::store(a.y.add(((first + v) * width + t) * LANES), sum);
            }
        }
    }
}
