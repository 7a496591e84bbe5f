//! The ops: what each takes, yields and means.
//!
//! Shapes are row-major. `T` is the step's token count, `S` its sequences, `R` its output rows; they may be
//! dynamic. "Real" tensors are F32, or F64 throughout (reference backend only). An input marked `?` may be
//! [`NONE`](crate::graph::NONE). Ids and parameter fields are only ever appended; a parameter tail that the
//! host does not send reads as zero, so zero must mean "as before".
//!
//! **Gradients.** For a differentiable op `X` there is `X | GRAD`. Its inputs are X's inputs followed by one
//! gradient per output of X (`NONE` where an output is not differentiable or its gradient is zero); its
//! outputs are gradients for X's inputs in order, `NONE` where not wanted. Parameters are those of X. It
//! recomputes what it needs from X's inputs. Gradients are those of the real-valued op: rounding inside a
//! kernel (quantized activations, half-precision caches) does not count. Every op says which inputs are
//! differentiable: they are marked `∂`. Attention is differentiable only without rope table and state.
//!
//! **Aliasing.** An op's outputs do not overlap its inputs, except that a state's input and output are one.

/// Bit of an op id: the op's gradient. See the module text.
pub const GRAD: u32 = 1 << 31;

/// Rows of a weight by id. `[table W [V, D], ids i32 [T]] -> [[T, D]]`. An id outside the table yields zeros.
/// ∂: table, for a TRAINABLE F32 weight bound as buffer.
pub const GATHER: u32 = 1;
/// Rows of a tensor by index. `[x∂ [T, D], rows i32 [R]] -> [[R, D]]`.
pub const ROWS: u32 = 2;
/// `y = x / sqrt(mean(x²) + eps) * w`. `[x∂ [T, D], w∂? [D]] -> [[T, D]]`. [`NormParams`].
/// x may have more leading dimensions (`[T, heads, D]`): each innermost row is normed. With `groups` g > 1 a row is g runs, each
/// normed on its own, and w has `[D/g]`.
pub const RMS_NORM: u32 = 3;
/// `y = (x - mean) / sqrt(var + eps) * w + b`, biased variance. `[x∂ [T, D], w∂? [D], b∂? [D]] -> [[T, D]]`. [`NormParams`].
/// Leading dimensions as for [`RMS_NORM`].
pub const LAYER_NORM: u32 = 4;
/// One to four matrix products that share their input, with optional prologue and epilogue. [`LinearParams`].
///
/// Inputs: `[x∂ [T, K], norm_w∂? [K], residual∂? [T, N], adapter_index? i32 [T], adapter_scale? [A]]`, then for each of
/// `n_weights`: `[w [N, K], bias∂? [N], lora_a∂? [A, r, K], lora_b∂? [A, r, N]]` (B as the transpose of what
/// adapter files have: its rows are added to `y`). Outputs: one `[T, N]` per weight, or a single one under a GLU epilogue.
///
/// `h = norm(x)` or `x`; `y_i = W_i h + bias_i`; for a token whose `adapter_index` is `a >= 0`:
/// `y_i += adapter_scale[a] * (B_i[a]ᵀ (A_i[a] h))`, skipped when the scale is 0; then either, for each i, `y_i += residual`
/// (only with `n_weights` 1), or with a GLU epilogue (`n_weights` 2) the output `act(y_0) * y_1`.
/// With `quantize` 1, `h` is [`QUANTIZE_TOKENS`] of that; its gradient goes straight through.
/// A weight is a prepared weight, or an F32/F64 buffer tensor (which is then `∂`).
pub const LINEAR: u32 = 5;
/// Cosine and sine of `position * inv_freq`, times `magnitude`. `[positions i32 [T], inv_freq f32 [n/2]] -> [[T, n]]`:
/// `out[t][2i]` is the cosine, `out[t][2i+1]` the sine for frequency `i`. The angle is computed in f64 from
/// the f32 frequency. With a `period` above 0 positions count modulo it. [`RopeTableParams`].
pub const ROPE_TABLE: u32 = 6;
/// Rotates pairs of each head. `[x∂ [T, heads*head_dim], table [T, n_rot]] -> [same]`. [`RopeParams`].
/// Dimensions from `n_rot` on pass through.
pub const ROPE: u32 = 7;
/// Attention with grouped queries over many sequences, causal unless `bidirectional`. [`AttentionParams`].
///
/// Inputs: `[q∂ [T, heads*head_dim], k∂ [T, kv_heads*head_dim], v∂ [T, kv_heads*head_dim], rope_table? [T, n_rot],
/// positions i32 [T], seq_start i32 [S+1], state?, slots? i32 [T], page_table? i32 [S, P], sinks∂? [heads]]`.
/// Outputs: `[[T, heads*head_dim], state?]`.
///
/// Rows `seq_start[s] .. seq_start[s+1]` are sequence `s`, at consecutive ascending positions. With a rope table, q and k are
/// rotated first (as [`ROPE`], `rope_layout`, `n_rot`). With a state (KV pages), k and v of row t are rounded to the state's dtype and
/// written to place `slots[t]` (page index times page size plus offset), and row t attends to positions
/// `0 ..= positions[t]` of its sequence, read from the pages `page_table[s][position / page_size]`, fresh ones included, after
/// rounding. Without a state it attends to the rows of its own sequence up to itself.
/// With `bidirectional` 1, which goes without a state only, a row attends to all rows of its own sequence.
/// With `window` w > 0 only positions `> positions[t] - w`, and `< positions[t] + w`. Scores are `scale * q·k`, under `softcap` c > 0
/// `c * tanh(score / c)`; a sink is one more score in the softmax with no value.
/// Entries of `page_table` for positions that no row of the step sees (past the end, passed by the window) are not read.
/// `seq_start` has shape `[max S + 1]`; its first S+1 entries are valid.
pub const ATTENTION: u32 = 8;
/// `act(gate) * up`. `[gate∂ [T, N], up∂ [T, N]] -> [[T, N]]`. [`GluParams`]. There may be more dimensions.
/// With `limit` L > 0, gate is `min(gate, L)` and up `max(-L, min(up, L))` (the derivative beyond is 0). `up` then has `offset` added.
pub const GLU: u32 = 9;
/// `a + b`. `[a∂, b∂] -> [same]`; b may have fewer leading dimensions and then repeats.
pub const ADD: u32 = 10;
/// `a * b` elementwise, repeating like [`ADD`]. `[a∂, b∂] -> [same]`.
pub const MUL: u32 = 11;
/// `factor * x`. `[x∂] -> [same]`. [`ScaleParams`].
pub const SCALE: u32 = 12;
/// `act(x)`. `[x∂] -> [same]`. [`ActivationParams`].
pub const ACTIVATION: u32 = 13;
/// Chooses experts. `[logits∂ [T, E]] -> [ids i32 [T, k], weights∂ [T, k]]`. [`MoeRouteParams`]. Ranked by descending
/// probability, that is by logit (a softmax's rounding makes no ties), ties by the smaller index. Gradient: with respect to the weights, ids held fixed.
pub const MOE_ROUTE: u32 = 14;
/// Expert matrices by id. `[x∂ [T, K] or [T, k, K], w [E, N, K], bias∂? [E, N], ids i32 [T, k]] -> [[T, k, N]]`:
/// `y[t][j] = W[ids[t][j]] x[t] (or x[t][j]) + bias`. No parameters.
pub const EXPERT_LINEAR: u32 = 15;
/// Weighted sum over ranks, in rank order, then the residual. `[y∂ [T, k, N], weights∂ [T, k], residual∂? [T, N]] -> [[T, N]]`.
/// For k 1, y may be `[T, N]`: rows with a factor each.
pub const MOE_COMBINE: u32 = 16;
/// Fast weights: an inner model per head that learns along the sequence. [`FastWeightParams`]; its `rule` says how.
///
/// Inputs: `[q∂ [T, K*f], k∂ [T, K*f], v∂ [T, H*n], lr∂ [T, H], w0∂? [H, f, n], b0∂? [H, n], ln_w∂? [H, n], ln_b∂? [H, n],
/// token_scale∂? [chunk], positions i32 [T], seq_start i32 [S+1], state?, state_slots? i32 [S], decay∂? [T, H], w1∂? [H, m, n],
/// b1∂? [H, n], w2∂? [H, f, m], momentum∂? [T, H]]`. Outputs: `[[T, H*n], state?]`. Head h learns from query and key `h / (H / K)`.
///
/// [`NORMED`](fast_weight_rule::NORMED) (TTT-Linear, Sun et al., arXiv 2407.04620) takes none of the decay, `w2` and the momentum, has
/// K = H and n = f.
/// Per sequence and head, with row vectors and mini-batches at absolute positions (`position / chunk`): `W, b` are those at
/// the mini-batch's start (`w0, b0` at position 0, whatever the state holds). For row i, `o = position mod chunk`:
/// `z = k_i W + b`; `x̂ = (z - mean) / sqrt(var + eps)` (biased variance); `y = ln_w * x̂ + ln_b`; `e = (y - (v_i - k_i)) * ln_w`;
/// `g_i = (f*e - Σe - x̂ Σ(e*x̂)) / (f * sqrt(var + eps))`.
/// Output row: `z̄ = q_i W + b - s_o Σ_{j<=i in the mini-batch} lr_j (q_i·k_j + 1) g_j`, then
/// `q_i + LN(z̄; ln_w, ln_b)`, where `s_o = max(0, token_scale[o])`. At the mini-batch's last place
/// `W -= s_o Σ_j lr_j k_jᵀ g_j`, `b -= s_o Σ_j lr_j g_j`, sums in the order of j.
/// With `inner` 1 (TTT-MLP) w0 is `[H, f, m]`, b0 `[H, m]`, and a second layer `w1, b1` takes the first one's output `z'` after GELU (by
/// tanh): `u = gelu(z')`, `z = u W1 + b1`, with `g` as above and `g'_i = (g_i W1ᵀ) * gelu'(z'_i)`. Each layer's output is that of the
/// mini-batch's start less what it learned, in the second `s_o Σ_j lr_j (ū_i·u_j + 1) g_j` with `ū_i` of the query; each learns from its own
/// inputs and gradients.
///
/// [`DELTA`](fast_weight_rule::DELTA) (gated delta rule, Yang et al., arXiv 2412.06464; without a decay DeltaNet) takes no `b0`, `ln_w`,
/// `ln_b` and `token_scale`; without `w0` it begins with zeros. Every row learns from the weights that the one before left:
/// `W *= exp(decay_i)`; `g_i = lr_i (v_i - k_i W)`; `W += k_iᵀ g_i`; the output row is `q_i W`. Decays are 0 or less. That is the same as,
/// with W at the mini-batch's start and `D_i` the sum of its decays up to i, `D_i = D_{i-1} + decay_i` in f32:
/// `g_i = lr_i (v_i - exp(D_i) k_i W - Σ_{j<i} exp(D_i - D_j) (k_i·k_j) g_j)` and
/// `exp(D_i) q_i W + Σ_{j<=i} exp(D_i - D_j) (q_i·k_j) g_j`, which is how it is computed, so that a state holds what can be taken back.
///
/// [`INNER_PRODUCT`](fast_weight_rule::INNER_PRODUCT) (LaCT, Zhang et al., arXiv 2505.23884) has K = H and `inner` 2, whose model is
/// `f(x) = (silu(x W0) * (x W2)) W1`, without biases; it takes `w0`, `w1`, `w2`, and `lr [T, 3H]`: of each head the rates of W0, W1 and W2. A
/// query and a key are divided by their length plus `eps` first. The output row is `f(q_i)` with the weights of the mini-batch's start: a row
/// answers before it is learned from. At the mini-batch's last place, with `z = k_j W0`, `u = k_j W2` and `d = v_j W1ᵀ` of each row, what
/// lessens `-Σ_j f(k_j)·v_j` is `G0 = Σ_j lr0_j k_jᵀ (d * u * silu'(z))`, `G1 = Σ_j lr1_j (silu(z) * u)ᵀ v_j` and
/// `G2 = Σ_j lr2_j k_jᵀ (d * silu(z))`, sums in the order of j. With a momentum, `G += μ G'`, with the mean μ of its rows' and G' what G was
/// at the end of the mini-batch before (at first 0). With `muon` 1 the step is `G / (|G| + 1e-7)` after five rounds of
/// `X = a X + b A X + c A A X`, `A = X Xᵀ` (Newton-Schulz, [`MUON`]), else G. Then `W += step`, and each column of W is given the length that it
/// has in the input: divided by its own plus `eps`, and times that.
///
/// A sequence may stop and go on at any position; the result is bit-equal to one pass. Without a state every sequence starts
/// at its first row.
pub const FAST_WEIGHT: u32 = 17;
/// `-log softmax(logits)[target]` in nats. `[logits∂ [R, V], targets i32 [R]] -> [[R]]`. A negative target gives 0.
pub const CROSS_ENTROPY: u32 = 18;
/// `factor * Σ x` over all elements. `[x∂] -> [[1]]`. [`ScaleParams`].
pub const SUM: u32 = 19;
/// [`CROSS_ENTROPY`] of a linear layer, without ever holding all logits: of `logits = W x`, times `scale`, then under
/// `softcap` c > 0 `c * tanh(logit / c)`. `[x∂ [R, K], w [V, K], targets i32 [R]] -> [[R]]`. [`LinearCrossEntropyParams`].
/// w is a prepared weight, or an F32/F64 buffer tensor (which is then `∂`).
pub const LINEAR_CROSS_ENTROPY: u32 = 25;
/// Rounds each token to 8 bits as a model that was trained so does it (BitNet b1.58, arXiv 2402.17764, section 2):
/// `round(x * 127 / max|x|) * max|x| / 127` over the innermost dimension, ties to even. `[x [T, D]] -> [same]`. A row of zeros
/// stays. The same once more changes nothing, bit for bit: the factor is one that `127 * factor / 127` gives back. Its gradient
/// is the identity (straight through), which a host takes itself: there is no gradient op.
pub const QUANTIZE_TOKENS: u32 = 30;
/// Causal convolution along the sequence, each channel on its own. [`ShortConvParams`].
///
/// `[x∂ [T, C], w∂ [C, n], bias∂? [C], positions i32 [T], seq_start i32 [S+1], state?, state_slots? i32 [S]] -> [[T, C], state?]`:
/// `y_t = bias + Σ_j w[j] x_{t-n+1+j}`, with zeros before position 0, summed in the order of j. A state
/// ([`SHORT_CONV`](crate::state::kind::SHORT_CONV)) holds the rows before the step's; without one every sequence starts at its first row.
pub const SHORT_CONV: u32 = 31;
/// Columns of a tensor: `y[t][i] = x[t][first + i / run * step + i % run]`. `[x∂ [T, N]] -> [[T, count]]`. [`ColumnsParams`].
pub const COLUMNS: u32 = 32;
/// First id not in use.
pub const END: u32 = 33;
/// How many ops there are: ids have gaps.
pub const COUNT: u32 = 23;

