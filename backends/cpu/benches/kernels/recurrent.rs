//! Fast weights, which learn along the sequence, and short convolutions: one token, and prompts.

use crate::common::noise;
use crate::graph::Graph;
use crate::{measure, operations};
use criterion::Criterion;
use tern_abi::ops::{FAST_WEIGHT, FastWeightParams, SHORT_CONV, ShortConvParams, fast_weight_rule};

const HEADS: usize = 8;
const DIM: usize = 64;
const CHUNK: usize = 16;
const WIDTH: usize = 4;

pub fn all(criterion: &mut Criterion) {
    for tokens in [1, 256] {
        // The state is read, and learns: two products of a row with it.
        let products = operations(2 * tokens * HEADS * DIM * DIM);
        measure(criterion, "fast_weight", &format!("TTT-Linear/{tokens}"), products.clone(), |g| normed(g, tokens));
        measure(criterion, "fast_weight", &format!("gated delta/{tokens}"), products, |g| delta(g, tokens));
        let sums = operations(tokens * HEADS * DIM * WIDTH);
        measure(criterion, "short_conv", &tokens.to_string(), sums, |g| convolution(g, tokens));
    }
}

/// `scale` times noise.
fn scaled(g: &mut Graph, shape: &[usize], scale: f32, seed: u64) -> Option<u32> {
    let data: Vec<f32> = noise(shape.iter().product(), seed).iter().map(|x| x * scale).collect();
    Some(g.f32(shape, &data))
}

/// Positions, and where the one sequence starts.
fn sequence(g: &mut Graph, tokens: usize) -> [Option<u32>; 2] {
    let positions = g.i32(&[tokens], &(0..tokens as i32).collect::<Vec<_>>());
    [Some(positions), Some(g.i32(&[2], &[0, tokens as i32]))]
}

fn params(rule: u32) -> FastWeightParams {
    let (heads, head_dim, chunk) = (HEADS as u32, DIM as u32, CHUNK as u32);
    FastWeightParams { heads, head_dim, chunk, eps: 1e-5, rule, ..Default::default() }
}

fn normed(g: &mut Graph, tokens: usize) {
    let row = [tokens, HEADS * DIM];
    let mut inputs: Vec<Option<u32>> = (1..4).map(|seed| scaled(g, &row, 1.0, seed)).collect();
    inputs.push(scaled(g, &[tokens, HEADS], 0.1, 4));
    inputs.push(scaled(g, &[HEADS, DIM, DIM], 0.1, 5));
    inputs.extend([6, 7, 8].map(|seed| scaled(g, &[HEADS, DIM], 1.0, seed)));
    inputs.push(scaled(g, &[CHUNK], 1.0, 9));
    inputs.extend(sequence(g, tokens));
    inputs.extend([None; 5]);
    let out = g.out(&row);
    g.op(FAST_WEIGHT, &inputs, &[out, tern_abi::graph::NONE], params(fast_weight_rule::NORMED));
}

fn delta(g: &mut Graph, tokens: usize) {
    let row = [tokens, HEADS * DIM];
    let mut inputs: Vec<Option<u32>> = (1..4).map(|seed| scaled(g, &row, 0.1, seed)).collect();
    inputs.push(scaled(g, &[tokens, HEADS], 0.1, 4));
    inputs.extend([None; 5]);
    inputs.extend(sequence(g, tokens));
    inputs.extend([None; 2]);
    let decay = noise(tokens * HEADS, 5).iter().map(|x| -0.1 * x.abs()).collect::<Vec<_>>();
    inputs.push(Some(g.f32(&[tokens, HEADS], &decay)));
    inputs.extend([None; 2]);
    let out = g.out(&row);
    g.op(FAST_WEIGHT, &inputs, &[out, tern_abi::graph::NONE], params(fast_weight_rule::DELTA));
}

fn convolution(g: &mut Graph, tokens: usize) {
    let row = [tokens, HEADS * DIM];
    let mut inputs = vec![scaled(g, &row, 1.0, 1), scaled(g, &[HEADS * DIM, WIDTH], 1.0, 2), None];
    inputs.extend(sequence(g, tokens));
    inputs.extend([None; 2]);
    let out = g.out(&row);
    let params = ShortConvParams { width: WIDTH as u32, chunk: CHUNK as u32 };
    g.op(SHORT_CONV, &inputs, &[out, tern_abi::graph::NONE], params);
}
