//! What is done to results: bias, adapters, residual, gating. Results come as `[vector of 16 rows][token][16]`.

use crate::kernels::activation::glu_row;
use crate::simd::{LANES, Simd};
use crate::tier::tier_fn;
use crate::weight::STRIP;

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

/// An adapter's second matrix beside a strip, and what it is multiplied with.
pub struct Adapter {
    /// The strip's rows of B: for each rank a run of them, `stride` elements after that of the rank before.
    pub b: *const f32,
    /// From rank to rank.
    pub stride: usize,
    /// Inner values with scale, `[token][rank]`, of the tile's first token.
    pub u: *const f32,
    /// Ranks.
    pub rank: usize,
    /// First token of the tile that has this adapter, and the one behind the last.
    pub tokens: (usize, usize),
}

/// `y += b u`, in place: one chain over the ranks in order.
#[inline(always)]
unsafe fn add_adapter<S: Simd>(r: &Results, a: &Adapter) {
    // SAFETY: passed on.
    unsafe {
        for (v, row, lanes) in vectors(r.rows) {
            let mut first = 0;
            // As many as there are registers for beside the sums.
            while first + 8 <= a.rank && align_of::<S::F>() >= 64 {
                add_ranks::<S, 8>(r, a, first, (v, row, lanes));
                first += 8;
            }
            while first + 4 <= a.rank {
                add_ranks::<S, 4>(r, a, first, (v, row, lanes));
                first += 4;
            }
            for first in first..a.rank {
                add_ranks::<S, 1>(r, a, first, (v, row, lanes));
            }
        }
    }
}

/// `N` ranks from `first` on, for one vector of rows.
#[inline(always)]
unsafe fn add_ranks<S: Simd, const N: usize>(
    r: &Results,
    a: &Adapter,
    first: usize,
    (v, row, lanes): (usize, usize, usize),
) {
    // SAFETY: `b` has the rows of each rank, `u` the ranks of each token.
    unsafe {
        let mut b = [S::zero(); N];
        for (j, b) in b.iter_mut().enumerate() {
            *b = load::<S>(a.b.add((first + j) * a.stride + row), lanes);
        }
        for t in a.tokens.0..a.tokens.1 {
            let at = r.y.add((v * r.pitch + t) * LANES);
            let u = a.u.add(t * a.rank + first);
            let mut y = S::load(at);
            for (j, &b) in b.iter().enumerate() {
                y = S::fma(b, S::splat(*u.add(j)), y);
            }
            S::store(at, y);
        }
    }
}

/// Asks for the rows of B that [`add_adapter`] will read.
#[inline(always)]
unsafe fn ask_adapter<S: Simd>(b: *const f32, stride: usize, rank: usize) {
    for j in 0..rank {
        for line in (0..STRIP * 4).step_by(64) {
            // SAFETY: any address may be asked for.
            unsafe { S::prefetch(b.wrapping_add(j * stride).cast::<u8>().wrapping_add(line)) }
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

/// `act(gate) * up` to its place, which may be the gate's.
#[inline(always)]
unsafe fn put_gated<S: Simd>(gate: &Results, up: &Results, activation: u32, to: Target) {
    // SAFETY: the target has the tile's tokens and rows.
    unsafe {
        for t in 0..gate.width {
            for (v, row, lanes) in vectors(gate.rows) {
                let [gate, up] = [gate, up].map(|r| r.y.add((v * r.pitch + t) * LANES));
                glu_row::<S>(gate, up, to.at.add(t * to.stride + row), lanes, activation);
            }
        }
    }
}

tier_fn! {
    /// Adds one number per row.
    pub fn bias(r: &Results, bias: *const f32) = add_bias;
    /// Adds an adapter's term.
    pub fn adapter(r: &Results, a: &Adapter) = add_adapter;
    /// Asks for a strip's rows of B: the first, elements from rank to rank, ranks.
    pub fn ask_ranks(b: *const f32, stride: usize, rank: usize) = ask_adapter;
    /// Writes results, plus a residual.
    pub fn write(r: &Results, to: Target, residual: Target) = put;
    /// Writes `act(gate) * up`.
    pub fn write_gated(gate: &Results, up: &Results, activation: u32, to: Target) = put_gated;
}

/// The functions above for a tier.
#[derive(Clone, Copy)]
#[allow(missing_docs)] // As above.
pub struct Finish {
    pub bias: unsafe fn(&Results, *const f32),
    pub adapter: unsafe fn(&Results, &Adapter),
    pub ask_ranks: unsafe fn(*const f32, usize, usize),
    pub write: unsafe fn(&Results, Target, Target),
    pub write_gated: unsafe fn(&Results, &Results, u32, Target),
}

impl Finish {
    /// For a tier.
    pub fn new(tier: crate::tier::Tier) -> Self {
        Self {
            bias: bias(tier),
            adapter: adapter(tier),
            ask_ranks: ask_ranks(tier),
            write: write(tier),
            write_gated: write_gated(tier),
        }
    }
}
