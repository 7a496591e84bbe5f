//! FAST_WEIGHT under every rule, with one layer, two, and a gate: from the start, resumed, across mini-batches, many sequences.

use super::{backward, case};
use crate::case::{Case, Data, Input};
use crate::host::StateSpec;
use crate::noise::{Noise, dims, ints, seq_start};
use tern_abi::graph::dim;
use tern_abi::ops::{FastWeightParams, fast_weight_rule};
use tern_abi::{dtype, state};
use tern_reference::{Kernel, ops};

/// What a fast-weight case is made from.
#[derive(Clone, Debug)]
struct FastWeightSetup {
    /// What is special about it.
    name: String,
    /// Parameters.
    params: FastWeightParams,
    /// First position and rows of each sequence.
    sequences: Vec<(usize, usize)>,
    /// Canonical states, one per sequence at the same index, plus spares; `None` runs without a state.
    state: Option<Vec<Vec<u8>>>,
    /// Under the delta rule: do weights begin with something, and do they decay? With a gate: the latter is a momentum.
    options: (bool, bool),
}

impl FastWeightSetup {
    /// Elements of a canonical unit.
    fn unit(&self) -> usize {
        let ((h, _), (f, n), chunk) = self.sizes();
        let layer = |f, n| f * n + n + chunk * (f + n + 1);
        h * match (self.matrices() as usize, self.params.hidden as usize) {
            (0, 0) => layer(f, n),
            (0, m) => layer(f, m) + layer(m, n),
            (matrices, m) => matrices / 3 * m * (2 * f + n) + chunk * (f + n + 4),
        }
    }
    fn is_gated(&self) -> bool {
        self.params.rule == fast_weight_rule::INNER_PRODUCT
    }
    /// See [`FAST_WEIGHT`](state::kind::FAST_WEIGHT).
    fn matrices(&self) -> u64 {
        if self.is_gated() { 3 + 3 * u64::from(self.options.1) } else { 0 }
    }
    /// Heads and those of keys; dimensions of a key and of a value; rows of a mini-batch.
    fn sizes(&self) -> ((usize, usize), (usize, usize), usize) {
        let p = &self.params;
        let or = |n: u32, other: u32| if n > 0 { n as usize } else { other as usize };
        let heads = (p.heads as usize, or(p.key_heads, p.heads));
        (heads, (p.head_dim as usize, or(p.value_dim, p.head_dim)), p.chunk as usize)
    }
    /// States that hold garbage, one per sequence: right wherever a sequence starts at position 0.
    fn garbage(&self) -> Vec<Vec<u8>> {
        vec![f32::NAN.to_le_bytes().repeat(self.unit()); self.sequences.len()]
    }
}

/// Builds the case. Data of a sequence depend on the name, its number and the position only.
fn fast_weight(s: &FastWeightSetup) -> Case {
    let ((h, key_heads), (f, n), chunk) = s.sizes();
    let (delta, gated) = (s.params.rule == fast_weight_rule::DELTA, s.is_gated());
    let rates = if gated { 3 * h } else { h };
    let widths = [key_heads * f, key_heads * f, h * n];
    let mut noise = Noise::new(&s.name);
    let (mut rows, mut lr, mut decay): ([Vec<f32>; 3], Vec<f32>, Vec<f32>) = Default::default();
    let (mut positions, mut starts) = (Vec::new(), vec![0]);
    for (sequence, &(first, count)) in s.sequences.iter().enumerate() {
        for position in first..first + count {
            let mut row = Noise::new(&format!("{} sequence {sequence} position {position}", s.name));
            // Under the delta rule a key's length decides how fast it is learned; models make it 1 there.
            let deviation = if delta { 0.9 / (f as f32).sqrt() } else { 0.5 };
            rows.iter_mut().zip(widths).for_each(|(all, width)| all.extend(row.reals(width, deviation)));
            let by = if delta || gated { 1.0 } else { f as f32 };
            lr.extend(row.reals(rates, 0.1).into_iter().map(|x| (0.5 + x) / by));
            decay.extend(row.reals(h, 0.3).into_iter().map(|x| -x.abs()));
            positions.push(position as i32);
        }
        starts.push(positions.len() as i32);
    }
    let t = positions.len();
    let tokens =
        |data: Vec<f32>, width| Some(Input { shape: vec![t, width], lead: dim::TOKENS, data: Data::Real(data) });
    let [q, k, v] = rows;
    let mut inputs = vec![tokens(q, widths[0]), tokens(k, widths[1]), tokens(v, widths[2]), tokens(lr, rates)];
    let m = if s.params.hidden > 0 { s.params.hidden as usize } else { n };
    let (w0, b0, ln_w) = (noise.fixed(&[h, f, m], 0.3), noise.fixed(&[h, m], 0.1), noise.around_one(&[h, n]));
    inputs.extend([w0, b0, ln_w, noise.fixed(&[h, n], 0.1)]);
    let mut scale: Vec<f32> = (0..chunk).map(|i| 1.0 / (i + 1) as f32 + noise.unit() * 0.05).collect();
    if chunk > 2 {
        // A scale below zero counts as zero.
        scale[1] = -0.3;
    }
    inputs.push(Some(Input { shape: vec![chunk], lead: dim::FIXED, data: Data::Real(scale) }));
    if delta || gated {
        inputs[5..].fill(None);
        inputs[4] = inputs[4].take().filter(|_| gated || s.options.0);
    }
    inputs.extend([ints(dim::TOKENS, positions), seq_start(starts)]);
    if let Some(units) = &s.state {
        // Sequence n lives in slot last - n, so that the two are not confused.
        let slots = (0..s.sequences.len()).map(|n| (units.len() - 1 - n) as i32).collect();
        let units: Vec<Vec<u8>> = units.iter().rev().cloned().collect();
        let value_dim = s.params.value_dim.into();
        let dims = [h as u64, f as u64, chunk as u64, value_dim, s.params.hidden.into(), s.matrices()];
        let shape = vec![units.len() * s.unit() * 4];
        let state = StateSpec { kind: state::kind::FAST_WEIGHT, dtype: dtype::F32, dims, units };
        inputs.push(Some(Input { shape, lead: dim::FIXED, data: Data::State(state) }));
        inputs.push(ints(dim::SEQUENCES, slots));
    }
    if delta && s.options.1 {
        inputs.resize(13, None);
        inputs.push(tokens(decay.clone(), h));
    }
    if s.params.hidden > 0 {
        inputs.resize(14, None);
        inputs.extend([noise.fixed(&[h, m, n], 0.3), noise.fixed(&[h, n], 0.1).filter(|_| !gated)]);
    }
    if gated {
        inputs.push(noise.fixed(&[h, f, m], 0.3));
        // Shares between 0 and 1.
        let shares = decay.into_iter().map(f32::exp).collect();
        inputs.extend(s.options.1.then(|| tokens(shares, h)));
    }
    case(s.name.clone(), Kernel::FastWeight(ops::FastWeight(s.params)), inputs, dims(t, s.sequences.len(), 0))
}

