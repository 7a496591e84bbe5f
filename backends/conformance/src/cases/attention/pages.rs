//! Pages of keys and values in canonical layout.

use crate::host::StateSpec;
use tern_abi::dtype;
use tern_abi::ops::AttentionParams;

/// Rounds a number that stands by itself.
fn encode(dtype: u32, x: f32) -> Vec<u8> {
    match dtype {
        dtype::F16 => tern_quant::f32_to_f16(x).to_le_bytes().to_vec(),
        _ => x.to_le_bytes().to_vec(),
    }
}

fn floats(bytes: &[u8]) -> Vec<f64> {
    bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
}

/// A page in which nobody has written: reading what is there shows.
pub(super) fn garbage(p: &AttentionParams) -> Vec<u8> {
    let rows = p.kv_heads as usize * p.page_size as usize;
    let numbers = rows * p.head_dim as usize;
    let half = match p.kv_dtype {
        dtype::I8 => [vec![0x80; numbers], encode(dtype::F32, f32::INFINITY).repeat(rows)].concat(),
        other => encode(other, f32::INFINITY).repeat(numbers),
    };
    half.repeat(2)
}

/// Writes the key (0) or value (1) of head `head` at place `place`.
pub(super) fn put(p: &AttentionParams, unit: &mut [u8], which: usize, head: usize, place: usize, data: &[f32]) {
    let (rows, row) = (p.kv_heads as usize * p.page_size as usize, head * p.page_size as usize + place);
    let middle = unit.len() / 2;
    let half = &mut unit[which * middle..];
    if p.kv_dtype == dtype::I8 {
        // Any codes will do: this is a past, which nobody computes again.
        let scale = data.iter().fold(0.0, |max: f32, x| max.max(x.abs())) / 127.0;
        let codes = data.iter().map(|x| (x / scale).round() as i8);
        half[row * data.len()..].iter_mut().zip(codes).for_each(|(to, code)| *to = code.cast_unsigned());
        half[rows * data.len() + row * 4..][..4].copy_from_slice(&scale.to_le_bytes());
        return;
    }
    let bytes: Vec<u8> = data.iter().flat_map(|&x| encode(p.kv_dtype, x)).collect();
    half[row * bytes.len()..][..bytes.len()].copy_from_slice(&bytes);
}

/// Numbers of a unit as they are stored, in order, and scales where those are codes.
pub(crate) fn stored(state: &StateSpec, unit: &[u8]) -> (Vec<f64>, Vec<f64>) {
    match state.dtype {
        dtype::F16 => {
            let half = |b: &[u8; 2]| f64::from(tern_quant::f16_to_f32(u16::from_le_bytes(*b)));
            (unit.as_chunks().0.iter().map(half).collect(), Vec::new())
        }
        dtype::I8 => {
            let [heads, head_dim, page_size, ..] = state.dims;
            let (mut numbers, mut scales) = (Vec::new(), Vec::new());
            for half in unit.chunks(unit.len() / 2) {
                let (codes, rest) = half.split_at((heads * head_dim * page_size) as usize);
                numbers.extend(codes.iter().map(|&b| f64::from(b.cast_signed())));
                scales.extend(floats(rest));
            }
            (numbers, scales)
        }
        _ => (floats(unit), Vec::new()),
    }
}

/// Keys and values of a unit as they read back.
pub(crate) fn read(state: &StateSpec, unit: &[u8]) -> (Vec<f64>, Vec<f64>) {
    let (mut keys, scales) = stored(state, unit);
    for (row, scale) in keys.chunks_mut(state.dims[1] as usize).zip(scales) {
        row.iter_mut().for_each(|x| *x *= scale);
    }
    let values = keys.split_off(keys.len() / 2);
    (keys, values)
}
