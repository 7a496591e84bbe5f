//! How fast LoRA training is: `cargo run --release -p tern --example training_speed -- MODEL [THREADS [TOKENS]]`. Rank 8 on all matrices of
//! the layers, one example per step: forward, backward, AdamW.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for people")]

use std::time::Instant;
use tern::backend::Registry;
use tern::learn::{Example, Training, TrainingOptions};
use tern::{ModelOptions, Runtime};

fn main() {
    let mut args = std::env::args().skip(1);
    let path = args.next().unwrap();
    let threads = args.next().map_or(2, |t| t.parse().unwrap());
    let tokens: u32 = args.next().map_or(256, |t| t.parse().unwrap());
    let mut registry = Registry::new();
    registry.register(tern_cpu::entry).unwrap();
    let model = Runtime::new(registry).open(path, ModelOptions { threads, ..Default::default() }).unwrap();
    let options = TrainingOptions { rank: 8, context: u64::from(tokens) + 1, ..Default::default() };
    let mut training = Training::new(&model, options).unwrap();
    println!("{:?}", training.planned());
    let example = [Example::of((0..=tokens).map(|i| (i * 7919 + 13) % 40_000).collect())];
    let mut best = f64::INFINITY;
    for step in 0..12 {
        let start = Instant::now();
        training.step(&example).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        best = best.min(seconds);
        println!("step {step}: {seconds:.3} s, {:.0} tokens/s", f64::from(tokens) / seconds);
    }
    println!("best: {:.0} tokens/s", f64::from(tokens) / best);
}
