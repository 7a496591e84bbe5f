use super::super::STATE_SLOTS;
use super::super::tests::noise;
use super::*;
use crate::memory::Memory;
use crate::oracle::forward;
use crate::state::fast_weight_head;
use crate::{Data, Kernel, Value};
use std::sync::Arc;
use tern_abi::dtype;
use tern_abi::ops::{FastWeightParams, fast_weight_rule};

const ROWS: usize = 17;

/// q, k, v, lr, w0, w1, w2, momentum of one sequence.
struct Problem {
    p: FastWeightParams,
    data: [Vec<f64>; 8],
}

fn problem(muon: u32) -> Problem {
    let (h, f, m, n, chunk) = (2, 4, 6, 3, 5);
    let mut noise = noise(5);
    let rates = noise(ROWS * 3 * h, 0.3).into_iter().map(|x| 0.4 + x).collect();
    let gates = noise(ROWS * h, 0.5).into_iter().map(|x| 0.5 + x).collect();
    let [q, k, v] = [f, f, n].map(|w| noise(ROWS * h * w, 1.0));
    let [w0, w1, w2] = [f * m, m * n, f * m].map(|w| noise(h * w, 0.8));
    let p = FastWeightParams {
        heads: h as u32,
        head_dim: f as u32,
        chunk,
        eps: 1e-5,
        inner: 2,
        rule: fast_weight_rule::INNER_PRODUCT,
        value_dim: n as u32,
        hidden: m as u32,
        muon,
        ..Default::default()
    };
    Problem { p, data: [q, k, v, rates, w0, w1, w2, gates] }
}

impl Problem {
    fn inputs(&self, from: usize, to: usize, momentum: bool) -> Vec<Option<Value<'static, f64>>> {
        let [h, f, m, n] = [self.p.heads, self.p.head_dim, self.p.hidden, self.p.value_dim].map(|n| n as usize);
        let rows = |i: usize, w: usize| Some(Value::real(&[to - from, w], self.data[i][from * w..to * w].to_vec()));
        let whole = |i: usize, shape: &[usize]| Some(Value::real(shape, self.data[i].clone()));
        let mut all = vec![rows(0, h * f), rows(1, h * f), rows(2, h * n), rows(3, 3 * h), whole(4, &[h, f, m])];
        all.resize_with(POSITIONS, || None);
        all.push(Some(Value::int(&[to - from], (from as i32..to as i32).collect())));
        all.push(Some(Value::int(&[2], vec![0, (to - from) as i32])));
        all.resize_with(W1, || None);
        all.extend([whole(5, &[h, m, n]), None, whole(6, &[h, f, m])]);
        all.push(rows(7, h).filter(|_| momentum));
        all
    }
    fn run(&self, inputs: &[Option<Value<'_, f64>>]) -> Vec<f64> {
        forward(&Kernel::FastWeight(FastWeight(self.p)), inputs).unwrap().remove(0)
    }
}

fn matrix(rows: usize, columns: usize, noise: &mut impl FnMut(usize, f64) -> Vec<f64>) -> Matrix<f64> {
    (0..rows).map(|_| noise(columns, 0.7)).collect()
}

fn head() -> Gated<f64> {
    let mut noise = noise(9);
    let w = [matrix(3, 5, &mut noise), matrix(5, 4, &mut noise), matrix(3, 5, &mut noise)];
    let mut row = || Row { k: noise(3, 1.0), v: noise(4, 1.0), rates: [0.3, 0.7, 0.2], gate: 0.5 };
    Gated { w, momentum: None, open: vec![row(), row()] }
}

/// Do all elements differ by no more than `most`?
fn alike(a: &Matrix<f64>, b: &Matrix<f64>, most: f64) -> bool {
    zip(a, b, |a, b| (a - b).abs()).concat().into_iter().all(|d| d <= most)
}

#[test]
#[allow(clippy::needless_range_loop, reason = "one element of one matrix after the other is changed")]
fn what_is_learned_lessens_the_loss() {
    let mut head = head();
    let learned = head.learned().unwrap();
    for i in 0..3 {
        let gain = |head: &Gated<f64>| -> f64 {
            head.open.iter().map(|row| row.rates[i] * dot(&head.output(&row.k).unwrap(), &row.v)).sum()
        };
        for a in 0..learned[i].len() {
            for c in 0..learned[i][a].len() {
                let own = head.w[i][a][c];
                let mut at = |d: f64| {
                    head.w[i][a][c] = own + d;
                    gain(&head)
                };
                let slope = (at(1e-6) - at(-1e-6)) / 2e-6;
                head.w[i][a][c] = own;
                assert!((slope - learned[i][a][c]).abs() < 1e-8, "W{i}[{a}][{c}]: {slope} {}", learned[i][a][c]);
            }
        }
    }
}

