use super::super::norm::standardized;
use super::*;
use crate::memory::Memory;
use crate::oracle::forward;
use crate::{Data, Kernel, Value};
use std::sync::Arc;
use tern_abi::dtype;

/// A small deterministic generator: values in -1..1.
pub(super) fn noise(seed: u64) -> impl FnMut(usize, f64) -> Vec<f64> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |n, scale| {
        (0..n)
            .map(|_| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                ((x >> 11) as f64 / (1u64 << 52) as f64 - 1.0) * scale
            })
            .collect()
    }
}

struct Problem {
    p: FastWeightParams,
    t: usize,
    data: Vec<Vec<f64>>,
}

fn problem(heads: usize, f: usize, chunk: usize, t: usize) -> Problem {
    let mut noise = noise(7);
    let w = heads * f;
    let mut data = vec![noise(t * w, 1.0), noise(t * w, 1.0), noise(t * w, 1.0)];
    data.push(noise(t * heads, 0.2).into_iter().map(|x| 0.3 + x).collect());
    data.extend([noise(heads * f * f, 0.4), noise(w, 0.2)]);
    data.push(noise(w, 0.3).into_iter().map(|x| 1.0 + x).collect());
    data.push(noise(w, 0.2));
    data.push((0..chunk).map(|i| 1.0 / (i + 1) as f64).collect());
    let p = FastWeightParams {
        heads: heads as u32,
        head_dim: f as u32,
        chunk: chunk as u32,
        eps: 1e-6,
        ..Default::default()
    };
    Problem { p, t, data }
}

impl Problem {
    /// Rows `from..to` of one sequence.
    fn inputs(&self, from: usize, to: usize) -> Vec<Option<Value<'static, f64>>> {
        let (h, f) = (self.p.heads as usize, self.p.head_dim as usize);
        let rows = |x: &[f64], w: usize| Some(Value::real(&[to - from, w], x[from * w..to * w].to_vec()));
        let whole = |shape: &[usize], i: usize| Some(Value::real(shape, self.data[i].clone()));
        let m = if self.p.hidden > 0 { self.p.hidden as usize } else { f };
        let second = |i: usize, shape: &[usize]| self.data.get(i).map(|x| Value::real(shape, x.clone()));
        vec![
            rows(&self.data[0], h * f),
            rows(&self.data[1], h * f),
            rows(&self.data[2], h * f),
            rows(&self.data[3], h),
            whole(&[h, f, m], 4),
            whole(&[h, m], 5),
            whole(&[h, f], 6),
            whole(&[h, f], 7),
            whole(&[self.p.chunk as usize], 8),
            Some(Value::int(&[to - from], (from as i32..to as i32).collect())),
            Some(Value::int(&[2], vec![0, (to - from) as i32])),
            None,
            None,
            None,
            second(9, &[h, m, f]),
            second(10, &[h, f]),
        ]
    }
    fn run(&self, inputs: &[Option<Value<'_, f64>>]) -> Vec<f64> {
        forward(&Kernel::FastWeight(FastWeight(self.p)), inputs).unwrap().remove(0)
    }
}

