//! Formats with plain scales: Q4_0 to Q8_0, MXFP4, NVFP4, Q1_0, Q2_0, IQ4_NL, Q8_K.

use super::format::{Blocks, LONGEST, Table};
use super::planes::{Eight, Five, Four, OneTimes16, TwoTimes8};
use super::scales::{Half, HalfAndMin, PowerOfTwo, Scales, Single, SmallFloat};
use tern_quant::{DType, iq4_nl, mxfp4, nvfp4, q1_0, q2_0, q4_0, q4_1, q5_0, q5_1, q8_0, q8_k};

/// A table of levels, moved up by a kernel's offset.
pub(super) const fn table(levels: &[i8], offset: i16) -> Table {
    let mut out = [0; 16];
    let mut i = 0;
    while i < levels.len() {
        let level = levels[i] as i16 + offset;
        assert!(level >= 0 && level < 256);
        out[i] = level as u8;
        i += 1;
    }
    out
}

/// Defines formats: `name: dtype, planes, scales, bits, offset, table, |file, codes| numbers`.
macro_rules! formats {
    ($($(#[$doc:meta])* $name:ident: $dtype:ident, $planes:ty, $scales:ty, $bits:literal bits minus $offset:literal, $table:expr,
        |$file:ident, $codes:ident| $read:expr;)+) => {$(
        $(#[$doc])*
        pub struct $name;

        impl Blocks for $name {
            const DTYPE: DType = DType::$dtype;
            type Planes = $planes;
            type Scales = $scales;
            const BITS: u32 = $bits;
            const OFFSET: u32 = $offset;
            const TABLE: Option<&'static Table> = $table;

            #[inline(always)]
            fn read(file: &[u8], $codes: &mut [u8; LONGEST]) -> Option<<$scales as Scales>::Numbers> {
                let $file = file.first_chunk()?;
                Some($read)
            }
        }
    )+};
}
pub(super) use formats;

/// Signed bytes as codes that are 128 more.
fn unsigned(bytes: &[u8], codes: &mut [u8]) {
    for (code, byte) in codes.iter_mut().zip(bytes) {
        *code = byte ^ 0x80;
    }
}

formats! {
    /// Four bits less 8.
    Q4_0: Q4_0, Four, Half<1, 1>, 4 bits minus 8, None, |file, codes| {
        let block = q4_0::Block(file);
        block.unpack(codes.first_chunk_mut()?);
        [file[0], file[1]]
    };
    /// Four bits, and a minimum.
    Q4_1: Q4_1, Four, HalfAndMin, 4 bits minus 0, None, |file, codes| {
        q4_1::Block(file).unpack(codes.first_chunk_mut()?);
        *file.first_chunk()?
    };
    /// Five bits less 16.
    Q5_0: Q5_0, Five, Half<1, 1>, 5 bits minus 16, None, |file, codes| {
        q5_0::Block(file).unpack(codes.first_chunk_mut()?);
        *file.first_chunk()?
    };
    /// Five bits, and a minimum.
    Q5_1: Q5_1, Five, HalfAndMin, 5 bits minus 0, None, |file, codes| {
        q5_1::Block(file).unpack(codes.first_chunk_mut()?);
        *file.first_chunk()?
    };
    /// Signed bytes.
    Q8_0: Q8_0, Eight, Half<1, 1>, 8 bits minus 128, None, |file, codes| {
        let file: &[u8; q8_0::BYTES] = file;
        unsigned(&file[2..], codes);
        *file.first_chunk()?
    };
    /// Signed bytes, 256 with one scale.
    Q8K: Q8_K, Eight, Single, 8 bits minus 128, None, |file, codes| {
        let file: &[u8; q8_k::BYTES] = file;
        unsigned(&file[4..], codes);
        *file.first_chunk()?
    };
    /// Four-bit floats, doubled.
    Mxfp4: MXFP4, Four, PowerOfTwo, 5 bits minus 16, Some(const { &table(&mxfp4::LEVELS, 16) }), |file, codes| {
        mxfp4::Block(file).unpack(codes.first_chunk_mut()?);
        file[0]
    };
    /// The same, with a scale per half.
    Nvfp4: NVFP4, Four, SmallFloat, 6 bits minus 32, Some(const { &table(&mxfp4::LEVELS, 32) }), |file, codes| {
        nvfp4::Block(file).unpack(codes.first_chunk_mut()?);
        *file.first_chunk()?
    };
    /// A bit that means 1 or -1: 16 or 0, less 8, over 8.
    Q1_0: Q1_0, OneTimes16, Half<4, 8>, 5 bits minus 8, None, |file, codes| {
        q1_0::Block(file).unpack(codes.first_chunk_mut()?);
        *file.first_chunk()?
    };
    /// Two bits less 1: eight times that, over 8.
    Q2_0: Q2_0, TwoTimes8, Half<2, 8>, 5 bits minus 8, None, |file, codes| {
        q2_0::Block(file).unpack(codes.first_chunk_mut()?);
        *file.first_chunk()?
    };
    /// Sixteen uneven levels.
    Iq4Nl: IQ4_NL, Four, Half<1, 1>, 8 bits minus 128, Some(const { &table(&iq4_nl::LEVELS, 128) }), |file, codes| {
        iq4_nl::Block(file).unpack(codes.first_chunk_mut()?);
        *file.first_chunk()?
    };
}
