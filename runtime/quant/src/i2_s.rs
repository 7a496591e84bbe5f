//! I2_S of bitnet.cpp: ternary weights, 2 bits each, one scale for the whole tensor.
//! weight = scale * (code - 1).
//!
//! | bytes of a tensor of n elements | content |
//! |---|---|
//! | 0..n/4 | codes 0, 1, 2 (3 does not occur), in blocks |
//! | n/4..n/4+4 | scale, `f32` |
//! | n/4+4..n/4+32 | padding |
//!
//! Builds for x86 and for ARM order the elements of a block differently, under the same type id, and
//! write nothing that tells them apart. Element j of a block lies in the bits from 6 - 2f of byte b,
//! where
//!
//! | order | block | b | f |
//! |---|---|---|---|
//! | x86 | 128 elements, 32 bytes | j % 32 | j / 32 |
//! | ARM | 64 elements, 16 bytes | j % 16 | j / 16 |
//!
//! A file read in the wrong order gives weights that look right and text that is noise, so the order
//! is [weighed](weigh) or asked for, never assumed.

use crate::DType;

/// Subtracted from a code to give its signed value.
pub const OFFSET: i32 = 1;
/// Bytes after the codes.
const TAIL: usize = DType::I2_S.tail_bytes();

/// How the elements of a block are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Blocks of 128, as bitnet.cpp writes on x86.
    X86,
    /// Blocks of 64, as it writes on ARM.
    Arm,
}

impl Order {
    /// The dtype of this order.
    pub const fn dtype(self) -> DType {
        match self {
            Order::X86 => DType::I2_S,
            Order::Arm => DType::I2_S_ARM,
        }
    }

    /// Elements per block.
    pub const fn block_len(self) -> usize {
        self.dtype().block_len()
    }
}

/// What evidence says about the order of a file's I2_S tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Only the x86 order is possible.
    X86,
    /// Only the ARM order is possible.
    Arm,
    /// Both are, or neither is.
    Undecided,
}

/// What [`weigh`] looks at: one I2_S tensor of the file.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Elements per row.
    pub row_len: u64,
    /// The tensor's first n/4 bytes, or as many of them as the caller wants looked at.
    pub codes: &'a [u8],
}

/// Which block order the tensors of one file, all written by one program, can have.
///
/// A block never spans rows, because the kernels walk row by row. So a row that is a multiple of 64
/// and not of 128 rules out x86. A row that is no multiple of 64 rules out both, and so does a code 3.
pub fn weigh<'a>(tensors: impl IntoIterator<Item = Evidence<'a>>) -> Verdict {
    let mut verdict = Verdict::Undecided;
    for tensor in tensors {
        if !tensor.row_len.is_multiple_of(64) || invalid_code(tensor.codes).is_some() {
            return Verdict::Undecided;
        }
        if !tensor.row_len.is_multiple_of(128) {
            verdict = Verdict::Arm;
        }
    }
    verdict
}

/// The first byte that holds a code 3. The tensor is damaged then, or no I2_S at all, in either order.
pub fn invalid_code(codes: &[u8]) -> Option<usize> {
    codes.iter().position(|&byte| byte & (byte >> 1) & 0x55 != 0)
}

/// Codes of consecutive blocks, in element order. `packed` has a quarter of `codes`' length; what is
/// no whole block is left alone.
pub fn unpack(order: Order, packed: &[u8], codes: &mut [u8]) {
    let quarter = order.block_len() / 4;
    for (block, bytes) in codes.chunks_exact_mut(4 * quarter).zip(packed.chunks_exact(quarter)) {
        for (field, out) in block.chunks_exact_mut(quarter).enumerate() {
            for (code, &byte) in out.iter_mut().zip(bytes) {
                *code = (byte >> (6 - 2 * field)) & 3;
            }
        }
    }
}

/// The opposite of [`unpack`]; codes are 0..=2.
pub fn pack(order: Order, codes: &[u8], packed: &mut [u8]) {
    let quarter = order.block_len() / 4;
    for (block, bytes) in codes.chunks_exact(4 * quarter).zip(packed.chunks_exact_mut(quarter)) {
        bytes.fill(0);
        for (field, codes) in block.chunks_exact(quarter).enumerate() {
            for (byte, &code) in bytes.iter_mut().zip(codes) {
                *byte |= (code & 3) << (6 - 2 * field);
            }
        }
    }
}

/// Splits the bytes of a tensor into packed codes and the scale; `None` where they are too few.
pub fn split(bytes: &[u8]) -> Option<(&[u8], f32)> {
    let (packed, tail) = bytes.split_at_checked(bytes.len().checked_sub(TAIL)?)?;
    let scale = tail.first_chunk::<4>()?;
    Some((packed, f32::from_le_bytes(*scale)))
}

/// All weights of a tensor: `bytes` with its tail, `out` in element order.
pub(crate) fn dequantize(order: Order, bytes: &[u8], out: &mut [f32]) {
    let Some((packed, scale)) = split(bytes) else { return };
    let mut codes = [0u8; 128];
    let blocks = packed.chunks_exact(order.block_len() / 4);
    for (bytes, out) in blocks.zip(out.chunks_exact_mut(order.block_len())) {
        unpack(order, bytes, &mut codes);
        for (y, &q) in out.iter_mut().zip(&codes) {
            *y = (i32::from(q) - OFFSET) as f32 * scale;
        }
    }
}

/// Encodes finite weights with one scale. `out` has a quarter as many bytes as `src` has elements,
/// and the tail. Weights that are ternary already come back as they were.
pub(crate) fn encode(order: Order, src: &[f32], importance: impl Fn(usize) -> f32, out: &mut [u8]) {
    let (packed, tail) = out.split_at_mut(src.len() / 4);
    let scale = fit(src, importance);
    let middle = scale / 2.0;
    let mut codes = [0u8; 128];
    let len = order.block_len();
    for (x, bytes) in src.chunks_exact(len).zip(packed.chunks_exact_mut(len / 4)) {
        for (code, &x) in codes.iter_mut().zip(x) {
            *code = 1 + u8::from(x > middle) - u8::from(x < -middle);
        }
        pack(order, &codes[..len], bytes);
    }
    tail.fill(0);
    tail[..4].copy_from_slice(&scale.to_le_bytes());
}

/// The scale with a small squared error: codes and scale in turn from several beginnings, since a
/// whole tensor cannot be sorted without allocating.
fn fit(src: &[f32], importance: impl Fn(usize) -> f32) -> f32 {
    const ROUNDS: u8 = 12;
    let largest = src.iter().fold(0.0f32, |l, x| l.max(x.abs()));
    let mean = src.iter().map(|x| f64::from(x.abs())).sum::<f64>() / src.len().max(1) as f64;
    let (mut best, mut best_gain) = (0.0, 0.0);
    for first in [f64::from(largest), mean, 1.5 * mean] {
        let mut scale = first;
        for _ in 0..ROUNDS {
            let (mut total, mut count) = (0.0f64, 0.0f64);
            for (i, x) in src.iter().enumerate().filter(|(_, x)| f64::from(x.abs()) > scale / 2.0) {
                let weight = f64::from(importance(i));
                total += weight * f64::from(x.abs());
                count += weight;
            }
            let gain = total * total / count;
            if gain > best_gain {
                (best, best_gain) = (total / count, gain);
            }
            if total / count == scale || count == 0.0 {
                break;
            }
            scale = total / count;
        }
    }
    best as f32
}
