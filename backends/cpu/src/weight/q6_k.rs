//! Q6_K: four bits of a code in nibbles, two in a plane.
//!
//! Codes of a block: four vectors with quad `2j` in the low nibbles of vector `j` and quad `2j + 1` in the high ones;
//! then two vectors of high bits, the first for quads 0 to 3 at bits 0, 2, 4, 6, the second for quads 4 to 7.
//! Meta of eight blocks: 16 x 16 scales (signed bytes, one per row and 16 columns), 16 d in half precision.

use super::format::{Blocks, half};
use crate::simd::Simd;
use tern_quant::q6_k;

/// See the module text.
pub struct Q6K;

/// Bytes of meta.
const META: usize = 288;

impl Blocks for Q6K {
    const BITS: u32 = 6;
    const OFFSET: u32 = 32;
    const HALVES: bool = true;
    const MINS: bool = false;
    const CODE_BYTES: usize = 384;
    const META_BLOCKS: usize = 8;
    const META_BYTES: usize = META;
    const FILE_BYTES: usize = q6_k::BYTES;

    #[inline(always)]
    fn quads(pair: usize) -> (usize, usize) {
        (2 * pair, 2 * pair + 1)
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(block: *const u8, pair: usize) -> (S::B, S::B) {
        // SAFETY: passed on.
        unsafe {
            let both = S::load_bytes(block.add(64 * pair));
            let plane = S::load_bytes(block.add(256 + 64 * (pair / 2)));
            let mask = S::splat_bytes(15);
            // Two bits, moved to bits 4 and 5: they come from the same byte.
            let (a, b) = match pair % 2 {
                0 => (S::shl_bytes::<4>(plane), S::shl_bytes::<2>(plane)),
                _ => (plane, S::shr_bytes::<2>(plane)),
            };
            let high = S::splat_bytes(0x30);
            (
                S::or_bytes(S::and_bytes(both, mask), S::and_bytes(a, high)),
                S::or_bytes(S::and_bytes(S::shr_bytes::<4>(both), mask), S::and_bytes(b, high)),
            )
        }
    }
    #[inline(always)]
    unsafe fn scale<S: Simd>(meta: *const u8, block: usize, half: usize) -> S::F {
        // SAFETY: the piece of meta of this block.
        unsafe {
            let meta = meta.add(META * (block / 8));
            S::mul(S::load_f16(meta.add(256).cast()), S::load_i8(meta.add(32 * (block % 8) + 16 * half).cast()))
        }
    }
    #[inline(always)]
    unsafe fn min<S: Simd>(_meta: *const u8, _block: usize) -> S::F {
        // SAFETY: passed on.
        unsafe { S::zero() }
    }
    fn pack(src: &[u8], row: usize, codes: &mut [u8], meta: &mut [u8]) {
        let places = codes.as_chunks_mut::<3072>().0.iter_mut().zip(meta.as_chunks_mut::<META>().0);
        for (file, (codes, meta)) in src.as_chunks::<{ q6_k::BYTES }>().0.iter().zip(places) {
            let block = q6_k::Block(file);
            for (sub, scale) in block.scales().into_iter().enumerate() {
                meta[16 * sub + row] = scale.cast_unsigned();
            }
            meta[256 + 2 * row..][..2].copy_from_slice(&file[208..]);
            let mut plain = [0; 256];
            block.unpack(&mut plain);
            for (codes, plain) in codes.as_chunks_mut::<384>().0.iter_mut().zip(plain.as_chunks::<32>().0) {
                let word =
                    |q: usize| u32::from_le_bytes([plain[4 * q], plain[4 * q + 1], plain[4 * q + 2], plain[4 * q + 3]]);
                for j in 0..4 {
                    let nibbles = (word(2 * j) & 0x0f0f_0f0f) | (word(2 * j + 1) & 0x0f0f_0f0f) << 4;
                    codes[64 * j + 4 * row..][..4].copy_from_slice(&nibbles.to_le_bytes());
                }
                for h in 0..2 {
                    let two = |q: usize| word(4 * h + q) >> 4 & 0x0303_0303;
                    let plane = two(0) | two(1) << 2 | two(2) << 4 | two(3) << 6;
                    codes[256 + 64 * h + 4 * row..][..4].copy_from_slice(&plane.to_le_bytes());
                }
            }
        }
    }
    fn row(codes: &[u8], meta: &[u8], row: usize, out: &mut [f32]) {
        let places = codes.as_chunks::<3072>().0.iter().zip(meta.as_chunks::<META>().0);
        for (out, (codes, meta)) in out.as_chunks_mut::<256>().0.iter_mut().zip(places) {
            let d = half(&meta[256..], row);
            for (i, y) in out.iter_mut().enumerate() {
                let (codes, k) = (&codes[384 * (i / 32)..], i % 32);
                let (quad, place) = (k / 4, 4 * row + k % 4);
                let low = codes[64 * (quad / 2) + place] >> (4 * (quad % 2)) & 15;
                let high = codes[256 + 64 * (quad / 4) + place] >> (2 * (quad % 4)) & 3;
                let scale = d * f32::from(meta[16 * (i / 16) + row].cast_signed());
                *y = scale * (i32::from(low | high << 4) - q6_k::OFFSET) as f32;
            }
        }
    }
}
