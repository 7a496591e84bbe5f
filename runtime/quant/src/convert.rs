//! Conversion of whole slices: checks lengths once, then loops over blocks without further checks.

use crate::importance::Importance;
use crate::search::ScaleTooLarge;
use crate::{DType, QuantError, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use crate::{i2_s, iq4_nl, iq4_xs, mxfp4, nvfp4, q1_0, q2_0, q2_k, q3_k, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k};
use crate::{iq1_m, iq1_s, iq2_s, iq2_xs, iq2_xxs, iq3_s, iq3_xxs};
use crate::{q8_0, q8_k, tq1_0, tq2_0};

/// Decodes `bytes`, stored as `dtype`, into `out`.
///
/// Shapes: `out` has n elements, a whole number of blocks; `bytes` has `dtype.tensor_bytes(n)` bytes.
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
        DType::Q5_1 => decode(bytes, out, |b, y| q5_1::Block(b).dequantize(y)),
        DType::Q8_0 => decode(bytes, out, |b, y| q8_0::Block(b).dequantize(y)),
        DType::Q2_K => decode(bytes, out, |b, y| q2_k::Block(b).dequantize(y)),
        DType::Q3_K => decode(bytes, out, |b, y| q3_k::Block(b).dequantize(y)),
        DType::Q4_K => decode(bytes, out, |b, y| q4_k::Block(b).dequantize(y)),
        DType::Q5_K => decode(bytes, out, |b, y| q5_k::Block(b).dequantize(y)),
        DType::Q6_K => decode(bytes, out, |b, y| q6_k::Block(b).dequantize(y)),
        DType::Q8_K => decode(bytes, out, |b, y| q8_k::Block(b).dequantize(y)),
        DType::IQ4_NL => decode(bytes, out, |b, y| iq4_nl::Block(b).dequantize(y)),
        DType::IQ4_XS => decode(bytes, out, |b, y| iq4_xs::Block(b).dequantize(y)),
        DType::TQ1_0 => decode(bytes, out, |b, y| tq1_0::Block(b).dequantize(y)),
        DType::TQ2_0 => decode(bytes, out, |b, y| tq2_0::Block(b).dequantize(y)),
        DType::MXFP4 => decode(bytes, out, |b, y| mxfp4::Block(b).dequantize(y)),
        DType::NVFP4 => decode(bytes, out, |b, y| nvfp4::Block(b).dequantize(y)),
        DType::Q1_0 => decode(bytes, out, |b, y| q1_0::Block(b).dequantize(y)),
        DType::Q2_0 => decode(bytes, out, |b, y| q2_0::Block(b).dequantize(y)),
        DType::I2_S => i2_s::dequantize(i2_s::Order::X86, bytes, out),
        DType::I2_S_ARM => i2_s::dequantize(i2_s::Order::Arm, bytes, out),
        DType::IQ2_XXS => decode(bytes, out, |b, y| iq2_xxs::Block(b).dequantize(y)),
        DType::IQ2_XS => decode(bytes, out, |b, y| iq2_xs::Block(b).dequantize(y)),
        DType::IQ3_XXS => decode(bytes, out, |b, y| iq3_xxs::Block(b).dequantize(y)),
        DType::IQ1_S => decode(bytes, out, |b, y| iq1_s::Block(b).dequantize(y)),
        DType::IQ3_S => decode(bytes, out, |b, y| iq3_s::Block(b).dequantize(y)),
        DType::IQ2_S => decode(bytes, out, |b, y| iq2_s::Block(b).dequantize(y)),
        DType::IQ1_M => decode(bytes, out, |b, y| iq1_m::Block(b).dequantize(y)),
        _ => return Err(QuantError::Unsupported { dtype }),
    }
    Ok(())
}

/// Encodes `src` as `dtype` into `out`: [`quantize_weighted`] with all columns alike.
///
/// # Errors
/// As [`quantize_weighted`].
pub fn quantize(dtype: DType, src: &[f32], out: &mut [u8]) -> Result<(), QuantError> {
    quantize_weighted(dtype, src, None, out)
}

