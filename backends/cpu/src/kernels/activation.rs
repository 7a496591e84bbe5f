//! Activation functions, alone and gating.

pub mod grad;

use super::vector::{load, map_over};
use crate::simd::{LANES, Simd};
use tern_abi::ops::{GluParams, activation as kind};

/// `act(x)` for a vector. `activation` must be known, see [`known`].
///
/// # Safety
/// See [`Simd`].
#[inline(always)]
pub unsafe fn activate<S: Simd>(x: S::F, activation: u32) -> S::F {
    // SAFETY: passed on.
    unsafe {
        match activation {
            kind::SILU => silu::<S>(x),
            kind::GELU_TANH => {
                let cube = S::mul(S::mul(x, x), x);
                let inner = S::mul(S::splat(0.797_884_6), S::fma(S::splat(0.044_715), cube, x));
                let half = S::mul(S::splat(0.5), x);
                S::fma(half, S::tanh(inner), half)
            }
            kind::GELU => gelu::<S>(x),
            kind::RELU_SQUARED => {
                let y = S::max(x, S::zero());
                S::mul(y, y)
            }
            kind::SIGMOID => S::sigmoid(x),
            kind::TANH => S::tanh(x),
            kind::SOFTPLUS => softplus::<S>(x),
            _ => x,
        }
    }
}

/// Is it one that [`activate`] has?
pub fn known(activation: u32) -> bool {
    activation <= kind::SOFTPLUS
}

#[inline(always)]
unsafe fn silu<S: Simd>(x: S::F) -> S::F {
    // SAFETY: passed on.
    unsafe { S::div(x, S::add(S::splat(1.0), S::exp(S::sub(S::zero(), x)))) }
}

/// `max(x, 0) + ln(1 + t)` with `t = exp(-|x|)`; the logarithm is twice the inverse hyperbolic tangent of `t / (2 + t)`, at most a third,
/// whose series has as many terms as single precision can tell.
#[inline(always)]
unsafe fn softplus<S: Simd>(x: S::F) -> S::F {
    // SAFETY: passed on.
    unsafe {
        let t = S::exp(S::sub(S::zero(), S::abs(x)));
        let s = S::div(t, S::add(S::splat(2.0), t));
        let square = S::mul(s, s);
        let mut p = S::splat(1.0 / 15.0);
        for n in [13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
            p = S::fma(p, square, S::splat(1.0 / n));
        }
        S::fma(S::add(s, s), p, S::max(x, S::zero()))
    }
}

#[inline(always)]
unsafe fn gelu<S: Simd>(x: S::F) -> S::F {
    // SAFETY: passed on.
    unsafe { S::mul(x, normal::<S>(x)) }
}

/// `Φ(x)`, the normal distribution. Far from zero `erfc` is the exponential of a polynomial, so that the left tail keeps its
/// relative accuracy; near zero `erf` is a polynomial itself.
#[inline(always)]
unsafe fn normal<S: Simd>(x: S::F) -> S::F {
    // SAFETY: passed on.
    unsafe {
        let a = S::mul(x, S::splat(std::f32::consts::FRAC_1_SQRT_2));
        let t = S::abs(a);
        let s = S::mul(a, a);

        // ln(erfc(t)) for t > 0.93; beyond 9 the exponential is 0 anyway.
        let far = S::min(t, S::splat(10.0));
        let far2 = S::mul(far, far);
        let high = S::fma(S::splat(-1.728_534_7e-5), far, S::splat(3.831_972e-4));
        let low = S::fma(S::splat(-3.883_964_4e-3), far, S::splat(2.425_462_2e-2));
        let mut p = S::fma(high, far2, low);
        for c in [-0.106_777_88, -0.634_846_87, -0.128_717_51] {
            p = S::fma(p, far, S::splat(c));
        }
        let erfc = S::exp(S::fma(p, far, S::sub(S::zero(), far)));
        let tail = S::mul(S::splat(0.5), erfc);
        let tail = S::select_lt(x, S::zero(), tail, S::sub(S::splat(1.0), tail));

        let mut q = S::splat(-5.967_617e-4);
        for c in [4.991_194_2e-3, -2.676_813_5e-2, 0.112_819_925, -0.376_125_34, 0.128_379_17] {
            q = S::fma(q, s, S::splat(c));
        }
        let erf = S::fma(q, a, a);
        let near = S::fma(S::splat(0.5), erf, S::splat(0.5));

        S::select_lt(t, S::splat(0.927_734_4), near, tail)
    }
}

/// `act(gate) * up`, one row. `out` may be either input.
///
/// # Safety
/// All have `n` elements; see [`Simd`].
#[inline(always)]
pub unsafe fn glu_row<S: Simd>(gate: *const f32, up: *const f32, out: *mut f32, n: usize, activation: u32) {
    // SAFETY: passed on; partial loads stay within `n`.
    unsafe {
        map_over!(S, n, out, |i, lanes| {
            S::mul(activate::<S>(load::<S>(gate.add(i), lanes), activation), load::<S>(up.add(i), lanes))
        });
    }
}

/// [`GLU`](tern_abi::ops::GLU) with all of its parameters, one row.
#[inline(always)]
unsafe fn bounded_row<S: Simd>(gate: *const f32, up: *const f32, out: *mut f32, n: usize, p: &GluParams) {
    let limit = if p.limit > 0.0 { p.limit } else { f32::INFINITY };
    // SAFETY: the caller's pointers have `n` elements; partial loads stay within.
    unsafe {
        let (most, least, offset) = (S::splat(limit), S::splat(-limit), S::splat(p.offset));
        map_over!(S, n, out, |i, lanes| {
            let gate = S::min(load::<S>(gate.add(i), lanes), most);
            let up = S::max(S::min(load::<S>(up.add(i), lanes), most), least);
            let act = match p.alpha {
                0.0 => activate::<S>(gate, p.activation),
                alpha => S::mul(gate, S::sigmoid(S::mul(S::splat(alpha), gate))),
            };
            S::mul(act, S::add(up, offset))
        });
    }
}

#[inline(always)]
unsafe fn activation_row<S: Simd>(x: *const f32, out: *mut f32, n: usize, activation: u32) {
    // SAFETY: the caller's pointers have `n` elements.
    unsafe {
        map_over!(S, n, out, |i, lanes| activate::<S>(load::<S>(x.add(i), lanes), activation));
    }
}

crate::tier::tier_fn! {
    /// `act(gate) * up`.
    pub fn glu(gate: *const f32, up: *const f32, out: *mut f32, n: usize, activation: u32) = glu_row;
    /// The same with all parameters.
    pub fn bounded_glu(gate: *const f32, up: *const f32, out: *mut f32, n: usize, params: &GluParams) = bounded_row;
    /// `act(x)`.
    pub fn activation(x: *const f32, out: *mut f32, n: usize, activation: u32) = activation_row;
}
