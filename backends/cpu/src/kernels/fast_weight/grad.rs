//! The outer gradient of fast weights: back through one mini-batch of a head, inner updates included.
//!
//! With the names of [`tern_abi::ops::FAST_WEIGHT`], `p` the map of a layer norm's backward pass,
//! `p(u) = (u - mean(u) - x̂ mean(u x̂)) / r`, so `g = p(e)`, and `D` the gradient of what follows it:
//!
//! ```text
//! update    A_j = k_j D[W'] + D[b'];  D[g_j] = -s lr_j A_j;  D[lr_j] = -s A_j·g_j;  D[k_j] = -s lr_j D[W'] g_j
//! output    D[z̄_i] = p(ln_w D[out_i]);  D[g_j] -= s_i lr_j (q_i·k_j + 1) D[z̄_i]  and so on for all j <= i
//! inner     D[e] = p(D[g]);  D[x̂] = -(mean(e x̂) D[g] + mean(x̂ D[g]) e) / r + what y passes on;  D[r] = -D[g]·g / r
//! W         D[W] = D[W'] + Σ q_iᵀ D[z̄_i] + k_iᵀ D[z_i]
//! ```

mod stack;

pub use stack::{Stack, back_stack, stack_work_len};

use super::super::vector::{load, map_over, sum};
use super::{Layer, Row, apply, dot, inner_gradient, standardize};
use crate::simd::{LANES, Simd};

/// Rows of one mini-batch of a head, from first to last.
#[derive(Clone, Copy)]
pub struct MiniBatch {
    /// Dimensions of the head.
    pub f: usize,
    /// Heads: elements between rows of `lr`, and with `f` those between rows of the others.
    pub heads: usize,
    /// Rows.
    pub rows: usize,
    /// Does the last row end the mini-batch?
    pub full: bool,
    /// First row of the queries.
    pub q: *const f32,
    /// First row of the keys.
    pub k: *const f32,
    /// First row of the values.
    pub v: *const f32,
    /// First row of the rates.
    pub lr: *const f32,
    /// First row of the output's gradient.
    pub dout: *const f32,
    /// Scale of each row's place, as the graph has it.
    pub scale: *const f32,
    /// Of the inner norm.
    pub ln_w: *const f32,
    /// Of the inner norm.
    pub ln_b: *const f32,
    /// Of the inner norm.
    pub eps: f32,
    /// `[f, f]` at the mini-batch's start.
    pub w: *mut f32,
    /// At the mini-batch's start.
    pub b: *mut f32,
    /// Gradient of W after the mini-batch; becomes that of W before it.
    pub dw: *mut f32,
    /// The same of b.
    pub db: *mut f32,
    /// Added to.
    pub dln_w: *mut f32,
    /// Added to.
    pub dln_b: *mut f32,
    /// Added to, for each row's place.
    pub dscale: *mut f32,
    /// First row of the queries' gradient, or null.
    pub dq: *mut f32,
    /// First row of the keys' gradient, or null.
    pub dk: *mut f32,
    /// First row of the values' gradient, or null.
    pub dv: *mut f32,
    /// First row of the rates' gradient, or null.
    pub dlr: *mut f32,
    /// [`work_len`] elements.
    pub work: *mut f32,
}

/// Vectors of a row in the work memory.
const VECTORS: usize = 7;
/// Numbers of a row in the work memory: root, rate's gradient, share.
const NUMBERS: usize = 3;

/// Elements of the work memory of a mini-batch of `chunk` rows.
pub const fn work_len(f: usize, chunk: usize) -> usize {
    chunk * (VECTORS * f + NUMBERS) + 2 * f
}

/// What is kept of a row.
struct Kept {
    /// Inner output, standardized.
    normal: *mut f32,
    /// The inner loss's derivative by it.
    e: *mut f32,
    /// Inner gradient.
    g: *mut f32,
    /// Gradient of the row's output before its norm.
    dz: *mut f32,
    /// Gradient of `g`; then of the inner output.
    dg: *mut f32,
    dq: *mut f32,
    dk: *mut f32,
    root: *mut f32,
    dlr: *mut f32,
    share: *mut f32,
}

