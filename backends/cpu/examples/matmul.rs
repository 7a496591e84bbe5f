//! Speed of the matrix kernels, beside what the machine can do, measured in the same run.
//!
//! `cargo run --release -p tern-cpu --example matmul [-- FILTER]`: products with one token in GB/s of weights, with
//! many in G operations per second. Every matrix is timed on its own and counts with its best of many rounds, since
//! other work on the machine only ever slows things down. FILTER picks dtypes by name.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tern_abi::plugin::WeightSpec;
use tern_cpu::matmul::share;
use tern_cpu::matmul::strip::{Multiplier, RESULTS, token_bytes};
use tern_cpu::matmul::tokens::{self, Tiling};
use tern_cpu::memory::Memory;
use tern_cpu::pool::Pool;
use tern_cpu::stop::Stop;
use tern_cpu::tier::Tier;
use tern_cpu::weight::{Prepared, STRIP};
use tern_quant::DType;

/// Weights to go through per round: more than the private caches, as a small model.
const ROUND_BYTES: usize = 96 << 20;

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default().to_uppercase();
    let tier = Tier::choose("").unwrap();
    println!("tier {}", tier.name());
    for threads in [1, 2] {
        let pool = Pool::new(threads);
        println!("\n{threads} thread(s): read {:.1} GB/s of 96 MB", read(&pool, ROUND_BYTES));
        #[cfg(target_arch = "x86_64")]
        if tier == Tier::Avx512 {
            println!("int8 dot products {:.0} GOP/s, f32 {:.0} GFLOP/s", peak(&pool, true), peak(&pool, false));
        }
        for k in [576, 1536] {
            println!("quantizing {k} values: {:.0} ns", quantizing(k, tier, &pool));
        }
        println!(
            "{:5} {:>18} {:>9} {:>9} {:>9} {:>9}",
            "", "GB/s 576x576", "1536x576", "576x1536", "2048x2048", "49152x576"
        );
        println!("{:5} {:>18} {:>9} {:>9} {:>9}", "", "GOP/s T=64 1536x576", "576x1536", "T=512", "576x1536");
        for dtype in DType::ALL.iter().filter(|d| tern_cpu::weight::Format::of(**d).is_some()) {
            if !dtype.name().contains(&filter) {
                continue;
            }
            let mut line = format!("{:5}         ", dtype.name());
            for (n, k) in [(576, 576), (1536, 576), (576, 1536), (2048, 2048), (49152, 576)] {
                let k = if k == 576 { k / dtype.block_len() * dtype.block_len() } else { k };
                line += &format!(" {:9.1}", gemv(*dtype, n, k, tier, &pool));
            }
            println!("{line}");
            let mut line = format!("{:5} T=64,512", dtype.name());
            for t in [64, 512] {
                for (n, k) in [(1536, 576), (576, 1536)] {
                    let k = if k == 576 { k / dtype.block_len() * dtype.block_len() } else { k };
                    line += &format!(" {:9.0}", gemm(*dtype, n, k, t, tier, &pool));
                }
            }
            println!("{line}");
        }
    }
}

/// Random bytes with sane scales are not needed: time does not depend on values, short of NaN. Packs zeros.
fn weight(dtype: DType, n: usize, k: usize, pool: &Pool) -> Prepared {
    let bytes = vec![0x11; n * dtype.row_bytes(k).unwrap()];
    let shape = [n as u64, k as u64];
    Prepared::new(
        &WeightSpec { dtype: dtype.code(), shape: &shape, usage: 1, name: "w" },
        &bytes,
        Tier::best(),
        pool,
        &|| false,
    )
    .unwrap()
}

/// Bytes per second of weights, through many matrices in turn.
fn gemv(dtype: DType, n: usize, k: usize, tier: Tier, pool: &Pool) -> f64 {
    let one = n * dtype.row_bytes(k).unwrap();
    let weights: Vec<Prepared> = (0..(ROUND_BYTES / one).max(1)).map(|_| weight(dtype, n, k, pool)).collect();
    let bytes: usize = weights.iter().map(|w| w.matrix().unwrap().bytes()).sum();
    bytes as f64 / multiply(&weights, 1, tier, pool) / 1e9
}

fn gemm(dtype: DType, n: usize, k: usize, tokens: usize, tier: Tier, pool: &Pool) -> f64 {
    let weights: Vec<Prepared> = (0..4).map(|_| weight(dtype, n, k, pool)).collect();
    (2 * 4 * n * k * tokens) as f64 / multiply(&weights, tokens, tier, pool) / 1e9
}

/// The machine has other things to do as well: repeat for so long.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(700);

/// The shortest of many times.
fn shortest(mut f: impl FnMut() -> f64) -> f64 {
    let (start, mut best) = (Instant::now(), f64::MAX);
    while start.elapsed() < PATIENCE {
        best = best.min(f());
    }
    best
}

