//! LINEAR, EXPERT_LINEAR and GATHER through the plugin's table: against plain code, and against themselves with other
//! numbers of threads, tokens per step, and fusions.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;
mod graph;

use common::{bits, noise, tiers, worst};
use graph::Graph;
use tern_abi::ops::{EXPERT_LINEAR, GATHER, GLU, GluParams, LINEAR, LinearParams, NormParams, RMS_NORM};
use tern_quant::DType;

const TYPES: [DType; 5] = [DType::F32, DType::F16, DType::Q4_0, DType::Q4_K, DType::Q6_K];

/// A linear op and all it may have.
#[derive(Clone)]
struct Case {
    columns: usize,
    weights: Vec<(DType, usize)>,
    bias: bool,
    norm: bool,
    residual: bool,
    adapters: bool,
    glu: bool,
    /// The weights are plain buffers.
    buffers: bool,
}

const BANKS: usize = 3;
const RANK: usize = 5;

impl Case {
    fn plain(columns: usize, weights: &[(DType, usize)]) -> Self {
        let weights = weights.to_vec();
        Self {
            columns,
            weights,
            bias: false,
            norm: false,
            residual: false,
            adapters: false,
            glu: false,
            buffers: false,
        }
    }

    fn x(&self, rows: std::ops::Range<usize>) -> Vec<f32> {
        rows.flat_map(|t| noise(self.columns, 100 + t as u64)).collect()
    }
    fn index(rows: std::ops::Range<usize>) -> Vec<i32> {
        rows.map(|t| [0, -1, 2, 1, 2][t % 5]).collect()
    }
    fn scales() -> [f32; BANKS] {
        [0.5, 0.0, -1.25]
    }

    /// Outputs for some rows, in one op or in several.
    fn run(&self, rows: std::ops::Range<usize>, tier: &str, threads: u32, fused: bool) -> Vec<Vec<f32>> {
        let mut g = Graph::new(tier, threads);
        let (t, k) = (rows.len(), self.columns);
        let mut x = g.f32(&[t, k], &self.x(rows.clone()));
        let norm_w = self.norm.then(|| g.f32(&[k], &noise(k, 1)));
        if let (Some(w), false) = (norm_w, fused) {
            let h = g.out(&[t, k]);
            g.op(RMS_NORM, &[Some(x), Some(w)], &[h], NormParams { eps: 1e-5, groups: 0 });
            x = h;
        }
        let residual = self.residual.then(|| {
            let n = self.weights[0].1;
            let data: Vec<f32> = rows.clone().flat_map(|t| noise(n, 900 + t as u64)).collect();
            g.f32(&[t, n], &data)
        });
        let index = self.adapters.then(|| g.i32(&[t], &Self::index(rows.clone())));
        let scale = self.adapters.then(|| g.f32(&[BANKS], &Self::scales()));
        let mut inputs = Vec::new();
        let mut outputs = Vec::new();
        for (i, &(dtype, n)) in self.weights.iter().enumerate() {
            let seed = 10 * (i as u64 + 1);
            let data = noise(n * k, seed);
            let w = if self.buffers { g.f32(&[n, k], &data) } else { g.weight(dtype, &[n, k], &data) };
            let bias = self.bias.then(|| g.f32(&[n], &noise(n, seed + 1)));
            let a = self.adapters.then(|| g.f32(&[BANKS, RANK, k], &noise(BANKS * RANK * k, seed + 2)));
            let b = self.adapters.then(|| g.f32(&[BANKS, RANK, n], &noise(BANKS * RANK * n, seed + 3)));
            inputs.push([Some(w), bias, a, b]);
            outputs.push(g.out(&[t, n]));
        }
        let p = LinearParams {
            n_weights: self.weights.len() as u32,
            norm: u32::from(self.norm && fused),
            eps: 1e-5,
            glu: u32::from(self.glu && fused),
            activation: 1,
            quantize: 0,
        };
        if fused {
            let mut all = vec![Some(x), norm_w.filter(|_| self.norm), residual, index, scale];
            all.extend(inputs.iter().flatten());
            if self.glu {
                outputs.truncate(1);
            }
            g.op(LINEAR, &all, &outputs, p);
        } else {
            for (w, &y) in inputs.iter().zip(&outputs) {
                let mut all = vec![Some(x), None, residual, index, scale];
                all.extend(w);
                g.op(LINEAR, &all, &[y], LinearParams { n_weights: 1, ..p });
            }
            if self.glu {
                let y = g.out(&[t, self.weights[0].1]);
                g.op(
                    GLU,
                    &[Some(outputs[0]), Some(outputs[1])],
                    &[y],
                    GluParams { activation: 1, ..Default::default() },
                );
                outputs = vec![y];
            }
        }
        g.run(&outputs).unwrap()
    }

