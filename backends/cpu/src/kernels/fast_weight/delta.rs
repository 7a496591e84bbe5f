//! Rows of the gated delta rule within a mini-batch. See [`tern_abi::ops::FAST_WEIGHT`] for the mathematics.
//!
//! Products with the weights that the mini-batch began with are made for several rows at once, since each is one chain over the
//! dimensions of a key in any case; what rows have learned since is added one row after the other.

use super::dot;
use super::products::{Matrix, products};
use crate::kernels::vector::{load, map_over};
use crate::simd::{LANES, Simd};

/// Rows of one head in one mini-batch, from first to last.
#[derive(Clone, Copy)]
pub struct Rows {
    /// Dimensions of a key.
    pub f: usize,
    /// Dimensions of a value.
    pub n: usize,
    /// Rows.
    pub rows: usize,
    /// First query.
    pub q: *const f32,
    /// First key.
    pub k: *const f32,
    /// Elements from a row's key to the next one's.
    pub key_stride: usize,
    /// First value.
    pub v: *const f32,
    /// First output.
    pub out: *mut f32,
    /// Heads: elements from a row's rate to the next one's; with `n`, of values and outputs.
    pub heads: usize,
    /// First rate.
    pub rate: *const f32,
    /// First decay, or null for none.
    pub decay: *const f32,
    /// `[f, n]` at the mini-batch's start.
    pub w: *mut f32,
    /// Places of the mini-batch: key, what was learned from it, sum of decays.
    pub places: *mut f32,
    /// Places `first .. at` are open; the first row becomes `at`.
    pub first: usize,
    /// See `first`.
    pub at: usize,
    /// Places of a full mini-batch.
    pub chunk: usize,
    /// [`work_len`] elements.
    pub work: *mut f32,
}

/// Rows whose products are made together.
const TOGETHER: usize = 2;

/// Elements of the work memory.
pub const fn work_len(n: usize, chunk: usize) -> usize {
    2 * TOGETHER * n + 3 * (chunk + 1).next_multiple_of(LANES)
}

impl Rows {
    #[inline(always)]
    unsafe fn place(&self, j: usize) -> *mut f32 {
        // SAFETY: a place of the mini-batch.
        unsafe { self.places.add(j * (self.f + self.n + 1)) }
    }
    /// Sum of decays up to place `j`.
    #[inline(always)]
    unsafe fn decays(&self, j: usize) -> *mut f32 {
        // SAFETY: a place of the mini-batch.
        unsafe { self.place(j).add(self.f + self.n) }
    }
    /// Room for one number per place and one more.
    #[inline(always)]
    unsafe fn numbers(&self, i: usize) -> *mut f32 {
        // SAFETY: behind the products in the work memory.
        unsafe { self.work.add(2 * TOGETHER * self.n + i * (self.chunk + 1).next_multiple_of(LANES)) }
    }
}

/// `exp(decays - D_j)` for places from `first` to before `at`, and behind them `exp(decays)`.
#[inline(always)]
unsafe fn fading<S: Simd>(r: &Rows, at: usize, decays: f32, out: *mut f32) {
    // SAFETY: `out` has room for a number per place and one more.
    unsafe {
        for j in r.first..at {
            *out.add(j) = decays - *r.decays(j);
        }
        *out.add(at) = decays;
        let (n, from) = (at + 1 - r.first, out.add(r.first));
        map_over!(S, n, from, |i, lanes| S::exp(load::<S>(from.add(i), lanes)));
    }
}

