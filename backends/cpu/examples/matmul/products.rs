//! Times products as the ops do them: activations prepared, strips shared out.

use std::sync::Mutex;
use std::time::{Duration, Instant};
use tern_abi::plugin::WeightSpec;
use tern_cpu::matmul::share;
use tern_cpu::matmul::strip::{Multiplier, RESULTS};
use tern_cpu::matmul::tokens::{Form, Put, Tiling};
use tern_cpu::memory::Memory;
use tern_cpu::pool::{Pool, Worker};
use tern_cpu::stop::Stop;
use tern_cpu::tier::Tier;
use tern_cpu::weight::{Matrix, Prepared, STRIP};
use tern_quant::DType;

/// How long to repeat.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Matrices of one type.
pub struct Weights(Vec<Prepared>);

impl Weights {
    /// With rows and columns as given; what is in them does not change the time.
    pub fn new(dtype: DType, shapes: &[(usize, usize)], pool: &Pool) -> Self {
        let one = |&(n, k): &(usize, usize)| {
            let bytes = vec![0x11; dtype.tensor_bytes((n * k) as u64).unwrap() as usize];
            let shape = [n as u64, k as u64];
            let spec = WeightSpec { dtype: dtype.code(), shape: &shape, usage: 1, name: "w", cache_bytes: 0 };
            Prepared::new(&spec, &bytes, pool, &|| false).unwrap()
        };
        Self(shapes.iter().map(one).collect())
    }
    fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        self.0.iter().filter_map(Prepared::matrix)
    }
    pub fn bytes(&self) -> usize {
        self.matrices().map(Matrix::bytes).sum()
    }
    pub fn elements(&self) -> usize {
        self.matrices().map(|m| m.rows() * m.columns()).sum()
    }
}

/// The shortest of many times.
pub fn shortest(mut f: impl FnMut() -> f64) -> f64 {
    let (start, mut best) = (Instant::now(), f64::MAX);
    while start.elapsed() < PATIENCE / 2 {
        best = best.min(f());
    }
    best
}

/// Seconds to multiply all with so many tokens.
pub fn multiply(weights: &Weights, tokens: usize, tier: Tier, pool: &Pool) -> f64 {
    let products: Vec<One<'_>> = weights.matrices().map(|m| One::new(m, tokens, tier)).collect();
    let widest = products.iter().map(|p| p.matrix.columns()).max().unwrap();
    let x = vec![1.0f32; widest * tokens];
    let memory = |bytes: usize| -> Vec<Memory> { (0..pool.count()).map(|_| Memory::zeroed(bytes).unwrap()).collect() };
    let tiles = memory(tokens * widest * 4);
    let scratch = memory(products.iter().map(|p| p.kernels.scratch_bytes()).max().unwrap());
    let mut best = vec![f64::MAX; products.len()];
    let all = Instant::now();
    while all.elapsed() < PATIENCE {
        // The first worker to leave a barrier tells when the work before it was done.
        let ends = Mutex::new(vec![f64::MAX; products.len() + 1]);
        let origin = Instant::now();
        pool.run(&Stop::never(), &|worker| {
            let tiles = tiles[if tokens == 1 { worker.index() } else { 0 }].ptr();
            let mut mine = Vec::with_capacity(products.len() + 1);
            worker.barrier();
            mine.push(origin.elapsed().as_secs_f64());
            for p in &products {
                p.run(worker, &x, tiles, scratch[worker.index()].ptr());
                worker.barrier();
                mine.push(origin.elapsed().as_secs_f64());
            }
            for (end, mine) in ends.lock().unwrap().iter_mut().zip(mine) {
                *end = end.min(mine);
            }
        })
        .unwrap();
        for (best, ends) in best.iter_mut().zip(ends.into_inner().unwrap().windows(2)) {
            *best = best.min(ends[1] - ends[0]);
        }
    }
    best.iter().sum()
}

