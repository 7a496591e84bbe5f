//! States: memory that ops read and advance: KV pages, fast weights.
//!
//! A state buffer is an array of *units* (a page, a sequence's fast weights). A plugin lays a unit out as
//! it likes; `state_export` and `state_import` translate to the canonical layout, which files use.

use crate::Header;

/// Kinds of state and the meaning of [`StateDesc::dims`].
pub mod kind {
    /// Unit: one page of `page_size` positions of one layer. `dims = [kv_heads, head_dim, page_size, 0, 0, 0]`;
    /// `dtype` F16 or F32. Canonical: keys `[kv_heads, page_size, head_dim]`, then values likewise, little endian.
    pub const KV_PAGE: u32 = 1;
    /// Unit: one sequence's fast weights of one layer. `dims = [heads, head_dim, chunk, 0, 0, 0]`; `dtype` F32.
    /// Canonical: f32, per head `W [head_dim (in), head_dim (out)]`, `b [head_dim]`, then for each of `chunk` token
    /// places of the open mini-batch `k [head_dim]`, `grad [head_dim]` (gradient at the layer's output, see
    /// [`FAST_WEIGHT`](crate::ops::FAST_WEIGHT)), `lr [1]`. Places past the open ones are zero. How many are
    /// open follows from the position: `position mod chunk`.
    pub const FAST_WEIGHT: u32 = 2;
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
