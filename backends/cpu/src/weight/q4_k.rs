//! Q4_K: nibbles as in Q4_1; scales and minima of each block as bytes, to be multiplied by a super-block's own.
//!
//! Meta of eight blocks: 8 x 16 scales, 8 x 16 minima (bytes below 64), 16 d and 16 dmin in half precision.
//! The file packs scales and minima into six bits; bytes cost 2.8% more to read and nothing to unpack.

use super::format::{Blocks, half};
use crate::simd::Simd;
use tern_quant::q4_k;

/// See the module text.
pub struct Q4K;

/// Bytes of meta.
const META: usize = 320;

impl Blocks for Q4K {
    const BITS: u32 = 4;
    const OFFSET: u32 = 0;
    const HALVES: bool = false;
    const MINS: bool = true;
    const CODE_BYTES: usize = 256;
    const META_BLOCKS: usize = 8;
    const META_BYTES: usize = META;
    const FILE_BYTES: usize = q4_k::BYTES;

    #[inline(always)]
    fn quads(pair: usize) -> (usize, usize) {
        (pair, pair + 4)
    }
    #[inline(always)]
    unsafe fn codes<S: Simd>(block: *const u8, pair: usize) -> (S::B, S::B) {
        // SAFETY: passed on.
        unsafe {
            let both = S::load_bytes(block.add(64 * pair));
            let mask = S::splat_bytes(15);
            (S::and_bytes(both, mask), S::and_bytes(S::shr_bytes::<4>(both), mask))
        }
    }
    #[inline(always)]
    unsafe fn scale<S: Simd>(meta: *const u8, block: usize, _half: usize) -> S::F {
        // SAFETY: the piece of meta of this block.
        unsafe {
            let meta = meta.add(META * (block / 8));
            S::mul(S::load_f16(meta.add(256).cast()), S::load_i8(meta.add(16 * (block % 8)).cast()))
        }
    }
    #[inline(always)]
    unsafe fn min<S: Simd>(meta: *const u8, block: usize) -> S::F {
        // SAFETY: as above. Minima are subtracted, hence the sign.
        unsafe {
            let meta = meta.add(META * (block / 8));
            let min = S::mul(S::load_f16(meta.add(288).cast()), S::load_i8(meta.add(128 + 16 * (block % 8)).cast()));
            S::sub(S::zero(), min)
        }
    }
    fn pack(src: &[u8], row: usize, codes: &mut [u8], meta: &mut [u8]) {
        let places = codes.as_chunks_mut::<2048>().0.iter_mut().zip(meta.as_chunks_mut::<META>().0);
        for (file, (codes, meta)) in src.as_chunks::<{ q4_k::BYTES }>().0.iter().zip(places) {
            for (sub, (scale, min)) in q4_k::Block(file).scales_mins().into_iter().enumerate() {
                meta[16 * sub + row] = scale;
                meta[128 + 16 * sub + row] = min;
            }
            meta[256 + 2 * row..][..2].copy_from_slice(&file[..2]);
            meta[288 + 2 * row..][..2].copy_from_slice(&file[2..4]);
            // 32 bytes of the file hold one block in their low nibbles and the next in their high ones.
            for (pair, bytes) in file[16..].as_chunks::<32>().0.iter().enumerate() {
                let (first, second) = bytes.split_at(16);
                for j in 0..4 {
                    let word = |half: &[u8]| {
                        u32::from_le_bytes([half[4 * j], half[4 * j + 1], half[4 * j + 2], half[4 * j + 3]])
                    };
                    let (a, b) = (word(first), word(second));
                    let low = (a & 0x0f0f_0f0f) | (b & 0x0f0f_0f0f) << 4;
                    let high = (a >> 4 & 0x0f0f_0f0f) | (b & 0xf0f0_f0f0);
                    codes[512 * pair + 64 * j + 4 * row..][..4].copy_from_slice(&low.to_le_bytes());
                    codes[512 * pair + 256 + 64 * j + 4 * row..][..4].copy_from_slice(&high.to_le_bytes());
                }
            }
        }
    }
    fn row(codes: &[u8], meta: &[u8], row: usize, out: &mut [f32]) {
        let places = codes.as_chunks::<2048>().0.iter().zip(meta.as_chunks::<META>().0);
        for (out, (codes, meta)) in out.as_chunks_mut::<256>().0.iter_mut().zip(places) {
            let (d, dmin) = (half(&meta[256..], row), half(&meta[288..], row));
            for (i, y) in out.iter_mut().enumerate() {
                let (sub, k) = (i / 32, i % 32);
                let byte = codes[256 * sub + 64 * (k % 16 / 4) + 4 * row + k % 4];
                let q = if k < 16 { byte & 15 } else { byte >> 4 };
                let (scale, min) = (d * f32::from(meta[16 * sub + row]), dmin * f32::from(meta[128 + 16 * sub + row]));
                *y = scale * f32::from(q) - min;
            }
        }
    }
}
