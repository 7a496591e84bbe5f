//! IQ1 to IQ3: codes are the levels of points, one by one, instead of indices of points.
//!
//! Looking points up takes a load per four or eight weights and row, sixteen for what one instruction multiplies, while a
//! level's code comes out of a register like any other. So with its scales a weight takes 3.3 bits for the file's 2.1 to
//! 2.6 (IQ2), 4.3 for its 3.1 to 3.4 (IQ3), 2.3 and 2.6 for its 1.6 and 1.8 (IQ1).

use super::format::{Blocks, LONGEST, Table};
use super::planes::{Four, Three, TwoAndPairs, TwoTimes8};
use super::scales::{Scales, Sub, SubBytes, SubNibbles, SubSigned};
use super::simple::{formats, table};
use tern_quant::{DType, iq1_m, iq1_s, iq2_s, iq2_xs, iq2_xxs, iq3_s, iq3_xxs};

/// Levels of IQ2, then the same negative. The fourth of each is not used.
const IQ2: Table = table(&[8, 25, 43, 0, -8, -25, -43], 128);
const IQ3_XXS: Table = table(&[4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62], 128);
const IQ3_S: Table = table(&[1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15], 16);
/// Eight times -1, 0 and 1, and 1 more; then 1 less.
const IQ1_M: Table = table(&[-7, 1, 9, 0, -9, -1, 7], 32);

/// Codes of elements: a bit of `sign` for those that are negative, over `code` of the magnitude.
fn signed(elements: &[i8; LONGEST], codes: &mut [u8; LONGEST], sign: u8, code: impl Fn(u8) -> u8) {
    for (code_, &element) in codes.iter_mut().zip(elements) {
        *code_ = code(element.unsigned_abs()) | if element < 0 { sign } else { 0 };
    }
}

/// 0, 1 and 2 for the levels of IQ2.
fn iq2(magnitude: u8) -> u8 {
    magnitude / 16
}

/// Numbers n that mean 2n + 1.
fn odd(scales: [u8; 8]) -> [i8; 8] {
    scales.map(|n| (2 * n + 1).cast_signed())
}

formats! {
    /// Three levels of either sign.
    Iq2Xxs: IQ2_XXS, Three, SubBytes<8, 8>, 8 bits minus 128, Some(&IQ2), |file, codes| {
        let (block, mut elements) = (iq2_xxs::Block(file), [0; LONGEST]);
        block.unpack(&mut elements);
        signed(&elements, codes, 4, iq2);
        Sub { scales: odd(block.scales()), d: *file.first_chunk()? }
    };
    /// Three levels of either sign; a scale per half.
    Iq2Xs: IQ2_XS, Three, SubNibbles, 8 bits minus 128, Some(&IQ2), |file, codes| {
        let (block, mut elements) = (iq2_xs::Block(file), [0; LONGEST]);
        block.unpack(&mut elements);
        signed(&elements, codes, 4, iq2);
        Sub { scales: block.scales(), d: *file.first_chunk()? }
    };
    /// As [`Iq2Xs`].
    Iq2S: IQ2_S, Three, SubNibbles, 8 bits minus 128, Some(&IQ2), |file, codes| {
        let (block, mut elements) = (iq2_s::Block(file), [0; LONGEST]);
        block.unpack(&mut elements);
        signed(&elements, codes, 4, iq2);
        Sub { scales: block.scales(), d: *file.first_chunk()? }
    };
    /// Eight levels of either sign.
    Iq3Xxs: IQ3_XXS, Four, SubBytes<8, 4>, 8 bits minus 128, Some(&IQ3_XXS), |file, codes| {
        let (block, mut elements) = (iq3_xxs::Block(file), [0; LONGEST]);
        block.unpack(&mut elements);
        signed(&elements, codes, 8, |magnitude| magnitude / 8);
        Sub { scales: odd(block.scales()), d: *file.first_chunk()? }
    };
    /// Eight levels of either sign.
    Iq3S: IQ3_S, Four, SubBytes<8, 1>, 5 bits minus 16, Some(&IQ3_S), |file, codes| {
        let (block, mut elements) = (iq3_s::Block(file), [0; LONGEST]);
        block.unpack(&mut elements);
        signed(&elements, codes, 8, |magnitude| magnitude / 2);
        Sub { scales: odd(block.scales()), d: *file.first_chunk()? }
    };
    /// Ternary, with a shift per block: eight times that, over 8.
    Iq1S: IQ1_S, TwoTimes8, SubSigned, 5 bits minus 8, None, |file, codes| {
        let (block, mut elements) = (iq1_s::Block(file), [0; LONGEST]);
        block.unpack(&mut elements);
        ternary(&elements, codes);
        let scale = |(n, down): (u8, bool)| (2 * n + 1).cast_signed() * if down { -1 } else { 1 };
        Sub { scales: block.scales().map(scale), d: *file.first_chunk()? }
    };
    /// Ternary, with a shift per eight columns.
    Iq1M: IQ1_M, TwoAndPairs, SubNibbles, 6 bits minus 32, Some(&IQ1_M), |file, codes| {
        let (block, mut elements) = (iq1_m::Block(file), [0; LONGEST]);
        block.unpack(&mut elements);
        ternary(&elements, codes);
        for (group, codes) in codes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let shift = u8::from(block.is_down(group)) << 2;
            codes.iter_mut().for_each(|code| *code |= shift);
        }
        Sub { scales: block.scales(), d: block.d_bits().to_le_bytes() }
    };
}

/// Codes 0, 1 and 2 for -1, 0 and 1.
fn ternary(elements: &[i8; LONGEST], codes: &mut [u8; LONGEST]) {
    for (code, &element) in codes.iter_mut().zip(elements) {
        *code = (element + 1).cast_unsigned();
    }
}
