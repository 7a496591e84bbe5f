//! From an op's id to its functions.

use crate::ops::{self, Operation};
use crate::{Args, Error, Meta, Output, Real, Result, Signature};
use tern_abi::ops as abi;
use tern_abi::plugin::OpView;

macro_rules! kernels {
    ($($id:ident => $name:ident $(($params:ident))?,)*) => {
        /// An op with its parameters.
        #[derive(Clone, Copy, Debug)]
        #[allow(missing_docs, reason = "each variant is the op of that name")]
        pub enum Kernel { $($name(ops::$name),)* }

        impl Kernel {
            /// The op that `view` asks for, or the one whose gradient it asks for.
            pub fn new(view: &OpView<'_>) -> Result<Self> {
                match view.op & !abi::GRAD {
                    $(abi::$id => Ok(Self::$name(ops::$name $((view.params::<abi::$params>()))?)),)*
                    _ => Err(Error::UnknownOp { op: view.op }),
                }
            }
            /// The ABI's id.
            pub fn id(&self) -> u32 {
                match self { $(Self::$name(_) => abi::$id,)* }
            }
            /// The op's name, for messages.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => ops::$name::NAME,)* }
            }
            /// See [`Operation::arity`].
            pub fn arity(&self) -> (usize, usize) {
                match self { $(Self::$name(op) => op.arity(),)* }
            }
            /// See [`Operation::differentiable`].
            pub fn differentiable(&self, i: usize) -> bool {
                match self { $(Self::$name(op) => op.differentiable(i),)* }
            }
            /// See [`Operation::matrix`].
            pub fn matrix(&self, i: usize) -> bool {
                match self { $(Self::$name(op) => op.matrix(i),)* }
            }
            /// See [`Operation::infer`].
            pub fn infer(&self, inputs: &Signature) -> Result<Vec<Option<Meta>>> {
                let (expected, _) = self.arity();
                if inputs.inputs.len() > expected {
                    let found = inputs.inputs.len();
                    return Err(Error::Arity { op: self.name(), what: "inputs", found, expected });
                }
                match self { $(Self::$name(op) => op.infer(inputs),)* }
            }
            /// See [`Operation::forward`].
            pub fn forward<R: Real>(&self, inputs: &Args<'_, R>) -> Result<Vec<Output<R>>> {
                match self { $(Self::$name(op) => op.forward(inputs),)* }
            }
        }
    };
}

kernels! {
    GATHER => Gather,
    ROWS => Rows,
    RMS_NORM => RmsNorm(NormParams),
    LAYER_NORM => LayerNorm(NormParams),
    LINEAR => Linear(LinearParams),
    ROPE_TABLE => RopeTable(RopeTableParams),
    ROPE => Rope(RopeParams),
    ATTENTION => Attention(AttentionParams),
    GLU => Glu(GluParams),
    ADD => Add,
    MUL => Mul,
    SCALE => Scale(ScaleParams),
    ACTIVATION => Activation(ActivationParams),
    MOE_ROUTE => MoeRoute(MoeRouteParams),
    EXPERT_LINEAR => ExpertLinear,
    MOE_COMBINE => MoeCombine,
    FAST_WEIGHT => FastWeight(FastWeightParams),
    CROSS_ENTROPY => CrossEntropy,
    SUM => Sum(ScaleParams),
    LINEAR_CROSS_ENTROPY => LinearCrossEntropy(LinearCrossEntropyParams),
    QUANTIZE_TOKENS => QuantizeTokens,
    SHORT_CONV => ShortConv(ShortConvParams),
    COLUMNS => Columns(ColumnsParams),
}
