//! Rows of some of a token's logits, as products come.

use super::super::vector::{load, map_over};
use super::partition;
use crate::simd::{LANES, Simd};

/// How products become logits.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Factor.
    pub scale: f32,
    /// 0: none.
    pub softcap: f32,
}

/// A logit, and its slope by the product.
#[inline(always)]
unsafe fn logit<S: Simd>(product: S::F, rule: Rule) -> (S::F, S::F) {
    // SAFETY: passed on.
    unsafe {
        let scale = S::splat(rule.scale);
        let y = S::mul(product, scale);
        if rule.softcap <= 0.0 {
            return (y, scale);
        }
        let cap = S::splat(rule.softcap);
        let t = S::tanh(S::div(y, cap));
        (S::mul(cap, t), S::mul(scale, S::sub(S::splat(1.0), S::mul(t, t))))
    }
}

/// Makes logits of `n` products, in place, and writes the largest and the sum of `e^(logit - largest)`.
///
/// # Safety
/// `x` has `n` elements, `part` is there; see [`Simd`].
#[inline(always)]
unsafe fn part<S: Simd>(x: *mut f32, n: usize, rule: Rule, to: *mut [f32; 2]) {
    // SAFETY: passed on; partial loads stay within `n`.
    unsafe {
        map_over!(S, n, x, |i, lanes| logit::<S>(load::<S>(x.add(i), lanes), rule).0);
        let (top, sum) = partition::<S>(x, n);
        *to = [top, sum as f32];
    }
}

/// Products of a token with some rows, and what their gradients are made of.
#[derive(Clone, Copy)]
pub struct Slopes {
    /// Products; become their gradients.
    pub x: *mut f32,
    /// So many.
    pub n: usize,
    /// See [`Rule`].
    pub rule: Rule,
    /// The token's largest logit.
    pub top: f32,
    /// The loss's gradient over the sum of exponentials.
    pub factor: f32,
    /// The loss's gradient.
    pub seed: f32,
    /// Which of the products is the target's, if any.
    pub target: Option<usize>,
}

/// `seed (softmax - [target]) slope`.
///
/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn slopes<S: Simd>(a: &Slopes) {
    // SAFETY: elements below `n`.
    unsafe {
        let mut own = [0f32; LANES];
        if let Some(target) = a.target {
            let (_, slope) = logit::<S>(S::splat(a.x.add(target).read()), a.rule);
            S::store(own.as_mut_ptr(), S::mul(slope, S::splat(a.seed)));
        }
        let (top, factor) = (S::splat(a.top), S::splat(a.factor));
        map_over!(S, a.n, a.x, |i, lanes| {
            let (y, slope) = logit::<S>(load::<S>(a.x.add(i), lanes), a.rule);
            S::mul(S::mul(S::exp(S::sub(y, top)), factor), slope)
        });
        if let Some(target) = a.target {
            *a.x.add(target) -= own[0];
        }
    }
}

crate::tier::tier_fn! {
    /// Logits, their largest, and their sum.
    pub fn reduce(x: *mut f32, n: usize, rule: Rule, to: *mut [f32; 2]) = part;
    /// Gradients of products.
    pub fn gradients(a: &Slopes) = slopes;
}