#[test]
fn rounds_act_on_each_direction_by_itself() {
    // A rotated and stretched pair of directions: u_i s_i v_iᵀ, so the result is u_i p(s_i) v_iᵀ.
    let (u, v) = ([[0.6, 0.8], [-0.8, 0.6]], [[0.0, 0.6, 0.8], [1.0, 0.0, 0.0]]);
    let of = |s: [f64; 2]| -> Matrix<f64> {
        (0..2).map(|a| (0..3).map(|c| (0..2).map(|i| u[i][a] * s[i] * v[i][c]).sum()).collect()).collect()
    };
    let size = 10f64.sqrt() + 1e-7;
    let p = |s: f64| {
        MUON.map(|round| round.map(f64::from))
            .iter()
            .fold(s / size, |s, [a, b, c]| a * s + b * s.powi(3) + c * s.powi(5))
    };
    assert!(alike(&orthogonal(&of([3.0, 1.0])), &of([p(3.0), p(1.0)]), 1e-12));
    assert!((p(3.0) - 1.0).abs() < 0.1 && (p(1.0) - 1.0).abs() < 0.1);
}

#[test]
fn columns_keep_their_length_and_momentum_what_was_learned() {
    for muon in [false, true] {
        let mut head = head();
        let first = head.w.clone();
        let learned = head.learned().unwrap();
        head.momentum = Some(std::array::from_fn(|i| zip(&first[i], &first[i], |_, _| 1.0)));
        head.commit(&first, 1e-5, muon).unwrap();
        for i in 0..3 {
            let kept = zip(&learned[i], &learned[i], |g, _| g + 0.5);
            assert!(alike(&head.momentum.as_ref().unwrap()[i], &kept, 1e-12));
            assert_ne!(head.w[i], first[i]);
            for c in 0..first[i][0].len() {
                let (now, then) = (length(&column(&head.w[i], c)), length(&column(&first[i], c)));
                assert!((now / then - 1.0).abs() < 1e-4, "{now} {then}");
            }
        }
    }
}

#[test]
fn rows_of_the_first_mini_batch_see_the_first_weights() {
    let mut p = problem(0);
    let whole = p.run(&p.inputs(0, ROWS, true));
    // Other keys, values and rates change what comes after it only.
    p.data[1..4].iter_mut().flatten().for_each(|x| *x = 0.5 - *x);
    let other = p.run(&p.inputs(0, ROWS, true));
    let end = p.p.chunk as usize * p.p.heads as usize * p.p.value_dim as usize;
    assert_eq!(whole[..end], other[..end]);
    assert!(whole[end..].iter().zip(&other[end..]).all(|(a, b)| a != b));
}

#[test]
fn resumes_anywhere_bit_for_bit() {
    for (muon, momentum) in [(0, false), (0, true), (1, true)] {
        let p = problem(muon);
        let whole = p.run(&p.inputs(0, ROWS, momentum));
        let [f, m, n, chunk] = [p.p.head_dim, p.p.hidden, p.p.value_dim, p.p.chunk].map(u64::from);
        let matrices = if momentum { 6 } else { 3 };
        let bytes = fast_weight_head(f, m, n, chunk, matrices).unwrap() * u64::from(p.p.heads) * 8;
        for cut in 0..=ROWS {
            let memory = Memory::new(2 * bytes, &Arc::default()).unwrap();
            // Whatever the state held before: position 0 does not look.
            memory.fill(0, 2 * bytes, 0xff).unwrap();
            let mut got = Vec::new();
            for (from, to) in [(0, cut), (cut, ROWS)] {
                let mut inputs = p.inputs(from, to, momentum);
                let state = StateMemory { memory: &memory, offset: 0, bytes: 2 * bytes, dtype: dtype::F64 };
                inputs[STATE] = Some(Value { shape: vec![2 * bytes as usize / 8], data: Data::State(state) });
                inputs[STATE_SLOTS] = Some(Value::int(&[1], vec![1]));
                got.extend(p.run(&inputs));
            }
            assert_eq!(got, whole, "cut at {cut}");
        }
    }
}
