//! SHORT_CONV: from the start, resumed, across mini-batches, many sequences.

use super::{backward, case};
use crate::case::{Case, Data, Input};
use crate::host::StateSpec;
use crate::noise::{Noise, dims, ints, seq_start};
use tern_abi::graph::dim;
use tern_abi::ops::ShortConvParams;
use tern_abi::{dtype, state};
use tern_reference::{Kernel, ops};

/// Sequences that begin at position 0 and have so many rows.
struct Setup<'a> {
    channels: usize,
    params: ShortConvParams,
    rows: &'a [usize],
    bias: bool,
    state: bool,
}

fn short_conv(s: &Setup<'_>) -> Case {
    let (c, width, chunk) = (s.channels, s.params.width as usize, s.params.chunk as usize);
    let said = format!("{}{}", if s.bias { "bias, " } else { "" }, if s.state { "state, " } else { "" });
    let name = format!("{said}C={c} n={width} chunk={chunk} rows {:?}", s.rows);
    let mut noise = Noise::new(&name);
    let (mut x, mut positions, mut starts) = (Vec::new(), Vec::new(), vec![0]);
    for (n, &rows) in s.rows.iter().enumerate() {
        for position in 0..rows {
            x.extend(Noise::new(&format!("{name} sequence {n} position {position}")).reals(c, 0.5));
            positions.push(position as i32);
        }
        starts.push(positions.len() as i32);
    }
    let t = positions.len();
    let mut inputs = vec![Some(Input { shape: vec![t, c], lead: dim::TOKENS, data: Data::Real(x) })];
    inputs.extend([noise.fixed(&[c, width], 0.5), noise.fixed(&[c], 0.3).filter(|_| s.bias)]);
    inputs.extend([ints(dim::TOKENS, positions), seq_start(starts)]);
    if s.state {
        let unit = (width - 1 + chunk) * c;
        // Garbage, which is not looked at where a sequence begins.
        let units = vec![f32::NAN.to_le_bytes().repeat(unit); s.rows.len()];
        let slots = (0..s.rows.len()).rev().map(|n| n as i32).collect();
        let dims = [c as u64, width as u64, chunk as u64, 0, 0, 0];
        let shape = vec![units.len() * unit * 4];
        let state = StateSpec { kind: state::kind::SHORT_CONV, dtype: dtype::F32, dims, units };
        inputs.push(Some(Input { shape, lead: dim::FIXED, data: Data::State(state) }));
        inputs.push(ints(dim::SEQUENCES, slots));
    }
    case(name, Kernel::ShortConv(ops::ShortConv(s.params)), inputs, dims(t, s.rows.len(), 0))
}

fn setup(channels: usize, width: u32, chunk: u32, rows: &[usize]) -> Setup<'_> {
    Setup { channels, params: ShortConvParams { width, chunk }, rows, bias: false, state: false }
}

pub(super) fn forward() -> Vec<Case> {
    let mut out = Vec::new();
    for s in [
        setup(16, 4, 16, &[1]),
        setup(16, 4, 16, &[33]),
        setup(37, 3, 5, &[2, 23, 1]),
        setup(5, 1, 2, &[7]),
        setup(300, 4, 2, &[9]),
        setup(8, 6, 1, &[11]),
        setup(8, 6, 4, &[13, 3]),
    ] {
        for (bias, state) in [(false, false), (true, false), (false, true), (true, true)] {
            out.push(short_conv(&Setup { bias, state, ..s }));
        }
    }
    out
}

pub(super) fn gradients() -> Vec<Case> {
    let small = [setup(3, 4, 4, &[1]), setup(5, 3, 4, &[9, 2]), setup(259, 4, 3, &[5])];
    small.iter().map(|s| backward(short_conv(&Setup { bias: true, ..*s }))).collect()
}
