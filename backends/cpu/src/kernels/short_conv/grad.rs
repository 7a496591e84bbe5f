//! Back through a convolution: what a row's input, the weights and the bias get of it.

use crate::kernels::vector::{load, map_over};
use crate::simd::{LANES, Simd};

/// Channels of one row.
#[derive(Clone, Copy)]
pub struct Rows {
    /// The row's input; rows before it are `stride` elements apart.
    pub x: *const f32,
    /// The gradient of the row's output; rows behind it are `stride` elements apart.
    pub dout: *const f32,
    /// Rows of the sequence before this one.
    pub before: usize,
    /// Rows of the sequence behind this one.
    pub behind: usize,
    /// Rows that an output sees.
    pub width: usize,
    /// Elements from row to row.
    pub stride: usize,
    /// Channels.
    pub n: usize,
    /// `[width, n]`.
    pub w: *const f32,
    /// `[n]`, or null.
    pub dx: *mut f32,
    /// `[width, n]`, added to.
    pub dw: *mut f32,
    /// `[n]`, added to.
    pub dbias: *mut f32,
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn one_row<S: Simd>(r: &Rows) {
    let (n, last) = (r.n, r.width - 1);
    // SAFETY: partial loads stay within `n`.
    unsafe {
        if !r.dx.is_null() {
            // The row is the one `i` rows before output `i`.
            map_over!(S, n, r.dx, |c, lanes| {
                let mut sum = S::zero();
                for i in 0..=last.min(r.behind) {
                    let (w, dout) = (r.w.add((last - i) * n + c), r.dout.add(i * r.stride + c));
                    sum = S::fma(load::<S>(w, lanes), load::<S>(dout, lanes), sum);
                }
                sum
            });
        }
        for i in 0..=last.min(r.before) {
            let (to, x) = (r.dw.add((last - i) * n), r.x.sub(i * r.stride));
            map_over!(S, n, to, |c, lanes| {
                S::fma(load::<S>(x.add(c), lanes), load::<S>(r.dout.add(c), lanes), load::<S>(to.add(c), lanes))
            });
        }
        map_over!(S, n, r.dbias, |c, lanes| S::add(load::<S>(r.dbias.add(c), lanes), load::<S>(r.dout.add(c), lanes)));
    }
}

crate::tier::tier_fn! {
    /// Back through a row.
    pub fn back(rows: &Rows) = one_row;
}
