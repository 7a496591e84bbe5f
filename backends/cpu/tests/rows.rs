//! The ops that work row by row, on every tier, against plain code in f64; and that neither threads nor cuts
//! change a bit.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::{Net, Rig, bits, noise, tiers, worst};
use tern_abi::ops::{
    self, ActivationParams, GluParams, MoeRouteParams, NormParams, RopeParams, RopeTableParams, ScaleParams,
};
use tern_abi::ops::{activation, rope_layout};
use tern_abi::status;

/// Runs `build`'s net on every tier with several numbers of threads: the results must agree bit for bit within a
/// tier, and with `want` closely.
fn check(name: &str, build: impl Fn(&mut Net) -> u32, want: &[f32], tolerance: f32) {
    for tier in tiers() {
        let mut first: Option<Vec<u32>> = None;
        for threads in [1, 2, 3, 8] {
            let rig = Rig::new(tier, threads);
            let mut net = Net::default();
            let out = build(&mut net);
            let got = rig.run(&net, &[out]).unwrap().remove(0);
            let error = worst(&got, want);
            assert!(error < tolerance, "{name}, {tier}: off by {error}");
            let got = bits(&got);
            assert!(*first.get_or_insert_with(|| got.clone()) == got, "{name}, {tier}: {threads} threads differ");
        }
    }
}

const SIZES: [(usize, usize); 4] = [(1, 5), (3, 64), (7, 100), (40, 576)];

fn rows(x: &[f32], n: usize) -> impl Iterator<Item = &[f32]> {
    x.chunks(n)
}

#[test]
fn norms() {
    for (t, n) in SIZES {
        let (x, w, b) = (noise(t * n, 1), noise(n, 2), noise(n, 3));
        let rms = |weighted: bool| -> Vec<f32> {
            rows(&x, n)
                .flat_map(|row| {
                    let mean: f64 = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n as f64;
                    let w = &w;
                    row.iter().enumerate().map(move |(i, &x)| {
                        (f64::from(x) / (mean + 1e-5).sqrt() * if weighted { f64::from(w[i]) } else { 1.0 }) as f32
                    })
                })
                .collect()
        };
        for weighted in [true, false] {
            let build = |net: &mut Net| {
                let (x, out) = (net.f32(&[t, n], &x), net.out(&[t, n]));
                let w = weighted.then(|| net.f32(&[n], &w));
                net.op(ops::RMS_NORM, &[Some(x), w], &[Some(out)], NormParams { eps: 1e-5, groups: 0 });
                out
            };
            check("rms norm", build, &rms(weighted), 1e-6);
        }
        let want: Vec<f32> = rows(&x, n)
            .flat_map(|row| {
                let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
                let var = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n as f64;
                let (w, b) = (&w, &b);
                row.iter().enumerate().map(move |(i, &x)| {
                    ((f64::from(x) - mean) / (var + 1e-5).sqrt() * f64::from(w[i]) + f64::from(b[i])) as f32
                })
            })
            .collect();
        let build = |net: &mut Net| {
            let (x, w, b) = (net.f32(&[t, n], &x), net.f32(&[n], &w), net.f32(&[n], &b));
            let out = net.out(&[t, n]);
            net.op(ops::LAYER_NORM, &[Some(x), Some(w), Some(b)], &[Some(out)], NormParams { eps: 1e-5, groups: 0 });
            out
        };
        check("layer norm", build, &want, 2e-6);
    }
}

fn act(kind: u32, x: f64) -> f64 {
    match kind {
        activation::SILU => x / (1.0 + (-x).exp()),
        activation::GELU_TANH => 0.5 * x * (1.0 + (0.797_884_560_8 * (x + 0.044_715 * x.powi(3))).tanh()),
        activation::GELU => x * 0.5 * erfc(-x / std::f64::consts::SQRT_2),
        activation::RELU_SQUARED => x.max(0.0).powi(2),
        activation::SIGMOID => 1.0 / (1.0 + (-x).exp()),
        activation::TANH => x.tanh(),
        _ => x,
    }
}

