//! What works on rows: norms, activations, rotations, sums, rounding, the loss.

use crate::common::noise;
use crate::graph::Graph;
use crate::measure;
use criterion::{Criterion, Throughput};
use tern_abi::ops::{
    self, ActivationParams, ColumnsParams, GluParams, NormParams, RopeParams, RopeTableParams, ScaleParams, activation,
    rope_layout,
};

const TOKENS: usize = 64;
const WIDTH: usize = 1024;
const HEAD: usize = 64;

pub fn all(criterion: &mut Criterion) {
    let elements = Throughput::Elements((TOKENS * WIDTH) as u64);
    let mut one = |op: &str, case: &str, build: &dyn Fn(&mut Graph, u32, u32)| {
        measure(criterion, op, case, elements.clone(), |g| {
            let x = g.f32(&[TOKENS, WIDTH], &noise(TOKENS * WIDTH, 1));
            let out = g.out(&[TOKENS, WIDTH]);
            build(g, x, out);
        });
    };
    one("rms_norm", "1024", &|g, x, out| {
        let w = g.f32(&[WIDTH], &noise(WIDTH, 2));
        g.op(ops::RMS_NORM, &[Some(x), Some(w)], &[out], NormParams { eps: 1e-5, groups: 0 });
    });
    one("layer_norm", "1024", &|g, x, out| {
        let [w, b] = [2, 3].map(|seed| Some(g.f32(&[WIDTH], &noise(WIDTH, seed))));
        g.op(ops::LAYER_NORM, &[Some(x), w, b], &[out], NormParams { eps: 1e-5, groups: 0 });
    });
    one("glu", "silu", &|g, x, out| {
        let params = GluParams { activation: activation::SILU, ..Default::default() };
        g.op(ops::GLU, &[Some(x), Some(x)], &[out], params);
    });
    for (name, activation) in
        [("gelu", activation::GELU), ("gelu_tanh", activation::GELU_TANH), ("softplus", activation::SOFTPLUS)]
    {
        one("activation", name, &|g, x, out| {
            g.op(ops::ACTIVATION, &[Some(x)], &[out], ActivationParams { activation })
        });
    }
    one("add", "1024", &|g, x, out| g.op(ops::ADD, &[Some(x), Some(x)], &[out], ()));
    one("mul", "1024", &|g, x, out| g.op(ops::MUL, &[Some(x), Some(x)], &[out], ()));
    one("scale", "1024", &|g, x, out| g.op(ops::SCALE, &[Some(x)], &[out], ScaleParams { factor: 2.0 }));
    one("rows", "1024", &|g, x, out| {
        let backwards = g.i32(&[TOKENS], &(0..TOKENS as i32).rev().collect::<Vec<_>>());
        g.op(ops::ROWS, &[Some(x), Some(backwards)], &[out], ());
    });
    one("columns", "every other head", &|g, x, _| {
        let (run, count) = (HEAD as u32, (WIDTH / 2) as u32);
        let half = g.out(&[TOKENS, WIDTH / 2]);
        g.op(ops::COLUMNS, &[Some(x)], &[half], ColumnsParams { first: 0, run, step: 2 * run, count });
    });
    one("sum", "1024", &|g, x, _| {
        let sum = g.out(&[1]);
        g.op(ops::SUM, &[Some(x)], &[sum], ScaleParams { factor: 1.0 });
    });
    one("quantize_tokens", "1024", &|g, x, out| g.op(ops::QUANTIZE_TOKENS, &[Some(x)], &[out], ()));
    for (name, layout) in [("adjacent", rope_layout::ADJACENT), ("halves", rope_layout::HALVES)] {
        one("rope", name, &|g, x, out| {
            let table = g.f32(&[TOKENS, HEAD], &noise(TOKENS * HEAD, 2));
            let (heads, head_dim) = ((WIDTH / HEAD) as u32, HEAD as u32);
            let params = RopeParams { heads, head_dim, n_rot: head_dim, layout, ..Default::default() };
            g.op(ops::ROPE, &[Some(x), Some(table)], &[out], params);
        });
    }
    measure(criterion, "rope_table", "64", Throughput::Elements((TOKENS * HEAD) as u64), |g| {
        let positions = g.i32(&[TOKENS], &(0..TOKENS as i32).collect::<Vec<_>>());
        let frequencies = g.f32(&[HEAD / 2], &noise(HEAD / 2, 1));
        let out = g.out(&[TOKENS, HEAD]);
        g.op(
            ops::ROPE_TABLE,
            &[Some(positions), Some(frequencies)],
            &[out],
            RopeTableParams { magnitude: 1.0, period: 0 },
        );
    });
    measure(criterion, "cross_entropy", "1024", elements.clone(), |g| {
        let logits = g.f32(&[TOKENS, WIDTH], &noise(TOKENS * WIDTH, 1));
        let targets = g.i32(&[TOKENS], &(0..TOKENS as i32).collect::<Vec<_>>());
        let out = g.out(&[TOKENS]);
        g.op(ops::CROSS_ENTROPY, &[Some(logits), Some(targets)], &[out], ());
    });
}
