//! The table of cases: every op, with odd sizes and every option, forward and gradient.

mod attention;
mod elementwise;
mod experts;
mod fast_weight;
mod gather;
mod linear;
mod loss;
mod norm;
mod rope;
mod short_conv;

pub(crate) use attention::pages::{read, stored};

use crate::case::{Backward, Case, Data, Input};
use crate::noise::Noise;
use tern_reference::Kernel;

/// Token counts that cases use: one, two, less than any block, more than one.
pub const TOKENS: [usize; 4] = [1, 2, 7, 33];

/// Forward cases of every op.
pub fn forward() -> Vec<Case> {
    let families = [
        gather::forward(),
        norm::forward(),
        linear::forward(),
        rope::forward(),
        attention::forward(),
        elementwise::forward(),
        experts::forward(),
        fast_weight::forward(),
        short_conv::forward(),
        loss::forward(),
    ];
    families.into_iter().flatten().collect()
}

/// Gradient cases of every differentiable op.
pub fn gradients() -> Vec<Case> {
    let families = [
        gather::gradients(),
        norm::gradients(),
        linear::gradients(),
        rope::gradients(),
        attention::gradients(),
        elementwise::gradients(),
        experts::gradients(),
        fast_weight::gradients(),
        short_conv::gradients(),
        loss::gradients(),
    ];
    families.into_iter().flatten().collect()
}

/// A forward case.
fn case(name: impl Into<String>, kernel: Kernel, inputs: Vec<Option<Input>>, dims: [u64; 4]) -> Case {
    Case { name: name.into(), kernel, inputs, dims, backward: None }
}

/// The gradient of a case's op: random seeds, every gradient that can be had.
fn backward(case: Case) -> Case {
    let mut noise = Noise::new(&case.title());
    let seeds = case.yields(false).unwrap_or_default();
    let seeds = seeds.iter().map(|meta| {
        let real = meta.as_ref().filter(|m| m.dtype == tern_abi::dtype::F32);
        real.map(|m| noise.reals(m.len(), 0.7))
    });
    let plain = |(i, x): (usize, &Option<Input>)| {
        case.kernel.differentiable(i) && x.as_ref().is_some_and(|x| matches!(x.data, Data::Real(_)))
    };
    let wanted = case.inputs.iter().enumerate().map(plain).collect();
    Case { backward: Some(Backward { seeds: seeds.collect(), wanted }), ..case }
}
