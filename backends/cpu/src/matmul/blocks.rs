//! Products of block formats with quantized activations.
//!
//! Per block an exact integer dot product, then `sum = fma(dot * weight_scale, token_scale, sum)`, blocks in order;
//! with a scale per half, `dot * weight_scale` is `fma(dot1, scale1, dot0 * scale0)`. The arithmetic of an output
//! depends on nothing but its row and its token. So a few tokens may go through [`small`], which decodes weights on
//! the way to the multiplier, and many through [`tile`], which reads codes that [`unpack`] has decoded once: the
//! results are the same bits.

// Arrays that run in parallel, with constant bounds that may be below their length.
#![allow(clippy::needless_range_loop)]

use super::tokens::{Field, record_bytes};
use super::{Product, Unpacked};
use crate::simd::{LANES, Simd};
use crate::weight::{BLOCK, Blocks, Planes, QUAD, Scales, group_bytes, meta_bytes};

/// More tokens than any tier's tile has.
const MAX_TILE: usize = 16;

/// Calls a function of [`Simd`] that wants the format's bits as a constant, which generics cannot pass on.
macro_rules! with_bits {
    ($B:ident, $S:ident::$f:ident($($arg:expr),*)) => {
        match <$B as Blocks>::BITS {
            4 => $S::$f::<4>($($arg),*),
            5 => $S::$f::<5>($($arg),*),
            6 => $S::$f::<6>($($arg),*),
            _ => $S::$f::<8>($($arg),*),
        }
    };
}

#[inline(always)]
unsafe fn number(record: *const u8, field: Field, width: usize, token: usize) -> f32 {
    // SAFETY: the caller's record has all fields of all tokens.
    unsafe { record.add(field.at(width, token)).cast::<f32>().read_unaligned() }
}

/// What undoes the format's offset in a dot product of a block, or half of it.
#[inline(always)]
unsafe fn bias<B: Blocks>(record: *const u8, half: usize, width: usize, token: usize) -> i32 {
    let fields = const {
        let halves = B::Scales::HALVES;
        let of = [
            Field::undoing(B::OFFSET, if halves { Some(0) } else { None }),
            Field::undoing(B::OFFSET, if halves { Some(1) } else { None }),
        ];
        assert!(B::OFFSET == 0 || of[0].is_some());
        of
    };
    match fields[half] {
        // SAFETY: the caller's record has all fields of all tokens.
        Some((field, times)) => unsafe { times * record.add(field.at(width, token)).cast::<i32>().read_unaligned() },
        None => 0,
    }
}

/// Number of sums of a block, and the pairs of quads in the sum `half`.
#[inline(always)]
const fn halves<B: Blocks>() -> usize {
    if B::Scales::HALVES { 2 } else { 1 }
}
#[inline(always)]
fn pairs<B: Blocks>(half: usize) -> std::ops::Range<usize> {
    if B::Scales::HALVES { 2 * half..2 * half + 2 } else { 0..4 }
}
/// What parts of minima are multiplied with; without halves there is one.
const SUMS: [Field; 2] = [Field::Sum, Field::SumLow];

/// A block's dot product so far, with the weights' scale: `dot` is that of the halves before.
#[inline(always)]
unsafe fn scaled<S: Simd>(half: usize, sum: S::F, scale: S::F, dot: S::F) -> S::F {
    // SAFETY: passed on.
    unsafe { if half == 0 { S::mul(sum, scale) } else { S::fma(sum, scale, dot) } }
}

/// Group `group` of the panel at `panel`: its number of blocks, its meta, its codes.
#[inline(always)]
fn group<B: Blocks>(panel: *const u8, blocks: usize, group: usize) -> (usize, *const u8, *const u8) {
    let len = (blocks - group * B::GROUP).min(B::GROUP);
    let meta = panel.wrapping_add(group * group_bytes::<B>(B::GROUP));
    (len, meta, meta.wrapping_add(meta_bytes::<B>(len)))
}

