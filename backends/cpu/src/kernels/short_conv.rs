//! One row of a causal convolution, each channel on its own.

pub mod grad;

use super::vector::{load, map_over};
use crate::simd::{LANES, Simd};

/// Channels of one row.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// Rows that the output sees, first to last.
    pub seen: &'a [*const f32],
    /// `[seen, n]`.
    pub w: *const f32,
    /// Bias or null.
    pub bias: *const f32,
    /// Channels.
    pub n: usize,
    /// `[n]`.
    pub out: *mut f32,
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn one_row<S: Simd>(row: &Row<'_>) {
    // SAFETY: partial loads stay within `n`.
    unsafe {
        map_over!(S, row.n, row.out, |c, lanes| {
            let mut sum = S::zero();
            for (j, x) in row.seen.iter().enumerate() {
                sum = S::fma(load::<S>(row.w.add(j * row.n + c), lanes), load::<S>(x.add(c), lanes), sum);
            }
            if row.bias.is_null() { sum } else { S::add(sum, load::<S>(row.bias.add(c), lanes)) }
        });
    }
}

crate::tier::tier_fn! {
    /// Convolves.
    pub fn convolve(row: &Row<'_>) = one_row;
}
