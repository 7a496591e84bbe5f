//! Derivatives of activation functions.

use super::super::vector::load;
use super::{activate, normal};
use crate::simd::{LANES, Simd};
use tern_abi::ops::{GluParams, activation as kind};

/// `act'(x)` for a vector.
///
/// # Safety
/// See [`Simd`].
#[inline(always)]
pub unsafe fn slope<S: Simd>(x: S::F, activation: u32) -> S::F {
    // SAFETY: passed on.
    unsafe {
        let one = S::splat(1.0);
        match activation {
            kind::SILU => {
                let s = S::sigmoid(x);
                // Where s vanishes, x times it is nothing, too.
                let x = S::max(x, S::splat(-100.0));
                S::mul(s, S::fma(x, S::sub(one, s), one))
            }
            kind::GELU_TANH => {
                // Beyond 10 the derivative is 0 or 1; so no power overflows.
                let x = S::min(S::splat(10.0), S::max(S::splat(-10.0), x));
                let square = S::mul(x, x);
                let cubic = S::splat(0.044_715);
                // (1 + tanh u) / 2 is the sigmoid of 2u, in which small values do not cancel.
                let u = S::mul(S::splat(2.0 * 0.797_884_6), S::fma(S::mul(cubic, square), x, x));
                let inner = S::mul(S::splat(2.0 * 0.797_884_6), S::fma(S::splat(3.0 * 0.044_715), square, one));
                S::fma(S::mul(x, inner), bell::<S>(u), S::sigmoid(u))
            }
            kind::GELU => {
                let density = S::mul(S::splat(0.398_942_3), S::exp(S::mul(S::splat(-0.5), S::mul(x, x))));
                S::fma(x, density, normal::<S>(x))
            }
            kind::RELU_SQUARED => S::mul(S::splat(2.0), S::max(x, S::zero())),
            kind::SIGMOID => bell::<S>(x),
            kind::SOFTPLUS => S::sigmoid(x),
            kind::TANH => S::mul(S::splat(4.0), bell::<S>(S::add(x, x))),
            _ => one,
        }
    }
}

/// `x * sigmoid(alpha * x)` and its derivative.
#[inline(always)]
unsafe fn steep<S: Simd>(x: S::F, alpha: f32) -> (S::F, S::F) {
    // SAFETY: passed on.
    unsafe {
        let inner = S::mul(S::splat(alpha), x);
        let s = S::sigmoid(inner);
        (S::mul(x, s), S::fma(inner, bell::<S>(inner), s))
    }
}

/// The sigmoid's derivative.
#[inline(always)]
unsafe fn bell<S: Simd>(x: S::F) -> S::F {
    // SAFETY: passed on.
    unsafe {
        let e = S::exp(S::sub(S::zero(), S::abs(x)));
        let sum = S::add(S::splat(1.0), e);
        S::div(e, S::mul(sum, sum))
    }
}

#[inline(always)]
unsafe fn store<S: Simd>(p: *mut f32, y: S::F, lanes: usize) {
    // SAFETY: the caller's pointer has so many elements.
    unsafe { if lanes == LANES { S::store(p, y) } else { S::store_n(p, y, lanes) } }
}

/// `dx = dy act'(x)`.
///
/// # Safety
/// All have `n` elements; see [`Simd`].
#[inline(always)]
unsafe fn activation_row<S: Simd>(x: *const f32, dy: *const f32, dx: *mut f32, n: usize, activation: u32) {
    for i in (0..n).step_by(LANES) {
        let lanes = LANES.min(n - i);
        // SAFETY: elements below `n`.
        unsafe {
            let g = S::mul(load::<S>(dy.add(i), lanes), slope::<S>(load::<S>(x.add(i), lanes), activation));
            store::<S>(dx.add(i), g, lanes);
        }
    }
}

/// Elements of a gated unit and of its gradients, each of which may be null.
#[derive(Clone, Copy)]
pub struct Gated {
    /// What the activation is applied to.
    pub gate: *const f32,
    /// What it gates.
    pub up: *const f32,
    /// Gradient of the output.
    pub dy: *const f32,
    /// Gradient of `gate`.
    pub dgate: *mut f32,
    /// Gradient of `up`.
    pub dup: *mut f32,
    /// Elements.
    pub n: usize,
    /// See [`tern_abi::ops::GLU`].
    pub params: GluParams,
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn gated<S: Simd>(a: &Gated) {
    let p = &a.params;
    let limit = if p.limit > 0.0 { p.limit } else { f32::INFINITY };
    for i in (0..a.n).step_by(LANES) {
        let lanes = LANES.min(a.n - i);
        // SAFETY: elements below `n`.
        unsafe {
            let (most, least) = (S::splat(limit), S::splat(-limit));
            let (gate, up) = (load::<S>(a.gate.add(i), lanes), load::<S>(a.up.add(i), lanes));
            let (x, g) = (S::min(gate, most), load::<S>(a.dy.add(i), lanes));
            if !a.dgate.is_null() {
                let bounded = S::add(S::max(S::min(up, most), least), S::splat(p.offset));
                let slope = if p.alpha == 0.0 { slope::<S>(x, p.activation) } else { steep::<S>(x, p.alpha).1 };
                let d = S::mul(S::mul(g, bounded), slope);
                store::<S>(a.dgate.add(i), S::select_lt(most, gate, S::zero(), d), lanes);
            }
            if !a.dup.is_null() {
                let act = if p.alpha == 0.0 { activate::<S>(x, p.activation) } else { steep::<S>(x, p.alpha).0 };
                let d = S::select_lt(most, up, S::zero(), S::mul(g, act));
                store::<S>(a.dup.add(i), S::select_lt(up, least, S::zero(), d), lanes);
            }
        }
    }
}

crate::tier::tier_fn! {
    /// Gradient of an activation.
    pub fn activation(x: *const f32, dy: *const f32, dx: *mut f32, n: usize, activation: u32) = activation_row;
    /// Gradients of a gated unit.
    pub fn glu(a: &Gated) = gated;
}
