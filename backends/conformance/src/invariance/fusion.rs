//! Fused ops against their decomposition into plain ops.

use crate::case::{Case, CaseError, Result};
use crate::host::{Device, OpSpec, Program, Role, TensorSpec};
use crate::judge::Verdict;
use crate::params::words;
use tern_abi::dtype;
use tern_abi::graph::dim;
use tern_abi::ops::{AttentionParams, GluParams, LinearParams, NormParams, RopeParams};
use tern_reference::{Kernel, ops};

/// The fused op and its decomposition agree bit for bit. `None` where nothing is fused.
pub fn decomposed(case: &Case, device: &Device) -> Option<Verdict> {
    let linear =
        |p: &LinearParams| p.norm == 1 || p.glu == 1 || p.quantize == 1 || p.n_weights > 1 || case.input(2).is_some();
    let wanted = match &case.kernel {
        Kernel::Linear(op) => linear(&op.0),
        Kernel::Attention(_) => case.input(3).is_some(),
        _ => false,
    };
    if !wanted || case.backward.is_some() {
        return None;
    }
    Some(compare(case, device).unwrap_or_else(|error| Verdict::of_error(&error)))
}

fn compare(case: &Case, device: &Device) -> Result<Verdict> {
    let fused = case.run(device)?;
    let (program, outputs) = case.lower(false)?;
    let plain = match &case.kernel {
        Kernel::Linear(op) => linear(&program, &op.0),
        Kernel::Attention(op) => attention(&program, &op.0),
        _ => return Ok(Verdict::Passed(0.0)),
    };
    let answer = plain.run(device).map_err(CaseError::Plugin)?;
    // Both programs have the case's tensors at the same indices; the plain one has more behind them.
    for t in outputs.into_iter().flatten() {
        let (a, b) = (&fused.bits.outputs[t], &answer.outputs[t]);
        if let Some(at) = a.iter().zip(b).position(|(a, b)| a != b) {
            return Ok(Verdict::Failed(format!("element {} differs from that of the plain ops", at / 4)));
        }
        if fused.bits.states[t] != answer.states[t] {
            return Ok(Verdict::Failed("the state differs from that of the plain ops".into()));
        }
    }
    Ok(Verdict::Passed(0.0))
}

/// An arena tensor like `like`, with `width` columns.
fn temp(program: &mut Program, like: usize, width: usize) -> Option<usize> {
    let shape = vec![program.tensors[like].shape[0], width];
    let dims = vec![dim::TOKENS, dim::FIXED];
    Some(program.tensor(TensorSpec { dtype: dtype::F32, shape, dims, role: Role::Temp }))
}

fn op(program: &mut Program, kernel: &Kernel, inputs: Vec<Option<usize>>, outputs: Vec<Option<usize>>) {
    program.ops.push(OpSpec { op: kernel.id(), params: words(kernel), inputs, outputs });
}

/// RMS_NORM, QUANTIZE_TOKENS, a LINEAR per weight, GLU, ADD.
fn linear(fused: &Program, p: &LinearParams) -> Program {
    let mut out = fused.clone();
    let [OpSpec { inputs, outputs, .. }] = &fused.ops[..] else { return out };
    out.ops.clear();
    let Some(mut x) = inputs[0] else { return out };
    if p.norm == 1 {
        let width = fused.tensors[x].shape[1];
        let h = temp(&mut out, x, width);
        let norm = Kernel::RmsNorm(ops::RmsNorm(NormParams { eps: p.eps, groups: 0 }));
        op(&mut out, &norm, vec![Some(x), inputs[1]], vec![h]);
        x = h.unwrap_or(x);
    }
    if p.quantize == 1 {
        let width = out.tensors[x].shape[1];
        let h = temp(&mut out, x, width);
        op(&mut out, &Kernel::QuantizeTokens(ops::QuantizeTokens), vec![Some(x)], vec![h]);
        x = h.unwrap_or(x);
    }
    let one = Kernel::Linear(ops::Linear(LinearParams { n_weights: 1, ..LinearParams::default() }));
    let residual = inputs[2];
    let mut products = Vec::new();
    for (i, group) in inputs[5..].chunks(4).enumerate() {
        let n = group[0].map_or(0, |w| fused.tensors[w].shape[0]);
        let y = if p.glu == 1 || residual.is_some() { temp(&mut out, x, n) } else { outputs[i] };
        let mut own = vec![Some(x), None, None, inputs[3], inputs[4]];
        own.extend(group);
        if group.get(2).copied().flatten().is_none() {
            // Without adapters of its own a weight needs no index.
            (own[3], own[4]) = (None, None);
        }
        op(&mut out, &one, own, vec![y]);
        products.push(y);
    }
    if p.glu == 1 {
        let glu = Kernel::Glu(ops::Glu(GluParams { activation: p.activation, ..Default::default() }));
        op(&mut out, &glu, products, outputs.clone());
    } else if residual.is_some() {
        products.push(residual);
        op(&mut out, &Kernel::Add(ops::Add), products, outputs.clone());
    }
    out
}

/// ROPE of q, ROPE of k, ATTENTION.
fn attention(fused: &Program, p: &AttentionParams) -> Program {
    let mut out = fused.clone();
    let [OpSpec { inputs, outputs, .. }] = &fused.ops[..] else { return out };
    out.ops.clear();
    let mut plain = inputs.clone();
    for (i, heads) in [(0, p.heads), (1, p.kv_heads)] {
        let Some(x) = inputs[i] else { continue };
        let width = fused.tensors[x].shape[1];
        plain[i] = temp(&mut out, x, width);
        let params = RopeParams { heads, head_dim: p.head_dim, n_rot: p.n_rot, layout: p.rope_layout, inverse: 0 };
        op(&mut out, &Kernel::Rope(ops::Rope(params)), vec![Some(x), inputs[3]], vec![plain[i]]);
    }
    plain[3] = None;
    op(&mut out, &Kernel::Attention(ops::Attention(*p)), plain, outputs.clone());
    out
}