fn setup(name: &str, heads: u32, head_dim: u32, chunk: u32, sequences: &[(usize, usize)]) -> FastWeightSetup {
    let params = FastWeightParams { heads, head_dim, chunk, eps: 1e-6, ..Default::default() };
    let lengths: Vec<String> = sequences.iter().map(|(at, n)| format!("{at}+{n}")).collect();
    let name = format!("{name} H={heads} f={head_dim} chunk={chunk} rows {}", lengths.join(" "));
    FastWeightSetup { name, params, sequences: sequences.to_vec(), state: None, options: (false, false) }
}

/// An inner model of two layers.
fn two_layers(s: FastWeightSetup, hidden: u32) -> FastWeightSetup {
    let params = FastWeightParams { inner: 1, hidden, ..s.params };
    FastWeightSetup { name: format!("two layers, m={hidden} {}", s.name), params, ..s }
}

/// The delta rule: heads and those of keys, dimensions of keys and values.
fn delta(name: &str, heads: [u32; 2], dims: [u32; 2], chunk: u32, sequences: &[(usize, usize)]) -> FastWeightSetup {
    let s = setup(name, heads[0], dims[0], chunk, sequences);
    let (rule, value_dim, key_heads) = (fast_weight_rule::DELTA, dims[1], heads[1]);
    let name = format!("delta rule, {} K={key_heads} n={value_dim}", s.name);
    let params = FastWeightParams { rule, value_dim, key_heads, eps: 0.0, ..s.params };
    FastWeightSetup { name, params, options: (false, true), ..s }
}

/// The same with heads of different keys in turns.
fn in_turns(s: FastWeightSetup) -> FastWeightSetup {
    let params = FastWeightParams { in_turns: 1, ..s.params };
    FastWeightSetup { name: format!("keys in turns, {}", s.name), params, ..s }
}

/// A gated inner model: dimensions of a key, of what is between, and of a value; with a momentum or not, and with orthogonal steps or not.
fn gated(
    name: &str,
    heads: u32,
    dims: [u32; 3],
    chunk: u32,
    (momentum, muon): (bool, bool),
    sequences: &[(usize, usize)],
) -> FastWeightSetup {
    let [head_dim, hidden, value_dim] = dims;
    let s = setup(name, heads, head_dim, chunk, sequences);
    let (rule, muon) = (fast_weight_rule::INNER_PRODUCT, u32::from(muon));
    let kind = format!("{}{}", if momentum { " momentum" } else { "" }, if muon > 0 { " muon" } else { "" });
    let name = format!("gate{kind}, {} m={hidden} n={value_dim}", s.name);
    let params = FastWeightParams { inner: 2, hidden, rule, value_dim, eps: 1e-5, muon, ..s.params };
    FastWeightSetup { name, params, options: (true, momentum), ..s }
}