    /// The op in f64, from the weights as stored.
    fn expected(&self, rows: std::ops::Range<usize>) -> Vec<Vec<f32>> {
        let k = self.columns;
        let mut all = vec![Vec::new(); self.weights.len()];
        for t in rows {
            let x = self.x(t..t + 1);
            let square = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>() / k as f64;
            let h: Vec<f64> = match self.norm {
                true => {
                    let scale = 1.0 / (square + 1e-5).sqrt();
                    x.iter().zip(noise(k, 1)).map(|(&v, w)| f64::from(v) * scale * f64::from(w)).collect()
                }
                false => x.iter().map(|&v| f64::from(v)).collect(),
            };
            for (i, &(dtype, n)) in self.weights.iter().enumerate() {
                let seed = 10 * (i as u64 + 1);
                let w = graph::rounded(dtype, &noise(n * k, seed), k);
                let (bias, a, b) =
                    (noise(n, seed + 1), noise(BANKS * RANK * k, seed + 2), noise(BANKS * RANK * n, seed + 3));
                let residual = noise(n, 900 + t as u64);
                let dot = |w: &[f32], x: &[f64]| w.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum::<f64>();
                let bank = Self::index(t..t + 1)[0];
                for r in 0..n {
                    let mut y = dot(&w[r * k..][..k], &h);
                    if self.bias {
                        y += f64::from(bias[r]);
                    }
                    if self.adapters && bank >= 0 {
                        let bank = bank as usize;
                        let u: Vec<f64> = (0..RANK).map(|j| dot(&a[(bank * RANK + j) * k..][..k], &h)).collect();
                        let b: Vec<f32> = (0..RANK).map(|j| b[(bank * RANK + j) * n + r]).collect();
                        y += f64::from(Self::scales()[bank]) * dot(&b, &u);
                    }
                    if self.residual {
                        y += f64::from(residual[r]);
                    }
                    all[i].push(y as f32);
                }
            }
        }
        if self.glu {
            let silu = |g: f32| f64::from(g) / (1.0 + (-f64::from(g)).exp());
            let y = all[0].iter().zip(&all[1]).map(|(&g, &u)| (silu(g) * f64::from(u)) as f32).collect();
            all = vec![y];
        }
        all
    }

    fn check(&self, tokens: usize) {
        // Rounding activations to eight bits errs by up to 1/254 of a block's maximum per product: five deviations of the sum.
        let exact = self.weights.iter().all(|w| !w.0.is_quantized());
        let tolerance =
            if exact { 2e-4 } else { 0.007 * (self.columns as f32).sqrt() * if self.glu { 20.0 } else { 1.0 } };
        let want = self.expected(0..tokens);
        for tier in tiers() {
            let all = self.run(0..tokens, tier, 2, true);
            for (got, want) in all.iter().zip(&want) {
                let off = worst(got, want);
                assert!(off < tolerance, "{tier}: off by {off}");
            }
            let same = |other: &[Vec<f32>], what: &str| {
                assert!(all.iter().zip(other).all(|(a, b)| bits(a) == bits(b)), "{tier}: {what} changes the result");
            };
            same(&self.run(0..tokens, tier, 1, true), "one thread");
            same(&self.run(0..tokens, tier, 3, true), "three threads");
            same(&self.run(0..tokens, tier, 2, false), "not fusing");
            for step in [1, 7] {
                let mut parts = vec![Vec::new(); all.len()];
                for first in (0..tokens).step_by(step) {
                    let rows = first..(first + step).min(tokens);
                    for (part, y) in parts.iter_mut().zip(self.run(rows, tier, 2, true)) {
                        part.extend(y);
                    }
                }
                same(&parts, "cutting into steps");
            }
        }
    }
}

