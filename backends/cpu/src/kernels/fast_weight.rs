//! One row of fast weights: an inner model of a head, of one layer or two, that learns along a sequence.
//! See [`tern_abi::ops::FAST_WEIGHT`] for the mathematics.

pub mod delta;
pub mod delta_grad;
pub mod gated;
pub mod gated_grad;
pub mod grad;
pub mod muon;
pub mod muon_grad;
mod products;

use super::activation::{activate, grad::slope};
use super::vector::{load, map_over, sum, sum_of_squares, sum_over};
use crate::simd::{LANES, Simd};
use tern_abi::ops::activation::GELU_TANH;

/// One head at one token. Vectors have `f` elements.
#[derive(Clone, Copy)]
pub struct Row {
    /// Dimensions of the head.
    pub f: usize,
    /// The token's query.
    pub q: *const f32,
    /// The token's key.
    pub k: *const f32,
    /// The token's value.
    pub v: *const f32,
    /// The token's learning rate.
    pub lr: f32,
    /// Scale of the token's place in the mini-batch, not negative.
    pub scale: f32,
    /// Of the inner norm.
    pub ln_w: *const f32,
    /// Of the inner norm.
    pub ln_b: *const f32,
    /// Of the inner norm.
    pub eps: f32,
    /// The inner model's layers; the first takes keys. A last one that is null is none.
    pub layers: [Layer; 2],
    /// Places `first .. at` are open; this token becomes `at`.
    pub first: usize,
    /// See `first`.
    pub at: usize,
    /// Places of a full mini-batch.
    pub chunk: usize,
    /// `[f]`.
    pub out: *mut f32,
    /// [`work_len`] elements.
    pub work: *mut f32,
}

/// A layer of an inner model: what it was at the mini-batch's start, and what the mini-batch's tokens have for it.
#[derive(Clone, Copy)]
pub struct Layer {
    /// Elements of its input.
    pub inputs: usize,
    /// Elements of its output.
    pub outputs: usize,
    /// `[inputs, outputs]` at the mini-batch's start.
    pub w: *mut f32,
    /// At the mini-batch's start.
    pub b: *mut f32,
    /// Places of the mini-batch: input, gradient, learning rate.
    pub places: *mut f32,
}

impl Layer {
    /// A layer as states have it; see [`crate::state::fast_head_len`].
    pub fn new(state: *mut f32, inputs: usize, outputs: usize) -> Self {
        let b = state.wrapping_add(inputs * outputs);
        Self { inputs, outputs, w: state, b, places: b.wrapping_add(outputs) }
    }

    /// No layer.
    pub const NONE: Self =
        Self { inputs: 0, outputs: 0, w: std::ptr::null_mut(), b: std::ptr::null_mut(), places: std::ptr::null_mut() };

    /// Elements of a place.
    fn place_len(&self) -> usize {
        self.inputs + self.outputs + 1
    }

    #[inline(always)]
    unsafe fn place(&self, j: usize) -> *mut f32 {
        // SAFETY: a place of the mini-batch.
        unsafe { self.places.add(j * self.place_len()) }
    }

    /// What `x` was given as place `j`.
    #[inline(always)]
    unsafe fn take_in(&self, j: usize, x: *const f32, rate: f32) {
        // SAFETY: a place of the mini-batch.
        unsafe {
            let place = self.place(j);
            place.copy_from_nonoverlapping(x, self.inputs);
            *place.add(self.inputs + self.outputs) = rate;
        }
    }

    /// The gradient that place `j` has.
    #[inline(always)]
    unsafe fn gradient(&self, j: usize) -> *mut f32 {
        // SAFETY: a place of the mini-batch.
        unsafe { self.place(j).add(self.inputs) }
    }

    /// The rate that place `j` has.
    #[inline(always)]
    unsafe fn rate(&self, j: usize) -> f32 {
        // SAFETY: a place of the mini-batch.
        unsafe { *self.place(j).add(self.inputs + self.outputs) }
    }
}

/// Elements of a token's work memory.
pub const fn work_len(f: usize, hidden: usize) -> usize {
    2 * f + 2 * hidden
}