/// The dual form, mini-batch by mini-batch with matrices, written independently of the streaming form:
/// `Z̄ = Q W - (η ∘ tril(Q Kᵀ)) G + b - tril(η) G`, `W' = W - (η_last ∘ K)ᵀ G`, `b' = b - Σ η_last G`.
fn dual(p: &Problem, head: usize) -> Vec<Vec<f64>> {
    let (h, f, chunk) = (p.p.heads as usize, p.p.head_dim as usize, p.p.chunk as usize);
    let row = |i: usize, t: usize| &p.data[i][(t * h + head) * f..(t * h + head + 1) * f];
    let per_head = |i: usize| &p.data[i][head * f..(head + 1) * f];
    let (gamma, beta) = (per_head(6), per_head(7));
    let mut w = p.data[4][head * f * f..(head + 1) * f * f].to_vec();
    let mut b = per_head(5).to_vec();
    let affine = |x: &[f64], w: &[f64], b: &[f64]| -> Vec<f64> {
        (0..f).map(|c| (0..f).map(|a| x[a] * w[a * f + c]).sum::<f64>() + b[c]).collect()
    };
    let normal = |z: &[f64]| -> (Vec<f64>, f64) {
        let mean = z.iter().sum::<f64>() / f as f64;
        let sigma = (z.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / f as f64 + f64::from(p.p.eps)).sqrt();
        (z.iter().map(|z| (z - mean) / sigma).collect(), sigma)
    };
    let mut out = Vec::new();
    for start in (0..p.t).step_by(chunk) {
        let n = chunk.min(p.t - start);
        let g: Vec<Vec<f64>> = (start..start + n)
            .map(|t| {
                let (x, sigma) = normal(&affine(row(1, t), &w, &b));
                let e: Vec<f64> =
                    (0..f).map(|c| (gamma[c] * x[c] + beta[c] - (row(2, t)[c] - row(1, t)[c])) * gamma[c]).collect();
                let (sum, ex) = (e.iter().sum::<f64>(), e.iter().zip(&x).map(|(e, x)| e * x).sum::<f64>());
                (0..f).map(|c| (f as f64 * e[c] - sum - x[c] * ex) / (f as f64 * sigma)).collect()
            })
            .collect();
        let eta = |i: usize, j: usize| p.data[8][i].max(0.0) * p.data[3][(start + j) * h + head];
        for i in 0..n {
            let q = row(0, start + i);
            let mut z = affine(q, &w, &b);
            for (j, g) in g.iter().enumerate().take(i + 1) {
                let qk: f64 = q.iter().zip(row(1, start + j)).map(|(q, k)| q * k).sum();
                (0..f).for_each(|c| z[c] -= eta(i, j) * qk * g[c] + eta(i, j) * g[c]);
            }
            let (x, _) = normal(&z);
            out.push((0..f).map(|c| q[c] + gamma[c] * x[c] + beta[c]).collect());
        }
        if n == chunk {
            for (j, g) in g.iter().enumerate() {
                for c in 0..f {
                    (0..f).for_each(|a| w[a * f + c] -= eta(n - 1, j) * row(1, start + j)[a] * g[c]);
                    b[c] -= eta(n - 1, j) * g[c];
                }
            }
        }
    }
    out
}

#[test]
fn streaming_form_equals_dual_form() {
    let p = problem(2, 8, 4, 19);
    let got = p.run(&p.inputs(0, p.t));
    for head in 0..2 {
        for (t, want) in dual(&p, head).iter().enumerate() {
            for (c, want) in want.iter().enumerate() {
                let got = got[(t * 2 + head) * 8 + c];
                assert!((got - want).abs() < 1e-12, "row {t} head {head}: {got} {want}");
            }
        }
    }
}

#[test]
fn one_step_by_hand() {
    // f = 2, W = 0, b = (1, -1), eps = 0: z = (1, -1), normal (1, -1), root 1. With ln_w = 1, ln_b = 0,
    // k = (1, 0), v - k = (3, -1): e = (-2, 0), Σe = -2, e·x̂ = -2, g = ((-4 + 2 + 2) / 2, (0 + 2 - 2) / 2) = 0:
    // a layer norm over two values has only a sign left to learn. So the output is q + (1, -1).
    let p = FastWeightParams { heads: 1, head_dim: 2, chunk: 4, eps: 0.0, ..Default::default() };
    let real = |shape: &[usize], x: &[f64]| Some(Value::real(shape, x.to_vec()));
    let x = [
        real(&[1, 2], &[5.0, 7.0]),
        real(&[1, 2], &[1.0, 0.0]),
        real(&[1, 2], &[4.0, -1.0]),
        real(&[1, 1], &[0.5]),
        real(&[1, 2, 2], &[0.0; 4]),
        real(&[1, 2], &[1.0, -1.0]),
        real(&[1, 2], &[1.0, 1.0]),
        real(&[1, 2], &[0.0, 0.0]),
        real(&[4], &[1.0; 4]),
        Some(Value::int(&[1], vec![0])),
        Some(Value::int(&[2], vec![0, 1])),
    ];
    assert_eq!(forward(&Kernel::FastWeight(FastWeight(p)), &x).unwrap()[0], [6.0, 6.0]);
}

