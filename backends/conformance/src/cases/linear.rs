//! LINEAR: every weight dtype, and every option.

use super::elementwise::ACTIVATIONS;
use super::{TOKENS, backward, case};
use crate::case::{Case, Data, Input};
use crate::noise::{Noise, dims, ints, weight_dtypes};
use tern_abi::graph::dim;
use tern_abi::ops::{LinearParams, activation};
use tern_quant::DType;
use tern_reference::{Kernel, ops};

/// What weights a case has.
#[derive(Clone, Copy, Debug)]
enum Of {
    /// Prepared.
    Prepared(DType),
    /// Reals in plain memory.
    Plain,
}

impl Of {
    fn name(self) -> &'static str {
        match self {
            Of::Prepared(dtype) => dtype.name(),
            Of::Plain => "plain",
        }
    }
    /// An inner size of about `blocks` blocks, odd where the dtype allows it.
    fn k(self, blocks: usize) -> usize {
        match self {
            Of::Prepared(dtype) if dtype.block_len() > 1 => dtype.block_len() * blocks,
            _ => 37 * blocks,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Options {
    params: LinearParams,
    bias: bool,
    residual: bool,
    norm_w: bool,
    /// Adapters and their rank; the second has scale 0.
    adapters: Option<(usize, usize)>,
}

fn linear(name: &str, t: usize, k: usize, weights: &[(Of, usize)], o: &Options) -> Option<Case> {
    let sizes: Vec<String> = weights.iter().map(|(of, n)| format!("{}:{n}", of.name())).collect();
    let name = format!("{name} T={t} K={k} N={}", sizes.join(","));
    let mut noise = Noise::new(&name);
    let mut inputs = vec![noise.tokens(&[t, k], 1.0), noise.around_one(&[k]).filter(|_| o.norm_w)];
    inputs.push(noise.tokens(&[t, weights[0].1], 1.0).filter(|_| o.residual));
    match o.adapters {
        Some((a, _)) => {
            let index = (0..t).map(|i| (i % (a + 1)) as i32 - 1).collect();
            let scales = (0..a).map(|i| if i == 1 { 0.0 } else { 0.5 + i as f32 }).collect();
            inputs.push(ints(dim::TOKENS, index));
            inputs.push(Some(Input { shape: vec![a], lead: dim::FIXED, data: Data::Real(scales) }));
        }
        None => inputs.extend([None, None]),
    }
    let deviation = 1.0 / (k as f32).sqrt();
    for (i, &(of, n)) in weights.iter().enumerate() {
        inputs.push(Some(match of {
            Of::Prepared(dtype) => noise.weight(dtype, &[n, k], deviation)?,
            Of::Plain => noise.fixed(&[n, k], deviation)?,
        }));
        inputs.push(noise.fixed(&[n], 0.5).filter(|_| o.bias));
        match o.adapters {
            // One weight without adapters among those with.
            Some((a, rank)) if i != 1 => {
                inputs.push(noise.fixed(&[a, rank, k], deviation));
                inputs.push(noise.fixed(&[a, n, rank], 0.5));
            }
            _ => inputs.extend([None, None]),
        }
    }
    let params = LinearParams { n_weights: weights.len() as u32, ..o.params };
    Some(case(name, Kernel::Linear(ops::Linear(params)), inputs, dims(t, 0, 0)))
}

fn norm(o: &Options) -> Options {
    Options { params: LinearParams { norm: 1, eps: 1e-5, ..o.params }, norm_w: true, ..o.clone() }
}

fn glu(id: u32) -> Options {
    Options { params: LinearParams { glu: 1, activation: id, ..LinearParams::default() }, ..Options::default() }
}

/// Every option with weights `of`, `t` tokens and `blocks` blocks.
fn options(of: Of, t: usize, blocks: usize) -> Vec<Case> {
    let (k, plain) = (of.k(blocks), Options::default());
    let adapters = Options { adapters: Some((3, 4)), ..plain.clone() };
    let all = Options { bias: true, residual: true, ..norm(&adapters) };
    let two = [(of, 17), (of, 17)];
    let fused = Options { bias: true, adapters: Some((2, 3)), ..norm(&glu(activation::SILU)) };
    let bare_norm = Options { params: norm(&plain).params, ..plain.clone() };
    let mut out = vec![
        linear("bias", t, k, &[(of, 17)], &Options { bias: true, ..plain.clone() }),
        linear("residual", t, k, &[(of, 17)], &Options { residual: true, ..plain.clone() }),
        linear("norm", t, k, &[(of, 17)], &norm(&plain)),
        linear("norm without weight", t, k, &[(of, 17)], &bare_norm),
        linear("adapters", t, k, &[(of, 17)], &adapters),
        linear("everything", t, k, &[(of, 17)], &all),
        linear("three", t, k, &[(of, 33), (of, 9), (of, 9)], &norm(&adapters)),
        linear("four", t, k, &[(of, 5), (of, 6), (of, 7), (of, 8)], &Options { bias: true, ..plain }),
        linear("norm, glu, adapters, bias", t, k, &two, &fused),
    ];
    out.extend(ACTIVATIONS.map(|(id, label)| linear(&format!("glu {label}"), t, k, &two, &glu(id))));
    out.into_iter().flatten().collect()
}

/// Weight types that every option is tried with.
fn sample() -> Vec<Of> {
    let prepared = [DType::F32, DType::F16, DType::Q8_0, DType::Q4_0, DType::Q4_K, DType::Q6_K];
    prepared.into_iter().map(Of::Prepared).chain([Of::Plain]).collect()
}

pub(super) fn forward() -> Vec<Case> {
    let mut out = Vec::new();
    for of in weight_dtypes().into_iter().map(Of::Prepared).chain([Of::Plain]) {
        for t in TOKENS {
            for (n, blocks) in [(1, 1), (17, 2), (67, 3)] {
                out.extend(linear("plain", t, of.k(blocks), &[(of, n)], &Options::default()));
            }
        }
        out.extend(linear("long", 3, of.k(9), &[(of, 40)], &Options::default()));
    }
    for of in sample() {
        for (t, blocks) in [(1, 2), (7, 1)] {
            out.extend(options(of, t, blocks));
        }
    }
    let mixed = [(Of::Prepared(DType::Q4_K), 20), (Of::Prepared(DType::Q4_K), 9), (Of::Prepared(DType::Q6_K), 9)];
    out.extend(linear("mixed dtypes", 7, 256, &mixed, &norm(&Options::default())));
    out
}

pub(super) fn gradients() -> Vec<Case> {
    let mut out = Vec::new();
    for of in weight_dtypes().into_iter().map(Of::Prepared).chain([Of::Plain]) {
        for (t, n, blocks) in [(1, 17, 1), (7, 9, 2)] {
            out.extend(linear("plain", t, of.k(blocks), &[(of, n)], &Options::default()));
        }
    }
    for of in [Of::Plain, Of::Prepared(DType::F16), Of::Prepared(DType::Q4_0)] {
        out.extend(options(of, 7, 1));
    }
    out.into_iter().map(backward).collect()
}
