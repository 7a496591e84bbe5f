//! Where the bits of codes are.
//!
//! A block's vectors of 64 bytes have one byte per row and column of a quad, and the codes of several quads in the bits
//! of each byte. Planes are built from three kinds of vectors, each where it is first wanted, so that a block is read in the order
//! of memory:
//!
//! - nibbles: vector `p` of four has quad `2p` in its low bits and quad `2p + 1` in its high ones;
//! - twos: vector `v` of two has quads `4v` to `4v + 3` at bits 0, 2, 4 and 6;
//! - ones: one vector has quad `q` at bit `q`.
//!
//! So decoding a pair of quads takes a shift and a mask per vector, and halves of a block (16 columns) are pairs 0 and 1, and
//! pairs 2 and 3.

use super::format::{BLOCK, ROWS};
use crate::simd::Simd;

/// The arrangement of a block's codes.
pub trait Planes: 'static {
    /// Bytes of a block in a panel.
    const BYTES: usize;
    /// Codes come this many bits higher than they are stored.
    const SHIFT: u32 = 0;

    /// Quads `2 * pair` and `2 * pair + 1`, `pair` in 0..4.
    ///
    /// # Safety
    /// As for [`Simd`]; `block` has [`BYTES`](Self::BYTES).
    unsafe fn codes<S: Simd>(block: *const u8, pair: usize) -> (S::B, S::B);

    /// Puts a row's codes into a zeroed block.
    fn put(block: &mut [u8], row: usize, codes: &[u8; BLOCK]);

    /// A row's codes, not shifted.
    fn get(block: &[u8], row: usize) -> [u8; BLOCK];
}

/// `bits` bits of each byte at bit `from`, moved to bit `to`.
///
/// # Safety
/// As for [`Simd`].
#[inline(always)]
unsafe fn moved<S: Simd>(vector: S::B, bits: u32, from: u32, to: u32) -> S::B {
    // SAFETY: passed on.
    unsafe {
        // Shifts of less than eight bits: what comes over from a neighbour is masked off.
        let there = match i64::from(to) - i64::from(from) {
            -7 => S::shr_bytes::<7>(vector),
            -6 => S::shr_bytes::<6>(vector),
            -5 => S::shr_bytes::<5>(vector),
            -4 => S::shr_bytes::<4>(vector),
            -3 => S::shr_bytes::<3>(vector),
            -2 => S::shr_bytes::<2>(vector),
            -1 => S::shr_bytes::<1>(vector),
            1 => S::shl_bytes::<1>(vector),
            2 => S::shl_bytes::<2>(vector),
            3 => S::shl_bytes::<3>(vector),
            4 => S::shl_bytes::<4>(vector),
            5 => S::shl_bytes::<5>(vector),
            6 => S::shl_bytes::<6>(vector),
            7 => S::shl_bytes::<7>(vector),
            _ => vector,
        };
        S::and_bytes(there, S::splat_bytes((((1u32 << bits) - 1) << to) as u8))
    }
}

/// The same for two quads.
///
/// # Safety
/// As for [`Simd`].
#[inline(always)]
unsafe fn both<S: Simd>(vector: S::B, bits: u32, from: [u32; 2], to: u32) -> (S::B, S::B) {
    // SAFETY: passed on.
    unsafe { (moved::<S>(vector, bits, from[0], to), moved::<S>(vector, bits, from[1], to)) }
}

/// A pair of quads out of nibbles.
///
/// # Safety
/// As for [`Simd`]; `at` has the 64 bytes of the pair.
#[inline(always)]
unsafe fn nibbles<S: Simd>(at: *const u8) -> (S::B, S::B) {
    // SAFETY: passed on.
    unsafe { both::<S>(S::load_bytes(at), 4, [0, 4], 0) }
}