#[test]
fn every_type_alone() {
    for dtype in TYPES {
        for (n, k) in [(1, 256), (48, 256), (100, 512)] {
            Case::plain(k, &[(dtype, n)]).check(19);
        }
    }
    Case::plain(37, &[(DType::F32, 50)]).check(19);
}

#[test]
fn everything_at_once() {
    let all = Case { bias: true, norm: true, adapters: true, ..Case::plain(256, &[]) };
    for dtype in TYPES {
        Case { residual: true, weights: vec![(dtype, 70)], ..all.clone() }.check(18);
        Case { glu: true, weights: vec![(dtype, 70), (dtype, 70)], ..all.clone() }.check(18);
    }
    Case { weights: vec![(DType::Q4_K, 96), (DType::Q6_K, 33), (DType::F16, 20)], ..all.clone() }.check(40);
    Case { weights: vec![(DType::Q4_0, 16); 4], adapters: false, ..all.clone() }.check(3);
    Case { glu: true, weights: vec![(DType::Q8_0, 40), (DType::F32, 40)], ..all }.check(30);
}

#[test]
fn buffers_are_weights_too() {
    let case = Case { norm: true, buffers: true, ..Case::plain(96, &[(DType::F32, 50), (DType::F32, 32)]) };
    case.check(25);
    let packed = Case { buffers: false, ..case.clone() };
    for (a, b) in case.run(0..25, "", 2, true).iter().zip(&packed.run(0..25, "", 2, true)) {
        assert_eq!(bits(a), bits(b));
    }
}

/// Floats are used where the host has them, whatever the address; formats that are packed are not.
#[test]
fn bytes_may_stay_where_they_are() {
    let tokens = 9;
    for (dtype, in_place) in [(DType::F32, true), (DType::F16, true), (DType::BF16, true), (DType::Q8_0, false)] {
        for (n, k) in [(33, 96), (20, 53)].into_iter().filter(|(_, k)| k % dtype.block_len() == 0) {
            let (data, x) = (noise(n * k, 1), noise(tokens * k, 2));
            for tier in tiers() {
                let run = |lasting: bool| {
                    let mut g = Graph::new(tier, 2);
                    let w = if lasting {
                        let (w, kept) = g.lasting_weight(dtype, &[n, k], &data);
                        assert_eq!(kept, in_place, "{dtype}");
                        w
                    } else {
                        g.weight(dtype, &[n, k], &data)
                    };
                    let (x, y) = (g.f32(&[tokens, k], &x), g.out(&[tokens, n]));
                    let p = LinearParams { n_weights: 1, ..Default::default() };
                    g.op(LINEAR, &[Some(x), None, None, None, None, Some(w), None, None, None], &[y], p);
                    let (id, row) = (g.i32(&[2], &[0, n as i32 - 1]), g.out(&[2, k]));
                    g.op(GATHER, &[Some(w), Some(id)], &[row], NormParams::default());
                    g.run(&[y, row]).unwrap().concat()
                };
                assert_eq!(bits(&run(true)), bits(&run(false)), "{dtype} {tier}");
            }
        }
    }
}

