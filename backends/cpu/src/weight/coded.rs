//! Block formats without kernels of their own: rows as they are in the file.

use tern_quant::{DType, dequantize};

/// Decodes a row of `dtype`. What the lengths do not allow, which preparing has ruled out, gives NaN rather than
/// numbers from elsewhere.
pub fn row(dtype: DType, row: &[u8], out: &mut [f32]) {
    if dequantize(dtype, row, out).is_err() {
        out.fill(f32::NAN);
    }
}
