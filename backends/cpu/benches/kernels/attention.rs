//! Attention over keys and values in pages: one token after so many, and prompts; its gradient.

use crate::common::{Net, Rig, noise};
use crate::graph::Graph;
use crate::{measure, operations, threads};
use criterion::{Criterion, Throughput};
use tern_abi::graph::NONE;
use tern_abi::ops::{ATTENTION, AttentionParams, GRAD};
use tern_abi::state::{StateDesc, kind};
use tern_abi::{Header, dtype};

const HEADS: usize = 9;
const KV_HEADS: usize = 3;
const DIM: usize = 64;
const PAGE: usize = 64;

pub fn all(criterion: &mut Criterion) {
    for (name, dtype) in [("F32", dtype::F32), ("F16", dtype::F16), ("I8", dtype::I8)] {
        for end in [128_usize, 1024, 4096] {
            let rig = Rig::new("", threads());
            let read = Throughput::Bytes((end.div_ceil(PAGE) * page_bytes(&rig, dtype)) as u64);
            cached(criterion, rig, &format!("{name}/1 at {end}"), read, dtype, 1, end);
        }
        let (rows, end) = (256, 1024);
        let pairs: usize = (end - rows + 1..=end).sum();
        let rig = Rig::new("", threads());
        cached(
            criterion,
            rig,
            &format!("{name}/{rows} up to {end}"),
            operations(2 * pairs * HEADS * DIM),
            dtype,
            rows,
            end,
        );
    }
    let tokens = 256;
    // Five products are needed for each pair of rows.
    let needed = operations(5 * HEADS * DIM * tokens * (tokens + 1) / 2);
    measure(criterion, "attention.grad", &tokens.to_string(), needed, |g| gradient(g, tokens));
}

fn description(dtype: u32) -> StateDesc {
    let dims = [KV_HEADS as u64, DIM as u64, PAGE as u64, 0, 0, 0];
    StateDesc { header: Header::of::<StateDesc>(), kind: kind::KV_PAGE, dtype, dims }
}

fn page_bytes(rig: &Rig, dtype: u32) -> usize {
    rig.state_layout(&description(dtype)).unwrap().0
}

/// `rows` tokens that end at position `end`.
fn cached(
    criterion: &mut Criterion,
    rig: Rig,
    case: &str,
    through: Throughput,
    kv_dtype: u32,
    rows: usize,
    end: usize,
) {
    let pages = end.div_ceil(PAGE);
    let bytes = pages * page_bytes(&rig, kv_dtype);
    let mut group = criterion.benchmark_group("attention");
    group.throughput(through).bench_function(case, |bencher| {
        let buffer = rig.alloc(bytes);
        // Untouched memory would be one page of zeros, always in the cache.
        rig.write(buffer, &vec![0x2e; bytes]);
        let mut net = Net::default();
        let q = net.f32(&[rows, HEADS * DIM], &noise(rows * HEADS * DIM, 1));
        let [k, v] = [2, 3].map(|seed| net.f32(&[rows, KV_HEADS * DIM], &noise(rows * KV_HEADS * DIM, seed)));
        let table = net.f32(&[rows, DIM], &noise(rows * DIM, 4));
        let places: Vec<i32> = (end - rows..end).map(|t| t as i32).collect();
        let positions = net.i32(&[rows], &places);
        let starts = net.i32(&[2], &[0, rows as i32]);
        let slots = net.i32(&[rows], &places);
        let numbers = net.i32(&[1, pages], &(0..pages as i32).collect::<Vec<_>>());
        let (state, out) = (net.state(buffer), net.out(&[rows, HEADS * DIM]));
        let params = AttentionParams { page_size: PAGE as u32, kv_dtype, n_rot: DIM as u32, ..heads() };
        let inputs = [q, k, v, table, positions, starts, state, slots, numbers].map(Some);
        net.op(ATTENTION, &inputs, &[Some(out), Some(state)], params);
        let mut ready = rig.ready(&net).unwrap();
        bencher.iter(|| ready.run([0; 4], std::ptr::null()).unwrap());
        drop(ready);
        rig.free(buffer);
    });
    group.finish();
}

fn heads() -> AttentionParams {
    let (heads, kv_heads, head_dim) = (HEADS as u32, KV_HEADS as u32, DIM as u32);
    AttentionParams { heads, kv_heads, head_dim, scale: 0.125, ..Default::default() }
}

/// All three gradients over one sequence.
fn gradient(g: &mut Graph, tokens: usize) {
    let q = g.f32(&[tokens, HEADS * DIM], &noise(tokens * HEADS * DIM, 1));
    let [k, v] = [2, 3].map(|seed| g.f32(&[tokens, KV_HEADS * DIM], &noise(tokens * KV_HEADS * DIM, seed)));
    let dy = g.f32(&[tokens, HEADS * DIM], &noise(tokens * HEADS * DIM, 4));
    let positions = g.i32(&[tokens], &(0..tokens as i32).collect::<Vec<_>>());
    let starts = g.i32(&[2], &[0, tokens as i32]);
    let mut inputs = vec![Some(q), Some(k), Some(v), None, Some(positions), Some(starts)];
    inputs.extend([None, None, None, None, Some(dy), None]);
    let mut outputs = [NONE; 10];
    outputs[0] = g.out(&[tokens, HEADS * DIM]);
    outputs[1] = g.out(&[tokens, KV_HEADS * DIM]);
    outputs[2] = g.out(&[tokens, KV_HEADS * DIM]);
    g.op(ATTENTION | GRAD, &inputs, &outputs, heads());
}
