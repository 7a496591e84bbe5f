//! F32, F16 and BF16 weights: panels of 32 rows, column by column.
//!
//! Element `(row, column)` of a panel is at `32 * column + row`, in the file's own type: two vectors per column, whose
//! sums are two independent chains.

use tern_quant::{bf16_to_f32, f16_to_f32};

/// Rows of a float panel.
pub const ROWS: usize = 32;

/// Columns packed at once: a cache line of each row, so that every line is read and written once.
const COLUMNS: usize = 32;

/// Packs up to [`ROWS`] rows of `row_bytes` each, elements of `SIZE` bytes, into a zeroed panel.
pub fn pack<const SIZE: usize>(rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
    let columns = panel.as_chunks_mut::<SIZE>().0.as_chunks_mut::<ROWS>().0;
    for (block, columns) in columns.chunks_mut(COLUMNS).enumerate() {
        for (row, src) in rows.chunks_exact(row_bytes).enumerate().take(ROWS) {
            let src = src.as_chunks::<SIZE>().0.get(block * COLUMNS..).unwrap_or_default();
            for (column, element) in columns.iter_mut().zip(src) {
                column[row] = *element;
            }
        }
    }
}

/// Row `row` of a panel of elements of `SIZE` bytes.
fn read<const SIZE: usize>(panel: &[u8], row: usize, out: &mut [f32], decode: impl Fn([u8; SIZE]) -> f32) {
    let columns = panel.as_chunks::<SIZE>().0.as_chunks::<ROWS>().0;
    for (column, y) in columns.iter().zip(out) {
        *y = decode(column[row]);
    }
}

/// Row `row` of a panel of F32.
pub fn row_f32(panel: &[u8], row: usize, out: &mut [f32]) {
    read(panel, row, out, f32::from_le_bytes);
}
/// Row `row` of a panel of F16.
pub fn row_f16(panel: &[u8], row: usize, out: &mut [f32]) {
    read(panel, row, out, |b| f16_to_f32(u16::from_le_bytes(b)));
}
/// Row `row` of a panel of BF16.
pub fn row_bf16(panel: &[u8], row: usize, out: &mut [f32]) {
    read(panel, row, out, |b| bf16_to_f32(u16::from_le_bytes(b)));
}
