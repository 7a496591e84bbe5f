//! TQ1_0, TQ2_0 and I2_S: two bits a code, which is the weight plus one.
//!
//! A panel is a sequence of groups of 256 columns. Codes of a group: sixteen vectors of 64 bytes, vector `v` with quads `4v` to
//! `4v + 3` in bits 0, 2, 4 and 6 of its bytes. What is missing in the last group has code 0, which meets activations of zero.
//! Where the file has a scale per 256 columns, each group's codes are followed by 16 scales in half precision. Where it has
//! one for the whole tensor, 16 scales in single precision end the panel.

use super::format::{ROWS, half};
use crate::matmul::tokens::GROUP;
use tern_quant::{DType, i2_s, tq1_0, tq2_0};

/// Bytes of a group's codes in a panel.
pub const GROUP_BYTES: usize = ROWS * GROUP / 4;
/// Bytes of a group's scales, where each has its own.
const SCALES_BYTES: usize = ROWS * 2;
/// Columns of a vector.
const VECTOR: usize = 16;

/// Is it one of these formats?
pub fn is_ternary(dtype: DType) -> bool {
    matches!(dtype, DType::TQ1_0 | DType::TQ2_0 | DType::I2_S | DType::I2_S_ARM)
}

/// Does each group have its own scale?
pub fn has_group_scales(dtype: DType) -> bool {
    matches!(dtype, DType::TQ1_0 | DType::TQ2_0)
}

/// From one group to the next.
pub const fn group_bytes(own_scales: bool) -> usize {
    if own_scales { GROUP_BYTES + SCALES_BYTES } else { GROUP_BYTES }
}

/// Bytes of a panel; `None` where they overflow.
pub fn panel_bytes(dtype: DType, columns: usize) -> Option<usize> {
    let own_scales = has_group_scales(dtype);
    let groups = columns.div_ceil(GROUP).checked_mul(group_bytes(own_scales))?;
    groups.checked_add(if own_scales { 0 } else { ROWS * 4 })?.checked_next_multiple_of(64)
}

/// The scale of the whole tensor, where there is one: `bytes` is all of it.
pub fn tensor_scale(dtype: DType, bytes: &[u8]) -> Option<f32> {
    if dtype.tail_bytes() == 0 { None } else { i2_s::split(bytes).map(|(_, scale)| scale) }
}

/// Copies a row of the file to row `row` of a zeroed panel. `scale` is that of the tensor, where it has one.
pub fn pack(dtype: DType, src: &[u8], row: usize, panel: &mut [u8], scale: Option<f32>) {
    let stride = group_bytes(has_group_scales(dtype));
    let file_bytes = dtype.row_bytes(GROUP).unwrap_or(GROUP);
    if let Some(scale) = scale {
        panel[src.len().div_ceil(file_bytes) * stride + 4 * row..][..4].copy_from_slice(&scale.to_le_bytes());
    }
    let mut unpacked = [0u8; GROUP];
    for (file, group) in src.chunks(file_bytes).zip(panel.chunks_exact_mut(stride)) {
        let (codes, scales) = group.split_at_mut(GROUP_BYTES);
        if file.len() < file_bytes {
            unpacked = [0; GROUP];
        }
        if let Some(d) = unpack(dtype, file, &mut unpacked) {
            scales[2 * row..][..2].copy_from_slice(&d);
        }
        for (vector, sixteen) in codes.as_chunks_mut::<64>().0.iter_mut().zip(unpacked.as_chunks::<VECTOR>().0) {
            let quads = sixteen.as_chunks::<4>().0.iter().rev();
            let word = quads.fold(0, |word, &quad| word << 2 | u32::from_le_bytes(quad));
            vector[4 * row..][..4].copy_from_slice(&word.to_le_bytes());
        }
    }
}

/// Codes of a group, and the bytes of its scale, where it has one of its own.
fn unpack(dtype: DType, file: &[u8], codes: &mut [u8; GROUP]) -> Option<[u8; 2]> {
    match dtype {
        DType::TQ1_0 => {
            let block: &[u8; tq1_0::BYTES] = file.first_chunk()?;
            tq1_0::Block(block).unpack(codes);
            block.last_chunk().copied()
        }
        DType::TQ2_0 => {
            let block: &[u8; tq2_0::BYTES] = file.first_chunk()?;
            tq2_0::Block(block).unpack(codes);
            block.last_chunk().copied()
        }
        _ => {
            let order = if dtype == DType::I2_S_ARM { i2_s::Order::Arm } else { i2_s::Order::X86 };
            i2_s::unpack(order, file, codes);
            None
        }
    }
}

/// Row `row` of a panel, bit for bit as [`tern_quant::dequantize`] gives it from the file.
pub fn row(dtype: DType, panel: &[u8], row: usize, out: &mut [f32]) {
    let stride = group_bytes(has_group_scales(dtype));
    let groups = out.len().div_ceil(GROUP);
    for (out, group) in out.chunks_mut(GROUP).zip(panel.chunks(stride)) {
        let d = if has_group_scales(dtype) {
            half(&group[GROUP_BYTES..], row)
        } else {
            panel[groups * stride + 4 * row..].first_chunk().map_or(f32::NAN, |&bytes| f32::from_le_bytes(bytes))
        };
        for (k, y) in out.iter_mut().enumerate() {
            let byte = group[64 * (k / VECTOR) + 4 * row + k % 4];
            let code = byte >> (2 * (k % VECTOR / 4)) & 3;
            *y = (i32::from(code) - 1) as f32 * d;
        }
    }
}