/// Parameter structs: plain data for which all zeros is a valid value.
///
/// # Safety
/// The type is `repr(C)`, has no padding, and every bit pattern is valid.
pub unsafe trait Params: Copy + 'static {
    /// Size in bytes as this build knows it.
    const SIZE: u32 = size_of::<Self>() as u32;
}

// SAFETY: there are no bytes.
unsafe impl Params for () {}

macro_rules! params {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $ty,)* }
        // SAFETY: only 32-bit fields, so no padding; integers and floats accept every bit pattern.
        unsafe impl Params for $name {}
    };
}

/// Activation functions.
pub mod activation {
    /// `x`.
    pub const IDENTITY: u32 = 0;
    /// `x * sigmoid(x)`.
    pub const SILU: u32 = 1;
    /// `0.5 x (1 + tanh(sqrt(2/π) (x + 0.044715 x³)))`.
    pub const GELU_TANH: u32 = 2;
    /// `x Φ(x)` with the error function.
    pub const GELU: u32 = 3;
    /// `max(0, x)²`.
    pub const RELU_SQUARED: u32 = 4;
    /// `1 / (1 + exp(-x))`.
    pub const SIGMOID: u32 = 5;
    /// `tanh(x)`.
    pub const TANH: u32 = 6;
    /// `ln(1 + exp(x))`.
    pub const SOFTPLUS: u32 = 7;
}

