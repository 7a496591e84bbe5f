//! MOE_ROUTE, EXPERT_LINEAR, MOE_COMBINE.

use super::{TOKENS, backward, case};
use crate::case::{Case, Data, Input};
use crate::noise::{Noise, dims, weight_dtypes};
use tern_abi::graph::dim;
use tern_abi::ops::MoeRouteParams;
use tern_reference::{Kernel, ops};

/// Logits on a grid: some tie exactly, or none (differences across a tie are no derivative); the rest are far apart.
fn route(t: usize, e: usize, p: MoeRouteParams, ties: bool) -> Case {
    let name =
        format!("T={t} E={e} k={} after={} normalize={} scale={}", p.top_k, p.softmax_after, p.normalize, p.scale);
    let mut noise = Noise::new(&name);
    let data = if ties {
        (0..t * e).map(|_| noise.below(9) as f32 * 0.5 - 2.0).collect()
    } else {
        (0..t).flat_map(|_| noise.shuffled(e)).map(|i| i as f32 * 0.4 - 1.5).collect()
    };
    let inputs = vec![Some(Input { shape: vec![t, e], lead: dim::TOKENS, data: Data::Real(data) })];
    case(name, Kernel::MoeRoute(ops::MoeRoute(p)), inputs, dims(t, 0, 0))
}

fn ids(noise: &mut Noise, t: usize, k: usize, e: usize) -> Option<Input> {
    let data = (0..t).flat_map(|_| noise.shuffled(e).into_iter().take(k)).map(|i| i as i32).collect();
    Some(Input { shape: vec![t, k], lead: dim::TOKENS, data: Data::Int(data) })
}

/// Sizes: tokens, ranks, experts, N, K.
type Sizes = (usize, usize, usize, usize, usize);

fn expert(name: &str, (t, ranks, e, n, k): Sizes, w: Option<Input>, ranked: bool, bias: bool) -> Option<Case> {
    let name = format!("{name} T={t} k={ranks} E={e} N={n} K={k} ranked={ranked} bias={bias}");
    let mut noise = Noise::new(&name);
    let x = if ranked { noise.tokens(&[t, ranks, k], 1.0) } else { noise.tokens(&[t, k], 1.0) };
    let bias = noise.fixed(&[e, n], 0.5).filter(|_| bias);
    let inputs = vec![x, Some(w?), bias, ids(&mut noise, t, ranks, e)];
    Some(case(name, Kernel::ExpertLinear(ops::ExpertLinear), inputs, dims(t, 0, 0)))
}

fn combine(t: usize, k: usize, n: usize, residual: bool) -> Case {
    let name = format!("T={t} k={k} N={n} residual={residual}");
    let mut noise = Noise::new(&name);
    let (y, w) = (noise.tokens(&[t, k, n], 1.0), noise.tokens(&[t, k], 0.3));
    let inputs = vec![y, w, noise.tokens(&[t, n], 1.0).filter(|_| residual)];
    case(name, Kernel::MoeCombine(ops::MoeCombine), inputs, dims(t, 0, 0))
}

/// Rows with a factor each.
fn factors(t: usize, n: usize) -> Case {
    let name = format!("T={t} N={n}, no ranks");
    let mut noise = Noise::new(&name);
    let inputs = vec![noise.tokens(&[t, n], 1.0), noise.tokens(&[t, 1], 0.3), noise.tokens(&[t, n], 1.0)];
    case(name, Kernel::MoeCombine(ops::MoeCombine), inputs, dims(t, 0, 0))
}

fn routes() -> Vec<MoeRouteParams> {
    let base = MoeRouteParams { top_k: 2, softmax_after: 0, normalize: 0, scale: 0.0 };
    vec![
        base,
        MoeRouteParams { normalize: 1, ..base },
        MoeRouteParams { softmax_after: 1, top_k: 4, ..base },
        MoeRouteParams { softmax_after: 1, normalize: 1, scale: 2.5, ..base },
        MoeRouteParams { top_k: 1, ..base },
        MoeRouteParams { top_k: 7, normalize: 1, ..base },
    ]
}

pub(super) fn forward() -> Vec<Case> {
    let mut out = Vec::new();
    for p in routes() {
        out.push(route(1, 7, p, true));
        out.push(route(33, 32, p, true));
    }
    for dtype in weight_dtypes() {
        let k = if dtype.block_len() == 1 { 39 } else { dtype.block_len() * 2 };
        for (t, ranked) in [(1, false), (7, true), (33, false)] {
            let sizes = (t, 2, 5, 19, k);
            let w = Noise::new(dtype.name()).weight(dtype, &[5, 19, k], 0.3);
            out.extend(expert(dtype.name(), sizes, w, ranked, t != 1));
        }
    }
    for t in TOKENS {
        out.push(combine(t, 2, 33, t != 2));
        out.push(combine(t, 5, 7, t == 2));
        out.push(factors(t, 21));
    }
    out
}

pub(super) fn gradients() -> Vec<Case> {
    let mut out: Vec<Case> = routes().into_iter().map(|p| route(7, 9, p, false)).collect();
    for dtype in weight_dtypes() {
        let k = if dtype.block_len() == 1 { 11 } else { dtype.block_len() };
        let w = || Noise::new(dtype.name()).weight(dtype, &[3, 5, k], 0.3);
        out.extend(expert(dtype.name(), (7, 2, 3, 5, k), w(), false, true));
        out.extend(expert(dtype.name(), (2, 2, 3, 5, k), w(), true, false));
    }
    out.extend([combine(7, 2, 9, true), combine(1, 3, 5, false), factors(7, 9)]);
    out.into_iter().map(backward).collect()
}
