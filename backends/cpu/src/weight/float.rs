//! F32, F16 and BF16 weights: panels of 32 rows, column by column.
//!
//! Element `(row, column)` of a panel is at `32 * column + row`, in the file's own type: two vectors per column, whose
//! sums are two independent chains.

use tern_quant::{bf16_to_f32, f16_to_f32};

/// Rows of a float panel.
pub const ROWS: usize = 32;

/// Copies a row of elements of `SIZE` bytes to row `row` of a zeroed panel.
pub fn pack<const SIZE: usize>(src: &[u8], row: usize, panel: &mut [u8]) {
    let columns = panel.as_chunks_mut::<SIZE>().0.as_chunks_mut::<ROWS>().0;
    for (column, element) in columns.iter_mut().zip(src.as_chunks::<SIZE>().0) {
        column[row] = *element;
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