/// Where the system has huge pages, steps with few tokens move float matrices out of the host's memory, and release that.
#[test]
fn few_tokens_move_what_they_read() {
    let (n, k) = (20_003, 577); // More than a step moves, in no whole number of strips.
    let data = noise(n * k, 1);
    let x = noise(k, 2);
    let run = |tokens, kept: bool| {
        let mut g = Graph::new("", 2);
        g.tokens = tokens;
        let w =
            if kept { g.lasting_weight(DType::F16, &[n, k], &data).0 } else { g.weight(DType::F16, &[n, k], &data) };
        let (x, y) = (g.f32(&[1, k], &x), g.out(&[1, n]));
        let p = LinearParams { n_weights: 1, ..Default::default() };
        g.op(LINEAR, &[Some(x), None, None, None, None, Some(w), None, None, None], &[y], p);
        let mut moved = vec![];
        let mut results = vec![];
        g.compiled(|step| {
            for _ in 0..4 {
                step()?;
                moved.push(g.info(w).resident_bytes);
                results.push(bits(&g.read(y)));
            }
            Ok(())
        })
        .unwrap();
        let mut row = vec![0.0; k];
        g.rows(w, n as u64 - 1, &mut row);
        results.push(bits(&row));
        (moved, results, g.released())
    };
    let bytes = (n * k * 2) as u64;
    let (_, want, _) = run(1, false);
    let (moved, results, released) = run(1, true);
    assert_eq!(results, want);
    if !tern_cpu::memory::has_huge_pages() || !tern_cpu::memory::has_room(bytes as usize) {
        assert_eq!((moved, released), (vec![0; 4], vec![]));
        return;
    }
    assert!(0 < moved[0] && moved[0] < bytes && moved[0] % (32 * 2 * k as u64) == 0, "{moved:?}");
    assert_eq!(moved[1..], [bytes; 3]);
    let mut end = 0;
    let mut released = released;
    released.sort_unstable();
    assert!(released.into_iter().all(|(at, len)| std::mem::replace(&mut end, at + len) == at));
    assert_eq!(end, bytes);
    // Prompts wait for arithmetic.
    let (moved, results, released) = run(9, true);
    assert_eq!((moved, results, released), (vec![0; 4], want, vec![]));
}

/// More tokens than a cache block has.
#[test]
fn long_prompts() {
    for dtype in [DType::F16, DType::Q4_0] {
        let case = Case::plain(2048, &[(dtype, 40)]);
        for tier in tiers() {
            let all = case.run(0..200, tier, 2, true);
            let some = case.run(150..152, tier, 2, true);
            assert_eq!(bits(&all[0][150 * 40..152 * 40]), bits(&some[0]), "{tier}");
        }
    }
}

