//! ATTENTION: with and without pages, every option.

use super::rope::table;
use super::{backward, case};
use crate::case::{Case, Data, Input};
use crate::host::StateSpec;
use crate::noise::{Noise, dims, ints, seq_start};
use tern_abi::graph::dim;
use tern_abi::ops::{AttentionParams, rope_layout};
use tern_abi::{dtype, state};
use tern_reference::{Kernel, ops};

/// What an attention case is made from.
#[derive(Clone, Debug)]
struct AttentionSetup {
    /// What is special about it.
    name: String,
    /// Parameters; `page_size` 0 means no state.
    params: AttentionParams,
    /// Positions that each sequence has behind it, and rows it adds.
    sequences: Vec<(usize, usize)>,
    /// Rotate first.
    rope: bool,
    /// Sinks.
    sinks: bool,
}

const BASE: AttentionParams = AttentionParams {
    heads: 4,
    kv_heads: 2,
    head_dim: 16,
    page_size: 0,
    kv_dtype: dtype::F16,
    scale: 0.25,
    window: 0,
    softcap: 0.0,
    rope_layout: rope_layout::HALVES,
    n_rot: 16,
};

impl AttentionSetup {
    fn new(name: &str, params: AttentionParams, sequences: &[(usize, usize)]) -> Self {
        Self { name: name.to_owned(), params, sequences: sequences.to_vec(), rope: false, sinks: false }
    }
    /// The pages of each sequence, scrambled, two more than needed in all.
    fn pages(&self, noise: &mut Noise) -> (Vec<Vec<usize>>, usize) {
        let size = self.params.page_size as usize;
        let need: Vec<usize> = self.sequences.iter().map(|(past, new)| (past + new).div_ceil(size)).collect();
        let total = need.iter().sum::<usize>() + 2;
        let mut free = noise.shuffled(total);
        (need.into_iter().map(|n| free.split_off(free.len() - n)).collect(), total)
    }
}

/// Rounds to the state's dtype and encodes.
fn encode(dtype: u32, x: f32) -> Vec<u8> {
    match dtype {
        dtype::F16 => tern_quant::f32_to_f16(x).to_le_bytes().to_vec(),
        _ => x.to_le_bytes().to_vec(),
    }
}

/// Builds the case. Data of a sequence depend on the name, its number and the position only, so that the
/// same sequence can be run in other chunks and other company.
fn attention(s: &AttentionSetup) -> Case {
    let p = &s.params;
    let (dim, heads, kv_heads) = (p.head_dim as usize, p.heads as usize, p.kv_heads as usize);
    let mut noise = Noise::new(&s.name);
    let sinks = noise.fixed(&[heads], 1.0).filter(|_| s.sinks);
    let mut rows: [Vec<f32>; 3] = Default::default();
    let (mut positions, mut starts, mut slots) = (Vec::new(), vec![0], Vec::new());
    let paged = p.page_size > 0;
    let (pages, total) = if paged { s.pages(&mut noise) } else { (Vec::new(), 0) };
    let size = p.page_size as usize;
    let per_page = 2 * kv_heads * size * dim;
    // Garbage where nobody has written: reading it shows.
    let mut units = vec![[encode(p.kv_dtype, 7e4)].concat().repeat(per_page); total];
    let bytes = encode(p.kv_dtype, 0.0).len();
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
                for (i, &x) in data.iter().enumerate() {
                    let at = (((which * kv_heads + i / dim) * size + position % size) * dim + i % dim) * bytes;
                    unit[at..at + bytes].copy_from_slice(&encode(p.kv_dtype, x));
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
        let row = |pages: &Vec<usize>| {
            let mut row: Vec<i32> = pages.iter().map(|&p| p as i32).collect();
            row.resize(columns, -1);
            row
        };
        let data = Data::Int(pages.iter().flat_map(row).collect());
        let dims = [kv_heads as u64, dim as u64, size as u64, 0, 0, 0];
        let state = StateSpec { kind: state::kind::KV_PAGE, dtype: p.kv_dtype, dims, units };
        let shape = vec![total * per_page * bytes];
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

/// Setups without state, with this many rows.
fn stateless(t: usize) -> Vec<AttentionSetup> {
    let one = [(0, t)];
    let named = |name: &str, params, rope, sinks| AttentionSetup {
        rope,
        sinks,
        ..AttentionSetup::new(&format!("{name} T={t}"), params, &one)
    };
    vec![
        named("grouped", BASE, false, false),
        named("single head", AttentionParams { heads: 1, kv_heads: 1, head_dim: 7, ..BASE }, false, false),
        named("all share one", AttentionParams { heads: 5, kv_heads: 1, head_dim: 8, ..BASE }, false, false),
        named("window 3", AttentionParams { window: 3, ..BASE }, false, false),
        named("softcap", AttentionParams { softcap: 2.0, ..BASE }, false, false),
        named("sinks", BASE, false, true),
        named("all options", AttentionParams { window: 5, softcap: 5.0, ..BASE }, false, true),
        AttentionSetup::new(&format!("three sequences T={t}"), BASE, &[(0, 1), (0, t), (0, 2)]),
    ]
}

/// Setups with pages.
fn paged() -> Vec<AttentionSetup> {
    let mut out = Vec::new();
    for kv_dtype in [dtype::F16, dtype::F32] {
        let label = if kv_dtype == dtype::F16 { "F16" } else { "F32" };
        let base = AttentionParams { page_size: 8, kv_dtype, ..BASE };
        let mut add = |name: &str, params, sequences: &[(usize, usize)], rope, sinks| {
            let name = format!("pages {label} {name}");
            out.push(AttentionSetup { rope, sinks, ..AttentionSetup::new(&name, params, sequences) });
        };
        let many = [(0, 3), (17, 1), (40, 5), (8, 8)];
        add("first token", base, &[(0, 1)], false, false);
        add("prefill", base, &[(0, 33)], true, false);
        add("decode", base, &[(70, 1)], true, false);
        add("decode of many", base, &[(70, 1), (0, 1), (7, 1), (8, 1), (300, 1)], false, false);
        add("mixed batch", base, &many, true, false);
        add(
            "adjacent rope, partial",
            AttentionParams { rope_layout: rope_layout::ADJACENT, n_rot: 6, ..base },
            &many,
            true,
            false,
        );
        add("window", AttentionParams { window: 11, ..base }, &many, true, false);
        add("softcap", AttentionParams { softcap: 3.0, ..base }, &many, false, false);
        add("sinks", base, &many, false, true);
        add(
            "odd page",
            AttentionParams { page_size: 5, heads: 3, kv_heads: 3, head_dim: 24, ..base },
            &many,
            false,
            false,
        );
        add(
            "wide",
            AttentionParams { page_size: 32, heads: 8, kv_heads: 1, head_dim: 64, n_rot: 64, ..base },
            &[(100, 7), (3, 2)],
            true,
            true,
        );
    }
    out
}

pub(super) fn forward() -> Vec<Case> {
    let mut setups: Vec<AttentionSetup> = super::TOKENS.into_iter().flat_map(stateless).collect();
    let rope = AttentionSetup { rope: true, ..AttentionSetup::new("rope without pages", BASE, &[(0, 7), (0, 2)]) };
    setups.push(rope);
    setups.extend(paged());
    setups.iter().map(attention).collect()
}

pub(super) fn gradients() -> Vec<Case> {
    [1, 7].into_iter().flat_map(stateless).map(|s| backward(attention(&s))).collect()
}
