//! Mixtures of experts: the choice, the experts' matrices, the sum.

use crate::common::noise;
use crate::graph::Graph;
use crate::{measure, operations};
use criterion::{Criterion, Throughput};
use tern_abi::ops::{EXPERT_LINEAR, MOE_COMBINE, MOE_ROUTE, MoeRouteParams};
use tern_quant::DType;

const EXPERTS: usize = 16;
const CHOSEN: usize = 4;
const ROWS: usize = 256;
const K: usize = 512;

pub fn all(criterion: &mut Criterion) {
    for tokens in [1, 64] {
        let logits = Throughput::Elements((tokens * EXPERTS) as u64);
        measure(criterion, "moe_route", &format!("{CHOSEN} of {EXPERTS}/{tokens}"), logits, |g| route(g, tokens));
        for dtype in [DType::Q4_0, DType::Q4_K, DType::MXFP4] {
            let products = operations(tokens * CHOSEN * ROWS * K);
            let case = format!("{}, {CHOSEN} of {EXPERTS}/{tokens}", dtype.name());
            measure(criterion, "expert_linear", &case, products, |g| experts(g, dtype, tokens));
        }
        let sums = operations(tokens * CHOSEN * ROWS);
        measure(criterion, "moe_combine", &format!("{CHOSEN}/{tokens}"), sums, |g| combine(g, tokens));
    }
}

fn route(g: &mut Graph, tokens: usize) {
    let logits = g.f32(&[tokens, EXPERTS], &noise(tokens * EXPERTS, 1));
    let ids = g.i32(&[tokens, CHOSEN], &vec![0; tokens * CHOSEN]);
    let weights = g.out(&[tokens, CHOSEN]);
    let params = MoeRouteParams { top_k: CHOSEN as u32, softmax_after: 1, ..Default::default() };
    g.op(MOE_ROUTE, &[Some(logits)], &[ids, weights], params);
}

fn experts(g: &mut Graph, dtype: DType, tokens: usize) {
    let x = g.f32(&[tokens, K], &noise(tokens * K, 1));
    let bytes = vec![0x11; EXPERTS * ROWS * dtype.row_bytes(K).unwrap()];
    let w = g.weight_of(dtype, &[EXPERTS, ROWS, K], &bytes);
    let chosen: Vec<i32> = (0..tokens * CHOSEN).map(|i| (i * 5 % EXPERTS) as i32).collect();
    let ids = g.i32(&[tokens, CHOSEN], &chosen);
    let out = g.out(&[tokens, CHOSEN, ROWS]);
    g.op(EXPERT_LINEAR, &[Some(x), Some(w), None, Some(ids)], &[out], ());
}

fn combine(g: &mut Graph, tokens: usize) {
    let y = g.f32(&[tokens, CHOSEN, ROWS], &noise(tokens * CHOSEN * ROWS, 1));
    let weights = g.f32(&[tokens, CHOSEN], &noise(tokens * CHOSEN, 2));
    let out = g.out(&[tokens, ROWS]);
    g.op(MOE_COMBINE, &[Some(y), Some(weights), None], &[out], ());
}
