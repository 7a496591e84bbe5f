//! Inner values of adapters: `u = s A h`. A's rows are multiplied as any float matrix is, so a value depends on its row and its
//! token alone, however many of either are computed together.

use super::Lora;
use crate::matmul::finish::{Finish, Results, Target};
use crate::matmul::strip::{Multiplier, RESULTS};
use crate::matmul::tokens::{Tile, Tiling};
use crate::op::Step;
use crate::tier::Tier;
use crate::weight::{Format, STRIP};
use std::mem::MaybeUninit;
use std::ops::Range;

/// What computes them for inputs of so many columns.
#[derive(Clone, Copy)]
pub(super) struct Inner {
    multiplier: Multiplier,
    columns: usize,
    write: unsafe fn(&Results, Target, Target),
}

/// Rows of A, tokens, and where the values go.
pub(super) struct Values {
    /// First row of A.
    pub a: *const f32,
    /// How many.
    pub ranks: usize,
    /// The first token's row; those of the others follow.
    pub h: *const f32,
    /// Tokens.
    pub tokens: usize,
    /// The adapter's scale.
    pub scale: f32,
    /// `[token][stride]`.
    pub u: *mut f32,
    /// Elements from token to token.
    pub stride: usize,
}

#[repr(align(64))]
struct Buffer([MaybeUninit<f32>; RESULTS]);

impl Inner {
    pub fn new(columns: usize, tier: Tier) -> Self {
        Self { multiplier: Multiplier::new(Format::F32, columns, tier), columns, write: Finish::new(tier).write }
    }

    /// Computes values.
    ///
    /// # Safety
    /// All of it is in memory as described; the tier is available.
    pub unsafe fn compute(&self, v: &Values) {
        let mut y = Buffer([MaybeUninit::uninit(); RESULTS]);
        let y = y.0.as_mut_ptr().cast::<f32>();
        let width = self.multiplier.tile();
        for rank in (0..v.ranks).step_by(STRIP) {
            let rows = (v.ranks - rank).min(STRIP);
            for first in (0..v.tokens).step_by(width) {
                let tile = Tile { first, width: (v.tokens - first).min(width) };
                // SAFETY: the buffer takes any tile; rows and tokens are there.
                unsafe {
                    let strip = self.multiplier.plain_strip(v.a.add(rank * self.columns), rows);
                    let tiling = Tiling::new(v.tokens, width);
                    self.multiplier.multiply(strip, tiling, std::ptr::null_mut(), v.h.cast(), tile, y);
                    let u = Target { at: v.u.add(first * v.stride + rank), stride: v.stride };
                    let results = Results { y, pitch: tile.width, width: tile.width, rows };
                    (self.write)(&results, u, Target { at: std::ptr::null_mut(), stride: 0 });
                    for t in 0..tile.width {
                        (0..rows).for_each(|r| *u.at.add(t * u.stride + r) *= v.scale);
                    }
                }
            }
        }
    }
}

/// Bank and scale of a token's adapter, of `adapter_index` and `adapter_scale`, where it has one that does anything.
///
/// # Safety
/// Both tensors are vectors of the step, of a length per token and per bank.
pub(super) unsafe fn adapter(
    step: &Step<'_>,
    (index, scale): (usize, usize),
    token: usize,
    banks: usize,
) -> Option<(usize, f32)> {
    // SAFETY: passed on.
    unsafe {
        let bank = usize::try_from(*step.i32s(index).get(token)?).ok().filter(|&b| b < banks)?;
        let scale = step.f32(scale).add(bank).read();
        (scale != 0.0).then_some((bank, scale))
    }
}

/// Runs of tokens with the same adapter, or without any, in order; with bank and scale.
///
/// # Safety
/// As for [`adapter`].
pub(super) unsafe fn runs(
    step: &Step<'_>,
    tensors: Option<(usize, usize)>,
    tokens: Range<usize>,
    lora: Lora,
) -> impl Iterator<Item = (Range<usize>, Option<(usize, f32)>)> {
    let mut at = tokens.start;
    std::iter::from_fn(move || {
        // SAFETY: passed on.
        let of = |t: usize| unsafe { adapter(step, tensors?, t, lora.banks) };
        let (start, adapter) = (at, if at < tokens.end { of(at) } else { return None });
        while at < tokens.end && of(at) == adapter {
            at += 1;
        }
        Some((start..at, adapter))
    })
}