/// `out = x W + b`.
#[inline(always)]
unsafe fn apply<S: Simd>(x: *const f32, layer: &Layer, out: *mut f32) {
    let n = layer.outputs;
    // SAFETY: partial loads stay within a row of W.
    unsafe {
        map_over!(S, n, out, |i, lanes| {
            let mut acc = S::zero();
            for a in 0..layer.inputs {
                acc = S::fma(S::splat(*x.add(a)), load::<S>(layer.w.add(a * n + i), lanes), acc);
            }
            S::add(acc, load::<S>(layer.b.add(i), lanes))
        });
    }
}

/// The same with what the mini-batch has learned up to and including this token. `learned` has room for it.
#[inline(always)]
unsafe fn apply_now<S: Simd>(x: *const f32, layer: &Layer, row: &Row, learned: *mut f32, out: *mut f32) {
    let n = layer.outputs;
    // SAFETY: as the fields say.
    unsafe {
        apply::<S>(x, layer, out);
        map_over!(S, n, learned, |_i, _lanes| S::zero());
        for j in row.first..=row.at {
            let share = S::splat(layer.rate(j) * (dot::<S>(x, layer.place(j), layer.inputs) + 1.0));
            let gradient = layer.gradient(j);
            map_over!(S, n, learned, |i, lanes| {
                S::fma(share, load::<S>(gradient.add(i), lanes), load::<S>(learned.add(i), lanes))
            });
        }
        let scale = S::splat(row.scale);
        map_over!(S, n, out, |i, lanes| {
            S::sub(load::<S>(out.add(i), lanes), S::mul(scale, load::<S>(learned.add(i), lanes)))
        });
    }
}

/// Makes `x` standard: mean 0, variance 1. Yields the root of the variance.
#[inline(always)]
unsafe fn standardize<S: Simd>(x: *mut f32, f: usize, eps: f32) -> f32 {
    // SAFETY: `x` has `f` elements.
    unsafe {
        let mean = S::splat(sum::<S>(x, f) / f as f32);
        map_over!(S, f, x, |i, lanes| S::sub(load::<S>(x.add(i), lanes), mean));
        let root = (sum_of_squares::<S>(x, f) / f as f32 + eps).sqrt();
        let scale = S::splat(1.0 / root);
        map_over!(S, f, x, |i, lanes| S::mul(load::<S>(x.add(i), lanes), scale));
        root
    }
}

#[inline(always)]
unsafe fn dot<S: Simd>(a: *const f32, b: *const f32, f: usize) -> f32 {
    // SAFETY: both have `f` elements.
    unsafe { sum_over!(S, f, |i, lanes| S::mul(load::<S>(a.add(i), lanes), load::<S>(b.add(i), lanes))) }
}

/// `out = gelu(z)`; they may be the same.
#[inline(always)]
unsafe fn gelu<S: Simd>(z: *const f32, n: usize, out: *mut f32) {
    // SAFETY: both have `n` elements.
    unsafe {
        map_over!(S, n, out, |i, lanes| activate::<S>(load::<S>(z.add(i), lanes), GELU_TANH));
    }
}

/// Takes the token in as place `at` of every layer: its input there, gradient and learning rate.
#[inline(always)]
unsafe fn take_in<S: Simd>(row: &Row) {
    let (f, [first, second]) = (row.f, &row.layers);
    // SAFETY: as the fields say.
    unsafe {
        let (normal, e) = (row.work, row.work.add(f));
        if second.w.is_null() {
            apply::<S>(row.k, first, normal);
            inner_gradient::<S>(row, normal, e, first.gradient(row.at));
        } else {
            let (m, z) = (first.outputs, row.work.add(2 * f));
            let u = z.add(m);
            apply::<S>(row.k, first, z);
            gelu::<S>(z, m, u);
            apply::<S>(u, second, normal);
            inner_gradient::<S>(row, normal, e, second.gradient(row.at));
            second.take_in(row.at, u, row.lr);
            let (g, out) = (second.gradient(row.at), first.gradient(row.at));
            for a in 0..m {
                *u.add(a) = dot::<S>(second.w.add(a * f), g, f);
            }
            map_over!(S, m, out, |i, lanes| {
                S::mul(load::<S>(u.add(i), lanes), slope::<S>(load::<S>(z.add(i), lanes), GELU_TANH))
            });
        }
        first.take_in(row.at, row.k, row.lr);
    }
}

