//! The ops, one file per family. Each is a struct that holds its parameters.

mod attention;
mod columns;
mod elementwise;
mod fast_weight;
mod gather;
mod linear;
mod loss;
mod moe;
mod norm;
mod quantize;
mod rope;
mod short_conv;

pub use attention::Attention;
pub use columns::Columns;
pub use elementwise::{Activation, Add, Glu, Mul, Scale};
pub use fast_weight::FastWeight;
pub use gather::{Gather, Rows};
pub use linear::Linear;
pub use loss::{CrossEntropy, LinearCrossEntropy, Sum};
pub use moe::{ExpertLinear, MoeCombine, MoeRoute};
pub use norm::{LayerNorm, RmsNorm};
pub use quantize::QuantizeTokens;
pub use rope::{Rope, RopeTable};
pub use short_conv::ShortConv;

use crate::{Args, Meta, Output, Real, Result, Signature};

/// An op: its shape rule and its forward, written once for every kind of number.
pub trait Operation {
    /// Name, for messages.
    const NAME: &'static str;
    /// Number of inputs and outputs, absent ones included.
    fn arity(&self) -> (usize, usize);
    /// May input `i` have a gradient?
    fn differentiable(&self, i: usize) -> bool;
    /// Is input `i` a matrix that may be a prepared weight of any dtype?
    fn matrix(&self, _i: usize) -> bool {
        false
    }
    /// Refuses inputs that the op is not defined for; else what it yields.
    fn infer(&self, inputs: &Signature) -> Result<Vec<Option<Meta>>>;
    /// Computes. The inputs have passed [`Operation::infer`].
    fn forward<R: Real>(&self, inputs: &Args<'_, R>) -> Result<Vec<Output<R>>>;
}