/// Panels times `T` tokens, straight from packed weights.
///
/// # Safety
/// As for [`Simd`] and [`Product`].
#[inline(always)]
pub unsafe fn small<S: Simd, B: Blocks, const T: usize>(a: &Product) {
    // SAFETY: reads the panels and the tile's records, writes the results.
    unsafe {
        let blocks = a.columns / BLOCK;
        for panel in 0..a.panels {
            let from = a.w.add(panel * a.panel_bytes);
            let mut sum = [S::zero(); T];
            for g in 0..blocks.div_ceil(B::GROUP) {
                let (len, meta, codes) = group::<B>(from, blocks, g);
                for block in 0..len {
                    let record = a.x.add((g * B::GROUP + block) * record_bytes(T));
                    // Evenly through meta and codes, and on into the next group or panel.
                    let ahead = if B::Planes::BYTES == 8 * QUAD { S::NEAR } else { S::AHEAD };
                    let ahead = meta.wrapping_add(ahead + block * (group_bytes::<B>(B::GROUP) / B::GROUP));
                    for line in 0..B::Planes::BYTES / 64 + 1 {
                        S::prefetch(ahead.wrapping_add(64 * line));
                    }
                    let mut dot = [S::zero(); T];
                    for half in 0..halves::<B>() {
                        let mut acc = [with_bits!(B, S::dot_start(0)); T];
                        for t in 0..T {
                            acc[t] = with_bits!(B, S::dot_start(bias::<B>(record, half, T, t)));
                        }
                        for pair in pairs::<B>(half) {
                            let (w0, w1) = B::codes::<S>(codes.add(block * B::Planes::BYTES), pair);
                            for t in 0..T {
                                let x = record.add(BLOCK * t + 8 * pair).cast::<i8>();
                                acc[t] = with_bits!(B, S::dot(acc[t], w0, w1, x, x.add(4)));
                            }
                        }
                        let scale = B::Scales::scale::<S>(meta, block, half);
                        for t in 0..T {
                            let sum = with_bits!(B, S::dot_finish(acc[t], bias::<B>(record, half, T, t)));
                            dot[t] = scaled::<S>(half, sum, scale, dot[t]);
                        }
                    }
                    for t in 0..T {
                        sum[t] = S::fma(dot[t], S::splat(number(record, Field::Scale, T, t)), sum[t]);
                    }
                    if B::Scales::MINS {
                        for (part, field) in SUMS[..halves::<B>()].iter().enumerate() {
                            let min = B::Scales::min::<S>(meta, block, part);
                            for t in 0..T {
                                sum[t] = S::fma(min, S::splat(number(record, *field, T, t)), sum[t]);
                            }
                        }
                    }
                }
            }
            for t in 0..T {
                S::store(a.y.add((panel * T + t) * LANES), sum[t]);
            }
        }
    }
}

/// Decodes panels for [`tile`].
///
/// # Safety
/// As for [`Simd`] and [`Product`]; `to` has room for them.
#[inline(always)]
pub unsafe fn unpack<S: Simd, B: Blocks>(a: &Product, to: &Unpacked) {
    // SAFETY: reads the panels, writes what `Unpacked` describes.
    unsafe {
        let blocks = a.columns / BLOCK;
        for panel in 0..a.panels {
            for g in 0..blocks.div_ceil(B::GROUP) {
                let (len, meta, codes) = group::<B>(a.w.add(panel * a.panel_bytes), blocks, g);
                for block in 0..len {
                    let at = panel * blocks + g * B::GROUP + block;
                    let (from, quads) = (codes.add(block * B::Planes::BYTES), to.codes.add(at * 8 * QUAD));
                    for pair in 0..4 {
                        let (w0, w1) = B::codes::<S>(from, pair);
                        S::store_bytes(quads.add(2 * pair * QUAD), w0);
                        S::store_bytes(quads.add((2 * pair + 1) * QUAD), w1);
                    }
                    for half in 0..halves::<B>() {
                        let scale = B::Scales::scale::<S>(meta, block, half);
                        S::store(to.scales.add((at * halves::<B>() + half) * LANES), scale);
                    }
                    if B::Scales::MINS {
                        for part in 0..halves::<B>() {
                            let min = B::Scales::min::<S>(meta, block, part);
                            S::store(to.mins.add((at * halves::<B>() + part) * LANES), min);
                        }
                    }
                }
            }
        }
    }
}

