//! What is done to results: bias, adapters, residual, gating. Results come as `[vector of 16 rows][token][16]`.

use crate::kernels::activation::glu_row;
use crate::simd::{LANES, Simd};
use crate::tier::tier_fn;

/// Results of a tile, and where their rows go.
pub struct Results {
    /// `[vector][token][16]`.
    pub y: *mut f32,
    /// Tokens of the tile, which are this many vectors apart from one 16 rows to the next.
    pub pitch: usize,
    /// Tokens that are meant, from the first.
    pub width: usize,
    /// Rows, at most 32.
    pub rows: usize,
}

/// Rows of a matrix in memory: those of the tile's first token, and the distance from token to token.
#[derive(Clone, Copy)]
pub struct Target {
    /// First element.
    pub at: *mut f32,
    /// Elements from one token to the next.
    pub stride: usize,
}

/// Vectors of results: index, first row, lanes that count.
#[inline(always)]
fn vectors(rows: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..rows.div_ceil(LANES)).map(move |v| (v, v * LANES, (rows - v * LANES).min(LANES)))
}

#[inline(always)]
unsafe fn load<S: Simd>(p: *const f32, lanes: usize) -> S::F {
    // SAFETY: the caller's pointer has that many elements.
    unsafe { if lanes == LANES { S::load(p) } else { S::load_n(p, lanes) } }
}
#[inline(always)]
unsafe fn store<S: Simd>(p: *mut f32, y: S::F, lanes: usize) {
    // SAFETY: the caller's pointer has that many elements.
    unsafe { if lanes == LANES { S::store(p, y) } else { S::store_n(p, y, lanes) } }
}

/// `y += bias`, in place.
#[inline(always)]
unsafe fn add_bias<S: Simd>(r: &Results, bias: *const f32) {
    // SAFETY: `bias` has one element per row.
    unsafe {
        for (v, row, lanes) in vectors(r.rows) {
            let bias = load::<S>(bias.add(row), lanes);
            for t in 0..r.width {
                let y = r.y.add((v * r.pitch + t) * LANES);
                S::store(y, S::add(S::load(y), bias));
            }
        }
    }
}

/// `y += scale * (b u)` for one token, in place. `b` is `[rank][32]`, `u` has `rank` values.
#[inline(always)]
unsafe fn add_adapter<S: Simd>(r: &Results, token: usize, b: *const f32, u: *const f32, rank: usize, scale: f32) {
    // SAFETY: as described.
    unsafe {
        for (v, row, _) in vectors(r.rows) {
            let mut sum = S::zero();
            for j in 0..rank {
                sum = S::fma(S::load(b.add(32 * j + row)), S::splat(*u.add(j)), sum);
            }
            let y = r.y.add((v * r.pitch + token) * LANES);
            S::store(y, S::fma(S::splat(scale), sum, S::load(y)));
        }
    }
}

/// Results to their place, plus a residual where there is one (`at` is null otherwise).
#[inline(always)]
unsafe fn put<S: Simd>(r: &Results, to: Target, residual: Target) {
    // SAFETY: both targets have the tile's tokens and rows.
    unsafe {
        for t in 0..r.width {
            for (v, row, lanes) in vectors(r.rows) {
                let mut y = S::load(r.y.add((v * r.pitch + t) * LANES));
                if !residual.at.is_null() {
                    y = S::add(y, load::<S>(residual.at.add(t * residual.stride + row), lanes));
                }
                store::<S>(to.at.add(t * to.stride + row), y, lanes);
            }
        }
    }
}

/// `act(gate) * up` to its place.
#[inline(always)]
unsafe fn put_gated<S: Simd>(gate: &Results, up: &Results, activation: u32, to: Target) {
    // SAFETY: the target has the tile's tokens and rows.
    unsafe {
        for t in 0..gate.width {
            for (v, row, lanes) in vectors(gate.rows) {
                let at = (v * gate.pitch + t) * LANES;
                glu_row::<S>(gate.y.add(at), up.y.add(at), to.at.add(t * to.stride + row), lanes, activation);
            }
        }
    }
}

/// `u = A h` for one token: `rank` rows of `columns`.
#[inline(always)]
unsafe fn project_down<S: Simd>(a: *const f32, h: *const f32, rank: usize, columns: usize, u: *mut f32) {
    // SAFETY: sizes as described.
    unsafe {
        for j in 0..rank {
            let a = a.add(j * columns);
            // Two chains: enough for rows this short, and the same for every token.
            let mut sum = [S::zero(); 2];
            let mut k = 0;
            while k + 2 * LANES <= columns {
                sum[0] = S::fma(S::load(a.add(k)), S::load(h.add(k)), sum[0]);
                sum[1] = S::fma(S::load(a.add(k + LANES)), S::load(h.add(k + LANES)), sum[1]);
                k += 2 * LANES;
            }
            while k < columns {
                let lanes = (columns - k).min(LANES);
                sum[0] = S::fma(load::<S>(a.add(k), lanes), load::<S>(h.add(k), lanes), sum[0]);
                k += LANES;
            }
            u.add(j).write(S::reduce_add(S::add(sum[0], sum[1])));
        }
    }
}

tier_fn! {
    /// Adds one number per row.
    pub fn bias(r: &Results, bias: *const f32) = add_bias;
    /// Adds an adapter's term for one token.
    pub fn adapter(r: &Results, token: usize, b: *const f32, u: *const f32, rank: usize, scale: f32) = add_adapter;
    /// Writes results, plus a residual.
    pub fn write(r: &Results, to: Target, residual: Target) = put;
    /// Writes `act(gate) * up`.
    pub fn write_gated(gate: &Results, up: &Results, activation: u32, to: Target) = put_gated;
    /// An adapter's inner values of one token.
    pub fn down(a: *const f32, h: *const f32, rank: usize, columns: usize, u: *mut f32) = project_down;
}

/// The functions above for a tier.
#[derive(Clone, Copy)]
#[allow(missing_docs)] // As above.
pub struct Finish {
    pub bias: unsafe fn(&Results, *const f32),
    pub adapter: unsafe fn(&Results, usize, *const f32, *const f32, usize, f32),
    pub write: unsafe fn(&Results, Target, Target),
    pub write_gated: unsafe fn(&Results, &Results, u32, Target),
    pub down: unsafe fn(*const f32, *const f32, usize, usize, *mut f32),
}

impl Finish {
    /// For a tier.
    pub fn new(tier: crate::tier::Tier) -> Self {
        Self {
            bias: bias(tier),
            adapter: adapter(tier),
            write: write(tier),
            write_gated: write_gated(tier),
            down: down(tier),
        }
    }
}