/// A pair of quads out of twos, moved to bit `to`.
///
/// # Safety
/// As for [`Simd`]; `at` has the 64 bytes of the pair and its neighbour.
#[inline(always)]
unsafe fn twos<S: Simd>(at: *const u8, pair: usize, to: u32) -> (S::B, S::B) {
    let first = pair as u32 % 2 * 4;
    // SAFETY: passed on.
    unsafe { both::<S>(S::load_bytes(at), 2, [first, first + 2], to) }
}

/// A pair of quads out of ones, moved to bit `to`.
///
/// # Safety
/// As for [`Simd`]; `at` has 64 bytes.
#[inline(always)]
unsafe fn ones<S: Simd>(at: *const u8, pair: usize, to: u32) -> (S::B, S::B) {
    let first = pair as u32 * 2;
    // SAFETY: passed on.
    unsafe { both::<S>(S::load_bytes(at), 1, [first, first + 1], to) }
}

/// Both quads of two pairs, joined.
///
/// # Safety
/// As for [`Simd`].
#[inline(always)]
unsafe fn joined<S: Simd>(a: (S::B, S::B), b: (S::B, S::B)) -> (S::B, S::B) {
    // SAFETY: passed on.
    unsafe { (S::or_bytes(a.0, b.0), S::or_bytes(a.1, b.1)) }
}

/// Puts `bits` bits of a row's codes, from bit `from` on, into vectors that hold `8 / bits` quads each.
#[inline(always)]
fn put(vectors: &mut [u8], row: usize, codes: &[u8], from: u32, bits: u32) {
    let per = (8 / bits) as usize;
    let mask = ((1u32 << bits) - 1) * 0x0101_0101;
    for (vector, quads) in vectors.chunks_exact_mut(4 * ROWS).zip(codes.as_chunks::<4>().0.chunks_exact(per)) {
        let word = quads.iter().rev().fold(0, |word, &quad| word << bits | u32::from_le_bytes(quad) >> from & mask);
        vector[4 * row..][..4].copy_from_slice(&word.to_le_bytes());
    }
}

/// The opposite: those bits, to where they belong in codes.
#[inline(always)]
fn get(vectors: &[u8], row: usize, codes: &mut [u8], from: u32, bits: u32) {
    let per = (8 / bits) as usize;
    let mask = ((1u32 << bits) - 1) * 0x0101_0101;
    for (vector, quads) in vectors.chunks_exact(4 * ROWS).zip(codes.as_chunks_mut::<4>().0.chunks_exact_mut(per)) {
        let place = &vector[4 * row..];
        let word = u32::from_le_bytes([place[0], place[1], place[2], place[3]]);
        for (i, quad) in quads.iter_mut().enumerate() {
            let part = (word >> (i as u32 * bits) & mask) << from;
            *quad = (u32::from_le_bytes(*quad) | part).to_le_bytes();
        }
    }
}

