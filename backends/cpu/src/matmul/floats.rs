//! Products of float weights, rows as they are in the file, with float activations.
//!
//! An output is a dot product with one chain of fused multiply-adds per lane: lane `j` sums columns `j`, `j + 16`, ...
//! in order, and one tree adds the lanes. That depends on nothing but the row and the token, so any number of either
//! may be computed together, as many as there are registers for.

// Arrays that run in parallel, with constant bounds.
#![allow(clippy::needless_range_loop)]

use super::Product;
use crate::simd::{LANES, Simd};
use std::mem::MaybeUninit;

/// An element type of weights.
pub trait Element: 'static {
    /// Bytes of an element.
    const BYTES: usize;
    /// Sixteen elements.
    ///
    /// # Safety
    /// As for [`Simd`]; `p` has 16 elements.
    unsafe fn load<S: Simd>(p: *const u8) -> S::F;
    /// The first `n <= 16` elements; the others are zero.
    ///
    /// # Safety
    /// As for [`Simd`]; `p` has `n` elements.
    #[inline(always)]
    unsafe fn load_n<S: Simd>(p: *const u8, n: usize) -> S::F {
        let mut whole = [0u8; LANES * 4];
        // SAFETY: at most 16 elements of at most 4 bytes; the rest is passed on.
        unsafe {
            whole.as_mut_ptr().copy_from_nonoverlapping(p, n * Self::BYTES);
            Self::load::<S>(whole.as_ptr())
        }
    }
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

/// Rows times tokens.
///
/// Memory is fastest where it is read in order. So a single token takes row after row, whose chains of sums overlap as far as the
/// processor looks ahead (SmolLM2 in F16 on a Zen 4: 95 tok/s with one thread and 144 with two, where four rows side by side gave 72
/// and 116). More tokens compute longer than memory takes; there rows lie side by side in registers.
///
/// # Safety
/// As for [`Simd`] and [`Product`].
#[inline(always)]
pub unsafe fn product<S: Simd, E: Element>(a: &Product) {
    let mut token = 0;
    while token < a.tokens {
        // SAFETY: passed on; so many tokens are left.
        unsafe {
            token += match (a.tokens - token, S::FLOAT_TILE) {
                (6.., 6) => rows::<S, E, 4, 6>(a, token),
                (4.., 6) => rows::<S, E, 4, 4>(a, token),
                (3.., 3) => rows::<S, E, 2, 3>(a, token),
                (2.., _) => rows::<S, E, 2, 2>(a, token),
                _ => rows::<S, E, 1, 1>(a, token),
            };
        }
    }
}

/// Rows times one token.
///
/// # Safety
/// As [`product`].
#[inline(always)]
pub unsafe fn one<S: Simd, E: Element>(a: &Product) {
    // SAFETY: passed on.
    unsafe { rows::<S, E, 1, 1>(a, 0) };
}

/// All rows times `T` tokens from `token` on, `R` rows at a time; yields `T`.
///
/// # Safety
/// As [`product`].
#[inline(always)]
unsafe fn rows<S: Simd, E: Element, const R: usize, const T: usize>(a: &Product, token: usize) -> usize {
    // SAFETY: reads rows and tokens that are there; every vector of chains is written before it is read.
    unsafe {
        let x = a.x.cast::<f32>().add(token * a.columns);
        for vector in 0..a.panels.div_ceil(LANES) {
            let mut chains = [const { MaybeUninit::<[S::F; LANES]>::uninit() }; T];
            for first in (0..LANES).step_by(R) {
                // Past the last row come results that nobody wants: zeros, or those of a row that can be read.
                let row = |r: usize| a.w.add((vector * LANES + first + r).min(a.panels - 1) * a.panel_bytes);
                let ahead = S::AHEAD + (R - 1) * a.panel_bytes;
                let sums = if vector * LANES + first < a.panels {
                    dots::<S, E, R, T>(std::array::from_fn(row), x, a.columns, ahead)
                } else {
                    [[S::zero(); T]; R]
                };
                for t in 0..T {
                    let to = chains[t].as_mut_ptr().cast::<S::F>().add(first);
                    for r in 0..R {
                        to.add(r).write(sums[r][t]);
                    }
                }
            }
            for (t, chains) in chains.iter().enumerate() {
                S::store(a.y.add((vector * a.tokens + token + t) * LANES), S::sum_each(chains.assume_init_ref()));
            }
        }
        T
    }
}

/// The chains of `R` rows times `T` tokens. Asks for lines that begin `ahead` of the first row.
///
/// # Safety
/// As for [`Simd`]; all rows have `columns` elements, and so have `T` tokens that follow each other in `x`.
#[inline(always)]
unsafe fn dots<S: Simd, E: Element, const R: usize, const T: usize>(
    w: [*const u8; R],
    x: *const f32,
    columns: usize,
    ahead: usize,
) -> [[S::F; T]; R] {
    // SAFETY: as the caller's.
    unsafe {
        let mut sums = [[S::zero(); T]; R];
        let mut k = 0;
        while k + 2 * LANES <= columns {
            let ahead = w[0].wrapping_add(ahead + k * E::BYTES * R);
            for line in 0..2 * LANES * E::BYTES * R / 64 {
                S::prefetch(ahead.wrapping_add(64 * line));
            }
            step::<S, E, R, T>(&mut sums, w, x, columns, k, LANES);
            step::<S, E, R, T>(&mut sums, w, x, columns, k + LANES, LANES);
            k += 2 * LANES;
        }
        while k < columns {
            step::<S, E, R, T>(&mut sums, w, x, columns, k, (columns - k).min(LANES));
            k += LANES;
        }
        sums
    }
}

/// Adds `n` columns from `k` on.
///
/// # Safety
/// As [`dots`]; `k + n` is at most `columns`, and `n` at most 16.
#[inline(always)]
unsafe fn step<S: Simd, E: Element, const R: usize, const T: usize>(
    sums: &mut [[S::F; T]; R],
    w: [*const u8; R],
    x: *const f32,
    columns: usize,
    k: usize,
    n: usize,
) {
    // SAFETY: as the caller's.
    unsafe {
        let mut rows = [S::zero(); R];
        for (row, w) in rows.iter_mut().zip(w) {
            let w = w.add(k * E::BYTES);
            *row = if n == LANES { E::load::<S>(w) } else { E::load_n::<S>(w, n) };
        }
        for t in 0..T {
            let x = x.add(t * columns + k);
            let x = if n == LANES { S::load(x) } else { S::load_n(x, n) };
            for r in 0..R {
                sums[r][t] = S::fma(rows[r], x, sums[r][t]);
            }
        }
    }
}