params! {
    /// Of [`RMS_NORM`] and [`LAYER_NORM`].
    NormParams {
        /// Added to the mean square or variance.
        eps: f32,
        /// Of [`RMS_NORM`]: each row is so many runs of the same length, normed on their own with one w of that length
        /// (the heads of a query, say). 0 means 1.
        groups: u32,
    }
}
params! {
    /// Of [`LINEAR`].
    LinearParams {
        /// 1 to 4.
        n_weights: u32,
        /// 1: RMS norm of x first, with `norm_w`; 0: none.
        norm: u32,
        /// Of the norm.
        eps: f32,
        /// 0: none. 1: GLU with `activation`, which needs two weights.
        glu: u32,
        /// One of [`activation`].
        activation: u32,
        /// 1: the products' input is rounded as by [`QUANTIZE_TOKENS`].
        quantize: u32,
    }
}
params! {
    /// Of [`ROPE_TABLE`].
    RopeTableParams {
        /// Factor on cosine and sine; 1 for plain RoPE.
        magnitude: f32,
        /// Positions count modulo this; 0: as they are.
        period: u32,
    }
}
params! {
    /// Of [`LINEAR_CROSS_ENTROPY`].
    LinearCrossEntropyParams {
        /// Factor on logits; 0 means 1.
        scale: f32,
        /// 0: none.
        softcap: f32,
    }
}
/// How rotated pairs lie in a head.
pub mod rope_layout {
    /// `(2i, 2i+1)`: Llama in GGUF.
    pub const ADJACENT: u32 = 0;
    /// `(i, i + n_rot/2)`: Hugging Face, NeoX.
    pub const HALVES: u32 = 1;
}
params! {
    /// Of [`ROPE`].
    RopeParams {
        /// Heads in a row.
        heads: u32,
        /// Dimensions of a head.
        head_dim: u32,
        /// Rotated dimensions of a head, even.
        n_rot: u32,
        /// One of [`rope_layout`].
        layout: u32,
        /// 1 rotates backwards.
        inverse: u32,
    }
}
params! {
    /// Of [`ATTENTION`].
    AttentionParams {
        /// Query heads.
        heads: u32,
        /// Key/value heads; divides `heads`. Query head h uses key/value head `h / (heads / kv_heads)`.
        kv_heads: u32,
        /// Dimensions of a head.
        head_dim: u32,
        /// Positions in a page.
        page_size: u32,
        /// Element type of the state: F16, F32, or I8 (codes with a scale per position and head, see
        /// [`KV_PAGE`](crate::state::kind::KV_PAGE)).
        kv_dtype: u32,
        /// Factor on scores.
        scale: f32,
        /// 0: none.
        window: u32,
        /// 0: none.
        softcap: f32,
        /// Of the rope table, where given.
        rope_layout: u32,
        /// Of the rope table, where given.
        n_rot: u32,
        /// 1: rows see what comes after them, too.
        bidirectional: u32,
    }
}
params! {
    /// Of [`GLU`].
    GluParams {
        /// One of [`activation`].
        activation: u32,
        /// Of [`activation::SILU`], which becomes `x * sigmoid(alpha * x)`; 0 means 1. Others take 0 only.
        alpha: f32,
        /// Bound of gate and up; 0: none.
        limit: f32,
        /// Added to up.
        offset: f32,
    }
}
params! {
    /// Of [`ACTIVATION`].
    ActivationParams {
        /// One of [`activation`].
        activation: u32,
    }
}
params! {
    /// Of [`SCALE`] and [`SUM`].
    ScaleParams {
        /// The factor.
        factor: f32,
    }
}
params! {
    /// Of [`MOE_ROUTE`].
    MoeRouteParams {
        /// Experts chosen per token, k.
        top_k: u32,
        /// 0: softmax over all, then choose; 1: choose, then softmax over the chosen.
        softmax_after: u32,
        /// 1: chosen weights are divided by their sum.
        normalize: u32,
        /// Factor on the weights; 0 means 1.
        scale: f32,
    }
}
params! {
    /// Of [`FAST_WEIGHT`].
    FastWeightParams {
        /// Heads H.
        heads: u32,
        /// Dimensions f of a head.
        head_dim: u32,
        /// Rows of a mini-batch.
        chunk: u32,
        /// Of the inner layer norm; under [`INNER_PRODUCT`](fast_weight_rule::INNER_PRODUCT) added to lengths.
        eps: f32,
        /// Inner model: 0 linear, 1 two layers with GELU between them, 2 two layers with a gate (SwiGLU).
        inner: u32,
        /// One of [`fast_weight_rule`].
        rule: u32,
        /// Dimensions n of a value; 0: as many as of a key.
        value_dim: u32,
        /// Heads K of queries and keys, a divisor of H; 0: H.
        key_heads: u32,
        /// Dimensions m between two layers; 0 where the inner model has one.
        hidden: u32,
        /// 1: a mini-batch's step is made orthogonal by [`MUON`]'s rounds; under [`INNER_PRODUCT`](fast_weight_rule::INNER_PRODUCT) only.
        muon: u32,
        /// Which of fewer heads of keys a head has: 0: head h has `h / (H / K)`, so those of a key are neighbours; 1: `h % K`, in turns.
        in_turns: u32,
    }
}
/// How fast weights learn: from what loss, and from which weights on.
pub mod fast_weight_rule {
    /// Half the squared distance of the inner output's norm to `v - k`; rows of a mini-batch from its first weights.
    pub const NORMED: u32 = 0;
    /// Half the squared distance of the inner output to `v`; each row from the weights that the one before left, which decay.
    pub const DELTA: u32 = 1;
    /// The negative inner product of the inner output with `v`; rows of a mini-batch from its first weights, all at its end.
    pub const INNER_PRODUCT: u32 = 2;
}
/// `a`, `b` and `c` of each round that makes a step orthogonal (Jordan et al., "Muon", 2024; these are LaCT's, arXiv 2505.23884).
pub const MUON: [[f32; 3]; 5] = [
    [4.0848, -6.8946, 2.9270],
    [3.9505, -6.3029, 2.6377],
    [3.7418, -5.5913, 2.3037],
    [2.8769, -3.1427, 1.2046],
    [2.8366, -3.0525, 1.2012],
];
params! {
    /// Of [`SHORT_CONV`].
    ShortConvParams {
        /// Rows n that an output sees.
        width: u32,
        /// Rows of a mini-batch: the state can be taken back to any of the one at hand.
        chunk: u32,
    }
}
params! {
    /// Of [`COLUMNS`].
    ColumnsParams {
        /// First column.
        first: u32,
        /// Neighbouring columns that are taken together; above 0.
        run: u32,
        /// From the first of a run to that of the next; at least `run`.
        step: u32,
        /// Columns of the output.
        count: u32,
    }
}