#[test]
fn gradient_is_that_of_the_inner_loss() {
    let inner = Inner {
        w: vec![vec![0.3, -0.2, 0.5], vec![0.1, 0.4, -0.6], vec![0.2, 0.2, 0.1]],
        b: vec![0.1; 3],
        open: vec![],
    };
    let (k, v) = ([0.5, -1.0, 0.25], [1.0, 0.3, -0.7]);
    let norm = Norm { w: &[1.1, 0.9, 1.3], b: &[0.1, -0.2, 0.0], eps: 1e-6 };
    let loss = |z: &[f64]| -> f64 {
        let y = norm.affine(&standardized(z, 1e-6).0);
        (0..3).map(|i| 0.5 * (y[i] - (v[i] - k[i])).powi(2)).sum()
    };
    let z = inner.apply(&k);
    let g = norm.gradient(&z, &k, &v);
    for i in 0..3 {
        let at = |h: f64| {
            let mut z = z.clone();
            z[i] += h;
            loss(&z)
        };
        assert!(((at(1e-6) - at(-1e-6)) / 2e-6 - g[i]).abs() < 1e-8);
    }
}

#[test]
fn resumes_anywhere_bit_for_bit() {
    resumes(&problem(2, 4, 5, 17));
}

/// The same rows in two parts, divided at every place, from a state that held garbage.
fn resumes(p: &Problem) {
    let whole = p.run(&p.inputs(0, p.t));
    let head = fast_weight_head(p.p.head_dim.into(), p.p.hidden.into(), p.p.head_dim.into(), p.p.chunk.into(), 0);
    let bytes = head.unwrap() * u64::from(p.p.heads) * 8;
    for cut in 0..=p.t {
        let memory = Memory::new(2 * bytes, &Arc::default()).unwrap();
        // Whatever the state held before: position 0 does not look.
        memory.fill(0, 2 * bytes, 0xff).unwrap();
        let mut got = Vec::new();
        for (from, to) in [(0, cut), (cut, p.t)] {
            let mut inputs = p.inputs(from, to);
            let state = StateMemory { memory: &memory, offset: 0, bytes: 2 * bytes, dtype: dtype::F64 };
            inputs[STATE] = Some(Value { shape: vec![2 * bytes as usize / 8], data: Data::State(state) });
            inputs[STATE_SLOTS] = Some(Value::int(&[1], vec![1]));
            got.extend(p.run(&inputs));
        }
        assert_eq!(got, whole, "cut at {cut}");
    }
}

/// The gated delta rule as its authors state it, one token after the other.
fn recurrence(p: &FastWeightParams, data: &[Vec<f64>], t: usize) -> Vec<f64> {
    let (h, f, n, kh) = (p.heads as usize, p.head_dim as usize, p.value_dim as usize, p.key_heads as usize);
    let mut out = vec![0.0; t * h * n];
    for head in 0..h {
        let mut w = data[4][head * f * n..(head + 1) * f * n].to_vec();
        for t in 0..t {
            let key = (t * kh + if p.in_turns == 1 { head % kh } else { head * kh / h }) * f;
            let (q, k) = (&data[0][key..key + f], &data[1][key..key + f]);
            let at = t * h + head;
            w.iter_mut().for_each(|w| *w *= data[5][at].exp());
            for c in 0..n {
                let known: f64 = (0..f).map(|a| k[a] * w[a * n + c]).sum();
                let g = data[3][at] * (data[2][at * n + c] - known);
                (0..f).for_each(|a| w[a * n + c] += k[a] * g);
                out[at * n + c] = (0..f).map(|a| q[a] * w[a * n + c]).sum();
            }
        }
    }
    out
}