#[test]
fn experts() {
    let (experts, n, k, ranks) = (4, 40, 64, 2);
    for dtype in [DType::Q4_0, DType::F16] {
        let data = noise(experts * n * k, 3);
        let w = graph::rounded(dtype, &data, k);
        let bias = noise(experts * n, 4);
        for own_input in [false, true] {
            let per = if own_input { ranks } else { 1 };
            let run = |rows: std::ops::Range<usize>, tier: &str, threads| {
                let t = rows.len();
                let mut g = Graph::new(tier, threads);
                let x: Vec<f32> = rows.clone().flat_map(|t| noise(per * k, 50 + t as u64)).collect();
                let x = if own_input { g.f32(&[t, ranks, k], &x) } else { g.f32(&[t, k], &x) };
                let ids: Vec<i32> = rows.flat_map(|t| [[0, 3], [3, 2], [3, 0], [-1, 7]][t % 4]).collect();
                let inputs = [
                    Some(x),
                    Some(g.weight(dtype, &[experts, n, k], &data)),
                    Some(g.f32(&[experts, n], &bias)),
                    Some(g.i32(&[t, ranks], &ids)),
                ];
                let y = g.out(&[t, ranks, n]);
                g.op(EXPERT_LINEAR, &inputs, &[y], NormParams::default());
                g.run(&[y]).unwrap().remove(0)
            };
            for tier in tiers() {
                let all = run(0..37, tier, 2);
                assert_eq!(bits(&all), bits(&run(0..37, tier, 3)));
                let single: Vec<f32> = (0..37).flat_map(|t| run(t..t + 1, tier, 1)).collect();
                assert_eq!(bits(&all), bits(&single), "{tier}");
                for (i, y) in all.chunks(n).enumerate() {
                    let (t, j) = (i / ranks, i % ranks);
                    let e = [[0, 3], [3, 2], [3, 0], [-1, 7]][t % 4][j];
                    if !(0..experts as i32).contains(&e) {
                        assert!(y.iter().all(|&y| y == 0.0));
                        continue;
                    }
                    let e = e as usize;
                    let x = noise(per * k, 50 + t as u64);
                    let x = if own_input { &x[j * k..][..k] } else { &x };
                    for (r, &y) in y.iter().enumerate() {
                        let w = &w[(e * n + r) * k..][..k];
                        let want = w.iter().zip(x).map(|(w, x)| w * x).sum::<f32>() + bias[e * n + r];
                        assert!(
                            (y - want).abs() < 0.05 * (1.0 + want.abs()),
                            "{tier} {dtype} [{t}][{j}][{r}]: {y} {want}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn rows_by_id() {
    let (n, k) = (37, 256);
    let ids = [0, 36, 5, -1, 37, i32::MAX, i32::MIN, 5];
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::Q4_0, DType::Q4_K, DType::Q6_K, DType::Q8_0] {
        let data = noise(n * k, 8);
        let want = graph::rounded(dtype, &data, k);
        for buffer in [false, true].into_iter().filter(|b| !b || dtype == DType::F32) {
            let mut g = Graph::new("", 2);
            let w = if buffer { g.f32(&[n, k], &data) } else { g.weight(dtype, &[n, k], &data) };
            let (id, y) = (g.i32(&[ids.len()], &ids), g.out(&[ids.len(), k]));
            g.op(GATHER, &[Some(w), Some(id)], &[y], NormParams::default());
            for (y, &id) in g.run(&[y]).unwrap()[0].chunks(k).zip(&ids) {
                match usize::try_from(id).ok().filter(|&id| id < n) {
                    Some(id) => assert_eq!(bits(y), bits(&want[id * k..][..k])),
                    None => assert!(y.iter().all(|&y| y == 0.0)),
                }
            }
        }
    }
}

#[test]
fn wrong_graphs_are_refused() {
    type Make<'a> = &'a dyn Fn(&mut Graph) -> (Vec<Option<u32>>, Vec<u32>, LinearParams);
    let refuse = |make: Make<'_>| {
        let mut g = Graph::new("", 1);
        let (inputs, outputs, p) = make(&mut g);
        g.op(LINEAR, &inputs, &outputs, p);
        assert!(g.run(&outputs).is_err());
    };
    let one = LinearParams { n_weights: 1, ..Default::default() };
    let usual = |g: &mut Graph, n: usize, k: usize| {
        vec![
            Some(g.f32(&[2, 32], &noise(64, 1))),
            None,
            None,
            None,
            None,
            Some(g.weight(DType::Q4_0, &[n, k], &noise(n * k, 2))),
        ]
    };
    refuse(&|g| (usual(g, 16, 64), vec![g.out(&[2, 16])], one));
    refuse(&|g| (usual(g, 16, 32), vec![g.out(&[2, 17])], one));
    refuse(&|g| (usual(g, 16, 32), vec![g.out(&[3, 16])], one));
    refuse(&|g| (usual(g, 16, 32), vec![g.out(&[2, 16])], LinearParams { n_weights: 5, ..one }));
    refuse(&|g| (usual(g, 16, 32), vec![g.out(&[2, 16])], LinearParams { n_weights: 0, ..one }));
    refuse(&|g| (usual(g, 16, 32), vec![g.out(&[2, 16])], LinearParams { glu: 1, ..one }));
    refuse(&|g| (usual(g, 16, 32)[..5].to_vec(), vec![g.out(&[2, 16])], one));
}
