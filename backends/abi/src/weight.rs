//! Weights: handed over once, kept in the layout that the plugin chooses.

use crate::{Header, Status, Str};
use core::ffi::c_void;

/// What a weight will be used for. One prepared layout serves all usages, or memory doubles.
pub mod usage {
    /// `y = W x`.
    pub const FORWARD: u32 = 1;
    /// `dx = Wᵀ dy`.
    pub const BACKWARD_INPUT: u32 = 2;
    /// Rows are read by id: embeddings, tied heads.
    pub const GATHER: u32 = 4;
    /// The matrices `[expert, out, in]` stay with the host, in a source that lasts: the plugin makes what its kernels want of an
    /// expert when it is first chosen, and keeps [`super::WeightDesc::cache_bytes`] of that at most. Results do not depend on what
    /// it keeps. A plugin that gains nothing by it may take such a weight as any other.
    pub const PAGED: u32 = 8;
    /// `weight_update` will be called.
    pub const TRAINABLE: u32 = 16;
}

/// A weight's shape and type, as in the file.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WeightDesc {
    /// Size of this struct.
    pub header: Header,
    /// Element type: see [`crate::dtype`] and ggml's type ids.
    pub dtype: u32,
    /// Dimensions used in `shape`, 1 to 4.
    pub rank: u32,
    /// Bits of [`usage`].
    pub usage: u32,
    /// Must be zero.
    pub reserved: u32,
    /// Row-major, outermost first: `[out, in]`, `[expert, out, in]`, `[n]`. Unused entries are 1.
    pub shape: [u64; 4],
    /// Name in the file, for messages.
    pub name: Str,
    /// Of a [`usage::PAGED`] weight: device memory that it takes at most, though always enough for one expert. 0, or missing,
    /// where one at a time must do.
    pub cache_bytes: u64,
}

/// Where the bytes come from: memory, or a function that copies a range.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WeightSource {
    /// Size of this struct.
    pub header: Header,
    /// The bytes, or null where only `read` is given.
    pub data: *const u8,
    /// Length in bytes.
    pub len: u64,
    /// Copies `len` bytes from `offset` to `dst`; may be called from any thread.
    pub read: Option<unsafe extern "C" fn(user: *mut c_void, offset: u64, dst: *mut u8, len: u64) -> Status>,
    /// First argument of `read` and `release`.
    pub user: *mut c_void,
    /// Becomes non-zero when the caller gives up; may be null.
    pub cancel: *const u32,
    /// 1 where `data` stays readable and unchanged until `weight_free`, so that the plugin may work on it; it says
    /// whether it does in [`WeightInfo::keeps_source`]. 0, or missing, where `data` is valid for the call only.
    pub lasting: u32,
    /// Must be zero.
    pub reserved: u32,
    /// Of `data` that lasts, null or missing where there is nothing to let go: `len` bytes from `offset` on were read and are not
    /// needed soon, as the plugin has copied what it wants of them. They stay readable. May be called from any thread until
    /// `weight_free`; `user` is its first argument, too, and lives as long.
    pub release: Option<unsafe extern "C" fn(user: *mut c_void, offset: u64, len: u64)>,
}

/// What became of a weight.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WeightInfo {
    /// Size of this struct.
    pub header: Header,
    /// Device memory it takes; a source that it keeps is the host's, and not counted. It may grow in steps by what they move
    /// out of such a source and [`release`](WeightSource::release).
    pub resident_bytes: u64,
    /// Bytes that one matrix-vector product reads.
    pub stream_bytes: u64,
    /// 1 where the source must stay alive until `weight_free`, which only a lasting one does.
    pub keeps_source: u32,
    /// The plugin's own number of its layout, for diagnosis.
    pub layout: u32,
    /// Of a [`usage::PAGED`] weight, since it was prepared: how often an op used an expert that was in memory. All 0 of other
    /// weights, and of those that are used where the source is.
    pub hits: u64,
    /// How often it used one that was not.
    pub misses: u64,
    /// Bytes of the source that were read for those.
    pub read_bytes: u64,
}
