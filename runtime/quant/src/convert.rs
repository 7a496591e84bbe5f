//! Conversion of whole slices: checks lengths once, then loops over blocks without further checks.

use crate::search::ScaleTooLarge;
use crate::{DType, QuantError, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use crate::{q4_0, q4_1, q4_k, q5_0, q6_k, q8_0};

/// Decodes `bytes`, stored as `dtype`, into `out`.
///
/// Shapes: `out` has n elements, a whole number of blocks; `bytes` has `dtype.row_bytes(n)` bytes.
/// Block formats give the same bits as ggml's reference decoder.
///
/// # Errors
/// [`QuantError::PartialBlock`] or [`QuantError::ByteLength`] where the lengths do not match,
/// [`QuantError::Unsupported`] for integers and F64. Nothing has been written then.
pub fn dequantize(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<(), QuantError> {
    check(dtype, out.len(), bytes.len())?;
    match dtype {
        DType::F32 => decode(bytes, out, |b, [y]: &mut [f32; 1]| *y = f32::from_le_bytes(*b)),
        DType::F16 => decode(bytes, out, |b, [y]: &mut [f32; 1]| *y = f16_to_f32(u16::from_le_bytes(*b))),
        DType::BF16 => decode(bytes, out, |b, [y]: &mut [f32; 1]| *y = bf16_to_f32(u16::from_le_bytes(*b))),
        DType::Q4_0 => decode(bytes, out, |b, y| q4_0::Block(b).dequantize(y)),
        DType::Q4_1 => decode(bytes, out, |b, y| q4_1::Block(b).dequantize(y)),
        DType::Q5_0 => decode(bytes, out, |b, y| q5_0::Block(b).dequantize(y)),
        DType::Q8_0 => decode(bytes, out, |b, y| q8_0::Block(b).dequantize(y)),
        DType::Q4_K => decode(bytes, out, |b, y| q4_k::Block(b).dequantize(y)),
        DType::Q6_K => decode(bytes, out, |b, y| q6_k::Block(b).dequantize(y)),
        _ => return Err(QuantError::Unsupported { dtype }),
    }
    Ok(())
}

/// Encodes `src` as `dtype` into `out`.
///
/// Shapes: `src` has n elements, a whole number of blocks; `out` has `dtype.row_bytes(n)` bytes.
/// F32, F16 and BF16 keep NaN and infinities (F16 turns magnitudes from 65520 up into infinity);
/// block formats refuse them.
///
/// # Errors
/// As [`dequantize`]; further [`QuantError::NotFinite`] and [`QuantError::ScaleOverflow`] for block
/// formats, in which case blocks before the named one have been written.
pub fn quantize(dtype: DType, src: &[f32], out: &mut [u8]) -> Result<(), QuantError> {
    check(dtype, src.len(), out.len())?;
    match dtype {
        DType::F32 => convert(src, out, |x| x.to_le_bytes()),
        DType::F16 => convert(src, out, |x| f32_to_f16(x).to_le_bytes()),
        DType::BF16 => convert(src, out, |x| f32_to_bf16(x).to_le_bytes()),
        DType::Q4_0 => encode(dtype, src, out, q4_0::encode),
        DType::Q4_1 => encode(dtype, src, out, q4_1::encode),
        DType::Q5_0 => encode(dtype, src, out, q5_0::encode),
        DType::Q8_0 => encode(dtype, src, out, q8_0::encode),
        DType::Q4_K => encode(dtype, src, out, q4_k::encode),
        DType::Q6_K => encode(dtype, src, out, q6_k::encode),
        _ => Err(QuantError::Unsupported { dtype }),
    }
}

fn check(dtype: DType, elements: usize, found: usize) -> Result<(), QuantError> {
    let Some(expected) = dtype.row_bytes(elements) else {
        return Err(QuantError::PartialBlock { dtype, elements, block_len: dtype.block_len() });
    };
    if found != expected {
        return Err(QuantError::ByteLength { dtype, elements, found, expected });
    }
    Ok(())
}

#[inline]
fn decode<const B: usize, const N: usize>(bytes: &[u8], out: &mut [f32], block: impl Fn(&[u8; B], &mut [f32; N])) {
    let blocks = bytes.as_chunks::<B>().0;
    for (b, y) in blocks.iter().zip(out.as_chunks_mut::<N>().0) {
        block(b, y);
    }
}

#[inline]
fn convert<const B: usize>(src: &[f32], out: &mut [u8], element: impl Fn(f32) -> [u8; B]) -> Result<(), QuantError> {
    for (&x, b) in src.iter().zip(out.as_chunks_mut::<B>().0) {
        *b = element(x);
    }
    Ok(())
}

fn encode<const N: usize, const B: usize>(
    dtype: DType,
    src: &[f32],
    out: &mut [u8],
    block: impl Fn(&[f32; N], &mut [u8; B]) -> Result<(), ScaleTooLarge>,
) -> Result<(), QuantError> {
    let blocks = src.as_chunks::<N>().0;
    for (number, (x, b)) in blocks.iter().zip(out.as_chunks_mut::<B>().0).enumerate() {
        let index = number * N;
        if let Some(at) = x.iter().position(|v| !v.is_finite()) {
            return Err(QuantError::NotFinite { dtype, index: index + at, value: x[at] });
        }
        block(x, b).map_err(|e| QuantError::ScaleOverflow { dtype, index, value: e.value })?;
    }
    Ok(())
}
