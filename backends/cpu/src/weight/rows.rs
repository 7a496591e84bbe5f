//! A file's rows.

use super::ternary;
use tern_quant::DType;

/// A file's rows, those of all experts one after the other.
pub struct Rows {
    at: *const u8,
    len: usize,
    pub row_bytes: usize,
    /// Of the whole tensor, where it has one.
    pub scale: Option<f32>,
}

// SAFETY: the host's bytes are plain memory that nobody writes.
unsafe impl Send for Rows {}
// SAFETY: as above.
unsafe impl Sync for Rows {}

impl Rows {
    /// # Safety
    /// The bytes stay readable and unchanged while this lives.
    pub unsafe fn new(dtype: DType, columns: usize, src: &[u8]) -> Self {
        let row_bytes = dtype.row_bytes(columns).unwrap_or(0);
        Self { at: src.as_ptr(), len: src.len(), row_bytes, scale: ternary::tensor_scale(dtype, src) }
    }
    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.len
    }
    /// `len` bytes from `at` on.
    pub fn get(&self, at: usize, len: usize) -> Option<&[u8]> {
        // SAFETY: whoever made this vouches for the bytes.
        let all = unsafe { std::slice::from_raw_parts(self.at, self.len) };
        all.get(at..at.checked_add(len)?)
    }
}