/// Defines planes: which vectors, how many bits of which quads' codes each has, and how a pair is decoded.
macro_rules! planes {
    ($($(#[$doc:meta])* $name:ident, shift $shift:literal,
        $(($at:literal..$end:literal: $bits:literal bits from $from:literal, quads from $quad:literal),)+
        |$S:ident, $block:ident, $pair:ident| $decode:expr;)+) => {$(
        $(#[$doc])*
        pub struct $name;

        impl Planes for $name {
            const BYTES: usize = [$($end),+][[$($end),+].len() - 1];
            const SHIFT: u32 = $shift;

            #[inline(always)]
            unsafe fn codes<$S: Simd>($block: *const u8, $pair: usize) -> ($S::B, $S::B) {
                // SAFETY: passed on.
                unsafe { $decode }
            }
            #[inline(always)]
            fn put(block: &mut [u8], row: usize, codes: &[u8; BLOCK]) {
                $(put(&mut block[$at..$end], row, &codes[4 * $quad..], $from, $bits);)+
            }
            #[inline(always)]
            fn get(block: &[u8], row: usize) -> [u8; BLOCK] {
                let mut codes = [0; BLOCK];
                $(get(&block[$at..$end], row, &mut codes[4 * $quad..], $from, $bits);)+
                codes
            }
        }
    )+};
}

planes! {
    /// Eight bits: quads in order.
    Eight, shift 0, (0..512: 8 bits from 0, quads from 0),
        |S, block, pair| (S::load_bytes(block.add(128 * pair)), S::load_bytes(block.add(128 * pair + 64)));
    /// Six bits: twos for the two high bits, then nibbles, of either half.
    Six, shift 0,
        (0..64: 2 bits from 4, quads from 0), (64..192: 4 bits from 0, quads from 0),
        (192..256: 2 bits from 4, quads from 4), (256..384: 4 bits from 0, quads from 4),
        |S, block, pair| {
            let half = block.add(192 * (pair / 2));
            joined::<S>(nibbles::<S>(half.add(64 + 64 * (pair % 2))), twos::<S>(half, pair, 4))
        };
    /// Five bits: ones for the high bit, then nibbles.
    Five, shift 0, (0..64: 1 bits from 4, quads from 0), (64..320: 4 bits from 0, quads from 0),
        |S, block, pair| joined::<S>(nibbles::<S>(block.add(64 + 64 * pair)), ones::<S>(block, pair, 4));
    /// Four bits.
    Four, shift 0, (0..256: 4 bits from 0, quads from 0),
        |S, block, pair| nibbles::<S>(block.add(64 * pair));
    /// Three bits: ones for the high bit, then twos.
    Three, shift 0, (0..64: 1 bits from 2, quads from 0), (64..192: 2 bits from 0, quads from 0),
        |S, block, pair| joined::<S>(twos::<S>(block.add(64 + 64 * (pair / 2)), pair, 0), ones::<S>(block, pair, 2));
    /// The same, eightfold.
    ThreeTimes8, shift 3, (0..64: 1 bits from 2, quads from 0), (64..192: 2 bits from 0, quads from 0),
        |S, block, pair| joined::<S>(twos::<S>(block.add(64 + 64 * (pair / 2)), pair, 3), ones::<S>(block, pair, 5));
    /// Two bits.
    Two, shift 0, (0..128: 2 bits from 0, quads from 0),
        |S, block, pair| twos::<S>(block.add(64 * (pair / 2)), pair, 0);
    /// The same, eightfold.
    TwoTimes8, shift 3, (0..128: 2 bits from 0, quads from 0),
        |S, block, pair| twos::<S>(block.add(64 * (pair / 2)), pair, 3);
    /// One bit, sixteenfold.
    OneTimes16, shift 4, (0..64: 1 bits from 0, quads from 0),
        |S, block, pair| ones::<S>(block, pair, 4);
}

/// Two bits, and a third that all eight columns of a pair have in common: twos, then a byte per row with bit `p` for
/// pair `p`.
pub struct TwoAndPairs;

impl Planes for TwoAndPairs {
    const BYTES: usize = 128 + ROWS;

    #[inline(always)]
    unsafe fn codes<S: Simd>(block: *const u8, pair: usize) -> (S::B, S::B) {
        // SAFETY: passed on.
        unsafe {
            let from = pair as u32;
            let third = both::<S>(S::spread_bytes(block.add(128)), 1, [from, from], 2);
            joined::<S>(twos::<S>(block.add(64 * (pair / 2)), pair, 0), third)
        }
    }
    fn put(block: &mut [u8], row: usize, codes: &[u8; BLOCK]) {
        put(&mut block[..128], row, codes, 0, 2);
        block[128 + row] = (0..4).fold(0, |bits, pair| bits | (codes[8 * pair] >> 2 & 1) << pair);
    }
    fn get(block: &[u8], row: usize) -> [u8; BLOCK] {
        let mut codes = [0; BLOCK];
        get(&block[..128], row, &mut codes, 0, 2);
        for (pair, codes) in codes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            codes.iter_mut().for_each(|code| *code |= (block[128 + row] >> pair & 1) << 2);
        }
        codes
    }
}
