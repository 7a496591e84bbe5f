//! The same for an inner model of two layers: back through GELU and through its slope, which the first layer's inner gradient has.
//!
//! With the names of the module above, `u = gelu(z')`, `r = W1 g` and `g' = r gelu'(z')`:
//!
//! ```text
//! output    each layer as there, the second for the input ū, whose gradient goes through gelu'(z̄') into the first
//! inner     D[r] = D[g'] gelu'(z');  D[g] += D[r] W1;  D[z'] = D[g'] r gelu''(z') + (D[u] + W1 D[z]) gelu'(z')
//! ```

use super::super::super::activation::grad::slope;
use super::super::super::vector::{load, map_over};
use super::super::{Layer, apply, dot, gelu, inner_gradient, standardize};
use super::{Lesson, MiniBatch, add_product, add_scaled, hand_over, loss, unstandardize, work_len};
use crate::simd::{LANES, Simd};
use tern_abi::ops::activation::GELU_TANH;

/// Rows of one mini-batch of a head.
#[derive(Clone, Copy)]
pub struct Stack {
    /// What a linear inner model has, but for the weights: those here are of the first layer, `[f, hidden]` and `[hidden]`.
    pub m: MiniBatch,
    /// Dimensions between the layers.
    pub hidden: usize,
    /// `[hidden, f]` at the mini-batch's start.
    pub w: *mut f32,
    /// At the mini-batch's start.
    pub b: *mut f32,
    /// Gradient of `w` after the mini-batch; becomes that before it.
    pub dw: *mut f32,
    /// The same of `b`.
    pub db: *mut f32,
    /// [`stack_work_len`] elements, of which `m.work` is the beginning.
    pub work: *mut f32,
}

/// Vectors of a row between the layers, and one number.
const VECTORS: usize = 9;
/// Vectors between the layers that no row owns, and others.
const SHARED: [usize; 2] = [3, 2];

/// Elements of the work memory of a mini-batch of `chunk` rows.
pub const fn stack_work_len(f: usize, hidden: usize, chunk: usize) -> usize {
    work_len(f, chunk) + SHARED[0] * hidden + SHARED[1] * f + chunk * (VECTORS * hidden + 1)
}

/// What is kept of a row between the layers.
struct Wide {
    /// First layer's output, what the second one sees, and GELU's slope.
    z: *mut f32,
    u: *mut f32,
    slope: *mut f32,
    /// The second layer's weights times the inner gradient, and the first layer's inner gradient.
    r: *mut f32,
    g: *mut f32,
    /// Gradients of `g` and `u`.
    dg: *mut f32,
    du: *mut f32,
    /// What the second layer sees of the query, and the gradient of the first one's output there.
    answer: *mut f32,
    dz: *mut f32,
    share: *mut f32,
}

impl Stack {
    /// Vectors that no row owns: three between the layers, two others.
    #[inline(always)]
    unsafe fn shared(&self) -> ([*mut f32; 3], [*mut f32; 2]) {
        // SAFETY: behind what the mini-batch itself uses.
        unsafe {
            let at = self.work.add(work_len(self.m.f, self.m.rows));
            let wide = std::array::from_fn(|i| at.add(i * self.hidden));
            (wide, std::array::from_fn(|i| at.add(SHARED[0] * self.hidden + i * self.m.f)))
        }
    }
    #[inline(always)]
    unsafe fn wide(&self, j: usize) -> Wide {
        // SAFETY: a row of the work memory, behind what all share.
        unsafe {
            let h = self.hidden;
            let before = work_len(self.m.f, self.m.rows) + SHARED[0] * h + SHARED[1] * self.m.f;
            let at = self.work.add(before + j * (VECTORS * h + 1));
            let [z, u, slope, r, g, dg, du, answer, dz] = std::array::from_fn(|i| at.add(i * h));
            Wide { z, u, slope, r, g, dg, du, answer, dz, share: at.add(VECTORS * h) }
        }
    }
    /// Weights and bias as a layer; places are not used here.
    #[inline(always)]
    fn layer(&self, inputs: usize, outputs: usize, w: *mut f32, b: *mut f32) -> Layer {
        Layer { inputs, outputs, w, b, places: self.work }
    }
}

/// GELU's slope.
#[inline(always)]
unsafe fn slopes<S: Simd>(z: *const f32, n: usize, out: *mut f32) {
    // SAFETY: both have `n` elements.
    unsafe { map_over!(S, n, out, |i, lanes| slope::<S>(load::<S>(z.add(i), lanes), GELU_TANH)) }
}

