//! Ternary layouts into each other, without loss or not at all.
//!
//! A conversion is without loss where every weight afterwards decodes to what it decoded to before.
//! Codes are always kept. Scales are kept bit for bit between TQ1_0 and TQ2_0, and between the orders of
//! I2_S. Where one scale per block becomes one per tensor, the scales of all blocks must be the same
//! bits; a block of zeros has no say. Where a scale becomes half precision, half precision must hold it
//! exactly. What would need any other change is refused, with the values that stand in the way.
//!
//! ```text
//! ternary.rs          TQ1_0, TQ2_0 and I2_S into each other; codes and scale of a tensor
//! ternary/bitnet.rs   the packing of Hugging Face's `bitnet` checkpoints
//! ternary/error.rs    why not
//! ```

pub mod bitnet;
mod error;

pub use error::TernaryError;

use crate::i2_s::{self, Order};
use crate::{DType, QuantError, f16_to_f32, f32_to_f16, tq1_0, tq2_0};

/// Elements that are a whole number of blocks in every ternary layout.
const GROUP: usize = 256;

/// The code of weight 0.
const ZERO: u8 = 1;

/// Converts a tensor of `rows` rows of `columns` from one ternary layout to another.
///
/// # Errors
/// [`TernaryError::Dtype`] for a type that is not ternary; [`QuantError::PartialBlock`] and
/// [`QuantError::ByteLength`] in [`TernaryError::Quant`] where rows are no whole number of blocks
/// or a slice has the wrong length; [`TernaryError::Code`] for a code 3;
/// [`TernaryError::Scales`], [`TernaryError::Scale`] and [`TernaryError::Precision`] where the scales
/// cannot be kept. What `out` holds then has no meaning.
pub fn convert(
    from: DType,
    src: &[u8],
    to: DType,
    out: &mut [u8],
    rows: usize,
    columns: usize,
) -> Result<(), TernaryError> {
    check(from, src.len(), rows, columns)?;
    check(to, out.len(), rows, columns)?;
    let shared = match (layout(from)?, layout(to)?) {
        (Layout::Blocks(_), Layout::Blocks(_)) => None,
        _ => Some(scale(from, src)?),
    };
    let half = shared.map(|s| to_half(to, s)).transpose()?;
    let elements = rows * columns;
    let mut codes = [0; GROUP];
    for first in (0..elements).step_by(GROUP) {
        let codes = &mut codes[..GROUP.min(elements - first)];
        let d = read(from, src, first, codes)?;
        write(to, out, first, codes, half.unwrap_or(d));
    }
    if let (Layout::Tensor(_), Some(scale)) = (layout(to)?, shared) {
        write_tail(out, elements, scale);
    }
    Ok(())
}

/// The one scale that all weights of a ternary tensor share. A tensor of zeros in blocks has scale 0.
///
/// # Errors
/// [`TernaryError::Scales`] where blocks that are not all zeros differ in their scales,
/// [`TernaryError::Scale`] where a scale is not finite, [`TernaryError::Dtype`] for other types.
pub fn scale(dtype: DType, bytes: &[u8]) -> Result<f32, TernaryError> {
    let blocks = match layout(dtype)? {
        Layout::Tensor(_) => {
            let expected = dtype.tail_bytes();
            let too_few = QuantError::ByteLength { dtype, elements: 0, found: bytes.len(), expected };
            let (_, scale) = i2_s::split(bytes).ok_or(too_few)?;
            return if scale.is_finite() { Ok(scale) } else { Err(TernaryError::Scale { block: 0, value: scale }) };
        }
        Layout::Blocks(blocks) => blocks,
    };
    let mut codes = [0; GROUP];
    let mut shared: Option<f32> = None;
    for (block, bytes) in bytes.chunks_exact(dtype.block_bytes()).enumerate() {
        let found = f16_to_f32(blocks.read(bytes, &mut codes));
        if !found.is_finite() {
            return Err(TernaryError::Scale { block, value: found });
        }
        if codes.iter().all(|&c| c == ZERO) {
            continue;
        }
        match shared {
            Some(first) if first.to_bits() != found.to_bits() => {
                return Err(TernaryError::Scales { block, first, found });
            }
            _ => shared = Some(found),
        }
    }
    Ok(shared.unwrap_or(0.0))
}

/// The codes 0..=2 of a ternary tensor, in element order. Shapes: `codes` has one per element, `bytes`
/// the size of that tensor.
///
/// # Errors
/// [`TernaryError::Code`] for a code 3; lengths and types as for [`convert`].
pub fn unpack(dtype: DType, bytes: &[u8], codes: &mut [u8]) -> Result<(), TernaryError> {
    layout(dtype)?;
    check(dtype, bytes.len(), 1, codes.len())?;
    for (group, codes) in codes.chunks_mut(GROUP).enumerate() {
        read(dtype, bytes, group * GROUP, codes)?;
    }
    Ok(())
}

/// Packs codes 0..=2, given in element order, with one scale for all.
///
/// # Errors
/// [`TernaryError::Code`] for other codes, [`TernaryError::Precision`] where the layout has half
/// precision and it does not hold the scale, [`TernaryError::Scale`] for one that is not finite; lengths and types as for
/// [`convert`].
pub fn pack(dtype: DType, codes: &[u8], scale: f32, out: &mut [u8]) -> Result<(), TernaryError> {
    check(dtype, out.len(), 1, codes.len())?;
    if !scale.is_finite() {
        return Err(TernaryError::Scale { block: 0, value: scale });
    }
    let half = to_half(dtype, scale)?;
    valid(codes, 0)?;
    for (group, codes) in codes.chunks(GROUP).enumerate() {
        write(dtype, out, group * GROUP, codes, half);
    }
    if let Layout::Tensor(_) = layout(dtype)? {
        write_tail(out, codes.len(), scale);
    }
    Ok(())
}