/// By its integral, with Simpson's rule.
fn erfc(x: f64) -> f64 {
    let (a, b, n) = (x, x.max(0.0) + 8.0, 4000);
    let h = (b - a) / f64::from(n);
    let f = |t: f64| (-t * t).exp();
    let inner: f64 = (1..n).map(|i| f(a + h * f64::from(i)) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
    (f(a) + f(b) + inner) * h / 3.0 * 2.0 / std::f64::consts::PI.sqrt()
}

#[test]
fn activations() {
    let n = 1003;
    let x: Vec<f32> = noise(n, 4).iter().map(|x| x * 9.0).collect();
    let up = noise(n, 5);
    for kind in activation::IDENTITY..=activation::TANH {
        let want: Vec<f32> = x.iter().map(|&x| act(kind, x.into()) as f32).collect();
        let build = |net: &mut Net| {
            let (x, out) = (net.f32(&[n], &x), net.out(&[n]));
            net.op(ops::ACTIVATION, &[Some(x)], &[Some(out)], ActivationParams { activation: kind });
            out
        };
        check("activation", build, &want, 1e-6);
        let want: Vec<f32> = want.iter().zip(&up).map(|(a, b)| a * b).collect();
        let build = |net: &mut Net| {
            let (x, up, out) = (net.f32(&[17, 59], &x), net.f32(&[17, 59], &up), net.out(&[17, 59]));
            let params = GluParams { activation: kind, ..Default::default() };
            net.op(ops::GLU, &[Some(x), Some(up)], &[Some(out)], params);
            out
        };
        check("glu", build, &want, 1e-6);
    }
    // The left tail keeps its relative accuracy.
    let rig = Rig::new("", 1);
    let mut net = Net::default();
    let (x, out) = (net.f32(&[3], &[-4.0, -5.0, -6.0]), net.out(&[3]));
    net.op(ops::ACTIVATION, &[Some(x)], &[Some(out)], ActivationParams { activation: activation::GELU });
    let got = rig.run(&net, &[out]).unwrap().remove(0);
    for (x, got) in [-4.0, -5.0, -6.0].into_iter().zip(got) {
        let want = act(activation::GELU, x);
        assert!((f64::from(got) / want - 1.0).abs() < 1e-3, "gelu({x}) = {got}, not {want}");
    }
}

#[test]
fn elementwise() {
    for (t, n) in SIZES {
        let (a, b) = (noise(t * n, 6), noise(t * n, 7));
        for short in [false, true] {
            let len = if short { n } else { t * n };
            for (op, f) in [(ops::ADD, (|a, b| a + b) as fn(f32, f32) -> f32), (ops::MUL, |a, b| a * b)] {
                let want: Vec<f32> = a.iter().enumerate().map(|(i, &a)| f(a, b[i % len])).collect();
                let build = |net: &mut Net| {
                    let x = net.f32(&[t, n], &a);
                    let y = if short { net.f32(&[n], &b[..n]) } else { net.f32(&[t, n], &b) };
                    let out = net.out(&[t, n]);
                    net.op(op, &[Some(x), Some(y)], &[Some(out)], ScaleParams::default());
                    out
                };
                check("binary", build, &want, 1e-7);
            }
        }
        let want: Vec<f32> = a.iter().map(|x| x * 0.3).collect();
        let build = |net: &mut Net| {
            let (x, out) = (net.f32(&[t, n], &a), net.out(&[t, n]));
            net.op(ops::SCALE, &[Some(x)], &[Some(out)], ScaleParams { factor: 0.3 });
            out
        };
        check("scale", build, &want, 1e-7);
        let want = [(a.iter().map(|&x| f64::from(x)).sum::<f64>() * 0.5) as f32];
        let build = |net: &mut Net| {
            let (x, out) = (net.f32(&[t, n], &a), net.out(&[1]));
            net.op(ops::SUM, &[Some(x)], &[Some(out)], ScaleParams { factor: 0.5 });
            out
        };
        check("sum", build, &want, 1e-5);
    }
}

#[test]
fn rope() {
    let (t, heads, d) = (5, 3, 72);
    let x = noise(t * heads * d, 8);
    for (n_rot, layout) in [(72, rope_layout::HALVES), (72, rope_layout::ADJACENT), (38, rope_layout::HALVES), (6, 0)] {
        for inverse in [0, 1] {
            let half = n_rot / 2;
            let positions = [0, 3, 1000, 123_456, 7];
            let frequencies: Vec<f32> = (0..half).map(|i| 10000f32.powf(-(i as f32) / half as f32)).collect();
            let mut want = x.clone();
            for row in 0..t * heads {
                for (i, &frequency) in frequencies.iter().enumerate() {
                    let (a, b) = if layout == rope_layout::HALVES { (i, i + half) } else { (2 * i, 2 * i + 1) };
                    let angle = f64::from(positions[row / heads]) * f64::from(frequency);
                    let (s, c) = if inverse == 1 { (-angle).sin_cos() } else { angle.sin_cos() };
                    let (u, v) = (f64::from(x[row * d + a]), f64::from(x[row * d + b]));
                    want[row * d + a] = (u * c - v * s) as f32;
                    want[row * d + b] = (u * s + v * c) as f32;
                }
            }
            let build = |net: &mut Net| {
                let (positions, frequencies) = (net.i32(&[t], &positions), net.f32(&[half], &frequencies));
                let (table, x, out) = (net.out(&[t, n_rot]), net.f32(&[t, heads * d], &x), net.out(&[t, heads * d]));
                let magnitude = RopeTableParams { magnitude: 1.0, period: 0 };
                net.op(ops::ROPE_TABLE, &[Some(positions), Some(frequencies)], &[Some(table)], magnitude);
                let (heads, head_dim) = (heads as u32, d as u32);
                let p = RopeParams { heads, head_dim, n_rot: n_rot as u32, layout, inverse };
                net.op(ops::ROPE, &[Some(x), Some(table)], &[Some(out)], p);
                out
            };
            check("rope", build, &want, 1e-6);
        }
    }
}

#[test]
fn rows_by_index() {
    let (x, ids) = (noise(4 * 9, 9), [3, 0, 3, 2, 1]);
    let want: Vec<f32> = ids.iter().flat_map(|&i| x[i as usize * 9..][..9].to_vec()).collect();
    let build = |ids: [i32; 5]| {
        let x = x.clone();
        move |net: &mut Net| {
            let (x, ids, out) = (net.f32(&[4, 9], &x), net.i32(&[5], &ids), net.out(&[5, 9]));
            net.op(ops::ROWS, &[Some(x), Some(ids)], &[Some(out)], ScaleParams::default());
            out
        }
    };
    check("rows", build(ids), &want, 1e-9);
    for bad in [-1, 4] {
        let mut net = Net::default();
        let out = build([0, 1, bad, 2, 3])(&mut net);
        assert_eq!(Rig::new("", 2).run(&net, &[out]).unwrap_err().0, status::ARGUMENT);
    }
}

#[test]
fn cross_entropy() {
    let (r, v) = (3, 5003);
    let x: Vec<f32> = noise(r * v, 10).iter().map(|x| x * 20.0).collect();
    let targets = [17, -1, 5002];
    let want: Vec<f32> = rows(&x, v)
        .zip(targets)
        .map(|(row, t)| {
            let total: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            if t < 0 { 0.0 } else { (total.ln() - f64::from(row[t as usize])) as f32 }
        })
        .collect();
    let build = |net: &mut Net| {
        let (x, targets, out) = (net.f32(&[r, v], &x), net.i32(&[r], &targets), net.out(&[r]));
        net.op(ops::CROSS_ENTROPY, &[Some(x), Some(targets)], &[Some(out)], ScaleParams::default());
        out
    };
    check("cross entropy", build, &want, 1e-6);
}

#[test]
fn routing() {
    let (t, e, k) = (50, 11, 3);
    // Coarse, so that there are ties.
    let x: Vec<f32> = noise(t * e, 11).iter().map(|x| (x * 3.0).round() / 2.0).collect();
    for (softmax_after, normalize, scale) in [(0, 0, 0.0), (0, 1, 2.5), (1, 0, 1.0)] {
        let (mut ids, mut weights) = (vec![], vec![]);
        for row in rows(&x, e) {
            let mut order: Vec<usize> = (0..e).collect();
            order.sort_by(|&a, &b| row[b].partial_cmp(&row[a]).unwrap().then(a.cmp(&b)));
            let chosen = &order[..k];
            let exp = |i: usize| f64::from(row[i]).exp();
            let sum = |of: &[usize]| of.iter().map(|&i| exp(i)).sum::<f64>();
            let total = if softmax_after == 1 || normalize == 1 { sum(chosen) } else { sum(&order) };
            let factor = if scale == 0.0 { 1.0 } else { f64::from(scale) };
            ids.extend(chosen.iter().map(|&i| i as i32));
            weights.extend(chosen.iter().map(|&i| (exp(i) / total * factor) as f32));
        }
        let p = MoeRouteParams { top_k: k as u32, softmax_after, normalize, scale };
        let rig = Rig::new("", 3);
        let mut net = Net::default();
        let (x, chosen) = (net.f32(&[t, e], &x), net.i32(&[t, k], &vec![-1; t * k]));
        let out = net.out(&[t, k]);
        net.op(ops::MOE_ROUTE, &[Some(x)], &[Some(chosen), Some(out)], p);
        let mut ready = rig.ready(&net).unwrap();
        ready.run([0; 4], std::ptr::null()).unwrap();
        assert_eq!(ready.i32(chosen), ids);
        assert!(worst(&ready.f32(out), &weights) < 1e-6);
    }
}

#[test]
fn combining() {
    let (t, k, n) = (4, 3, 37);
    let (y, w, residual) = (noise(t * k * n, 12), noise(t * k, 13), noise(t * n, 14));
    let want: Vec<f32> = (0..t * n)
        .map(|i| {
            let (row, col) = (i / n, i % n);
            let sum: f64 = (0..k).map(|j| f64::from(w[row * k + j]) * f64::from(y[(row * k + j) * n + col])).sum();
            (sum + f64::from(residual[i])) as f32
        })
        .collect();
    let build = |net: &mut Net| {
        let (y, w, residual) = (net.f32(&[t, k, n], &y), net.f32(&[t, k], &w), net.f32(&[t, n], &residual));
        let out = net.out(&[t, n]);
        net.op(ops::MOE_COMBINE, &[Some(y), Some(w), Some(residual)], &[Some(out)], ScaleParams::default());
        out
    };
    check("combine", build, &want, 1e-6);
}

#[test]
fn unsuitable_graphs_are_errors() {
    let rig = Rig::new("", 1);
    let refuse = |build: &dyn Fn(&mut Net), want: i32| {
        let mut net = Net::default();
        build(&mut net);
        assert_eq!(rig.ready(&net).err().map(|e| e.0), Some(want));
    };
    let p = ScaleParams::default;
    refuse(&|net| net.op(999, &[], &[], p()), status::UNSUPPORTED);
    refuse(&|net| net.op(ops::QUANTIZE_TOKENS | ops::GRAD, &[], &[], p()), status::UNSUPPORTED);
    refuse(&|net| net.op(ops::SCALE, &[], &[], p()), status::ARGUMENT);
    refuse(
        &|net| {
            let (x, out) = (net.f32(&[3], &[0.0; 3]), net.out(&[4]));
            net.op(ops::SCALE, &[Some(x)], &[Some(out)], p());
        },
        status::ARGUMENT,
    );
    refuse(
        &|net| {
            let (x, out) = (net.i32(&[3], &[0; 3]), net.out(&[3]));
            net.op(ops::SCALE, &[Some(x)], &[Some(out)], p());
        },
        status::UNSUPPORTED,
    );
}
