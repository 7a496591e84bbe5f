//! Q4_0, Q4_1 and Q5_0: four bits of a code in nibbles, a fifth in a plane of bits.
//!
//! Codes of a block: four vectors of 64 bytes, vector `j` with quad `j` in the low nibbles and quad `j + 4` in the
//! high ones. The file pairs its columns the same way, so packing moves 32-bit words. Q5_0 appends a fifth vector:
//! bit `q` of a byte is the highest bit of that place in quad `q`.
//! Meta of a block: 16 scales in half precision; then, for Q4_1, 16 minima.

use super::format::{Blocks, half};
use crate::simd::Simd;
use tern_quant::{q4_0, q4_1, q5_0};

/// See the module text.
pub struct Q4_0;
/// See the module text.
pub struct Q4_1;
/// See the module text.
pub struct Q5_0;

/// Quads `j` and `j + 4` out of nibbles.
///
/// # Safety
/// As for [`Simd`]; `block` has 256 bytes.
#[inline(always)]
unsafe fn nibbles<S: Simd>(block: *const u8, j: usize) -> (S::B, S::B) {
    // SAFETY: passed on.
    unsafe {
        let both = S::load_bytes(block.add(64 * j));
        let mask = S::splat_bytes(15);
        (S::and_bytes(both, mask), S::and_bytes(S::shr_bytes::<4>(both), mask))
    }
}

/// Puts the 16 bytes that hold a row's nibbles into place.
#[inline(always)]
fn put(block: &mut [u8], row: usize, nibbles: &[u8]) {
    for (j, quad) in nibbles.as_chunks::<4>().0.iter().enumerate() {
        block[64 * j + 4 * row..][..4].copy_from_slice(quad);
    }
}

/// The 32 codes' nibbles of a row.
#[inline(always)]
fn get(block: &[u8], row: usize) -> [u8; 32] {
    std::array::from_fn(|k| {
        let byte = block[64 * (k % 16 / 4) + 4 * row + k % 4];
        if k < 16 { byte & 15 } else { byte >> 4 }
    })
}

impl Blocks for Q4_0 {
    const BITS: u32 = 4;
    const OFFSET: u32 = 8;
    const HALVES: bool = false;
    const MINS: bool = false;
    const CODE_BYTES: usize = 256;
    const META_BLOCKS: usize = 1;
    const META_BYTES: usize = 32;
    const FILE_BYTES: usize = q4_0::BYTES;

    #[inline(always)]
    fn quads(pair: usize) -> (usize, usize) {
        (pair, pair + 4)
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(block: *const u8, pair: usize) -> (S::B, S::B) {
        // SAFETY: passed on.
        unsafe { nibbles::<S>(block, pair) }
    }
    #[inline(always)]
    unsafe fn scale<S: Simd>(meta: *const u8, block: usize, _half: usize) -> S::F {
        // SAFETY: passed on.
        unsafe { S::load_f16(meta.add(32 * block).cast()) }
    }
    #[inline(always)]
    unsafe fn min<S: Simd>(_meta: *const u8, _block: usize) -> S::F {
        // SAFETY: passed on.
        unsafe { S::zero() }
    }
    fn pack(src: &[u8], row: usize, codes: &mut [u8], meta: &mut [u8]) {
        let places = codes.as_chunks_mut::<256>().0.iter_mut().zip(meta.as_chunks_mut::<32>().0);
        for (file, (codes, meta)) in src.as_chunks::<{ q4_0::BYTES }>().0.iter().zip(places) {
            meta[2 * row..][..2].copy_from_slice(&file[..2]);
            put(codes, row, &file[2..]);
        }
    }
    fn row(codes: &[u8], meta: &[u8], row: usize, out: &mut [f32]) {
        let places = codes.as_chunks::<256>().0.iter().zip(meta.as_chunks::<32>().0);
        for (out, (codes, meta)) in out.as_chunks_mut::<32>().0.iter_mut().zip(places) {
            let d = half(meta, row);
            for (y, q) in out.iter_mut().zip(get(codes, row)) {
                *y = (i32::from(q) - q4_0::OFFSET) as f32 * d;
            }
        }
    }
}

impl Blocks for Q4_1 {
    const BITS: u32 = 4;
    const OFFSET: u32 = 0;
    const HALVES: bool = false;
    const MINS: bool = true;
    const CODE_BYTES: usize = 256;
    const META_BLOCKS: usize = 1;
    const META_BYTES: usize = 64;
    const FILE_BYTES: usize = q4_1::BYTES;