struct One<'a> {
    matrix: &'a Matrix,
    kernels: Multiplier,
    tiling: Tiling,
    tokens: usize,
    put: Put,
}

impl<'a> One<'a> {
    fn new(matrix: &'a Matrix, tokens: usize, tier: Tier) -> Self {
        let kernels = Multiplier::new(matrix.format(), matrix.columns(), tier);
        Self { matrix, kernels, tiling: Tiling::new(tokens, kernels.tile()), tokens, put: kernels.form().put(tier) }
    }

    fn run(&self, worker: &Worker<'_>, x: &[f32], tiles: *mut u8, scratch: *mut u8) {
        let (k, bytes) = (self.matrix.columns(), self.kernels.token_bytes());
        let put = |t: usize| {
            let tile = self.tiling.tile_of(t);
            // SAFETY: the tiles have room for all tokens.
            unsafe {
                (self.put)(x[t * k..].as_ptr(), k, tiles.add(tile.first * bytes), tile.width, t - tile.first);
            }
        };
        if self.tokens == 1 {
            put(0);
        } else {
            while let Some(range) = worker.claim(self.tokens, share::CUT) {
                range.for_each(put);
            }
            worker.barrier();
        }
        let mut y = [0f32; RESULTS];
        let strips = self.matrix.rows().div_ceil(STRIP);
        let block = share::block(self.tokens, bytes);
        let mut one = |item: usize| {
            let strip = self.kernels.strip(self.matrix, 0, item % strips);
            let first = item / strips * block;
            // SAFETY: the tiles are ready, the scratch is large enough.
            unsafe {
                self.kernels.open(strip, self.tiling, scratch);
                for tile in self.tiling.tiles(first, self.tokens.min(first + block)) {
                    self.kernels.multiply(strip, self.tiling, scratch, tiles, tile, y.as_mut_ptr());
                }
            }
        };
        if self.tokens == 1 {
            share::streams(worker, strips, strips, |some| {
                some.for_each(&mut one);
                true
            });
        } else {
            while let Some(range) = worker.claim(strips * self.tokens.div_ceil(block), 1) {
                range.for_each(&mut one);
            }
        }
        std::hint::black_box(&y);
    }
}

/// MB/s of a file's bytes packed.
pub fn packing(dtype: DType, pool: &Pool) -> f64 {
    let (n, k) = (4096, columns_near(dtype, 2048));
    let bytes = vec![0x11; n * dtype.row_bytes(k).unwrap()];
    let shape = [n as u64, k as u64];
    let spec = WeightSpec { dtype: dtype.code(), shape: &shape, usage: 1, name: "w", cache_bytes: 0 };
    let seconds = shortest(|| {
        let start = Instant::now();
        std::hint::black_box(Prepared::new(&spec, &bytes, pool, &|| false).unwrap());
        start.elapsed().as_secs_f64()
    });
    bytes.len() as f64 / seconds / 1e6
}

/// Columns near `k` that the type can have.
pub fn columns_near(dtype: DType, k: usize) -> usize {
    k / dtype.block_len() * dtype.block_len()
}

/// Nanoseconds to quantize one token.
pub fn quantizing(columns: usize, tier: Tier, pool: &Pool) -> f64 {
    const ROUNDS: usize = 1000;
    let x: Vec<f32> = (0..columns).map(|i| i as f32).collect();
    let tile = Memory::zeroed(Form::Blocks.bytes(columns)).unwrap();
    let quantize = Form::Blocks.put(tier);
    let round = || {
        let start = Instant::now();
        pool.run(&Stop::never(), &|worker| {
            for _ in 0..if worker.index() == 0 { ROUNDS } else { 0 } {
                // SAFETY: a tile of one token.
                unsafe { quantize(x.as_ptr(), columns, tile.ptr(), 1, 0) };
            }
        })
        .unwrap();
        start.elapsed().as_secs_f64()
    };
    shortest(round) / ROUNDS as f64 * 1e9
}
