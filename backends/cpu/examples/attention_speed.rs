//! How fast attention and barriers are: `cargo run --release -p tern-cpu --example attention_speed [tier [threads [what [dtype]]]]`,
//! where `what` is such as `decode4096` or `prefill512`, and `-` stands for all.
//! Best of many runs, so that a busy machine disturbs little.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for people")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Net, Rig, noise};
use std::time::Instant;
use tern_abi::ops::{ATTENTION, AttentionParams, SCALE, ScaleParams};
use tern_abi::state::{StateDesc, kind};
use tern_abi::{Header, dtype};

const HEADS: usize = 9;
const KV_HEADS: usize = 3;
const DIM: usize = 64;
const PAGE: usize = 64;

fn best(mut f: impl FnMut(), runs: usize) -> f64 {
    (0..runs)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

/// Seconds per layer for `rows` tokens that end at position `end`.
fn attention(rig: &Rig, kv_dtype: u32, rows: usize, end: usize) -> f64 {
    let desc = StateDesc {
        header: Header::of::<StateDesc>(),
        kind: kind::KV_PAGE,
        dtype: kv_dtype,
        dims: [KV_HEADS as u64, DIM as u64, PAGE as u64, 0, 0, 0],
    };
    let pages = end.div_ceil(PAGE);
    let bytes = pages * rig.state_layout(&desc).unwrap().0;
    let mut net = Net::default();
    let q = net.f32(&[rows, HEADS * DIM], &noise(rows * HEADS * DIM, 1));
    let k = net.f32(&[rows, KV_HEADS * DIM], &noise(rows * KV_HEADS * DIM, 2));
    let v = net.f32(&[rows, KV_HEADS * DIM], &noise(rows * KV_HEADS * DIM, 3));
    let table = net.f32(&[rows, DIM], &noise(rows * DIM, 4));
    let places: Vec<i32> = (end - rows..end).map(|t| t as i32).collect();
    let numbers: Vec<i32> = (0..pages as i32).collect();
    let positions = net.i32(&[rows], &places);
    let starts = net.i32(&[2], &[0, rows as i32]);
    let slots = net.i32(&[rows], &places);
    let numbers = net.i32(&[1, pages], &numbers);
    // As many layers as a model has, or one where that alone takes long.
    let layers = if rows > 1 { 1 } else { 30 };
    // All memory before the first use of any, as in a session: so that huge pages may span layers.
    let buffers: Vec<u64> = (0..layers).map(|_| rig.alloc(bytes)).collect();
    for &buffer in &buffers {
        // Untouched memory would be one page of zeros, always in the cache.
        rig.write(buffer, &vec![0x2e; bytes]);
        let (state, out) = (net.state(buffer), net.out(&[rows, HEADS * DIM]));
        let p = AttentionParams {
            heads: HEADS as u32,
            kv_heads: KV_HEADS as u32,
            head_dim: DIM as u32,
            page_size: PAGE as u32,
            kv_dtype,
            scale: 0.125,
            n_rot: DIM as u32,
            ..Default::default()
        };
        let inputs = [q, k, v, table, positions, starts, state, slots, numbers].map(Some);
        net.op(ATTENTION, &inputs, &[Some(out), Some(state)], p);
    }
    let mut ready = rig.ready(&net).unwrap();
    let runs = if rows > 1 { 100 } else { 300 };
    let seconds = best(|| ready.run([0; 4], std::ptr::null()).unwrap(), runs);
    drop(ready);
    for buffer in buffers {
        rig.free(buffer);
    }
    seconds / f64::from(layers)
}

/// Seconds per op that does next to nothing.
fn empty_op(rig: &Rig) -> f64 {
    let mut net = Net::default();
    let x = net.f32(&[1, 16], &noise(16, 1));
    let n = 300;
    for _ in 0..n {
        let out = net.out(&[1, 16]);
        net.op(SCALE, &[Some(x)], &[Some(out)], ScaleParams { factor: 2.0 });
    }
    let mut ready = rig.ready(&net).unwrap();
    best(|| ready.run([0; 4], std::ptr::null()).unwrap(), 300) / f64::from(n)
}

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| if arg == "-" { String::new() } else { arg });
    let tier = args.next().unwrap_or_default();
    let threads = args.next().filter(|t| !t.is_empty()).map_or(vec![1, 2, 8], |t| vec![t.parse().unwrap()]);
    let (only, only_dtype) = (args.next().unwrap_or_default(), args.next().unwrap_or_default());
    let wanted = |what: String| only.is_empty() || only == what;
    for threads in threads {
        let rig = Rig::new(&tier, threads);
        if only.is_empty() {
            println!("{threads} threads: {:.0} ns per empty op", empty_op(&rig) * 1e9);
        }
        for (name, dtype) in [("F32", dtype::F32), ("F16", dtype::F16), ("I8", dtype::I8)] {
            if !only_dtype.is_empty() && only_dtype != name {
                continue;
            }
            for (rows, end) in [(512, 512), (512, 2048)] {
                if wanted(format!("prefill{end}")) {
                    let seconds = attention(&rig, dtype, rows, end);
                    let pairs = (0..rows).map(|i| end - rows + i + 1).sum::<usize>();
                    let flop = (pairs * HEADS * DIM * 4) as f64;
                    let (ms, speed) = (seconds * 1e3, flop / seconds / 1e9);
                    println!("  {name} prefill of {rows} up to {end}: {ms:.2} ms a layer, {speed:.0} GFLOP/s");
                }
            }
            for end in [16, 128, 1024, 4096] {
                if wanted(format!("decode{end}")) {
                    println!("  {name} decode at {end}: {:.1} us a layer", attention(&rig, dtype, 1, end) * 1e6);
                }
            }
        }
    }
}
