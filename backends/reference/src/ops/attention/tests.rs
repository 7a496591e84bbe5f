use super::*;
use crate::oracle::forward;
use crate::{Kernel, Value};

const ONE: AttentionParams = AttentionParams {
    heads: 1,
    kv_heads: 1,
    head_dim: 1,
    page_size: 0,
    kv_dtype: 0,
    scale: 1.0,
    window: 0,
    softcap: 0.0,
    rope_layout: 0,
    n_rot: 0,
    bidirectional: 0,
};

fn run(p: AttentionParams, q: &[f64], k: &[f64], v: &[f64], starts: &[i32], sinks: Option<Vec<f64>>) -> Vec<f64> {
    let t = q.len() / (p.heads * p.head_dim) as usize;
    let mut positions = Vec::new();
    for w in starts.windows(2) {
        positions.extend(0..w[1] - w[0]);
    }
    let real = |x: &[f64]| Some(Value::real(&[t, x.len() / t], x.to_vec()));
    let inputs = [
        real(q),
        real(k),
        real(v),
        None,
        Some(Value::int(&[t], positions)),
        Some(Value::int(&[starts.len()], starts.to_vec())),
        None,
        None,
        None,
        sinks.map(|s| Value::real(&[s.len()], s)),
    ];
    forward(&Kernel::Attention(Attention(p)), &inputs).unwrap().remove(0)
}

fn close(got: &[f64], want: &[f64]) {
    assert!(got.len() == want.len() && got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?} {want:?}");
}

/// Keys are logarithms, so that with q = 1 the weights are proportional to 1, 2, 1.
fn keys() -> [f64; 3] {
    [0.0, 2f64.ln(), 0.0]
}

#[test]
fn causal_by_hand() {
    let y = run(ONE, &[1.0; 3], &keys(), &[4.0, 1.0, 10.0], &[0, 3], None);
    close(&y, &[4.0, (4.0 + 2.0) / 3.0, (4.0 + 2.0 + 10.0) / 4.0]);
}

#[test]
fn window_sink_and_softcap_by_hand() {
    let v = [4.0, 1.0, 10.0];
    let y = run(AttentionParams { window: 2, ..ONE }, &[1.0; 3], &keys(), &v, &[0, 3], None);
    close(&y, &[4.0, 2.0, (2.0 + 10.0) / 3.0]);
    // A sink of ln 4 adds 4 to every sum.
    let y = run(ONE, &[1.0; 3], &keys(), &v, &[0, 3], Some(vec![4f64.ln()]));
    close(&y, &[4.0 / 5.0, 6.0 / 7.0, 16.0 / 8.0]);
    // c tanh(s / c): s = ln 2, c = ln 2 gives ln 2 tanh 1.
    let cap = 2f32.ln();
    let y = run(AttentionParams { softcap: cap, ..ONE }, &[1.0; 2], &keys()[..2], &v[..2], &[0, 2], None);
    let w = (f64::from(cap) * (2f64.ln() / f64::from(cap)).tanh()).exp();
    close(&y, &[4.0, (4.0 + w) / (1.0 + w)]);
}

#[test]
fn sequences_do_not_see_each_other() {
    let y = run(ONE, &[1.0; 3], &keys(), &[4.0, 1.0, 10.0], &[0, 1, 3], None);
    close(&y, &[4.0, 1.0, (2.0 + 10.0) / 3.0]);
}

#[test]
fn query_heads_share_key_heads() {
    let p = AttentionParams { heads: 4, kv_heads: 2, ..ONE };
    let y = run(p, &[1.0, 2.0, 3.0, 4.0], &[0.0, 0.0], &[5.0, 7.0], &[0, 1], None);
    close(&y, &[5.0, 5.0, 7.0, 7.0]);
}

#[test]
fn gaps_between_positions_are_refused() {
    let row = || Some(Value::real(&[2, 1], vec![1.0, 1.0]));
    let ints = |x: Vec<i32>| Some(Value::int(&[x.len()], x));
    let inputs = [row(), row(), row(), None, ints(vec![3, 5]), ints(vec![0, 2])];
    let error = forward(&Kernel::Attention(Attention(ONE)), &inputs).unwrap_err();
    assert!(matches!(error, Error::Index { tensor: "positions", at: 1, found: 5, low: 4, .. }), "{error}");
}