impl MiniBatch {
    #[inline(always)]
    unsafe fn kept(&self, j: usize) -> Kept {
        // SAFETY: a row of the work memory, behind two vectors that no row owns.
        unsafe {
            let at = self.work.add(2 * self.f + j * (VECTORS * self.f + NUMBERS));
            let [normal, e, g, dz, dg, dq, dk, numbers] = std::array::from_fn(|i| at.add(i * self.f));
            Kept { normal, e, g, dz, dg, dq, dk, root: numbers, dlr: numbers.add(1), share: numbers.add(2) }
        }
    }
    /// Weights and bias as a layer; the mini-batch's places are not used here.
    #[inline(always)]
    fn layer(&self, w: *mut f32, b: *mut f32) -> Layer {
        Layer { inputs: self.f, outputs: self.f, w, b, places: self.work }
    }
    /// Row `j` for the inner loss.
    #[inline(always)]
    unsafe fn row(&self, j: usize) -> Row {
        // SAFETY: a row of the mini-batch.
        unsafe {
            Row {
                f: self.f,
                q: self.q,
                k: self.k.add(self.at(j)),
                v: self.v.add(self.at(j)),
                lr: self.rate(j),
                scale: 0.0,
                ln_w: self.ln_w,
                ln_b: self.ln_b,
                eps: self.eps,
                layers: [Layer::NONE; 2],
                first: 0,
                at: 0,
                chunk: 1,
                out: self.work,
                work: self.work,
            }
        }
    }
    /// First element of row `j`.
    #[inline(always)]
    fn at(&self, j: usize) -> usize {
        j * self.heads * self.f
    }
    #[inline(always)]
    unsafe fn rate(&self, j: usize) -> f32 {
        // SAFETY: a row of the mini-batch.
        unsafe { *self.lr.add(j * self.heads) }
    }
    #[inline(always)]
    unsafe fn scale(&self, j: usize) -> f32 {
        // SAFETY: a row of the mini-batch.
        unsafe { (*self.scale.add(j)).max(0.0) }
    }
}

/// `y += a x`.
#[inline(always)]
unsafe fn add_scaled<S: Simd>(a: f32, x: *const f32, n: usize, y: *mut f32) {
    // SAFETY: both have `n` elements.
    unsafe {
        let a = S::splat(a);
        map_over!(S, n, y, |i, lanes| S::fma(a, load::<S>(x.add(i), lanes), load::<S>(y.add(i), lanes)));
    }
}

/// `y += a W x`, with `W [rows, n]`.
#[inline(always)]
unsafe fn add_product<S: Simd>(a: f32, w: *const f32, x: *const f32, rows: usize, n: usize, y: *mut f32) {
    for row in 0..rows {
        // SAFETY: a row of W; y has `rows` elements.
        unsafe { *y.add(row) += a * dot::<S>(w.add(row * n), x, n) }
    }
}

/// Back through making `normal` standard: `out = (u - mean(u) - normal mean(u normal)) / root`; `out` may be `u`.
#[inline(always)]
unsafe fn unstandardize<S: Simd>(u: *const f32, normal: *const f32, root: f32, f: usize, out: *mut f32) {
    // SAFETY: all have `f` elements.
    unsafe {
        let mean = S::splat(sum::<S>(u, f) / f as f32);
        let along = S::splat(dot::<S>(u, normal, f) / f as f32);
        let root = S::splat(root);
        map_over!(S, f, out, |i, lanes| {
            let left = S::sub(load::<S>(u.add(i), lanes), mean);
            S::div(S::sub(left, S::mul(load::<S>(normal.add(i), lanes), along)), root)
        });
    }
}

/// The inner gradients of all rows, and how the update of W and b depends on them.
#[inline(always)]
unsafe fn updates<S: Simd>(m: &MiniBatch) {
    let f = m.f;
    // SAFETY: as the fields say.
    unsafe {
        let last = m.rows - 1;
        let scale = if m.full { m.scale(last) } else { 0.0 };
        for j in 0..m.rows {
            let (row, k) = (m.kept(j), m.k.add(m.at(j)));
            apply::<S>(k, &m.layer(m.w, m.b), row.normal);
            *row.root = inner_gradient::<S>(&m.row(j), row.normal, row.e, row.g);
            for vector in [row.dg, row.dq, row.dk] {
                map_over!(S, f, vector, |_i, _lanes| S::zero());
            }
            *row.dlr = 0.0;
            if !m.full {
                continue;
            }
            let pull = m.work;
            apply::<S>(k, &m.layer(m.dw, m.db), pull);
            let along = dot::<S>(pull, row.g, f);
            if *m.scale.add(last) > 0.0 {
                *m.dscale.add(last) -= m.rate(j) * along;
            }
            *row.dlr = -scale * along;
            add_scaled::<S>(-scale * m.rate(j), pull, f, row.dg);
            add_product::<S>(-scale * m.rate(j), m.dw, row.g, f, f, row.dk);
        }
    }
}

