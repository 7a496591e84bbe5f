//! States: memory that ops read and advance: KV pages, fast weights.
//!
//! A state buffer is an array of *units* (a page, a sequence's fast weights). A plugin lays a unit out as
//! it likes; `state_export` and `state_import` translate to the canonical layout, which files use.

use crate::Header;

/// Kinds of state and the meaning of [`StateDesc::dims`].
pub mod kind {
    /// Unit: one page of `page_size` positions of one layer. `dims = [kv_heads, head_dim, page_size, 0, 0, 0]`;
    /// `dtype` F16, F32, or I8. Canonical: keys `[kv_heads, page_size, head_dim]`, then values likewise, little endian.
    ///
    /// With I8, every position and head has a key of 8-bit codes with one f32 scale, and a value likewise. Canonical:
    /// key codes `[kv_heads, page_size, head_dim]`, key scales f32 `[kv_heads, page_size]`, then value codes and value
    /// scales likewise. A number reads back as `code * scale`. To round the f32 numbers `x` of a key (after rotation) or
    /// of a value, with each operation rounded to f32, halves to even:
    /// - `m = max |x|`;
    /// - a number that is not finite among them: scale NaN, codes 0, so that all of it reads back as NaN;
    /// - `m = 0`: scale 0, codes 0;
    /// - else `scale = m / 127`, `code = round((x / m) * 127)`, which is in -127..=127. (The quotient comes first
    ///   because `127 / m` overflows for the smallest m, and `x * 127` for the largest x.)
    ///
    /// Bytes from elsewhere may hold the code -128 and any scale, NaN and infinities included; they mean what they say.
    pub const KV_PAGE: u32 = 1;
    /// Unit: one sequence's fast weights of one layer. `dims = [heads, head_dim, chunk, value_dim, hidden, matrices]`, a `value_dim` of 0
    /// being `head_dim`; `dtype` F32. Canonical: f32, per head `W [head_dim, value_dim]`, `b [value_dim]`, then for each of `chunk`
    /// token places of the open mini-batch `k [head_dim]`, `grad [value_dim]` (gradient at the layer's output, see
    /// [`FAST_WEIGHT`](crate::ops::FAST_WEIGHT)), `lr [1]`. Places past the open ones are zero. How many are
    /// open follows from the position: `position mod chunk`. Under [`DELTA`](crate::ops::fast_weight_rule::DELTA) `b` is zero,
    /// `grad` its `g`, and in the place of `lr` is the sum of decays `D`. With `hidden` above 0 the inner model has two layers: a head is
    /// all of this for the first, `value_dim` being `hidden`, then all of it for the second, `head_dim` being `hidden`.
    ///
    /// `matrices` is 0 but under [`INNER_PRODUCT`](crate::ops::fast_weight_rule::INNER_PRODUCT), where it is 3, with a momentum 6. Canonical:
    /// f32, per head `W0 [head_dim, hidden]`, `W1 [hidden, value_dim]`, `W2 [head_dim, hidden]`, with a momentum the last mini-batch's
    /// `G0`, `G1`, `G2` likewise, then for each of `chunk` token places `k [head_dim]` as divided by its length, `v [value_dim]`, the rates of
    /// W0, W1 and W2, and the momentum (0 without one).
    pub const FAST_WEIGHT: u32 = 2;
    /// Unit: the rows that one sequence's convolution of one layer may need again ([`SHORT_CONV`](crate::ops::SHORT_CONV)).
    /// `dims = [channels, width, chunk, 0, 0, 0]`; `dtype` F32. Canonical: f32 `[width - 1 + chunk, channels]`, the `width - 1` rows
    /// before the open mini-batch, then its own. Places past the open ones are zero, and so are those before position 0.
    pub const SHORT_CONV: u32 = 3;
}

/// What a state holds.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StateDesc {
    /// Size of this struct.
    pub header: Header,
    /// One of [`kind`].
    pub kind: u32,
    /// Element type.
    pub dtype: u32,
    /// Depends on `kind`.
    pub dims: [u64; 6],
}

/// How large a unit is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StateLayout {
    /// Size of this struct.
    pub header: Header,
    /// Bytes of a unit in a state buffer. The host allocates `units * unit_bytes`.
    pub unit_bytes: u64,
    /// Bytes of a unit in canonical layout.
    pub canonical_bytes: u64,
}
