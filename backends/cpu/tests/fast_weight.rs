//! FAST_WEIGHT against plain code, and resumed at every place.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::{Net, Rig, bits, noise, tiers, worst};
use std::ops::Range;
use tern_abi::Header;
use tern_abi::dtype;
use tern_abi::ops::{FAST_WEIGHT, FastWeightParams};
use tern_abi::state::{StateDesc, kind};

const HEADS: usize = 2;
const EPS: f32 = 1e-5;

struct Case {
    t: usize,
    f: usize,
    chunk: usize,
    /// q, k, v, lr, w0, b0, ln_w, ln_b, token_scale.
    data: [Vec<f32>; 9],
}

impl Case {
    fn new(t: usize, f: usize, chunk: usize) -> Self {
        let sizes = [
            t * HEADS * f,
            t * HEADS * f,
            t * HEADS * f,
            t * HEADS,
            HEADS * f * f,
            HEADS * f,
            HEADS * f,
            HEADS * f,
            chunk,
        ];
        let data = std::array::from_fn(|i| {
            let scale = match i {
                3 => 0.1,
                4 => 0.3,
                _ => 1.0,
            };
            noise(sizes[i], 20 + i as u64).iter().map(|x| x * scale).collect()
        });
        Self { t, f, chunk, data }
    }

    fn run(&self, rig: &Rig, rows: Range<usize>, state: Option<u64>) -> Vec<f32> {
        let (n, f) = (rows.len(), self.f);
        let mut net = Net::default();
        let mut inputs = Vec::new();
        for (i, data) in self.data.iter().enumerate() {
            let width = if i == 3 { HEADS } else { HEADS * f };
            let part = if i < 4 { &data[rows.start * width..rows.end * width] } else { data };
            let shape = match i {
                0..=3 => vec![n, width],
                4 => vec![HEADS, f, f],
                5..=7 => vec![HEADS, f],
                _ => vec![self.chunk],
            };
            inputs.push(Some(net.f32(&shape, part)));
        }
        let positions: Vec<i32> = rows.map(|t| t as i32).collect();
        inputs.push(Some(net.i32(&[n], &positions)));
        inputs.push(Some(net.i32(&[2], &[0, n as i32])));
        let out = net.out(&[n, HEADS * f]);
        let mut state_out = None;
        if let Some(buffer) = state {
            state_out = Some(net.state(buffer));
            inputs.push(state_out);
            inputs.push(Some(net.i32(&[1], &[1])));
        }
        let p = FastWeightParams {
            heads: HEADS as u32,
            head_dim: f as u32,
            chunk: self.chunk as u32,
            eps: EPS,
            ..Default::default()
        };
        net.op(FAST_WEIGHT, &inputs, &[Some(out), state_out], p);
        rig.run(&net, &[out]).unwrap().remove(0)
    }

    /// In f64, as the ABI states it.
    fn expected(&self) -> Vec<f32> {
        let (f, d) = (self.f, self.data.each_ref().map(|x| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>()));
        let mut out = vec![0f32; self.t * HEADS * f];
        for h in 0..HEADS {
            let mut w = d[4][h * f * f..(h + 1) * f * f].to_vec();
            let mut b = d[5][h * f..(h + 1) * f].to_vec();
            let (ln_w, ln_b) = (&d[6][h * f..(h + 1) * f], &d[7][h * f..(h + 1) * f]);
            let standard = |z: &[f64]| {
                let mean = z.iter().sum::<f64>() / f as f64;
                let var = z.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f as f64;
                let root = (var + f64::from(EPS)).sqrt();
                (z.iter().map(|x| (x - mean) / root).collect::<Vec<f64>>(), root)
            };
            let mut open: Vec<(Vec<f64>, Vec<f64>, f64)> = Vec::new();
            for t in 0..self.t {
                let at = (t * HEADS + h) * f..(t * HEADS + h + 1) * f;
                let (q, k, v) = (&d[0][at.clone()], &d[1][at.clone()], &d[2][at.clone()]);
                let apply = |x: &[f64]| -> Vec<f64> {
                    (0..f).map(|i| b[i] + (0..f).map(|a| x[a] * w[a * f + i]).sum::<f64>()).collect()
                };
                let (x, root) = standard(&apply(k));
                let e: Vec<f64> = (0..f).map(|i| (ln_w[i] * x[i] + ln_b[i] - (v[i] - k[i])) * ln_w[i]).collect();
                let (sum, along) = (e.iter().sum::<f64>(), e.iter().zip(&x).map(|(a, b)| a * b).sum::<f64>());
                let n = f as f64;
                let g = (0..f).map(|i| (n * e[i] - sum - x[i] * along) / (n * root)).collect();
                open.push((k.to_vec(), g, d[3][t * HEADS + h]));
                let s = d[8][t % self.chunk].max(0.0);
                let mut z = apply(q);
                for (k, g, lr) in &open {
                    let share = s * lr * (q.iter().zip(k).map(|(a, b)| a * b).sum::<f64>() + 1.0);
                    for i in 0..f {
                        z[i] -= share * g[i];
                    }
                }
                let (x, _) = standard(&z);
                for i in 0..f {
                    out[at.start + i] = (q[i] + ln_w[i] * x[i] + ln_b[i]) as f32;
                }
                if t % self.chunk == self.chunk - 1 {
                    for (k, g, lr) in open.drain(..) {
                        for i in 0..f {
                            for a in 0..f {
                                w[a * f + i] -= s * lr * k[a] * g[i];
                            }
                            b[i] -= s * lr * g[i];
                        }
                    }
                }
            }
        }
        out
    }

    fn desc(&self) -> StateDesc {
        StateDesc {
            header: Header::of::<StateDesc>(),
            kind: kind::FAST_WEIGHT,
            dtype: dtype::F32,
            dims: [HEADS as u64, self.f as u64, self.chunk as u64, 0, 0, 0],
        }
    }
}

fn cases() -> [Case; 3] {
    [Case::new(50, 64, 16), Case::new(21, 5, 4), Case::new(9, 20, 1)]
}

#[test]
fn agrees_with_plain_code() {
    for tier in tiers() {
        for case in cases() {
            let got = case.run(&Rig::new(tier, 2), 0..case.t, None);
            assert!(worst(&got, &case.expected()) < 1e-4, "{tier}: {}", worst(&got, &case.expected()));
        }
    }
}

#[test]
fn resumes_anywhere() {
    for tier in tiers() {
        for case in cases() {
            let rig = Rig::new(tier, 3);
            let bytes = rig.state_layout(&case.desc()).unwrap().0;
            let state = rig.alloc(2 * bytes);
            let want = bits(&case.run(&Rig::new(tier, 1), 0..case.t, None));
            rig.write(state, &vec![0xff; 2 * bytes]);
            assert_eq!(bits(&case.run(&rig, 0..case.t, Some(state))), want);
            let whole = rig.export(&case.desc(), state, 1);
            for cut in [1, 3, 7] {
                rig.write(state, &vec![0xff; 2 * bytes]);
                let mut got = Vec::new();
                for from in (0..case.t).step_by(cut) {
                    got.extend(case.run(&rig, from..(from + cut).min(case.t), Some(state)));
                }
                assert_eq!(bits(&got), want, "{tier}, cuts of {cut}");
                assert_eq!(rig.export(&case.desc(), state, 1), whole);
            }
            rig.free(state);
        }
    }
}