/// Encodes `src` as `dtype` into `out`, keeping the squared error small, in which the elements of
/// column i count `importance[i]` times.
///
/// Shapes: `src` has n elements, a whole number of blocks; `out` has `dtype.tensor_bytes(n)` bytes;
/// `importance` has one number per column, so its length is a whole number of blocks and divides n.
/// Only the ratios within a block matter; a block of zeros counts as alike.
/// F32, F16 and BF16 keep NaN and infinities (F16 turns magnitudes from 65520 up into infinity);
/// block formats refuse them.
///
/// # Errors
/// As [`dequantize`]; [`QuantError::Columns`] and [`QuantError::Importance`] for an importance of
/// the wrong length or with a negative or non-finite number. Nothing has been written then.
/// [`QuantError::NotFinite`] and [`QuantError::ScaleOverflow`] for block formats, in which case blocks
/// before the named one have been written.
pub fn quantize_weighted(
    dtype: DType,
    src: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
) -> Result<(), QuantError> {
    check(dtype, src.len(), out.len())?;
    let importance = Importance::new(dtype, src.len(), importance)?;
    match dtype {
        DType::F32 => convert(src, out, |x| x.to_le_bytes()),
        DType::F16 => convert(src, out, |x| f32_to_f16(x).to_le_bytes()),
        DType::BF16 => convert(src, out, |x| f32_to_bf16(x).to_le_bytes()),
        DType::Q4_0 => encode(dtype, src, importance, out, q4_0::encode),
        DType::Q4_1 => encode(dtype, src, importance, out, q4_1::encode),
        DType::Q5_0 => encode(dtype, src, importance, out, q5_0::encode),
        DType::Q5_1 => encode(dtype, src, importance, out, q5_1::encode),
        DType::Q8_0 => encode(dtype, src, importance, out, q8_0::encode),
        DType::Q2_K => encode(dtype, src, importance, out, q2_k::encode),
        DType::Q3_K => encode(dtype, src, importance, out, q3_k::encode),
        DType::Q4_K => encode(dtype, src, importance, out, q4_k::encode),
        DType::Q5_K => encode(dtype, src, importance, out, q5_k::encode),
        DType::Q6_K => encode(dtype, src, importance, out, q6_k::encode),
        DType::Q8_K => encode(dtype, src, importance, out, q8_k::encode),
        DType::IQ2_XXS => encode(dtype, src, importance, out, iq2_xxs::encode),
        DType::IQ2_XS => encode(dtype, src, importance, out, iq2_xs::encode),
        DType::IQ2_S => encode(dtype, src, importance, out, iq2_s::encode),
        DType::IQ3_XXS => encode(dtype, src, importance, out, iq3_xxs::encode),
        DType::IQ3_S => encode(dtype, src, importance, out, iq3_s::encode),
        DType::IQ1_S => encode(dtype, src, importance, out, iq1_s::encode),
        DType::IQ1_M => encode(dtype, src, importance, out, iq1_m::encode),
        DType::IQ4_NL => encode(dtype, src, importance, out, iq4_nl::encode),
        DType::IQ4_XS => encode(dtype, src, importance, out, iq4_xs::encode),
        DType::TQ1_0 => encode(dtype, src, importance, out, tq1_0::encode),
        DType::TQ2_0 => encode(dtype, src, importance, out, tq2_0::encode),
        DType::MXFP4 => encode(dtype, src, importance, out, mxfp4::encode),
        DType::NVFP4 => encode(dtype, src, importance, out, nvfp4::encode),
        DType::Q1_0 => encode(dtype, src, importance, out, q1_0::encode),
        DType::Q2_0 => encode(dtype, src, importance, out, q2_0::encode),
        DType::I2_S | DType::I2_S_ARM => encode_tensor(dtype, src, importance, out),
        _ => Err(QuantError::Unsupported { dtype }),
    }
}

fn check(dtype: DType, elements: usize, found: usize) -> Result<(), QuantError> {
    let expected = dtype.tensor_bytes(elements as u64).and_then(|n| usize::try_from(n).ok());
    let Some(expected) = expected else {
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
    importance: Importance<'_>,
    out: &mut [u8],
    block: impl Fn(&[f32; N], Option<&[f32; N]>, &mut [u8; B]) -> Result<(), ScaleTooLarge>,
) -> Result<(), QuantError> {
    let blocks = src.as_chunks::<N>().0;
    for (number, (x, b)) in blocks.iter().zip(out.as_chunks_mut::<B>().0).enumerate() {
        let index = number * N;
        if let Some(at) = x.iter().position(|v| !v.is_finite()) {
            return Err(QuantError::NotFinite { dtype, index: index + at, value: x[at] });
        }
        let weights = importance.of_block(number);
        block(x, weights.as_ref(), b).map_err(|e| QuantError::ScaleOverflow { dtype, index, value: e.value })?;
    }
    Ok(())
}

/// I2_S, whose scale is the whole tensor's.
fn encode_tensor(dtype: DType, src: &[f32], importance: Importance<'_>, out: &mut [u8]) -> Result<(), QuantError> {
    if let Some(index) = src.iter().position(|v| !v.is_finite()) {
        return Err(QuantError::NotFinite { dtype, index, value: src[index] });
    }
    let order = if dtype == DType::I2_S { i2_s::Order::X86 } else { i2_s::Order::Arm };
    i2_s::encode(order, src, |i| importance.of_element(i), out);
    Ok(())
}