/// Back through the output of row `i`.
#[inline(always)]
unsafe fn output<S: Simd>(m: &MiniBatch, i: usize) {
    let f = m.f;
    // SAFETY: as the fields say.
    unsafe {
        let (row, q, dout) = (m.kept(i), m.q.add(m.at(i)), m.dout.add(m.at(i)));
        let (z, learned) = (m.work, m.work.add(f));
        apply::<S>(q, &m.layer(m.w, m.b), z);
        map_over!(S, f, learned, |_i, _lanes| S::zero());
        for j in 0..=i {
            let past = m.kept(j);
            *past.share = dot::<S>(q, m.k.add(m.at(j)), f) + 1.0;
            add_scaled::<S>(m.rate(j) * *past.share, past.g, f, learned);
        }
        let scale = m.scale(i);
        add_scaled::<S>(-scale, learned, f, z);
        let root = standardize::<S>(z, f, m.eps);
        map_over!(S, f, m.dln_b, |c, lanes| S::add(load::<S>(m.dln_b.add(c), lanes), load::<S>(dout.add(c), lanes)));
        map_over!(S, f, m.dln_w, |c, lanes| {
            S::fma(load::<S>(dout.add(c), lanes), load::<S>(z.add(c), lanes), load::<S>(m.dln_w.add(c), lanes))
        });
        map_over!(S, f, row.dz, |c, lanes| S::mul(load::<S>(dout.add(c), lanes), load::<S>(m.ln_w.add(c), lanes)));
        unstandardize::<S>(row.dz, z, root, f, row.dz);
        if *m.scale.add(i) > 0.0 {
            *m.dscale.add(i) -= dot::<S>(row.dz, learned, f);
        }
        map_over!(S, f, row.dq, |c, lanes| load::<S>(dout.add(c), lanes));
        add_product::<S>(1.0, m.w, row.dz, f, f, row.dq);
        for j in 0..=i {
            let (past, k) = (m.kept(j), m.k.add(m.at(j)));
            let lesson =
                Lesson { g: past.g, dg: past.dg, outputs: f, u: k, du: past.dk, inputs: f, share: *past.share };
            lesson.back::<S>(-scale * m.rate(j), row.dz, q, row.dq, -scale, past.dlr);
        }
    }
}

/// What a layer has learned from one row.
struct Lesson {
    /// The inner gradient at its output, and the gradient of that.
    g: *const f32,
    dg: *mut f32,
    outputs: usize,
    /// What it saw, and the gradient of that.
    u: *const f32,
    du: *mut f32,
    inputs: usize,
    /// `x·u + 1` for the input `x` that is answered now.
    share: f32,
}

impl Lesson {
    /// Back through `rate share g`, which it adds to the answer to `x`: `dz` is the answer's gradient, `dx` that of `x`; `scale` is the rate's
    /// factor, and `dlr` what is left of its gradient.
    ///
    /// # Safety
    /// As for [`Simd`]; vectors have `outputs` or `inputs` elements.
    #[inline(always)]
    unsafe fn back<S: Simd>(&self, rate: f32, dz: *const f32, x: *const f32, dx: *mut f32, scale: f32, dlr: *mut f32) {
        // SAFETY: as the caller's.
        unsafe {
            let along = dot::<S>(dz, self.g, self.outputs);
            *dlr += scale * self.share * along;
            add_scaled::<S>(rate * self.share, dz, self.outputs, self.dg);
            add_scaled::<S>(rate * along, self.u, self.inputs, dx);
            add_scaled::<S>(rate * along, x, self.inputs, self.du);
        }
    }
}

