//! ATTENTION: with and without pages, every option.

pub(crate) mod pages;
mod setups;

use super::rope::table;
use super::{backward, case};
use crate::case::{Case, Data, Input};
use crate::host::StateSpec;
use crate::noise::{Noise, dims, ints, seq_start};
use setups::Setup;
use tern_abi::graph::dim;
use tern_abi::state;
use tern_reference::{Kernel, ops};

/// Builds the case. Data of a sequence depend on the name, its number and the position only, so that the
/// same sequence can be run in other chunks and other company.
fn attention(s: &Setup) -> Case {
    let p = &s.params;
    let (dim, heads, kv_heads) = (p.head_dim as usize, p.heads as usize, p.kv_heads as usize);
    let mut noise = Noise::new(&s.name);
    let sinks = noise.fixed(&[heads], 1.0).filter(|_| s.sinks);
    let mut rows: [Vec<f32>; 3] = Default::default();
    let (mut positions, mut starts, mut slots) = (Vec::new(), vec![0], Vec::new());
    let paged = p.page_size > 0;
    let (pages, total) = if paged { s.pages(&mut noise) } else { (Vec::new(), 0) };
    let size = p.page_size as usize;
    let mut units = vec![pages::garbage(p); total];
    for (n, &(past, new)) in s.sequences.iter().enumerate() {
        for position in 0..past + new {
            let mut row = Noise::new(&format!("{} sequence {n} position {position}", s.name));
            let (q, k, v) =
                (row.reals(heads * dim, 1.0), row.reals(kv_heads * dim, 1.0), row.reals(kv_heads * dim, 1.0));
            if position >= past {
                for (all, one) in rows.iter_mut().zip([q, k, v]) {
                    all.extend(one);
                }
                positions.push(position as i32);
                if paged {
                    slots.push((pages[n][position / size] * size + position % size) as i32);
                }
                continue;
            }
            // The past holds keys as they were after rotation; any values do.
            let unit = &mut units[pages[n][position / size]];
            for (which, data) in [k, v].iter().enumerate() {
                for (head, data) in data.chunks(dim).enumerate() {
                    pages::put(p, unit, which, head, position % size, data);
                }
            }
        }
        starts.push(positions.len() as i32);
    }
    let t = positions.len();
    let tokens = |x: &mut Vec<f32>| {
        let data = Data::Real(std::mem::take(x));
        let width = data_len(&data).checked_div(t).unwrap_or(0);
        Some(Input { shape: vec![t, width], lead: dim::TOKENS, data })
    };
    let [q, k, v] = &mut rows;
    let table = if s.rope { table(&positions, p.n_rot as usize) } else { None };
    let mut inputs = vec![tokens(q), tokens(k), tokens(v), table, ints(dim::TOKENS, positions)];
    inputs.push(seq_start(starts));
    if paged {
        let columns = pages.iter().map(Vec::len).max().unwrap_or(0) + 1;
        let row = |(pages, &(past, _)): (&Vec<usize>, &(usize, usize))| {
            let mut row: Vec<i32> = pages.iter().map(|&p| p as i32).collect();
            row.resize(columns, -1);
            let passed = if s.freed { (past + 1).saturating_sub(p.window as usize) / size } else { 0 };
            row[..passed].fill(-1);
            row
        };
        let data = Data::Int(pages.iter().zip(&s.sequences).flat_map(row).collect());
        let dims = [kv_heads as u64, dim as u64, size as u64, 0, 0, 0];
        let state = StateSpec { kind: state::kind::KV_PAGE, dtype: p.kv_dtype, dims, units };
        let shape = vec![state.units.iter().map(Vec::len).sum()];
        inputs.push(Some(Input { shape, lead: dim::FIXED, data: Data::State(state) }));
        inputs.push(ints(dim::TOKENS, slots));
        inputs.push(Some(Input { shape: vec![pages.len(), columns], lead: dim::SEQUENCES, data }));
    } else {
        inputs.extend([None, None, None]);
    }
    inputs.push(sinks);
    case(s.name.clone(), Kernel::Attention(ops::Attention(*p)), inputs, dims(t, s.sequences.len(), 0))
}

fn data_len(data: &Data) -> usize {
    match data {
        Data::Real(x) => x.len(),
        _ => 0,
    }
}

pub(super) fn forward() -> Vec<Case> {
    setups::forward().iter().map(attention).collect()
}

pub(super) fn gradients() -> Vec<Case> {
    setups::gradients().iter().map(|s| backward(attention(s))).collect()
}
