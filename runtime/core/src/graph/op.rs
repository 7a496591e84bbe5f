//! The ops of a graph: the ABI's, with typed parameters.

use tern_abi::ops::{self, *};

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident $(($params:ty))? = $id:ident, $text:literal, differentiable $grad:expr;)*) => {
        /// An op and its parameters. Meaning, inputs and outputs: [`tern_abi::ops`].
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Op { $($(#[$doc])* $name $(($params))?,)* }

        impl Op {
            /// The ABI's id.
            pub fn id(&self) -> u32 {
                match self { $(ops!(@pattern $name $($params)?) => ops::$id,)* }
            }
            /// Short name for people.
            pub fn name(&self) -> &'static str {
                match self { $(ops!(@pattern $name $($params)?) => $text,)* }
            }
            /// Inputs with a gradient. For `LINEAR` the group of four per weight repeats.
            pub fn differentiable(&self) -> &'static [usize] {
                match self { $(ops!(@pattern $name $($params)?) => &$grad,)* }
            }
            /// The parameter struct's bytes.
            pub fn params(&self) -> Vec<u8> {
                match self { $(ops!(@bind $name p $($params)?) => ops!(@bytes p $($params)?),)* }
            }
        }
    };
    (@pattern $name:ident $params:ty) => { Op::$name(_) };
    (@pattern $name:ident) => { Op::$name };
    (@bind $name:ident $p:ident $params:ty) => { Op::$name($p) };
    (@bind $name:ident $p:ident) => { Op::$name };
    (@bytes $p:ident $params:ty) => { bytes_of($p) };
    (@bytes $p:ident) => { Vec::new() };
}

ops! {
    /// Rows of a weight by id.
    Gather = GATHER, "gather", differentiable [0];
    /// Rows of a tensor by index.
    Rows = ROWS, "rows", differentiable [0];
    /// Root-mean-square norm.
    RmsNorm(NormParams) = RMS_NORM, "rms_norm", differentiable [0, 1];
    /// Layer norm.
    LayerNorm(NormParams) = LAYER_NORM, "layer_norm", differentiable [0, 1, 2];
    /// Matrix products that share their input.
    Linear(LinearParams) = LINEAR, "linear", differentiable [0, 1, 2, 5, 6, 7, 8];
    /// Cosines and sines of positions.
    RopeTable(RopeTableParams) = ROPE_TABLE, "rope_table", differentiable [];
    /// Rotary position embedding.
    Rope(RopeParams) = ROPE, "rope", differentiable [0];
    /// Causal attention.
    Attention(AttentionParams) = ATTENTION, "attention", differentiable [0, 1, 2, 9];
    /// Gated linear unit.
    Glu(GluParams) = GLU, "glu", differentiable [0, 1];
    /// Sum of two.
    Add = ADD, "add", differentiable [0, 1];
    /// Product of two.
    Mul = MUL, "mul", differentiable [0, 1];
    /// A factor.
    Scale(ScaleParams) = SCALE, "scale", differentiable [0];
    /// An activation function.
    Activation(ActivationParams) = ACTIVATION, "activation", differentiable [0];
    /// Choice of experts.
    MoeRoute(MoeRouteParams) = MOE_ROUTE, "moe_route", differentiable [0];
    /// Expert matrices by id.
    ExpertLinear = EXPERT_LINEAR, "expert_linear", differentiable [0, 2];
    /// Weighted sum of expert outputs.
    MoeCombine = MOE_COMBINE, "moe_combine", differentiable [0, 1, 2];
    /// Fast weights.
    FastWeight(FastWeightParams) = FAST_WEIGHT, "fast_weight", differentiable [0, 1, 2, 3, 4, 5, 6, 7, 8, 13, 14, 15, 16, 17];
    /// Negative log-likelihood.
    CrossEntropy = CROSS_ENTROPY, "cross_entropy", differentiable [0];
    /// Negative log-likelihood under a linear layer.
    LinearCrossEntropy(LinearCrossEntropyParams) = LINEAR_CROSS_ENTROPY, "linear_cross_entropy", differentiable [0, 1];
    /// Sum of all elements.
    Sum(ScaleParams) = SUM, "sum", differentiable [0];
    /// Rows rounded to 8 bits.
    QuantizeTokens = QUANTIZE_TOKENS, "quantize_tokens", differentiable [0];
    /// Causal convolution of each channel.
    ShortConv(ShortConvParams) = SHORT_CONV, "short_conv", differentiable [0, 1, 2];
    /// Runs of columns.
    Columns(ColumnsParams) = COLUMNS, "columns", differentiable [0];
}

/// Bytes of a parameter struct.
#[allow(unsafe_code, reason = "the one place where parameters become bytes")]
fn bytes_of<P: Params>(params: &P) -> Vec<u8> {
    // SAFETY: `Params` types have no padding, so every byte is initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(params).cast::<u8>(), size_of::<P>()) }.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn params_round_trip_as_bytes() {
        let op = Op::Sum(ScaleParams { factor: 2.5 });
        assert_eq!(op.id(), ops::SUM);
        assert_eq!(op.params(), 2.5f32.to_ne_bytes());
        assert!(Op::Add.params().is_empty());
    }
}