/// Takes row `i` in as place `at` and writes its output. `known` and `answer` are its key and query times W.
#[inline(always)]
unsafe fn follow<S: Simd>(r: &Rows, i: usize, known: *const f32, answer: *const f32) {
    let (f, n, at) = (r.f, r.n, r.at + i);
    // SAFETY: as the fields say.
    unsafe {
        let (q, k) = (r.q.add(i * r.key_stride), r.k.add(i * r.key_stride));
        let before = if at > r.first { *r.decays(at - 1) } else { 0.0 };
        let decays = before + if r.decay.is_null() { 0.0 } else { *r.decay.add(i * r.heads) };
        let (fade, by_key, by_query) = (r.numbers(0), r.numbers(1), r.numbers(2));
        fading::<S>(r, at, decays, fade);
        let place = r.place(at);
        place.copy_from_nonoverlapping(k, f);
        *r.decays(at) = decays;
        for j in r.first..at {
            *by_key.add(j) = *fade.add(j) * dot::<S>(k, r.place(j), f);
            *by_query.add(j) = *fade.add(j) * dot::<S>(q, r.place(j), f);
        }
        *by_query.add(at) = dot::<S>(q, k, f);
        let (rate, all, none) = (S::splat(*r.rate.add(i * r.heads)), S::splat(*fade.add(at)), S::zero());
        let (v, learned) = (r.v.add(i * r.heads * n), place.add(f));
        map_over!(S, n, learned, |c, lanes| {
            let mut known = S::mul(all, load::<S>(known.add(c), lanes));
            for j in r.first..at {
                known = S::fma(S::splat(*by_key.add(j)), load::<S>(r.place(j).add(f + c), lanes), known);
            }
            S::mul(rate, S::sub(load::<S>(v.add(c), lanes), known))
        });
        let out = r.out.add(i * r.heads * n);
        map_over!(S, n, out, |c, lanes| {
            let mut sum = S::fma(all, load::<S>(answer.add(c), lanes), none);
            for j in r.first..=at {
                sum = S::fma(S::splat(*by_query.add(j)), load::<S>(r.place(j).add(f + c), lanes), sum);
            }
            sum
        });
    }
}

/// What the full mini-batch learned becomes part of W, and its places are cleared.
#[inline(always)]
unsafe fn settle<S: Simd>(r: &Rows) {
    let (f, n) = (r.f, r.n);
    // SAFETY: as the fields say.
    unsafe {
        let (fade, last) = (r.numbers(0), r.chunk - 1);
        let decays = *r.decays(last);
        fading::<S>(r, r.chunk, decays, fade);
        let all = S::splat(*fade.add(r.chunk));
        for a in 0..f {
            let shares = r.numbers(1);
            for j in r.first..r.chunk {
                *shares.add(j) = *fade.add(j) * *r.place(j).add(a);
            }
            let row = r.w.add(a * n);
            map_over!(S, n, row, |c, lanes| {
                let mut w = S::mul(all, load::<S>(row.add(c), lanes));
                for j in r.first..r.chunk {
                    w = S::fma(S::splat(*shares.add(j)), load::<S>(r.place(j).add(f + c), lanes), w);
                }
                w
            });
        }
        r.places.write_bytes(0, r.chunk * (f + n + 1));
    }
}

/// # Safety
/// As the fields say; see [`Simd`].
#[inline(always)]
unsafe fn several<S: Simd>(r: &Rows) {
    // SAFETY: as the fields say.
    unsafe {
        let (n, w) = (r.n, Matrix::new(r.w, r.f, r.n));
        let mut i = 0;
        while i < r.rows {
            let (k, q) = (r.k.add(i * r.key_stride), r.q.add(i * r.key_stride));
            if i + TOGETHER <= r.rows {
                let out = [r.work, r.work.add(n), r.work.add(2 * n), r.work.add(3 * n)];
                let x = [k, q, k.add(r.key_stride), q.add(r.key_stride)];
                if S::PAIR {
                    products::<S, 4, 2, false>(x, &w, out)
                } else {
                    products::<S, 4, 1, false>(x, &w, out)
                }
                follow::<S>(r, i, out[0], out[1]);
                follow::<S>(r, i + 1, out[2], out[3]);
                i += TOGETHER;
            } else {
                let out = [r.work, r.work.add(n)];
                if S::PAIR {
                    products::<S, 2, 4, false>([k, q], &w, out)
                } else {
                    products::<S, 2, 2, false>([k, q], &w, out)
                }
                follow::<S>(r, i, out[0], out[1]);
                i += 1;
            }
        }
        if r.at + r.rows == r.chunk {
            settle::<S>(r);
        }
    }
}

crate::tier::tier_fn! {
    /// Learns from rows and writes their outputs.
    pub fn learn(rows: &Rows) = several;
}