/// Back through the inner gradient of row `j`, whose own gradient is complete: it becomes that of the inner model's output.
#[inline(always)]
unsafe fn loss<S: Simd>(m: &MiniBatch, j: usize) {
    let f = m.f;
    // SAFETY: as the fields say.
    unsafe {
        let row = m.kept(j);
        let root = *row.root;
        let (de, dnormal) = (m.work, m.work.add(f));
        let (by, n) = (S::splat(-1.0 / root), f as f32);
        let level = S::splat(dot::<S>(row.e, row.normal, f) / n);
        let along = S::splat(dot::<S>(row.dg, row.normal, f) / n);
        let droot = -dot::<S>(row.dg, row.g, f) / root;
        unstandardize::<S>(row.dg, row.normal, root, f, de);
        map_over!(S, f, dnormal, |c, lanes| {
            let e = S::mul(along, load::<S>(row.e.add(c), lanes));
            S::mul(by, S::fma(level, load::<S>(row.dg.add(c), lanes), e))
        });
        // e = (y - target) * ln_w, and what is left of the target is its gradient's negative.
        map_over!(S, f, m.dln_w, |c, lanes| {
            let (w, normal) = (load::<S>(m.ln_w.add(c), lanes), load::<S>(row.normal.add(c), lanes));
            let target = S::sub(load::<S>(m.v.add(m.at(j) + c), lanes), load::<S>(m.k.add(m.at(j) + c), lanes));
            let y = S::fma(w, normal, load::<S>(m.ln_b.add(c), lanes));
            let factor = S::fma(w, normal, S::sub(y, target));
            S::fma(load::<S>(de.add(c), lanes), factor, load::<S>(m.dln_w.add(c), lanes))
        });
        map_over!(S, f, de, |c, lanes| S::mul(load::<S>(de.add(c), lanes), load::<S>(m.ln_w.add(c), lanes)));
        add_scaled::<S>(1.0, de, f, m.dln_b);
        add_scaled::<S>(1.0, de, f, row.dk);
        if !m.dv.is_null() {
            let dv = m.dv.add(m.at(j));
            map_over!(S, f, dv, |c, lanes| S::sub(S::zero(), load::<S>(de.add(c), lanes)));
        }
        map_over!(S, f, dnormal, |c, lanes| {
            S::fma(load::<S>(de.add(c), lanes), load::<S>(m.ln_w.add(c), lanes), load::<S>(dnormal.add(c), lanes))
        });
        unstandardize::<S>(dnormal, row.normal, root, f, row.dg);
        add_scaled::<S>(droot / n, row.normal, f, row.dg);
    }
}

/// Back through the inner model and its gradient at row `j`.
#[inline(always)]
unsafe fn inner<S: Simd>(m: &MiniBatch, j: usize) {
    // SAFETY: as the fields say.
    unsafe {
        loss::<S>(m, j);
        let row = m.kept(j);
        add_product::<S>(1.0, m.w, row.dg, m.f, m.f, row.dk);
    }
}

/// Hands the gradients of queries, keys and rates over.
#[inline(always)]
unsafe fn hand_over(m: &MiniBatch) {
    for i in 0..m.rows {
        // SAFETY: as the fields say.
        unsafe {
            let row = m.kept(i);
            for (from, to) in [(row.dq, m.dq), (row.dk, m.dk)] {
                if !to.is_null() {
                    to.add(m.at(i)).copy_from_nonoverlapping(from, m.f);
                }
            }
            if !m.dlr.is_null() {
                *m.dlr.add(i * m.heads) = *row.dlr;
            }
        }
    }
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn mini_batch<S: Simd>(m: &MiniBatch) {
    let f = m.f;
    // SAFETY: as the fields say; the bias is as a row whose input is always 1.
    unsafe {
        updates::<S>(m);
        for i in 0..m.rows {
            output::<S>(m, i);
        }
        for j in 0..m.rows {
            inner::<S>(m, j);
        }
        for a in 0..=f {
            let to = if a < f { m.dw.add(a * f) } else { m.db };
            map_over!(S, f, to, |c, lanes| {
                let mut acc = load::<S>(to.add(c), lanes);
                for i in 0..m.rows {
                    let row = m.kept(i);
                    let (q, k) = if a < f { (*m.q.add(m.at(i) + a), *m.k.add(m.at(i) + a)) } else { (1.0, 1.0) };
                    acc = S::fma(S::splat(q), load::<S>(row.dz.add(c), lanes), acc);
                    acc = S::fma(S::splat(k), load::<S>(row.dg.add(c), lanes), acc);
                }
                acc
            });
        }
        hand_over(m);
    }
}

crate::tier::tier_fn! {
    /// Back through a mini-batch.
    pub fn back(batch: &MiniBatch) = mini_batch;
}