/// Seconds to multiply all with the same tokens, activations being prepared for each as in a model.
fn multiply(weights: &[Prepared], tokens: usize, tier: Tier, pool: &Pool) -> f64 {
    let m = weights[0].matrix().unwrap();
    let kernels = Multiplier::new(m.format(), m.columns(), tier);
    let tiling = Tiling::new(tokens, kernels.tile());
    let bytes = token_bytes(m.columns(), kernels.is_float());
    let put = if kernels.is_float() { tokens::spread } else { tokens::quantize(tier) };
    let x = vec![1.0f32; m.columns() * tokens];
    let tiles: Vec<Memory> = (0..pool.count()).map(|_| Memory::zeroed(tokens * bytes).unwrap()).collect();
    let scratch: Vec<Memory> = (0..pool.count()).map(|_| Memory::zeroed(kernels.scratch_bytes()).unwrap()).collect();
    let mut best = vec![f64::MAX; weights.len()];
    let all = Instant::now();
    while all.elapsed() < PATIENCE {
        let ends = std::sync::Mutex::new(vec![f64::MAX; weights.len() + 1]);
        let origin = Instant::now();
        pool.run(&Stop::never(), &|worker| {
            let own = tokens == 1;
            let tiles = tiles[if own { worker.index() } else { 0 }].ptr();
            let scratch = scratch[worker.index()].ptr();
            // The first worker to leave a barrier tells when the work before it was done.
            let mut mine = Vec::with_capacity(weights.len() + 1);
            worker.barrier();
            mine.push(origin.elapsed().as_secs_f64());
            for w in weights {
                let m = w.matrix().unwrap();
                let put_token = |t: usize| {
                    let tile = tiling.tile_of(t);
                    // SAFETY: sizes as asked for.
                    unsafe {
                        put(
                            x[t * m.columns()..].as_ptr(),
                            m.columns(),
                            tiles.add(tile.first * bytes),
                            tile.width,
                            t - tile.first,
                        );
                    }
                };
                if own {
                    put_token(0);
                } else {
                    while let Some(range) = worker.claim(tokens, 24) {
                        range.for_each(put_token);
                    }
                    worker.barrier();
                }
                let mut y = [0f32; RESULTS];
                let strips = m.rows().div_ceil(STRIP);
                let block = share::block(tokens, bytes);
                let mut one = |item: usize| {
                    let strip = kernels.strip(m, 0, item % strips);
                    let first = item / strips * block;
                    // SAFETY: sizes as asked for.
                    unsafe {
                        kernels.open(strip, tiling, scratch);
                        for tile in tiling.tiles(first, tokens.min(first + block)) {
                            kernels.multiply(strip, tiling, scratch, tiles, tile, y.as_mut_ptr());
                        }
                    }
                    true
                };
                if own {
                    share::streams(worker, strips, one);
                } else {
                    while let Some(range) = worker.claim(strips * tokens.div_ceil(block), 1) {
                        range.for_each(|strip| _ = one(strip));
                    }
                }
                std::hint::black_box(&y);
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

/// Nanoseconds to quantize one token.
fn quantizing(columns: usize, tier: Tier, pool: &Pool) -> f64 {
    const ROUNDS: usize = 1000;
    let x: Vec<f32> = (0..columns).map(|i| i as f32).collect();
    let tile = Memory::zeroed(token_bytes(columns, false)).unwrap();
    let quantize = tokens::quantize(tier);
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

/// Reading an array as fast as it goes.
fn read(pool: &Pool, bytes: usize) -> f64 {
    let memory = Memory::zeroed(bytes).unwrap();
    // SAFETY: the memory's own bytes.
    unsafe { memory.ptr().write_bytes(1, bytes) };
    let sum = AtomicU64::new(0);
    let round = || {
        let start = Instant::now();
        pool.run(&Stop::never(), &|worker| {
            while let Some(range) = worker.claim(bytes / 8, 32 << 10) {
                // SAFETY: inside the memory.
                let part =
                    unsafe { std::slice::from_raw_parts(memory.ptr().cast::<u64>().add(range.start), range.len()) };
                let mut sums = [0u64; 32];
                for chunk in part.as_chunks::<32>().0 {
                    for (s, x) in sums.iter_mut().zip(chunk) {
                        *s = s.wrapping_add(*x);
                    }
                }
                sum.fetch_add(sums.iter().fold(0, |a, &b| a ^ b), Ordering::Relaxed);
            }
        })
        .unwrap();
        start.elapsed().as_secs_f64()
    };
    bytes as f64 / shortest(round) / 1e9
}

#[cfg(target_arch = "x86_64")]
fn peak(pool: &Pool, int8: bool) -> f64 {
    const ROUNDS: usize = 100_000;
    let round = || {
        let start = Instant::now();
        pool.run(&Stop::never(), &|_| {
            // SAFETY: called on the AVX-512 tier only.
            std::hint::black_box(unsafe { if int8 { dots(ROUNDS) } else { fmas(ROUNDS) } });
        })
        .unwrap();
        start.elapsed().as_secs_f64()
    };
    let per = if int8 { 128.0 } else { 32.0 };
    per * 16.0 * (ROUNDS * pool.count()) as f64 / shortest(round) / 1e9
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn dots(rounds: usize) -> i32 {
    use std::arch::x86_64::*;
    let mut acc = [_mm512_setzero_si512(); 16];
    let (a, b) = (std::hint::black_box(_mm512_set1_epi8(3)), std::hint::black_box(_mm512_set1_epi8(5)));
    for _ in 0..rounds {
        for acc in &mut acc {
            *acc = _mm512_dpbusd_epi32(*acc, a, b);
        }
    }
    acc.iter().map(|&a| _mm512_reduce_add_epi32(a)).fold(0, i32::wrapping_add)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn fmas(rounds: usize) -> i32 {
    use std::arch::x86_64::*;
    let mut acc = [_mm512_setzero_ps(); 16];
    let (a, b) = (std::hint::black_box(_mm512_set1_ps(0.5)), std::hint::black_box(_mm512_set1_ps(0.25)));
    for _ in 0..rounds {
        for acc in &mut acc {
            *acc = _mm512_fmadd_ps(a, b, *acc);
        }
    }
    acc.iter().map(|&a| _mm512_reduce_add_ps(a)).sum::<f32>() as i32
}