#[test]
fn mini_batches_are_the_delta_rules_recurrence() {
    for (chunk, in_turns) in [(1, 0), (4, 1), (32, 0)] {
        let (h, kh, f, n, t) = (4, 2, 5, 3, 13);
        let p = FastWeightParams {
            in_turns,
            heads: h,
            head_dim: f,
            chunk,
            rule: fast_weight_rule::DELTA,
            value_dim: n,
            key_heads: kh,
            ..Default::default()
        };
        let [h, kh, f, n] = [h, kh, f, n].map(|n| n as usize);
        let mut noise = noise(3);
        let mut data = vec![noise(t * kh * f, 0.8), noise(t * kh * f, 0.8), noise(t * h * n, 1.0)];
        data.push(noise(t * h, 0.4).into_iter().map(|x| 0.5 + x).collect());
        data.extend([noise(h * f * n, 0.4), noise(t * h, 1.0).into_iter().map(|x| x - 1.0).collect()]);
        let rows = |i: usize, w: usize| Some(Value::real(&[t, w], data[i].clone()));
        let mut inputs = vec![rows(0, kh * f), rows(1, kh * f), rows(2, h * n), rows(3, h)];
        inputs.push(Some(Value::real(&[h, f, n], data[4].clone())));
        inputs.extend([None, None, None, None, Some(Value::int(&[t], (0..t as i32).collect()))]);
        inputs.extend([Some(Value::int(&[2], vec![0, t as i32])), None, None, rows(5, h)]);
        let found = forward(&Kernel::FastWeight(FastWeight(p)), &inputs).unwrap().remove(0);
        let worst = found.iter().zip(recurrence(&p, &data, t)).fold(0f64, |m, (a, b)| m.max((a - b).abs()));
        assert!(worst < 1e-13, "chunk {chunk}: {worst}");
    }
}