/// The derivative of GELU's slope: with `t = tanh(h(x))`, `(1 - t²) (h' (1 - x t h') + x h'' / 2)`.
#[inline(always)]
unsafe fn bend<S: Simd>(x: S::F) -> S::F {
    // SAFETY: passed on.
    unsafe {
        // Beyond 10 it is nothing; so no power overflows.
        let x = S::min(S::splat(10.0), S::max(S::splat(-10.0), x));
        let (square, one) = (S::mul(x, x), S::splat(1.0));
        let (root, cubic) = (S::splat(0.797_884_6), 0.044_715);
        let h = S::mul(root, S::fma(S::mul(S::splat(cubic), square), x, x));
        let first = S::mul(root, S::fma(S::splat(3.0 * cubic), square, one));
        let half_second = S::mul(root, S::mul(S::splat(3.0 * cubic), x));
        let t = S::tanh(h);
        // 1 - t² without cancelling: 4 times the sigmoid's derivative at 2h.
        let e = S::exp(S::mul(S::splat(-2.0), S::abs(h)));
        let sum = S::add(one, e);
        let rest = S::div(S::mul(S::splat(4.0), e), S::mul(sum, sum));
        let inner = S::sub(one, S::mul(S::mul(x, t), first));
        S::mul(rest, S::fma(first, inner, S::mul(x, half_second)))
    }
}

/// `out = a * b`.
#[inline(always)]
unsafe fn multiplied<S: Simd>(a: *const f32, b: *const f32, n: usize, out: *mut f32) {
    // SAFETY: all have `n` elements.
    unsafe { map_over!(S, n, out, |i, lanes| S::mul(load::<S>(a.add(i), lanes), load::<S>(b.add(i), lanes))) }
}

/// `W += xᵀ y`, `b += y`.
#[inline(always)]
unsafe fn add_outer<S: Simd>(x: *const f32, rows: usize, y: *const f32, n: usize, w: *mut f32, b: *mut f32) {
    // SAFETY: as the sizes say.
    unsafe {
        for a in 0..rows {
            add_scaled::<S>(*x.add(a), y, n, w.add(a * n));
        }
        add_scaled::<S>(1.0, y, n, b);
    }
}

/// The inner gradients of all rows, and how the update of both layers depends on them.
#[inline(always)]
unsafe fn updates<S: Simd>(s: &Stack) {
    let (m, f, h) = (&s.m, s.m.f, s.hidden);
    // SAFETY: as the fields say.
    unsafe {
        let last = m.rows - 1;
        let scale = if m.full { m.scale(last) } else { 0.0 };
        let ([pull, ..], [pull_out, _]) = s.shared();
        for j in 0..m.rows {
            let (row, wide, k) = (m.kept(j), s.wide(j), m.k.add(m.at(j)));
            apply::<S>(k, &s.layer(f, h, m.w, m.b), wide.z);
            gelu::<S>(wide.z, h, wide.u);
            slopes::<S>(wide.z, h, wide.slope);
            apply::<S>(wide.u, &s.layer(h, f, s.w, s.b), row.normal);
            *row.root = inner_gradient::<S>(&m.row(j), row.normal, row.e, row.g);
            wide.r.write_bytes(0, h);
            add_product::<S>(1.0, s.w, row.g, h, f, wide.r);
            multiplied::<S>(wide.r, wide.slope, h, wide.g);
            for vector in [row.dg, row.dq, row.dk] {
                vector.write_bytes(0, f);
            }
            for vector in [wide.dg, wide.du] {
                vector.write_bytes(0, h);
            }
            *row.dlr = 0.0;
            if !m.full {
                continue;
            }
            apply::<S>(k, &s.layer(f, h, m.dw, m.db), pull);
            apply::<S>(wide.u, &s.layer(h, f, s.dw, s.db), pull_out);
            let along = dot::<S>(pull, wide.g, h) + dot::<S>(pull_out, row.g, f);
            if *m.scale.add(last) > 0.0 {
                *m.dscale.add(last) -= m.rate(j) * along;
            }
            *row.dlr = -scale * along;
            let by = -scale * m.rate(j);
            add_scaled::<S>(by, pull, h, wide.dg);
            add_product::<S>(by, m.dw, wide.g, f, h, row.dk);
            add_scaled::<S>(by, pull_out, f, row.dg);
            add_product::<S>(by, s.dw, row.g, h, f, wide.du);
        }
    }
}

