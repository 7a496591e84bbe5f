//! RMS_NORM and LAYER_NORM.

use super::{TOKENS, backward, case};
use crate::case::Case;
use crate::noise::{Noise, dims};
use tern_abi::ops::NormParams;
use tern_reference::{Kernel, ops};

fn rms(shape: &[usize], weight: bool, eps: f32) -> Case {
    grouped(shape, 0, weight, eps)
}

fn grouped(shape: &[usize], groups: u32, weight: bool, eps: f32) -> Case {
    let of = if groups == 0 { String::new() } else { format!(" groups={groups}") };
    let name = format!("{shape:?}{of} weight={weight} eps={eps}");
    let (mut noise, d) = (Noise::new(&name), shape[shape.len() - 1] / groups.max(1) as usize);
    let inputs = vec![noise.tokens(shape, 1.0), noise.around_one(&[d]).filter(|_| weight)];
    case(name, Kernel::RmsNorm(ops::RmsNorm(NormParams { eps, groups })), inputs, dims(shape[0], 0, 0))
}

fn layer(t: usize, d: usize, weight: bool, bias: bool) -> Case {
    let name = format!("T={t} D={d} weight={weight} bias={bias}");
    let mut noise = Noise::new(&name);
    let (w, b) = (noise.around_one(&[d]).filter(|_| weight), noise.fixed(&[d], 0.3).filter(|_| bias));
    let inputs = vec![noise.tokens(&[t, d], 1.0), w, b];
    case(name, Kernel::LayerNorm(ops::LayerNorm(NormParams { eps: 1e-5, groups: 0 })), inputs, dims(t, 0, 0))
}

pub(super) fn forward() -> Vec<Case> {
    let mut out = Vec::new();
    for t in TOKENS {
        for d in [1, 7, 33, 64, 321] {
            out.push(rms(&[t, d], d != 7, 1e-6));
            out.push(layer(t, d, d != 7, d != 33));
        }
        // Norm of each head: more leading dimensions.
        out.push(rms(&[t, 3, 16], true, 1e-6));
        // The same in rows that hold all heads.
        out.push(grouped(&[t, 3 * 20], 3, true, 1e-6));
    }
    out.push(rms(&[3, 40], true, 0.5));
    out.push(rms(&[3, 40], true, 0.0));
    out
}

pub(super) fn gradients() -> Vec<Case> {
    let rms =
        [rms(&[1, 7], true, 1e-6), rms(&[7, 33], false, 1e-6), rms(&[2, 3, 5], true, 0.1), rms(&[33, 64], true, 1e-6)];
    let rms = rms.into_iter().chain([grouped(&[5, 3 * 7], 3, true, 1e-6)]);
    let layer = [layer(1, 7, true, true), layer(7, 33, false, true), layer(33, 64, true, false)];
    rms.chain(layer).map(backward).collect()
}
