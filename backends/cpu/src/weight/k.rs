//! K-quants: Q2_K to Q6_K, and IQ4_XS, which is built like them.

use super::format::{Blocks, LONGEST, Table};
use super::planes::{Five, Four, Six, ThreeTimes8, Two};
use super::scales::{Affine, AffineNibbles, Scales, Sub, SubBytes, SubMins};
use super::simple::{formats, table};
use tern_quant::{DType, iq4_nl, iq4_xs, q2_k, q3_k, q4_k, q5_k, q6_k};

formats! {
    /// Two bits; four-bit scales and minima.
    Q2K: Q2_K, Two, AffineNibbles, 4 bits minus 0, None, |file, codes| {
        let block = q2_k::Block(file);
        block.unpack(codes);
        Affine { pairs: block.scales_mins(), d_dmin: *file.last_chunk()? }
    };
    /// Three bits less 4: eight times that, over 8.
    Q3K: Q3_K, ThreeTimes8, SubBytes<16, 8>, 6 bits minus 32, None, |file, codes| {
        let block = q3_k::Block(file);
        block.unpack(codes);
        Sub { scales: block.scales(), d: *file.last_chunk()? }
    };
    /// Four bits; scales and minima.
    Q4K: Q4_K, Four, SubMins, 4 bits minus 0, None, |file, codes| {
        let block = q4_k::Block(file);
        block.unpack(codes);
        Affine { pairs: block.scales_mins(), d_dmin: *file.first_chunk()? }
    };
    /// Five bits; scales and minima.
    Q5K: Q5_K, Five, SubMins, 5 bits minus 0, None, |file, codes| {
        let block = q5_k::Block(file);
        block.unpack(codes);
        Affine { pairs: block.scales_mins(), d_dmin: *file.first_chunk()? }
    };
    /// Six bits less 32.
    Q6K: Q6_K, Six, SubBytes<16, 1>, 6 bits minus 32, None, |file, codes| {
        let block = q6_k::Block(file);
        block.unpack(codes);
        Sub { scales: block.scales(), d: *file.last_chunk()? }
    };
    /// Sixteen uneven levels.
    Iq4Xs: IQ4_XS, Four, SubBytes<8, 1>, 8 bits minus 128, Some(const { &table(&iq4_nl::LEVELS, 128) }), |file, codes| {
        let block = iq4_xs::Block(file);
        block.unpack(codes);
        Sub { scales: block.scales(), d: *file.first_chunk()? }
    };
}
