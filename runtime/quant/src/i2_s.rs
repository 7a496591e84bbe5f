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
