//! Which tensors belong together, and what their shapes say.

use super::LowRank;
use crate::{Checkpoint, FormatError, Problem, TensorInfo};
use std::collections::BTreeMap;
use tern_quant::Kind;

/// One of two factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    A,
    B,
}

/// What a tensor's name says.
pub(super) struct Half {
    pub base: String,
    pub side: Side,
    pub embedding: bool,
}

/// The factors of one base tensor found so far: their places among the tensors.
struct Found {
    first: usize,
    embedding: bool,
    sides: [Option<usize>; 2],
}

/// Pairs up factors. `named` says what a tensor is, `None` for one that is not used; `a_transposed` how embeddings' A is stored.
/// Alpha and scale are left to the caller.
pub(super) fn pairs(
    checkpoint: &Checkpoint,
    a_transposed: bool,
    named: impl Fn(&TensorInfo) -> Result<Option<Half>, Problem>,
) -> Result<Vec<LowRank>, FormatError> {
    let file = checkpoint.sources().first().map_or("adapter", |s| s.name());
    let fail = |problem| FormatError::new(file, problem);
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for (i, t) in checkpoint.tensors().iter().enumerate() {
        let Some(Half { base, side, embedding }) = named(t).map_err(fail)? else { continue };
        let entry = found.entry(base).or_insert(Found { first: i, embedding, sides: [None; 2] });
        let place = &mut entry.sides[side as usize];
        if place.is_some() || entry.embedding != embedding {
            return Err(fail(Problem::Duplicate { what: "factor", name: t.name.to_string() }));
        }
        *place = Some(i);
    }
    let mut ordered: Vec<_> = found.into_iter().collect();
    ordered.sort_unstable_by_key(|(_, found)| found.first);
    ordered.into_iter().map(|(base, found)| pair(checkpoint, base, &found, a_transposed).map_err(fail)).collect()
}

fn pair(checkpoint: &Checkpoint, base: String, found: &Found, a_transposed: bool) -> Result<LowRank, Problem> {
    let tensor = |i: Option<usize>| i.and_then(|i| Some((i, checkpoint.tensors().get(i)?)));
    let [a, b] = found.sides.map(tensor);
    let (Some((a, at)), Some((b, bt))) = (a, b) else {
        let tensor = a.or(b).map(|(_, t)| t.name.to_string()).unwrap_or_default();
        return Err(Problem::Unpaired { tensor, other: if a.is_some() { "B" } else { "A" } });
    };
    let (embedding, a_transposed) = (found.embedding, found.embedding && a_transposed);
    let Shape { rank, inputs, outputs, experts } = Shape::of(at, bt, a_transposed)?;
    Ok(LowRank { base, embedding, rank, inputs, outputs, experts, alpha: 0.0, scale: 0.0, a_transposed, a, b })
}

struct Shape {
    rank: u64,
    inputs: u64,
    outputs: u64,
    experts: Option<u64>,
}

impl Shape {
    fn of(a: &TensorInfo, b: &TensorInfo, a_transposed: bool) -> Result<Self, Problem> {
        for t in [a, b] {
            if t.dtype.kind() == Kind::Integer {
                let (tensor, found) = (t.name.to_string(), t.dtype.name().to_owned());
                return Err(Problem::UnsupportedDtype { tensor, found, supported: "floats and block formats".into() });
            }
        }
        let (experts, inputs, rank) = match (&*a.shape, a_transposed) {
            (&[rank, inputs], false) | (&[inputs, rank], true) => (None, inputs, rank),
            (&[experts, rank, inputs], false) => (Some(experts), inputs, rank),
            (shape, _) => return Err(dimensions(a, shape)),
        };
        let (b_experts, outputs, b_rank) = match &*b.shape {
            &[outputs, rank] => (None, outputs, rank),
            &[experts, outputs, rank] => (Some(experts), outputs, rank),
            shape => return Err(dimensions(b, shape)),
        };
        let mismatch = |what, found, expected| {
            Err(Problem::FactorMismatch {
                tensor: b.name.to_string(),
                other: a.name.to_string(),
                what,
                found,
                expected,
            })
        };
        if b_experts != experts {
            return mismatch("experts", b_experts.unwrap_or(0), experts.unwrap_or(0));
        }
        if b_rank != rank {
            return mismatch("rank", b_rank, rank);
        }
        for (t, found) in [(a, rank), (a, inputs), (b, outputs)] {
            if found == 0 {
                let limit = crate::limits::MAX_DIM;
                return Err(Problem::Dimension { tensor: t.name.to_string(), axis: 0, found, limit });
            }
        }
        Ok(Self { rank, inputs, outputs, experts })
    }
}

fn dimensions(t: &TensorInfo, shape: &[u64]) -> Problem {
    Problem::DimensionCount { tensor: t.name.to_string(), found: shape.len() as u64, expected: "2, or 3 for experts" }
}