    #[inline(always)]
    fn quads(pair: usize) -> (usize, usize) {
        (pair, pair + 4)
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(block: *const u8, pair: usize) -> (S::B, S::B) {
        // SAFETY: passed on.
        unsafe { nibbles::<S>(block, pair) }
    }
    #[inline(always)]
    unsafe fn scale<S: Simd>(meta: *const u8, block: usize, _half: usize) -> S::F {
        // SAFETY: passed on.
        unsafe { S::load_f16(meta.add(64 * block).cast()) }
    }
    #[inline(always)]
    unsafe fn min<S: Simd>(meta: *const u8, block: usize) -> S::F {
        // SAFETY: passed on.
        unsafe { S::load_f16(meta.add(64 * block + 32).cast()) }
    }
    fn pack(src: &[u8], row: usize, codes: &mut [u8], meta: &mut [u8]) {
        let places = codes.as_chunks_mut::<256>().0.iter_mut().zip(meta.as_chunks_mut::<64>().0);
        for (file, (codes, meta)) in src.as_chunks::<{ q4_1::BYTES }>().0.iter().zip(places) {
            meta[2 * row..][..2].copy_from_slice(&file[..2]);
            meta[32 + 2 * row..][..2].copy_from_slice(&file[2..4]);
            put(codes, row, &file[4..]);
        }
    }
    fn row(codes: &[u8], meta: &[u8], row: usize, out: &mut [f32]) {
        let places = codes.as_chunks::<256>().0.iter().zip(meta.as_chunks::<64>().0);
        for (out, (codes, meta)) in out.as_chunks_mut::<32>().0.iter_mut().zip(places) {
            let (d, m) = (half(meta, row), half(meta, 16 + row));
            for (y, q) in out.iter_mut().zip(get(codes, row)) {
                *y = f32::from(q) * d + m;
            }
        }
    }
}

impl Blocks for Q5_0 {
    const BITS: u32 = 5;
    const OFFSET: u32 = 16;
    const HALVES: bool = false;
    const MINS: bool = false;
    const CODE_BYTES: usize = 320;
    const META_BLOCKS: usize = 1;
    const META_BYTES: usize = 32;
    const FILE_BYTES: usize = q5_0::BYTES;

    #[inline(always)]
    fn quads(pair: usize) -> (usize, usize) {
        (pair, pair + 4)
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(block: *const u8, pair: usize) -> (S::B, S::B) {
        // SAFETY: passed on.
        unsafe {
            let (low, high) = nibbles::<S>(block, pair);
            let plane = S::load_bytes(block.add(256));
            // Bits `pair` and `pair + 4`, moved to bit 4: shifts below 8 take it from the same byte.
            let (a, b) = match pair {
                0 => (S::shl_bytes::<4>(plane), plane),
                1 => (S::shl_bytes::<3>(plane), S::shr_bytes::<1>(plane)),
                2 => (S::shl_bytes::<2>(plane), S::shr_bytes::<2>(plane)),
                _ => (S::shl_bytes::<1>(plane), S::shr_bytes::<3>(plane)),
            };
            let mask = S::splat_bytes(16);
            (S::or_bytes(low, S::and_bytes(a, mask)), S::or_bytes(high, S::and_bytes(b, mask)))
        }
    }
    #[inline(always)]
    unsafe fn scale<S: Simd>(meta: *const u8, block: usize, _half: usize) -> S::F {
        // SAFETY: passed on.
        unsafe { S::load_f16(meta.add(32 * block).cast()) }
    }
    #[inline(always)]
    unsafe fn min<S: Simd>(_meta: *const u8, _block: usize) -> S::F {
        // SAFETY: passed on.
        unsafe { S::zero() }
    }
    fn pack(src: &[u8], row: usize, codes: &mut [u8], meta: &mut [u8]) {
        let places = codes.as_chunks_mut::<320>().0.iter_mut().zip(meta.as_chunks_mut::<32>().0);
        for (file, (codes, meta)) in src.as_chunks::<{ q5_0::BYTES }>().0.iter().zip(places) {
            meta[2 * row..][..2].copy_from_slice(&file[..2]);
            put(codes, row, &file[6..]);
            let high = q5_0::Block(file).high_bits();
            for i in 0..4 {
                // Columns i, 4 + i, ..., 28 + i: every fourth bit, gathered into one byte.
                let spread = (high >> i) & 0x1111_1111;
                let pairs = (spread | spread >> 3) & 0x0303_0303;
                let fours = (pairs | pairs >> 6) & 0x000f_000f;
                codes[256 + 4 * row + i] = (fours | fours >> 12) as u8;
            }
        }
    }
    fn row(codes: &[u8], meta: &[u8], row: usize, out: &mut [f32]) {
        let places = codes.as_chunks::<320>().0.iter().zip(meta.as_chunks::<32>().0);
        for (out, (codes, meta)) in out.as_chunks_mut::<32>().0.iter_mut().zip(places) {
            let d = half(meta, row);
            for (k, (y, q)) in out.iter_mut().zip(get(codes, row)).enumerate() {
                let high = codes[256 + 4 * row + k % 4] >> (k / 4) & 1;
                *y = (i32::from(q | high << 4) - q5_0::OFFSET) as f32 * d;
            }
        }
    }
}