/// TTT-MLP in its dual form, mini-batch by mini-batch with matrices, as the authors' code has it.
#[allow(clippy::needless_range_loop, reason = "sums over rows as the paper writes them")]
fn dual_mlp(p: &Problem, head: usize) -> Vec<Vec<f64>> {
    let (h, f, m, chunk) = (p.p.heads as usize, p.p.head_dim as usize, p.p.hidden as usize, p.p.chunk as usize);
    let row = |i: usize, t: usize| &p.data[i][(t * h + head) * f..(t * h + head + 1) * f];
    let own = |i: usize, n: usize| p.data[i][head * n..(head + 1) * n].to_vec();
    let (mut w1, mut b1, mut w2, mut b2) = (own(4, f * m), own(5, m), own(9, m * f), own(10, f));
    let (gamma, beta) = (own(6, f), own(7, f));
    let affine = |x: &[f64], w: &[f64], b: &[f64]| -> Vec<f64> {
        let n = b.len();
        (0..n).map(|c| x.iter().enumerate().map(|(a, x)| x * w[a * n + c]).sum::<f64>() + b[c]).collect()
    };
    let cubic = |x: f64| 0.797_884_560_802_865_4 * (x + 0.044715 * x.powi(3));
    let gelu = |z: &[f64]| -> Vec<f64> { z.iter().map(|&x| 0.5 * x * (1.0 + cubic(x).tanh())).collect() };
    let slope = |x: f64| (gelu(&[x + 1e-6])[0] - gelu(&[x - 1e-6])[0]) / 2e-6;
    let normal = |z: &[f64]| -> (Vec<f64>, f64) {
        let mean = z.iter().sum::<f64>() / f as f64;
        let sigma = (z.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / f as f64 + f64::from(p.p.eps)).sqrt();
        (z.iter().map(|z| (z - mean) / sigma).collect(), sigma)
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut out = Vec::new();
    for start in (0..p.t).step_by(chunk) {
        let n = chunk.min(p.t - start);
        let (mut x2, mut g1, mut g2) = (Vec::new(), Vec::new(), Vec::new());
        for t in start..start + n {
            let z1 = affine(row(1, t), &w1, &b1);
            let u = gelu(&z1);
            let (x, sigma) = normal(&affine(&u, &w2, &b2));
            let e: Vec<f64> =
                (0..f).map(|c| (gamma[c] * x[c] + beta[c] - (row(2, t)[c] - row(1, t)[c])) * gamma[c]).collect();
            let (sum, ex) = (e.iter().sum::<f64>(), dot(&e, &x));
            let g: Vec<f64> = (0..f).map(|c| (f as f64 * e[c] - sum - x[c] * ex) / (f as f64 * sigma)).collect();
            g1.push((0..m).map(|a| dot(&w2[a * f..(a + 1) * f], &g) * slope(z1[a])).collect::<Vec<f64>>());
            x2.push(u);
            g2.push(g);
        }
        let eta = |i: usize, j: usize| p.data[8][i].max(0.0) * p.data[3][(start + j) * h + head];
        for i in 0..n {
            let q = row(0, start + i);
            let mut z1 = affine(q, &w1, &b1);
            for j in 0..=i {
                let share = eta(i, j) * (dot(q, row(1, start + j)) + 1.0);
                (0..m).for_each(|c| z1[c] -= share * g1[j][c]);
            }
            let u = gelu(&z1);
            let mut z2 = affine(&u, &w2, &b2);
            for j in 0..=i {
                let share = eta(i, j) * (dot(&u, &x2[j]) + 1.0);
                (0..f).for_each(|c| z2[c] -= share * g2[j][c]);
            }
            let (x, _) = normal(&z2);
            out.push((0..f).map(|c| q[c] + gamma[c] * x[c] + beta[c]).collect());
        }
        for j in (0..n).filter(|_| n == chunk) {
            let rate = eta(n - 1, j);
            (0..f * m).for_each(|e| w1[e] -= rate * row(1, start + j)[e / m] * g1[j][e % m]);
            (0..m).for_each(|c| b1[c] -= rate * g1[j][c]);
            (0..m * f).for_each(|e| w2[e] -= rate * x2[j][e / f] * g2[j][e % f]);
            (0..f).for_each(|c| b2[c] -= rate * g2[j][c]);
        }
    }
    out
}

/// A problem whose inner model has two layers.
fn two_layers(f: usize, m: usize, chunk: usize, t: usize) -> Problem {
    let mut p = problem(2, f, chunk, t);
    let mut noise = noise(11);
    (p.p.inner, p.p.hidden) = (1, m as u32);
    (p.data[4], p.data[5]) = (noise(2 * f * m, 0.4), noise(2 * m, 0.2));
    p.data.extend([noise(2 * m * f, 0.4), noise(2 * f, 0.2)]);
    p
}

#[test]
fn two_layers_equal_their_dual_form() {
    let p = two_layers(6, 10, 4, 19);
    let got = p.run(&p.inputs(0, p.t));
    for head in 0..2 {
        for (t, want) in dual_mlp(&p, head).iter().enumerate() {
            for (c, want) in want.iter().enumerate() {
                let got = got[(t * 2 + head) * 6 + c];
                // The slope there is a difference.
                assert!((got - want).abs() < 1e-9, "row {t} head {head}: {got} {want}");
            }
        }
    }
}

#[test]
fn slope_of_gelu_is_its_derivative() {
    for x in [-30.0f64, -3.0, -0.7, 0.0, 0.2, 1.5, 8.0] {
        let gelu = |x: f64| crate::ops::elementwise::activate(tern_abi::ops::activation::GELU_TANH, x).unwrap();
        let difference = (gelu(x + 1e-5) - gelu(x - 1e-5)) / 2e-5;
        assert!((stack::gelu_slope(x) - difference).abs() < 1e-9, "{x}");
    }
}

#[test]
fn two_layers_resume_anywhere_bit_for_bit() {
    resumes(&two_layers(4, 7, 5, 17));
}