/// Where a layout keeps its scales.
#[derive(Clone, Copy)]
enum Layout {
    Blocks(Blocks),
    Tensor(Order),
}

/// Layouts with blocks of [`GROUP`] elements and a scale in half precision.
#[derive(Clone, Copy)]
enum Blocks {
    Tq1,
    Tq2,
}

impl Blocks {
    /// Codes of one block, and its scale's bits. `bytes` may be longer than a block, and shorter bytes
    /// are left alone.
    fn read(self, bytes: &[u8], codes: &mut [u8; GROUP]) -> u16 {
        match self {
            Blocks::Tq1 => bytes.first_chunk().map_or(0, |b| {
                tq1_0::Block(b).unpack(codes);
                u16::from_le_bytes([b[tq1_0::BYTES - 2], b[tq1_0::BYTES - 1]])
            }),
            Blocks::Tq2 => bytes.first_chunk().map_or(0, |b| {
                tq2_0::Block(b).unpack(codes);
                u16::from_le_bytes([b[tq2_0::BYTES - 2], b[tq2_0::BYTES - 1]])
            }),
        }
    }
}

fn layout(dtype: DType) -> Result<Layout, TernaryError> {
    match dtype {
        DType::TQ1_0 => Ok(Layout::Blocks(Blocks::Tq1)),
        DType::TQ2_0 => Ok(Layout::Blocks(Blocks::Tq2)),
        DType::I2_S => Ok(Layout::Tensor(Order::X86)),
        DType::I2_S_ARM => Ok(Layout::Tensor(Order::Arm)),
        _ => Err(TernaryError::Dtype { dtype }),
    }
}

fn check(dtype: DType, found: usize, rows: usize, columns: usize) -> Result<(), TernaryError> {
    let partial = QuantError::PartialBlock { dtype, elements: columns, block_len: dtype.block_len() };
    if !columns.is_multiple_of(dtype.block_len()) {
        return Err(partial.into());
    }
    let elements = rows.checked_mul(columns).ok_or(partial)?;
    let size = dtype.tensor_bytes(elements as u64).and_then(|n| usize::try_from(n).ok());
    match size.ok_or(partial)? {
        expected if expected == found => Ok(()),
        expected => Err(QuantError::ByteLength { dtype, elements, found, expected }.into()),
    }
}

/// The half-precision bits of a scale, unless the layout keeps it in single precision anyway.
fn to_half(dtype: DType, scale: f32) -> Result<u16, TernaryError> {
    let half = f32_to_f16(scale);
    match layout(dtype)? {
        Layout::Blocks(_) if f16_to_f32(half).to_bits() != scale.to_bits() => {
            Err(TernaryError::Precision { dtype, value: scale, nearest: f16_to_f32(half) })
        }
        _ => Ok(half),
    }
}

/// Codes from element `first` on, a whole number of blocks and at most [`GROUP`]; and the bits of their
/// scale, or 0 where it is the tensor's.
fn read(dtype: DType, src: &[u8], first: usize, codes: &mut [u8]) -> Result<u16, TernaryError> {
    let bytes = src.get(first / dtype.block_len() * dtype.block_bytes()..).unwrap_or_default();
    let d = match (layout(dtype)?, codes.first_chunk_mut::<GROUP>()) {
        (Layout::Blocks(blocks), Some(codes)) => blocks.read(bytes, codes),
        (Layout::Tensor(order), _) => {
            i2_s::unpack(order, bytes, codes);
            0
        }
        // Lengths were checked: blocks come whole.
        (Layout::Blocks(_), None) => 0,
    };
    valid(codes, first)?;
    Ok(d)
}

fn write(dtype: DType, out: &mut [u8], first: usize, codes: &[u8], half: u16) {
    let bytes = out.get_mut(first / dtype.block_len() * dtype.block_bytes()..).unwrap_or_default();
    match (dtype, codes.first_chunk::<GROUP>()) {
        (DType::TQ1_0, Some(codes)) => {
            if let Some(block) = bytes.first_chunk_mut() {
                tq1_0::pack(codes, half, block);
            }
        }
        (DType::TQ2_0, Some(codes)) => {
            if let Some(block) = bytes.first_chunk_mut() {
                tq2_0::pack(codes, half, block);
            }
        }
        (DType::I2_S, _) => i2_s::pack(Order::X86, codes, bytes),
        (DType::I2_S_ARM, _) => i2_s::pack(Order::Arm, codes, bytes),
        _ => {}
    }
}

fn write_tail(out: &mut [u8], elements: usize, scale: f32) {
    if let Some(tail) = out.get_mut(elements / 4..) {
        tail.fill(0);
        tail.iter_mut().zip(scale.to_le_bytes()).for_each(|(byte, b)| *byte = b);
    }
}

fn valid(codes: &[u8], first: usize) -> Result<(), TernaryError> {
    match codes.iter().position(|&c| c > 2) {
        Some(at) => Err(TernaryError::Code { index: first + at, found: codes[at] }),
        None => Ok(()),
    }
}
