//! ROPE_TABLE and ROPE.

use super::{TOKENS, backward, case};
use crate::case::{Case, Data, Input};
use crate::noise::{Noise, dims, ints};
use tern_abi::graph::dim;
use tern_abi::ops::{RopeParams, RopeTableParams, rope_layout};
use tern_reference::{Kernel, ops};

/// Frequencies of plain RoPE with base 10000.
pub(crate) fn frequencies(n_rot: usize) -> Vec<f32> {
    (0..n_rot / 2).map(|i| 10000f64.powf(-2.0 * i as f64 / n_rot as f64) as f32).collect()
}

/// The table of plain RoPE, as an input.
pub(crate) fn table(positions: &[i32], n_rot: usize) -> Option<Input> {
    let mut data = Vec::new();
    for &position in positions {
        for frequency in frequencies(n_rot) {
            let (sin, cos) = (f64::from(position) * f64::from(frequency)).sin_cos();
            data.extend([cos as f32, sin as f32]);
        }
    }
    Some(Input { shape: vec![positions.len(), n_rot], lead: dim::TOKENS, data: Data::Real(data) })
}

fn make_table(positions: Vec<i32>, n_rot: usize, magnitude: f32, period: u32) -> Case {
    let t = positions.len();
    let name = format!("T={t} from {} n_rot={n_rot} magnitude={magnitude} period={period}", positions[0]);
    let data = Data::Single(frequencies(n_rot));
    let inputs = vec![ints(dim::TOKENS, positions), Some(Input { shape: vec![n_rot / 2], lead: dim::FIXED, data })];
    case(name, Kernel::RopeTable(ops::RopeTable(RopeTableParams { magnitude, period })), inputs, dims(t, 0, 0))
}

fn rope(t: usize, heads: u32, head_dim: u32, n_rot: u32, layout: u32, inverse: u32) -> Case {
    let name = format!("T={t} {heads}x{head_dim} n_rot={n_rot} layout={layout} inverse={inverse}");
    let positions: Vec<i32> = (0..t as i32).map(|p| p * 3 + 1).collect();
    let x = Noise::new(&name).tokens(&[t, (heads * head_dim) as usize], 1.0);
    let inputs = vec![x, table(&positions, n_rot as usize)];
    let params = RopeParams { heads, head_dim, n_rot, layout, inverse };
    case(name, Kernel::Rope(ops::Rope(params)), inputs, dims(t, 0, 0))
}

fn ropes() -> Vec<Case> {
    let mut out = Vec::new();
    for layout in [rope_layout::ADJACENT, rope_layout::HALVES] {
        for inverse in [0, 1] {
            out.push(rope(7, 3, 16, 16, layout, inverse));
            out.push(rope(2, 2, 10, 6, layout, inverse));
        }
    }
    out
}

pub(super) fn forward() -> Vec<Case> {
    let mut out = ropes();
    for t in TOKENS {
        out.push(rope(t, 5, 64, 64, rope_layout::HALVES, 0));
        out.push(rope(t, 1, 2, 2, rope_layout::ADJACENT, 0));
        out.push(make_table((0..t as i32).collect(), 16, 1.0, 0));
        out.push(make_table((5..5 + t as i32).collect(), 16, 1.0, 16));
    }
    out.push(make_table(vec![131_071, 5, 1_000_000], 64, 1.3466, 0));
    out
}

pub(super) fn gradients() -> Vec<Case> {
    ropes().into_iter().map(backward).collect()
}
