//! Products of ternary weights with activations that are quantized with one scale per token.
//!
//! A group of 256 columns is an exact integer dot product. Groups with scales of their own give
//! `sum = fma(dot, group_scale, sum)`, in order, and the result is `sum * token_scale`. Where all share the tensor's, `sum` is
//! an exact integer (any K up to 2^24 / (2 * 127), 66,000, keeps it within f32's), and the result is `sum * scale * token_scale`.
//! However the integer sums are cut into chains and parts, they are the same, so kernels differ as registers demand.

// Arrays that run in parallel, with constant bounds.
#![allow(clippy::needless_range_loop)]

use super::Product;
use super::tokens::{GROUP, Whole};
use crate::simd::{LANES, Simd};
use crate::weight::ternary::{GROUP_BYTES, group_bytes};

/// Bits of a code, for the integer dot products.
const BITS: u32 = 2;
/// Vectors of a group.
const VECTORS: usize = GROUP / 16;
/// A group is summed in so many parts, one after the other, where sums are kept in 16 bits: half a group is 64 products per
/// lane, at most 64 * 3 * 127 = 24384 < 2^15. (A code is at most 3, which no encoder writes but a file can have.)
const PARTS: usize = 2;

/// Panels times `T` tokens. `GROUPED`: groups have scales of their own.
///
/// # Safety
/// As for [`Simd`] and [`Product`].
#[inline(always)]
pub unsafe fn product<S: Simd, const T: usize, const GROUPED: bool>(a: &Product) {
    // SAFETY: passed on.
    unsafe {
        let mut first = 0;
        // With registers for two panels each activation that is loaded serves both.
        while S::PAIR && first + 2 <= a.panels {
            panels::<S, T, 2, GROUPED>(a, first);
            first += 2;
        }
        for panel in first..a.panels {
            panels::<S, T, 1, GROUPED>(a, panel);
        }
    }
}

/// `P` panels at once.
///
/// # Safety
/// As [`product`].
#[inline(always)]
unsafe fn panels<S: Simd, const T: usize, const P: usize, const GROUPED: bool>(a: &Product, first: usize) {
    // SAFETY: reads the panels and the tile, writes the results.
    unsafe {
        let groups = a.columns.div_ceil(GROUP);
        let x = Whole::new(a.x, T, a.columns);
        let w: [*const u8; P] = std::array::from_fn(|p| a.w.add((first + p) * a.panel_bytes));
        let stride = const { group_bytes(GROUPED) };
        let mut sum = [[S::zero(); T]; P];
        for group in 0..groups {
            let w = w.map(|w| w.add(group * stride));
            let dot = if T == 1 {
                let bias = x.minus_sum(group, 0).read_unaligned();
                S::dots_of_two_bits::<P>(w, x.codes(group, 0), bias).map(|dot| [dot; T])
            } else {
                many::<S, T, P>(w, x, group)
            };
            for p in 0..P {
                if GROUPED {
                    let scale = S::load_f16(w[p].add(GROUP_BYTES).cast());
                    for t in 0..T {
                        sum[p][t] = S::fma(dot[p][t], scale, sum[p][t]);
                    }
                } else {
                    for t in 0..T {
                        sum[p][t] = S::add(dot[p][t], sum[p][t]);
                    }
                }
            }
        }
        for p in 0..P {
            for t in 0..T {
                let token = S::splat(x.scale(t).read_unaligned());
                let weighed =
                    if GROUPED { sum[p][t] } else { S::mul(sum[p][t], S::load(w[p].add(groups * stride).cast())) };
                S::store(a.y.add(((first + p) * T + t) * LANES), S::mul(weighed, token));
            }
        }
    }
}

/// Dot products of a group of `P` panels with `T` tokens: codes are taken apart once for all.
///
/// # Safety
/// As [`product`]; the group's codes begin at `w`.
#[inline(always)]
unsafe fn many<S: Simd, const T: usize, const P: usize>(w: [*const u8; P], x: Whole, group: usize) -> [[S::F; T]; P] {
    // SAFETY: passed on.
    unsafe {
        let mut dot = [[S::zero(); T]; P];
        for part in 0..PARTS {
            let bias: [i32; T] =
                std::array::from_fn(|t| if part == 0 { x.minus_sum(group, t).read_unaligned() } else { 0 });
            let mut acc = [[S::dot_start::<BITS>(0); T]; P];
            for (acc, t) in acc.iter_mut().flat_map(|acc| acc.iter_mut().zip(0..T)) {
                *acc = S::dot_start::<BITS>(bias[t]);
            }
            for v in part * VECTORS / PARTS..(part + 1) * VECTORS / PARTS {
                for p in 0..P {
                    let from = w[p].add(64 * v);
                    S::prefetch(from.wrapping_add(S::NEAR));
                    let quads = S::two_bits(from);
                    for t in 0..T {
                        let x = x.codes(group, t).add(16 * v);
                        let sum = S::dot::<BITS>(acc[p][t], quads[0], quads[1], x, x.add(4));
                        acc[p][t] = S::dot::<BITS>(sum, quads[2], quads[3], x.add(8), x.add(12));
                    }
                }
            }
            for p in 0..P {
                for t in 0..T {
                    dot[p][t] = S::add(dot[p][t], S::dot_finish::<BITS>(acc[p][t], bias[t]));
                }
            }
        }
        dot
    }
}
