//! Products with weights of every type: one token, many, the gradient to the input; and the head with its loss.

use crate::common::noise;
use crate::graph::Graph;
use crate::{measure, operations};
use criterion::{Criterion, Throughput};
use tern_abi::graph::NONE;
use tern_abi::ops::{GATHER, GRAD, LINEAR, LINEAR_CROSS_ENTROPY, LinearCrossEntropyParams, LinearParams};
use tern_cpu::weight::Format;
use tern_quant::DType;

/// Columns: whole blocks of every type.
const K: usize = 1024;
const ROWS: usize = 1536;
const MANY: usize = 64;
const RANK: usize = 8;

pub fn all(criterion: &mut Criterion) {
    for &dtype in DType::ALL.iter().filter(|dtype| Format::of(**dtype).is_some()) {
        let name = dtype.name();
        let bytes = dtype.tensor_bytes((ROWS * K) as u64).unwrap();
        measure(criterion, "linear", &format!("{name}/1"), Throughput::Bytes(bytes), |g| product(g, dtype, 1, false));
        let many = operations(ROWS * K * MANY);
        measure(criterion, "linear", &format!("{name}/{MANY}"), many.clone(), |g| product(g, dtype, MANY, false));
        measure(criterion, "linear.grad", &format!("{name}/{MANY}"), many, |g| gradient(g, dtype));
        let rows = Throughput::Elements((MANY * K) as u64);
        measure(criterion, "gather", &format!("{name}/{MANY}"), rows, |g| gather(g, dtype));
    }
    for tokens in [1, MANY] {
        let with = operations(tokens * (ROWS * K + RANK * (ROWS + K)));
        measure(criterion, "linear with adapter", &format!("Q4_0/{tokens}"), with, |g| {
            product(g, DType::Q4_0, tokens, true)
        });
    }
    let head = operations(ROWS * K * MANY);
    measure(criterion, "linear_cross_entropy", &format!("Q8_0/{MANY}"), head.clone(), |g| loss(g, false));
    measure(criterion, "linear_cross_entropy.grad", &format!("Q8_0/{MANY}"), head, |g| loss(g, true));
}

/// What is in the weights does not change the time.
fn weight(g: &mut Graph, dtype: DType) -> u32 {
    g.weight_of(dtype, &[ROWS, K], &vec![0x11; dtype.tensor_bytes((ROWS * K) as u64).unwrap() as usize])
}

fn product(g: &mut Graph, dtype: DType, tokens: usize, adapter: bool) {
    let x = g.f32(&[tokens, K], &noise(tokens * K, 1));
    let mut inputs = vec![Some(x), None, None, None, None, Some(weight(g, dtype)), None, None, None];
    if adapter {
        inputs[3] = Some(g.i32(&[tokens], &vec![0; tokens]));
        inputs[4] = Some(g.f32(&[1], &[2.0]));
        inputs[7] = Some(g.f32(&[1, RANK, K], &noise(RANK * K, 4)));
        inputs[8] = Some(g.f32(&[1, RANK, ROWS], &noise(RANK * ROWS, 5)));
    }
    let out = g.out(&[tokens, ROWS]);
    g.op(LINEAR, &inputs, &[out], LinearParams { n_weights: 1, ..Default::default() });
}

fn gradient(g: &mut Graph, dtype: DType) {
    let x = g.f32(&[MANY, K], &noise(MANY * K, 1));
    let dy = g.f32(&[MANY, ROWS], &noise(MANY * ROWS, 3));
    let inputs = [Some(x), None, None, None, None, Some(weight(g, dtype)), None, None, None, Some(dy)];
    let mut outputs = [NONE; 9];
    outputs[0] = g.out(&[MANY, K]);
    g.op(LINEAR | GRAD, &inputs, &outputs, LinearParams { n_weights: 1, ..Default::default() });
}

fn gather(g: &mut Graph, dtype: DType) {
    let table = weight(g, dtype);
    let ids = g.i32(&[MANY], &(0..MANY as i32).map(|i| i * 23).collect::<Vec<_>>());
    let out = g.out(&[MANY, K]);
    g.op(GATHER, &[Some(table), Some(ids)], &[out], ());
}

fn loss(g: &mut Graph, gradient: bool) {
    let x = g.f32(&[MANY, K], &noise(MANY * K, 1));
    let w = weight(g, DType::Q8_0);
    let targets = g.i32(&[MANY], &(0..MANY as i32).collect::<Vec<_>>());
    let mut inputs = vec![Some(x), Some(w), Some(targets)];
    if gradient {
        inputs.push(Some(g.f32(&[MANY], &[1.0; MANY])));
        let dx = g.out(&[MANY, K]);
        g.op(LINEAR_CROSS_ENTROPY | GRAD, &inputs, &[dx, NONE, NONE], LinearCrossEntropyParams::default());
    } else {
        let loss = g.out(&[MANY]);
        g.op(LINEAR_CROSS_ENTROPY, &inputs, &[loss], LinearCrossEntropyParams::default());
    }
}
