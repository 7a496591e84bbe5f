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
                inputs.push(noise.fixed(&[a, rank, n], 0.5));
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

/// Activations that the model rounds, before ternary weights and others. The wide one is where a step is easily off by a bit.
fn rounded(of: Of) -> Vec<Case> {
    let rounding = |o: &Options| Options { params: LinearParams { quantize: 1, ..o.params }, ..o.clone() };
    let plain = rounding(&Options::default());
    let residual = Options { bias: true, residual: true, ..plain.clone() };
    let two = [(of, 17), (of, 17)];
    let gated = rounding(&norm(&glu(activation::RELU_SQUARED)));
    let cases = [
        linear("rounded", 1, of.k(2), &[(of, 17)], &plain),
        linear("rounded", 33, of.k(1), &[(of, 5)], &plain),
        linear("rounded, bias, residual", 7, of.k(3), &[(of, 17)], &residual),
        linear("rounded norm", 7, of.k(1), &[(of, 9), (of, 5), (of, 5)], &norm(&plain)),
        linear("rounded norm, glu", 7, of.k(2), &two, &gated),
    ];
    cases.into_iter().flatten().collect()
}

/// Activations that integer kernels get wrong if anything: zeros (a scale of 0), constants with weights of one sign (the
/// largest sums there can be), one value far above the rest of its block.
fn difficult(of: Of) -> Vec<Case> {
    let k = of.k(3);
    let make = |name: &str, x: &dyn Fn(usize) -> f32, w: &dyn Fn(usize) -> f32| {
        let mut case = linear(name, 3, k, &[(of, 18)], &Options::default())?;
        let real = |n: usize, f: &dyn Fn(usize) -> f32| Data::Real((0..n).map(f).collect());
        if let Some(Some(input)) = case.inputs.get_mut(0) {
            input.data = real(3 * k, x);
        }
        if let Some(Some(input)) = case.inputs.get_mut(5) {
            input.data = match of {
                Of::Plain => real(18 * k, w),
                Of::Prepared(dtype) => {
                    let data: Vec<f32> = (0..18 * k).map(w).collect();
                    let mut bytes = vec![0; usize::try_from(dtype.tensor_bytes(18 * k as u64)?).ok()?];
                    tern_quant::quantize(dtype, &data, &mut bytes).ok()?;
                    Data::Weight(dtype, bytes)
                }
            };
        }
        Some(case)
    };
    let wave = |i: usize| (i as f32 * 0.7).sin();
    let flip = |i: usize| if i.is_multiple_of(2) { 1.0 } else { -1.0 };
    let cases = [
        make("zeros", &|_| 0.0, &wave),
        make("zero weights", &wave, &|_| 0.0),
        make("constants", &|_| 1.0, &|_| 0.75),
        make("constants of other sign", &|_| -3.0, &|_| 0.75),
        make("negative constants", &|_| -1.0, &|_| -0.75),
        make("alternating extremes", &flip, &flip),
        make("one far above", &|i| if i % 32 == 9 { 1000.0 } else { wave(i) }, &wave),
        make("tiny", &|i| 1e-20 * wave(i + 3), &wave),
        make("huge", &|i| 1e15 * wave(i + 3), &wave),
    ];
    cases.into_iter().flatten().collect()
}

/// Weight types that every option is tried with.
fn sample() -> Vec<Of> {
    use DType::{F16, F32, MXFP4, Q2_K, Q4_0, Q4_K, Q6_K, Q8_0, TQ2_0};
    let prepared = [F32, F16, Q8_0, Q4_0, Q2_K, Q4_K, Q6_K, MXFP4, TQ2_0];
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
        out.extend(difficult(of));
    }
    for dtype in [DType::F32, DType::F16, DType::Q8_0, DType::Q4_0, DType::Q4_K] {
        let of = Of::Prepared(dtype);
        out.extend(linear("large", 33, 512, &[(of, 300)], &Options::default()));
        out.extend(linear("large", 1, 1024, &[(of, 600)], &Options::default()));
    }
    for of in sample() {
        for (t, blocks) in [(1, 2), (7, 1)] {
            out.extend(options(of, t, blocks));
        }
    }
    for of in [DType::F32, DType::Q8_0, DType::TQ2_0].map(Of::Prepared) {
        // More ranks than fit a few registers or a vector, and as many tokens as are shared out or not.
        let ranks = norm(&Options { adapters: Some((3, 37)), ..Options::default() });
        for t in [2, 33, 80] {
            let k = of.k(256usize.div_ceil(of.k(1)) + 1);
            out.extend(linear("many ranks", t, k, &[(of, 40), (of, 9), (of, 17)], &ranks));
        }
    }
    for of in [DType::TQ1_0, DType::TQ2_0, DType::I2_S, DType::F32].map(Of::Prepared) {
        out.extend(rounded(of));
    }
    // Activations in every form that matrices take them in.
    let mixed = [(DType::Q4_K, 20), (DType::TQ2_0, 9), (DType::F16, 9), (DType::Q2_K, 9)];
    let mixed = mixed.map(|(dtype, n)| (Of::Prepared(dtype), n));
    out.extend(linear("mixed dtypes", 7, 256, &mixed, &norm(&Options::default())));
    for other in [DType::Q5_K, DType::F16] {
        let unlike = [(Of::Prepared(DType::TQ2_0), 17), (Of::Prepared(other), 17)];
        out.extend(linear("unlike gate and up", 19, 256, &unlike, &norm(&glu(activation::SILU))));
    }
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
