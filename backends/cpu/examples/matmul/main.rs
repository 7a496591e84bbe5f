//! Speed of the matrix kernels, beside what the machine can do, measured in the same run.
//!
//! `cargo run --release -p tern-cpu --example matmul [-- DTYPES [THREADS [small|wide|all]]]`: the matrix products of a small
//! model, one token and 512 tokens, in types whose names have one of DTYPES, separated by commas, in them. `small` has
//! SmolLM2-135M's shapes, `wide` rows that are multiples of 256; with `all`, single shapes too. Every matrix is timed on its
//! own and counts with its best of many rounds, since other work on the machine only ever slows things down.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program")]

mod machine;
mod products;

use products::{Weights, columns_near, multiply};
use tern_cpu::pool::Pool;
use tern_cpu::tier::Tier;
use tern_cpu::weight::Format;
use tern_quant::DType;

/// More than the private caches hold, as a small model.
const ROUND_BYTES: usize = 96 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filters = arguments.first().map_or(String::new(), |a| a.to_uppercase());
    let wanted = |dtype: DType| filters.split(',').any(|filter| dtype.name().contains(filter));
    let threads = arguments.get(1).and_then(|a| a.parse().ok());
    let kind = arguments.get(2).map_or("small", |a| a.as_str());
    let sizes = if kind == "wide" { &WIDE } else { &SMALL };
    let tier = Tier::choose("").unwrap();
    for threads in threads.map_or(vec![1, 2], |n: usize| vec![n]) {
        let pool = Pool::new(threads);
        let bandwidth = machine::read(&pool, ROUND_BYTES);
        println!("{}, {threads} thread(s): reads {bandwidth:.1} GB/s of 96 MB", tier.name());
        let (floats, bytes) = tern_cpu::peaks::measure(tier, &pool).unwrap();
        println!("  at best {:.0} GOP/s with bytes, {:.0} with floats", bytes / 1e9, floats / 1e9);
        for k in [576, 1536] {
            println!("  quantizing {k} values: {:.0} ns", products::quantizing(k, tier, &pool));
        }
        for &dtype in DType::ALL.iter().filter(|d| Format::of(**d).is_some() && wanted(**d)) {
            model(dtype, sizes, tier, &pool, bandwidth);
            if kind == "all" {
                println!("      packs {:.0} MB/s", products::packing(dtype, &pool));
                shapes(dtype, tier, &pool);
            }
        }
    }
}

/// Sizes of a model.
struct Sizes {
    layers: usize,
    width: usize,
    /// Rows of queries, keys and values.
    attention: usize,
    ffn: usize,
    vocabulary: usize,
}

/// SmolLM2-135M.
const SMALL: Sizes = Sizes { layers: 30, width: 576, attention: 960, ffn: 1536, vocabulary: 49152 };
/// All rows are whole blocks of K-quants.
const WIDE: Sizes = Sizes { layers: 28, width: 1024, attention: 2048, ffn: 3072, vocabulary: 32000 };

fn model(dtype: DType, sizes: &Sizes, tier: Tier, pool: &Pool, bandwidth: f64) {
    let (k, ffn) = (columns_near(dtype, sizes.width), sizes.ffn);
    let mut shapes = Vec::new();
    for _ in 0..sizes.layers {
        shapes.extend([(sizes.attention, k), (sizes.width, k), (2 * ffn, k), (sizes.width, ffn)]);
    }
    let layers = Weights::new(dtype, &shapes, pool);
    let cached = Weights::new(dtype, &shapes[..2], pool);
    shapes.push((sizes.vocabulary, k));
    let model = Weights::new(dtype, &shapes, pool);
    let one = multiply(&model, 1, tier, pool);
    let cache = cached.bytes() as f64 / multiply(&cached, 1, tier, pool) / 1e9;
    let (few, many) = (multiply(&layers, 64, tier, pool), multiply(&layers, 512, tier, pool));
    let speed = model.bytes() as f64 / one / 1e9;
    let bits = |bytes: f64, elements: usize| 8.0 * bytes / elements as f64;
    let ops = |tokens: usize, seconds: f64| (2 * layers.elements() * tokens) as f64 / seconds / 1e9;
    println!(
        "{dtype:7} {:.2} bits ({:.2} in files) T=1: {:5.2} ms {:4.0} tok/s {speed:5.1} GB/s ({:3.0}%), {cache:5.1} in cache   T=64: {:5.0} GOP/s {:5.0} tok/s   T=512: {:5.0} GOP/s {:5.0} tok/s",
        bits(model.bytes() as f64, model.elements()),
        bits(dtype.block_bytes() as f64, dtype.block_len()),
        one * 1e3,
        1.0 / one,
        100.0 * speed / bandwidth,
        ops(64, few),
        64.0 / few,
        ops(512, many),
        512.0 / many,
    );
}

fn shapes(dtype: DType, tier: Tier, pool: &Pool) {
    for (n, k) in [(576, 576), (1536, 576), (576, 1536), (2048, 2048), (49152, 576)] {
        let k = columns_near(dtype, k);
        let one = n * dtype.row_bytes(k).unwrap();
        let weights = Weights::new(dtype, &vec![(n, k); (ROUND_BYTES / one).max(1)], pool);
        let speed = weights.bytes() as f64 / multiply(&weights, 1, tier, pool) / 1e9;
        print!("      {n:5} x {k:4}: {speed:5.1} GB/s");
        if n < 49152 {
            let weights = Weights::new(dtype, &[(n, k); 4], pool);
            for tokens in [16, 64, 512] {
                let seconds = multiply(&weights, tokens, tier, pool);
                print!("  T={tokens}: {:5.0} GOP/s", (2 * weights.elements() * tokens) as f64 / seconds / 1e9);
            }
        }
        println!();
    }
}
