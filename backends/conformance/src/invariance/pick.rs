//! A part of a case: some rows of some sequences.

use crate::case::{Case, Data, Input};
use std::ops::Range;
use tern_abi::graph::dim;

/// Rows of a sequence.
#[derive(Clone, Debug)]
pub(super) struct Pick {
    pub sequence: usize,
    /// Rows of the case.
    pub rows: Range<usize>,
}

/// Rows of every sequence.
pub(super) fn sequences(case: &Case) -> Vec<Range<usize>> {
    let starts = case.seq_start().map(|i| case.values(i)).unwrap_or_default();
    let n = case.dims[dim::SEQUENCES as usize] as usize;
    starts.windows(2).take(n).map(|w| w[0] as usize..w[1] as usize).collect()
}

fn take<T: Clone>(data: &[T], width: usize, rows: &[usize]) -> Vec<T> {
    rows.iter().flat_map(|&r| data[r * width..(r + 1) * width].iter().cloned()).collect()
}

/// The part; `state` replaces the case's state units.
pub(super) fn pick(case: &Case, picks: &[Pick], state: Option<&[Vec<u8>]>) -> Case {
    let rows: Vec<usize> = picks.iter().flat_map(|p| p.rows.clone()).collect();
    let sequences: Vec<usize> = picks.iter().map(|p| p.sequence).collect();
    let part = |input: &Input| -> Input {
        let mut input = input.clone();
        if let (Data::State(own), Some(units)) = (&mut input.data, state) {
            own.units = units.to_vec();
        }
        let chosen = match input.lead {
            dim::TOKENS | dim::OUTPUTS => &rows,
            dim::SEQUENCES => &sequences,
            _ => return input,
        };
        let width = input.shape[1..].iter().product();
        input.data = match input.data {
            Data::Real(x) => Data::Real(take(&x, width, chosen)),
            Data::Single(x) => Data::Single(take(&x, width, chosen)),
            Data::Int(x) => Data::Int(take(&x, width, chosen)),
            other => other,
        };
        input.shape[0] = chosen.len();
        input
    };
    let mut out = case.clone();
    out.inputs = case.inputs.iter().map(|x| x.as_ref().map(part)).collect();
    let resized = |n: u64, size: usize| if n == 0 { 0 } else { size as u64 };
    out.dims[dim::TOKENS as usize] = resized(case.dims[dim::TOKENS as usize], rows.len());
    out.dims[dim::OUTPUTS as usize] = resized(case.dims[dim::OUTPUTS as usize], rows.len());
    if let Some(i) = case.seq_start() {
        out.dims[dim::SEQUENCES as usize] = picks.len() as u64;
        let mut starts = vec![0];
        for pick in picks {
            starts.push(starts.last().copied().unwrap_or(0) + pick.rows.len() as i32);
        }
        out.inputs[i] = crate::noise::seq_start(starts);
    }
    out
}