/// Setups that start at position 0.
fn setups() -> Vec<FastWeightSetup> {
    let mut out: Vec<FastWeightSetup> =
        super::TOKENS.into_iter().map(|t| setup("one sequence", 2, 16, 16, &[(0, t)])).collect();
    out.push(setup("one row per mini-batch", 1, 8, 1, &[(0, 5)]));
    out.push(setup("odd sizes", 3, 5, 7, &[(0, 23)]));
    out.push(setup("wide", 2, 64, 16, &[(0, 35)]));
    out.push(setup("many", 2, 8, 4, &[(0, 3), (0, 9), (0, 1), (0, 4)]));
    out.extend(super::TOKENS.map(|t| two_layers(setup("one sequence", 2, 16, 16, &[(0, t)]), 64)));
    out.push(two_layers(setup("one row per mini-batch", 1, 8, 1, &[(0, 5)]), 12));
    out.push(two_layers(setup("odd sizes", 3, 5, 7, &[(0, 23)]), 19));
    out.push(two_layers(setup("many", 2, 8, 4, &[(0, 3), (0, 9), (0, 1), (0, 4)]), 32));
    out.extend(super::TOKENS.map(|t| delta("one sequence", [2, 2], [16, 16], 16, &[(0, t)])));
    out.push(delta("one row per mini-batch", [2, 1], [8, 24], 1, &[(0, 5)]));
    out.push(delta("odd sizes", [6, 3], [5, 37], 7, &[(0, 23)]));
    out.push(in_turns(delta("odd sizes", [6, 3], [5, 37], 7, &[(0, 23)])));
    out.push(delta("wide", [4, 2], [64, 128], 32, &[(0, 71)]));
    out.push(FastWeightSetup { options: (true, true), ..delta("from weights", [2, 2], [8, 0], 4, &[(0, 9)]) });
    out.push(FastWeightSetup { options: (true, false), ..delta("no decay", [2, 0], [8, 8], 4, &[(0, 3), (0, 9)]) });
    let (plain, momentum, muon, both) = ((false, false), (true, false), (false, true), (true, true));
    out.extend(super::TOKENS.map(|t| gated("one sequence", 2, [16, 16, 16], 16, both, &[(0, t)])));
    out.push(gated("one row per mini-batch", 1, [8, 24, 8], 1, momentum, &[(0, 5)]));
    out.push(gated("odd sizes", 3, [5, 19, 7], 7, plain, &[(0, 23)]));
    out.push(gated("fewer dimensions between", 2, [18, 6, 20], 5, muon, &[(0, 23)]));
    out.push(gated("wide, groups of rows", 2, [64, 96, 64], 70, both, &[(0, 150)]));
    out.push(gated("many", 2, [8, 12, 8], 4, momentum, &[(0, 3), (0, 9), (0, 1), (0, 4)]));
    out
}

pub(super) fn forward() -> Vec<Case> {
    let mut out = Vec::new();
    for s in setups() {
        out.push(fast_weight(&s));
        let state = Some(s.garbage());
        out.push(fast_weight(&FastWeightSetup { name: format!("state, {}", s.name), state, ..s }));
    }
    out
}

pub(super) fn gradients() -> Vec<Case> {
    let small = [
        setup("one row", 1, 4, 4, &[(0, 1)]),
        setup("two mini-batches", 2, 4, 4, &[(0, 7)]),
        setup("odd sizes", 1, 5, 3, &[(0, 8)]),
        setup("many", 1, 4, 4, &[(0, 3), (0, 5)]),
        setup("wide", 1, 16, 16, &[(0, 33)]),
        setup("groups of mini-batches", 2, 8, 2, &[(0, 25)]),
        two_layers(setup("one row", 1, 4, 4, &[(0, 1)]), 5),
        two_layers(setup("two mini-batches", 2, 4, 4, &[(0, 7)]), 6),
        two_layers(setup("many", 1, 5, 3, &[(0, 3), (2, 5)]), 7),
        delta("two mini-batches", [2, 1], [4, 6], 4, &[(0, 7)]),
        FastWeightSetup { options: (true, true), ..delta("from weights", [1, 1], [4, 4], 3, &[(0, 5), (2, 4)]) },
        delta("stretches, heads that share keys", [6, 2], [5, 18], 4, &[(0, 27), (0, 2)]),
        in_turns(delta("stretches, heads that share keys", [6, 2], [5, 18], 4, &[(0, 27), (0, 2)])),
        FastWeightSetup { options: (true, false), ..delta("no decay", [2, 0], [4, 0], 4, &[(0, 6)]) },
        setup("from the midst of a mini-batch", 2, 4, 4, &[(3, 6), (2, 1), (5, 9)]),
        gated("two mini-batches", 1, [4, 5, 3], 4, (true, false), &[(0, 9)]),
        gated("from the midst of a mini-batch", 2, [3, 4, 3], 3, (false, true), &[(2, 5), (0, 3)]),
        gated("one row", 1, [4, 5, 3], 4, (false, false), &[(0, 1)]),
        gated("groups of mini-batches", 1, [4, 6, 4], 2, (true, false), &[(0, 17)]),
        gated("groups of rows, wide", 1, [20, 18, 17], 70, (true, false), &[(3, 141)]),
        gated("many", 2, [5, 4, 6], 3, (true, true), &[(1, 4), (0, 7), (2, 1)]),
    ];
    small.iter().map(|s| backward(fast_weight(s))).collect()
}
