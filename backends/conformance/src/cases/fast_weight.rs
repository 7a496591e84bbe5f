//! FAST_WEIGHT: from the start, resumed, across mini-batches, many sequences.

use super::{backward, case};
use crate::case::{Case, Data, Input};
use crate::host::StateSpec;
use crate::noise::{Noise, dims, ints, seq_start};
use tern_abi::graph::dim;
use tern_abi::ops::FastWeightParams;
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
}

impl FastWeightSetup {
    /// Elements of a canonical unit.
    fn unit(&self) -> usize {
        let (h, f, chunk) = (self.params.heads as usize, self.params.head_dim as usize, self.params.chunk as usize);
        h * (f * f + f + chunk * (2 * f + 1))
    }
    /// States that hold garbage, one per sequence: right wherever a sequence starts at position 0.
    fn garbage(&self) -> Vec<Vec<u8>> {
        vec![f32::NAN.to_le_bytes().repeat(self.unit()); self.sequences.len()]
    }
}

/// Builds the case. Data of a sequence depend on the name, its number and the position only.
fn fast_weight(s: &FastWeightSetup) -> Case {
    let (h, f, chunk) = (s.params.heads as usize, s.params.head_dim as usize, s.params.chunk as usize);
    let mut noise = Noise::new(&s.name);
    let (mut rows, mut lr): ([Vec<f32>; 3], Vec<f32>) = Default::default();
    let (mut positions, mut starts) = (Vec::new(), vec![0]);
    for (n, &(first, count)) in s.sequences.iter().enumerate() {
        for position in first..first + count {
            let mut row = Noise::new(&format!("{} sequence {n} position {position}", s.name));
            rows.iter_mut().for_each(|all| all.extend(row.reals(h * f, 0.5)));
            lr.extend(row.reals(h, 0.1).into_iter().map(|x| (0.5 + x) / f as f32));
            positions.push(position as i32);
        }
        starts.push(positions.len() as i32);
    }
    let t = positions.len();
    let tokens =
        |data: Vec<f32>, width| Some(Input { shape: vec![t, width], lead: dim::TOKENS, data: Data::Real(data) });
    let [q, k, v] = rows;
    let mut inputs = vec![tokens(q, h * f), tokens(k, h * f), tokens(v, h * f), tokens(lr, h)];
    inputs.extend([noise.fixed(&[h, f, f], 0.3), noise.fixed(&[h, f], 0.1), noise.around_one(&[h, f])]);
    inputs.push(noise.fixed(&[h, f], 0.1));
    let mut scale: Vec<f32> = (0..chunk).map(|i| 1.0 / (i + 1) as f32 + noise.unit() * 0.05).collect();
    if chunk > 2 {
        // A scale below zero counts as zero.
        scale[1] = -0.3;
    }
    inputs.push(Some(Input { shape: vec![chunk], lead: dim::FIXED, data: Data::Real(scale) }));
    inputs.extend([ints(dim::TOKENS, positions), seq_start(starts)]);
    if let Some(units) = &s.state {
        // Sequence n lives in slot last - n, so that the two are not confused.
        let slots = (0..s.sequences.len()).map(|n| (units.len() - 1 - n) as i32).collect();
        let units: Vec<Vec<u8>> = units.iter().rev().cloned().collect();
        let dims = [h as u64, f as u64, chunk as u64, 0, 0, 0];
        let shape = vec![units.len() * s.unit() * 4];
        let state = StateSpec { kind: state::kind::FAST_WEIGHT, dtype: dtype::F32, dims, units };
        inputs.push(Some(Input { shape, lead: dim::FIXED, data: Data::State(state) }));
        inputs.push(ints(dim::SEQUENCES, slots));
    }
    case(s.name.clone(), Kernel::FastWeight(ops::FastWeight(s.params)), inputs, dims(t, s.sequences.len(), 0))
}

fn setup(name: &str, heads: u32, head_dim: u32, chunk: u32, sequences: &[(usize, usize)]) -> FastWeightSetup {
    let params = FastWeightParams { heads, head_dim, chunk, eps: 1e-6, inner: 0 };
    let lengths: Vec<String> = sequences.iter().map(|(at, n)| format!("{at}+{n}")).collect();
    let name = format!("{name} H={heads} f={head_dim} chunk={chunk} rows {}", lengths.join(" "));
    FastWeightSetup { name, params, sequences: sequences.to_vec(), state: None }
}

/// Setups that start at position 0.
fn setups() -> Vec<FastWeightSetup> {
    let mut out: Vec<FastWeightSetup> =
        super::TOKENS.into_iter().map(|t| setup("one sequence", 2, 16, 16, &[(0, t)])).collect();
    out.push(setup("one row per mini-batch", 1, 8, 1, &[(0, 5)]));
    out.push(setup("odd sizes", 3, 5, 7, &[(0, 23)]));
    out.push(setup("wide", 2, 64, 16, &[(0, 35)]));
    out.push(setup("many", 2, 8, 4, &[(0, 3), (0, 9), (0, 1), (0, 4)]));
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
        setup("from the midst of a mini-batch", 2, 4, 4, &[(3, 6), (2, 1), (5, 9)]),
    ];
    small.iter().map(|s| backward(fast_weight(s))).collect()
}
