//! GATHER, ROWS and COLUMNS.

use super::{TOKENS, backward, case};
use crate::case::{Case, Input};
use crate::noise::{Noise, dims, ints, weight_dtypes};
use tern_abi::graph::dim;
use tern_abi::ops::ColumnsParams;
use tern_reference::{Kernel, ops};

/// Ids of which some are outside the table.
fn ids(noise: &mut Noise, t: usize, v: usize) -> Vec<i32> {
    (0..t)
        .map(|i| match i % 7 {
            3 => -1,
            5 => v as i32 + 4,
            _ => noise.below(v) as i32,
        })
        .collect()
}

fn gather(name: String, noise: &mut Noise, table: Option<Input>, t: usize) -> Option<Case> {
    let v = table.as_ref()?.shape[0];
    let inputs = vec![table, ints(dim::TOKENS, ids(noise, t, v))];
    Some(case(name, Kernel::Gather(ops::Gather), inputs, dims(t, 0, 0)))
}

fn rows(t: usize, r: usize, d: usize) -> Case {
    let name = format!("T={t} R={r} D={d}");
    let mut noise = Noise::new(&name);
    let ids = (0..r).map(|_| noise.below(t) as i32).collect();
    let inputs = vec![noise.tokens(&[t, d], 1.0), ints(dim::OUTPUTS, ids)];
    case(name, Kernel::Rows(ops::Rows), inputs, dims(t, 0, r))
}

/// Runs of so many columns, from the second on, with three between them.
fn columns(t: usize, run: u32, count: u32) -> Case {
    let params = ColumnsParams { first: 1, run, step: run + 3, count };
    let name = format!("T={t} run={run} count={count}");
    let width = (count.div_ceil(run) * (run + 3) + 1) as usize;
    let x = Noise::new(&name).tokens(&[t, width], 1.0);
    case(name, Kernel::Columns(ops::Columns(params)), vec![x], dims(t, 0, 0))
}

pub(super) fn forward() -> Vec<Case> {
    let mut out = Vec::new();
    for dtype in weight_dtypes() {
        for (t, v, blocks) in [(1, 5, 1), (33, 19, 3)] {
            let name = format!("{dtype} T={t} V={v}");
            let mut noise = Noise::new(&name);
            let d = if dtype.block_len() == 1 { 7 * blocks } else { dtype.block_len() * blocks };
            let table = noise.weight(dtype, &[v, d], 0.5);
            out.extend(gather(name, &mut noise, table, t));
        }
    }
    for t in TOKENS {
        let name = format!("plain table T={t}");
        let mut noise = Noise::new(&name);
        let table = noise.fixed(&[11, 13], 1.0);
        out.extend(gather(name, &mut noise, table, t));
        out.push(rows(t, 1, 5));
        // A step that wants no logits.
        out.push(rows(t, 0, 5));
        out.push(rows(t, t + 2, 17));
        out.extend([columns(t, 1, 5), columns(t, 16, 48), columns(t, 7, 10)]);
    }
    out
}

pub(super) fn gradients() -> Vec<Case> {
    let mut noise = Noise::new("table gradient");
    let table = noise.fixed(&[9, 5], 1.0);
    let gather = gather("plain table T=33".into(), &mut noise, table, 33);
    gather.into_iter().chain([rows(7, 9, 5), rows(33, 2, 3), columns(7, 4, 10)]).map(backward).collect()
}
