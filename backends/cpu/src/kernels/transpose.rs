//! Transposing, in squares that stay in a first-level cache.

/// Rows and columns of a square.
const SIDE: usize = 16;

/// Writes the transpose of `rows` x `columns`, whose rows are `stride` elements apart: row `c` of the result at `to + c * to_stride`.
///
/// # Safety
/// Both matrices are there and do not overlap; `stride >= columns`, `to_stride >= rows`.
#[inline(always)]
pub unsafe fn transpose(
    from: *const f32,
    stride: usize,
    (rows, columns): (usize, usize),
    to: *mut f32,
    to_stride: usize,
) {
    for r0 in (0..rows).step_by(SIDE) {
        for c0 in (0..columns).step_by(SIDE) {
            for c in c0..(c0 + SIDE).min(columns) {
                for r in r0..(r0 + SIDE).min(rows) {
                    // SAFETY: within both.
                    unsafe { *to.add(c * to_stride + r) = *from.add(r * stride + c) };
                }
            }
        }
    }
}