/// The gradient at the inner model's output, which is in `normal`, with what it is made of: the output standardized, and the loss's
/// derivative by that. Yields the root of the variance.
#[inline(always)]
unsafe fn inner_gradient<S: Simd>(row: &Row, normal: *mut f32, e: *mut f32, gradient: *mut f32) -> f32 {
    let f = row.f;
    // SAFETY: as the fields say.
    unsafe {
        let root = standardize::<S>(normal, f, row.eps);
        map_over!(S, f, e, |i, lanes| {
            let w = load::<S>(row.ln_w.add(i), lanes);
            let y = S::fma(w, load::<S>(normal.add(i), lanes), load::<S>(row.ln_b.add(i), lanes));
            let target = S::sub(load::<S>(row.v.add(i), lanes), load::<S>(row.k.add(i), lanes));
            S::mul(S::sub(y, target), w)
        });
        let total = S::splat(sum::<S>(e, f));
        let along = S::splat(dot::<S>(e, normal, f));
        let (n, below) = (S::splat(f as f32), S::splat(f as f32 * root));
        map_over!(S, f, gradient, |i, lanes| {
            let left = S::sub(S::mul(n, load::<S>(e.add(i), lanes)), total);
            S::div(S::sub(left, S::mul(load::<S>(normal.add(i), lanes), along)), below)
        });
        root
    }
}

/// The output row, with what the mini-batch has learned up to and including this token.
#[inline(always)]
unsafe fn output<S: Simd>(row: &Row) {
    let (f, [first, second]) = (row.f, &row.layers);
    // SAFETY: as the fields say.
    unsafe {
        let (z, learned) = (row.work, row.work.add(f));
        if second.w.is_null() {
            apply_now::<S>(row.q, first, row, learned, z);
        } else {
            let u = row.work.add(2 * f);
            apply_now::<S>(row.q, first, row, u.add(first.outputs), u);
            gelu::<S>(u, first.outputs, u);
            apply_now::<S>(u, second, row, learned, z);
        }
        standardize::<S>(z, f, row.eps);
        map_over!(S, f, row.out, |i, lanes| {
            let y = S::fma(
                load::<S>(row.ln_w.add(i), lanes),
                load::<S>(z.add(i), lanes),
                load::<S>(row.ln_b.add(i), lanes),
            );
            S::add(load::<S>(row.q.add(i), lanes), y)
        });
    }
}

/// What the full mini-batch learned becomes part of the layer, and its places are cleared.
#[inline(always)]
unsafe fn commit<S: Simd>(row: &Row, layer: &Layer) {
    let n = layer.outputs;
    // SAFETY: as the fields say.
    unsafe {
        let scale = S::splat(row.scale);
        for a in 0..=layer.inputs {
            // The bias is as a row whose input is always 1.
            let bias = a == layer.inputs;
            let to = if bias { layer.b } else { layer.w.add(a * n) };
            map_over!(S, n, to, |i, lanes| {
                let mut acc = S::zero();
                for j in row.first..=row.at {
                    let rate = if bias { layer.rate(j) } else { layer.rate(j) * *layer.place(j).add(a) };
                    acc = S::fma(S::splat(rate), load::<S>(layer.gradient(j).add(i), lanes), acc);
                }
                S::sub(load::<S>(to.add(i), lanes), S::mul(scale, acc))
            });
        }
        layer.places.write_bytes(0, row.chunk * layer.place_len());
    }
}

/// The end of a token: where it is the mini-batch's last, what that learned becomes part of the layers.
#[inline(always)]
unsafe fn finish<S: Simd>(row: &Row) {
    for layer in row.layers.iter().filter(|l| row.at + 1 == row.chunk && !l.w.is_null()) {
        // SAFETY: passed on.
        unsafe { commit::<S>(row, layer) }
    }
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn one_row<S: Simd>(row: &Row) {
    // SAFETY: passed on.
    unsafe {
        take_in::<S>(row);
        output::<S>(row);
        finish::<S>(row);
    }
}

/// # Safety
/// As the fields say, but for `q`, `out` and `scale` before the mini-batch's last place; see [`Simd`].
#[inline(always)]
unsafe fn one_row_again<S: Simd>(row: &Row) {
    // SAFETY: passed on.
    unsafe {
        take_in::<S>(row);
        finish::<S>(row);
    }
}

crate::tier::tier_fn! {
    /// Learns from a token and writes its output.
    pub fn learn(row: &Row) = one_row;
    /// Learns from a token without an output.
    pub fn relearn(row: &Row) = one_row_again;
}