/// Decoded panels times a full tile of tokens.
///
/// # Safety
/// As for [`Simd`] and [`Product`]; `w` is what [`unpack`] wrote.
#[inline(always)]
pub unsafe fn tile<S: Simd, B: Blocks>(a: &Product, w: &Unpacked) {
    // SAFETY: passed on.
    unsafe {
        // With halves, two panels would need more registers than there are.
        if S::PAIR && !B::Scales::HALVES && a.panels == 2 {
            panels::<S, B, 2>(a, w, 0);
        } else {
            for panel in 0..a.panels {
                panels::<S, B, 1>(a, w, panel);
            }
        }
    }
}

/// `P` panels at once: each activation that is loaded serves them all.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn panels<S: Simd, B: Blocks, const P: usize>(a: &Product, w: &Unpacked, first: usize) {
    // SAFETY: passed on.
    unsafe {
        let blocks = a.columns / BLOCK;
        let mut sum = [[S::zero(); MAX_TILE]; P];
        for block in 0..blocks {
            let record = a.x.add(block * record_bytes(S::TILE));
            let at = |p: usize| (first + p) * blocks + block;
            let mut dot = [[S::zero(); MAX_TILE]; P];
            for half in 0..halves::<B>() {
                let mut acc = [[with_bits!(B, S::dot_start(0)); MAX_TILE]; P];
                for t in 0..S::TILE {
                    for acc in &mut acc {
                        acc[t] = with_bits!(B, S::dot_start(bias::<B>(record, half, S::TILE, t)));
                    }
                }
                for pair in pairs::<B>(half) {
                    let quads: [*const u8; P] =
                        std::array::from_fn(|p| w.codes.add((8 * at(p) + 2 * pair) * QUAD).cast_const());
                    for t in 0..S::TILE {
                        let x = record.add(BLOCK * t + 8 * pair).cast::<i8>();
                        for p in 0..P {
                            let (w0, w1) = (S::load_bytes(quads[p]), S::load_bytes(quads[p].add(QUAD)));
                            acc[p][t] = with_bits!(B, S::dot(acc[p][t], w0, w1, x, x.add(4)));
                        }
                    }
                }
                for p in 0..P {
                    let scale = S::load(w.scales.add((at(p) * halves::<B>() + half) * LANES));
                    for t in 0..S::TILE {
                        let sum = with_bits!(B, S::dot_finish(acc[p][t], bias::<B>(record, half, S::TILE, t)));
                        dot[p][t] = scaled::<S>(half, sum, scale, dot[p][t]);
                    }
                }
            }
            for t in 0..S::TILE {
                let token = S::splat(number(record, Field::Scale, S::TILE, t));
                for p in 0..P {
                    sum[p][t] = S::fma(dot[p][t], token, sum[p][t]);
                }
            }
            if B::Scales::MINS {
                for p in 0..P {
                    for (part, field) in SUMS[..halves::<B>()].iter().enumerate() {
                        let min = S::load(w.mins.add((at(p) * halves::<B>() + part) * LANES));
                        for t in 0..S::TILE {
                            sum[p][t] = S::fma(min, S::splat(number(record, *field, S::TILE, t)), sum[p][t]);
                        }
                    }
                }
            }
        }
        for p in 0..P {
            for t in 0..S::TILE {
                S::store(a.y.add(((first + p) * S::TILE + t) * LANES), sum[p][t]);
            }
        }
    }
}
