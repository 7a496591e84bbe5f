//! Q8_0: one byte per code, biased by 128 to be unsigned, quads in order.
//!
//! Meta of a block: 16 scales in half precision.

use super::format::{Blocks, half};
use crate::simd::Simd;
use tern_quant::q8_0;

/// See the module text.
pub struct Q8_0;

impl Blocks for Q8_0 {
    const BITS: u32 = 8;
    const OFFSET: u32 = 128;
    const HALVES: bool = false;
    const MINS: bool = false;
    const CODE_BYTES: usize = 512;
    const META_BLOCKS: usize = 1;
    const META_BYTES: usize = 32;
    const FILE_BYTES: usize = q8_0::BYTES;

    #[inline(always)]
    fn quads(pair: usize) -> (usize, usize) {
        (2 * pair, 2 * pair + 1)
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(block: *const u8, pair: usize) -> (S::B, S::B) {
        // SAFETY: passed on.
        unsafe { (S::load_bytes(block.add(128 * pair)), S::load_bytes(block.add(128 * pair + 64))) }
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
        let places = codes.as_chunks_mut::<512>().0.iter_mut().zip(meta.as_chunks_mut::<32>().0);
        for (file, (codes, meta)) in src.as_chunks::<{ q8_0::BYTES }>().0.iter().zip(places) {
            meta[2 * row..][..2].copy_from_slice(&file[..2]);
            for (q, quad) in file[2..].as_chunks::<4>().0.iter().enumerate() {
                codes[64 * q + 4 * row..][..4].copy_from_slice(&quad.map(|b| b ^ 0x80));
            }
        }
    }
    fn row(codes: &[u8], meta: &[u8], row: usize, out: &mut [f32]) {
        let places = codes.as_chunks::<512>().0.iter().zip(meta.as_chunks::<32>().0);
        for (out, (codes, meta)) in out.as_chunks_mut::<32>().0.iter_mut().zip(places) {
            let d = half(meta, row);
            for (k, y) in out.iter_mut().enumerate() {
                let code = (codes[64 * (k / 4) + 4 * row + k % 4] ^ 0x80).cast_signed();
                *y = f32::from(code) * d;
            }
        }
    }
}
