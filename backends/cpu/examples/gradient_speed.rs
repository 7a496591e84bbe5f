//! How fast gradients are beside what the processor can multiply: `cargo run --release -p tern-cpu --example gradient_speed [tier
//! [threads [filter]]]`. Shapes of SmolLM2-135M. Best of many runs, so that a busy machine disturbs little.
#![allow(clippy::print_stdout, clippy::unwrap_used, dead_code, reason = "a tool for people")]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/graph/mod.rs"]
mod graph;
#[path = "matmul/machine.rs"]
mod machine;
#[path = "matmul/products.rs"]
mod products;

use common::noise;
use graph::Graph;
use tern_abi::ops::{
    ATTENTION, AttentionParams, GRAD, LINEAR, LINEAR_CROSS_ENTROPY, LinearCrossEntropyParams, LinearParams,
};
use tern_cpu::pool::Pool;
use tern_cpu::tier::Tier;
use tern_quant::DType;

const TOKENS: usize = 256;
const RANK: usize = 8;
const RUNS: usize = 40;

/// What is measured: seconds and floating-point operations.
type Case = (String, f64, usize);

/// `dx`, and gradients of adapters where there are some.
fn linear(g: &mut Graph, dtype: DType, n: usize, k: usize, adapters: bool) -> Case {
    let x = g.f32(&[TOKENS, k], &noise(TOKENS * k, 1));
    let w = g.weight(dtype, &[n, k], &noise(n * k, 2));
    let dy = g.f32(&[TOKENS, n], &noise(TOKENS * n, 3));
    let mut inputs = vec![Some(x), None, None, None, None, Some(w), None, None, None, Some(dy)];
    let mut outputs = vec![tern_abi::graph::NONE; 9];
    outputs[0] = g.out(&[TOKENS, k]);
    let mut flop = 2 * TOKENS * n * k;
    if adapters {
        inputs[3] = Some(g.i32(&[TOKENS], &[0; TOKENS]));
        inputs[4] = Some(g.f32(&[1], &[2.0]));
        inputs[7] = Some(g.f32(&[1, RANK, k], &noise(RANK * k, 4)));
        inputs[8] = Some(g.f32(&[1, RANK, n], &noise(RANK * n, 5)));
        outputs[7] = g.out(&[1, RANK, k]);
        outputs[8] = g.out(&[1, RANK, n]);
        flop += 2 * TOKENS * RANK * (3 * k + 2 * n);
    }
    g.op(LINEAR | GRAD, &inputs, &outputs, LinearParams { n_weights: 1, ..Default::default() });
    let with = if adapters { " and adapters" } else { "" };
    (format!("linear {} {n} x {k}{with}", dtype.name()), g.timed(RUNS).unwrap(), flop)
}

/// All three gradients of a layer's attention over one sequence.
fn attention(g: &mut Graph, tokens: usize) -> Case {
    let (heads, kv_heads, d) = (9, 3, 64);
    let q = g.f32(&[tokens, heads * d], &noise(tokens * heads * d, 1));
    let [k, v] = [2, 3].map(|seed| g.f32(&[tokens, kv_heads * d], &noise(tokens * kv_heads * d, seed)));
    let dy = g.f32(&[tokens, heads * d], &noise(tokens * heads * d, 4));
    let positions = g.i32(&[tokens], &(0..tokens as i32).collect::<Vec<_>>());
    let starts = g.i32(&[2], &[0, tokens as i32]);
    let mut inputs = vec![Some(q), Some(k), Some(v), None, Some(positions), Some(starts)];
    inputs.extend([None, None, None, None, Some(dy), None]);
    let mut outputs = vec![tern_abi::graph::NONE; 10];
    outputs[0] = g.out(&[tokens, heads * d]);
    outputs[1] = g.out(&[tokens, kv_heads * d]);
    outputs[2] = g.out(&[tokens, kv_heads * d]);
    let p = AttentionParams { heads: 9, kv_heads: 3, head_dim: 64, scale: 0.125, ..Default::default() };
    g.op(ATTENTION | GRAD, &inputs, &outputs, p);
    // Five products are needed for each pair of rows; scores and their gradients are computed twice here.
    let flop = 5 * heads * d * tokens * (tokens + 1);
    (format!("attention {tokens}"), g.timed(RUNS).unwrap(), flop)
}

/// The loss of a tied head, or its gradient.
fn head(g: &mut Graph, dtype: DType, gradient: bool) -> Case {
    let (v, k) = (49152, 576);
    let x = g.f32(&[TOKENS, k], &noise(TOKENS * k, 1));
    let w = g.weight(dtype, &[v, k], &noise(v * k, 2));
    let targets = g.i32(&[TOKENS], &(0..TOKENS as i32).map(|i| i * 190).collect::<Vec<_>>());
    let dy = g.f32(&[TOKENS], &[1.0; TOKENS]);
    let p = LinearCrossEntropyParams::default();
    let name = dtype.name();
    if gradient {
        let dx = g.out(&[TOKENS, k]);
        let none = tern_abi::graph::NONE;
        g.op(LINEAR_CROSS_ENTROPY | GRAD, &[Some(x), Some(w), Some(targets), Some(dy)], &[dx, none, none], p);
        (format!("head's gradient {name}"), g.timed(RUNS / 4).unwrap(), 2 * TOKENS * v * k)
    } else {
        let loss = g.out(&[TOKENS]);
        g.op(LINEAR_CROSS_ENTROPY, &[Some(x), Some(w), Some(targets)], &[loss], p);
        (format!("head's loss {name}"), g.timed(RUNS / 4).unwrap(), 2 * TOKENS * v * k)
    }
}

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| if arg == "-" { String::new() } else { arg });
    let tier = args.next().unwrap_or_default();
    let threads: u32 = args.next().filter(|t| !t.is_empty()).map_or(2, |t| t.parse().unwrap());
    let filter = args.next().unwrap_or_default();
    println!("{threads} threads, {TOKENS} tokens");
    machine::peaks(&Pool::new(threads as usize), Tier::choose(&tier).unwrap());
    let show = |name: &str, case: &dyn Fn(&mut Graph) -> Case| {
        if name.contains(&filter) {
            let (name, seconds, flop) = case(&mut Graph::new(&tier, threads));
            println!("  {name}: {:.3} ms, {:.0} GFLOP/s", seconds * 1e3, flop as f64 / seconds / 1e9);
        }
    };
    for dtype in [DType::Q4_0, DType::Q4_1, DType::Q8_0, DType::F16] {
        for (n, k) in [(576, 576), (192, 576), (1536, 576), (576, 1536)] {
            show("linear", &|g| linear(g, dtype, n, k, false));
        }
    }
    for dtype in [DType::Q4_K, DType::Q6_K, DType::TQ2_0] {
        show("linear", &|g| linear(g, dtype, 576, 1536, false));
    }
    show("linear", &|g| linear(g, DType::Q4_1, 1536, 576, true));
    show("linear", &|g| linear(g, DType::Q4_1, 576, 576, true));
    for tokens in [256, 1024] {
        show("attention", &|g| attention(g, tokens));
    }
    for gradient in [false, true] {
        show("head", &|g| head(g, DType::Q4_1, gradient));
    }
}
