//! The time of the kernels, op by op through the plugin's table: `cargo bench -p tern-cpu [-- FILTER]`.
//!
//! All ops forward, and the gradients of products, heads and attention. Names are op, weight type or shape, tokens. What is counted stands beside the time: bytes of weights or of keys and values
//! where those decide, else operations (multiplications and additions), to be held against the peaks that are printed first. Shapes are
//! those of small models; single matrices stay in the caches, so that kernels are measured and not the memory (`tern bench
//! --profile` does that). TERN_CPU_TIER chooses the tier, TERN_BENCH_THREADS the number of threads (default: 1).
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program")]

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../tests/graph/mod.rs"]
mod graph;

mod attention;
mod experts;
mod products;
mod recurrent;
mod rows;

use criterion::{Criterion, Throughput};
use graph::Graph;
use std::time::Duration;
use tern_cpu::pool::Pool;
use tern_cpu::tier::Tier;

fn main() {
    let tier = Tier::choose("").unwrap();
    let (floats, bytes) = tern_cpu::peaks::measure(tier, &Pool::new(threads() as usize)).unwrap();
    println!(
        "{}, {} thread(s): at best {:.0} Gop/s with bytes, {:.0} with floats",
        tier.name(),
        threads(),
        bytes / 1e9,
        floats / 1e9
    );
    let (warm, measured) = (Duration::from_millis(200), Duration::from_millis(800));
    let criterion = Criterion::default().warm_up_time(warm).measurement_time(measured).sample_size(20);
    let mut criterion = criterion.configure_from_args();
    products::all(&mut criterion);
    attention::all(&mut criterion);
    experts::all(&mut criterion);
    recurrent::all(&mut criterion);
    rows::all(&mut criterion);
    criterion.final_summary();
}

fn threads() -> u32 {
    std::env::var("TERN_BENCH_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// Measures a graph, one run of which goes through so much. It is built only where the name is wanted.
fn measure(criterion: &mut Criterion, op: &str, case: &str, through: Throughput, build: impl Fn(&mut Graph)) {
    let mut group = criterion.benchmark_group(op);
    let mut built = None;
    group.throughput(through).bench_function(case, |bencher| {
        let graph = built.get_or_insert_with(|| {
            let mut graph = Graph::new("", threads());
            build(&mut graph);
            graph
        });
        let time = |step: &mut dyn FnMut() -> Result<(), common::Failure>| {
            bencher.iter(|| step().unwrap());
            Ok(())
        };
        graph.compiled(time).unwrap();
    });
    group.finish();
}

/// Operations, as a throughput.
fn operations(multiply_adds: usize) -> Throughput {
    Throughput::Elements(2 * multiply_adds as u64)
}