/// Back through the output of row `i`.
#[inline(always)]
unsafe fn output<S: Simd>(s: &Stack, i: usize) {
    let (m, f, h) = (&s.m, s.m.f, s.hidden);
    // SAFETY: as the fields say.
    unsafe {
        let (row, wide, q, dout) = (m.kept(i), s.wide(i), m.q.add(m.at(i)), m.dout.add(m.at(i)));
        let ([z, learned, danswer], [out, learned_out]) = s.shared();
        let scale = m.scale(i);
        apply::<S>(q, &s.layer(f, h, m.w, m.b), z);
        learned.write_bytes(0, h);
        for j in 0..=i {
            let past = s.wide(j);
            *past.share = dot::<S>(q, m.k.add(m.at(j)), f) + 1.0;
            add_scaled::<S>(m.rate(j) * *past.share, past.g, h, learned);
        }
        add_scaled::<S>(-scale, learned, h, z);
        gelu::<S>(z, h, wide.answer);
        apply::<S>(wide.answer, &s.layer(h, f, s.w, s.b), out);
        learned_out.write_bytes(0, f);
        for j in 0..=i {
            let past = m.kept(j);
            *past.share = dot::<S>(wide.answer, s.wide(j).u, h) + 1.0;
            add_scaled::<S>(m.rate(j) * *past.share, past.g, f, learned_out);
        }
        add_scaled::<S>(-scale, learned_out, f, out);
        let root = standardize::<S>(out, f, m.eps);
        add_scaled::<S>(1.0, dout, f, m.dln_b);
        map_over!(S, f, m.dln_w, |c, lanes| {
            S::fma(load::<S>(dout.add(c), lanes), load::<S>(out.add(c), lanes), load::<S>(m.dln_w.add(c), lanes))
        });
        multiplied::<S>(dout, m.ln_w, f, row.dz);
        unstandardize::<S>(row.dz, out, root, f, row.dz);
        let mut dscale = dot::<S>(row.dz, learned_out, f);
        danswer.write_bytes(0, h);
        add_product::<S>(1.0, s.w, row.dz, h, f, danswer);
        for j in 0..=i {
            let (past, before) = (m.kept(j), s.wide(j));
            let (g, dg, share) = (past.g, past.dg, *past.share);
            let lesson = Lesson { g, dg, outputs: f, u: before.u, du: before.du, inputs: h, share };
            lesson.back::<S>(-scale * m.rate(j), row.dz, wide.answer, danswer, -scale, past.dlr);
        }
        slopes::<S>(z, h, wide.dz);
        multiplied::<S>(wide.dz, danswer, h, wide.dz);
        dscale += dot::<S>(wide.dz, learned, h);
        if *m.scale.add(i) > 0.0 {
            *m.dscale.add(i) -= dscale;
        }
        row.dq.copy_from_nonoverlapping(dout, f);
        add_product::<S>(1.0, m.w, wide.dz, f, h, row.dq);
        for j in 0..=i {
            let (past, before, k) = (m.kept(j), s.wide(j), m.k.add(m.at(j)));
            let (g, dg, share) = (before.g, before.dg, *before.share);
            let lesson = Lesson { g, dg, outputs: h, u: k, du: past.dk, inputs: f, share };
            lesson.back::<S>(-scale * m.rate(j), wide.dz, q, row.dq, -scale, past.dlr);
        }
    }
}

/// Back through the inner gradients of row `j`, whose own gradients are complete, and through the inner model.
#[inline(always)]
unsafe fn inner<S: Simd>(s: &Stack, j: usize) {
    let (m, f, h) = (&s.m, s.m.f, s.hidden);
    // SAFETY: as the fields say.
    unsafe {
        let (row, wide, k) = (m.kept(j), s.wide(j), m.k.add(m.at(j)));
        let ([dr, dz, _], _) = s.shared();
        multiplied::<S>(wide.dg, wide.slope, h, dr);
        map_over!(S, h, dz, |i, lanes| {
            let by = S::mul(load::<S>(wide.dg.add(i), lanes), load::<S>(wide.r.add(i), lanes));
            S::mul(by, bend::<S>(load::<S>(wide.z.add(i), lanes)))
        });
        for a in 0..h {
            add_scaled::<S>(*dr.add(a), s.w.add(a * f), f, row.dg);
            add_scaled::<S>(*dr.add(a), row.g, f, s.dw.add(a * f));
        }
        loss::<S>(m, j);
        add_product::<S>(1.0, s.w, row.dg, h, f, wide.du);
        add_outer::<S>(wide.u, h, row.dg, f, s.dw, s.db);
        map_over!(S, h, dz, |i, lanes| {
            S::fma(load::<S>(wide.du.add(i), lanes), load::<S>(wide.slope.add(i), lanes), load::<S>(dz.add(i), lanes))
        });
        add_product::<S>(1.0, m.w, dz, f, h, row.dk);
        add_outer::<S>(k, f, dz, h, m.dw, m.db);
    }
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn mini_batch<S: Simd>(s: &Stack) {
    let (m, f, h) = (&s.m, s.m.f, s.hidden);
    // SAFETY: as the fields say.
    unsafe {
        updates::<S>(s);
        for i in 0..m.rows {
            output::<S>(s, i);
        }
        for j in 0..m.rows {
            inner::<S>(s, j);
        }
        for i in 0..m.rows {
            let (row, wide) = (m.kept(i), s.wide(i));
            add_outer::<S>(m.q.add(m.at(i)), f, wide.dz, h, m.dw, m.db);
            add_outer::<S>(wide.answer, h, row.dz, f, s.dw, s.db);
        }
        hand_over(m);
    }
}

crate::tier::tier_fn! {
    /// Back through a mini-batch of an inner model of two layers.
    pub fn back_stack(stack: &Stack) = mini_batch;
}
