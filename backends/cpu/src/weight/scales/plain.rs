//! Scales that are a number per block, or per few.

use super::Scales;
use crate::simd::Simd;
use crate::weight::format::half;
use tern_quant::{mxfp4, nvfp4};

/// One in half precision for `N` blocks of codes that are multiplied `TIMES`-fold.
pub struct Half<const N: usize, const TIMES: u32>;

impl<const N: usize, const TIMES: u32> Scales for Half<N, TIMES> {
    type Numbers = [u8; 2];
    const BLOCKS: usize = N;
    const BYTES: usize = 32;

    #[inline(always)]
    unsafe fn scale<S: Simd>(meta: *const u8, block: usize, _half: usize) -> S::F {
        // SAFETY: passed on.
        unsafe {
            let d = S::load_f16(meta.add(32 * (block / N)).cast());
            if TIMES == 1 { d } else { S::mul(d, S::splat(1.0 / TIMES as f32)) }
        }
    }
    #[inline(always)]
    fn put(meta: &mut [u8], row: usize, numbers: &[u8; 2]) {
        meta[2 * row..][..2].copy_from_slice(numbers);
    }
    #[inline(always)]
    fn factors(meta: &[u8], row: usize, _block: usize, _half: usize) -> (f32, f32) {
        (half(meta, row) * (1.0 / TIMES as f32), 0.0)
    }
}

/// A scale and a minimum in half precision per block.
pub struct HalfAndMin;

impl Scales for HalfAndMin {
    type Numbers = [u8; 4];
    const BLOCKS: usize = 1;
    const BYTES: usize = 64;
    const MINS: bool = true;

    #[inline(always)]
    unsafe fn scale<S: Simd>(meta: *const u8, block: usize, _half: usize) -> S::F {
        // SAFETY: passed on.
        unsafe { S::load_f16(meta.add(64 * block).cast()) }
    }
    #[inline(always)]
    unsafe fn min<S: Simd>(meta: *const u8, block: usize, _part: usize) -> S::F {
        // SAFETY: passed on.
        unsafe { S::load_f16(meta.add(64 * block + 32).cast()) }
    }
    #[inline(always)]
    fn put(meta: &mut [u8], row: usize, numbers: &[u8; 4]) {
        meta[2 * row..][..2].copy_from_slice(&numbers[..2]);
        meta[32 + 2 * row..][..2].copy_from_slice(&numbers[2..]);
    }
    #[inline(always)]
    fn factors(meta: &[u8], row: usize, _block: usize, _half: usize) -> (f32, f32) {
        (half(meta, row), half(meta, 16 + row))
    }
}

/// One in single precision for 256 columns.
pub struct Single;

impl Scales for Single {
    type Numbers = [u8; 4];
    const BLOCKS: usize = 8;
    const BYTES: usize = 64;

    #[inline(always)]
    unsafe fn scale<S: Simd>(meta: *const u8, _block: usize, _half: usize) -> S::F {
        // SAFETY: passed on.
        unsafe { S::load(meta.cast()) }
    }
    fn put(meta: &mut [u8], row: usize, numbers: &[u8; 4]) {
        meta[4 * row..][..4].copy_from_slice(numbers);
    }
    fn factors(meta: &[u8], row: usize, _block: usize, _half: usize) -> (f32, f32) {
        let at = &meta[4 * row..];
        (f32::from_le_bytes([at[0], at[1], at[2], at[3]]), 0.0)
    }
}

/// An exponent per block, as MXFP4 has it, for levels that are doubled.
pub struct PowerOfTwo;

impl Scales for PowerOfTwo {
    type Numbers = u8;
    const BLOCKS: usize = 1;
    const BYTES: usize = 16;

    #[inline(always)]
    unsafe fn scale<S: Simd>(meta: *const u8, block: usize, _half: usize) -> S::F {
        // SAFETY: passed on.
        unsafe { S::load_e8m0(meta.add(16 * block)) }
    }
    fn put(meta: &mut [u8], row: usize, numbers: &u8) {
        meta[row] = *numbers;
    }
    fn factors(meta: &[u8], row: usize, _block: usize, _half: usize) -> (f32, f32) {
        (mxfp4::half_scale(meta[row]), 0.0)
    }
}

/// An 8-bit float per 16 columns, as NVFP4 has it, for levels that are doubled. The file's two special codes are put as what
/// they mean.
pub struct SmallFloat;

impl Scales for SmallFloat {
    type Numbers = [u8; 4];
    const BLOCKS: usize = 2;
    const BYTES: usize = 64;
    const HALVES: bool = true;

    #[inline(always)]
    unsafe fn scale<S: Simd>(meta: *const u8, block: usize, half: usize) -> S::F {
        // SAFETY: passed on. Half of what the float stands for, which `load_e4m3` gives 2^-8 of.
        unsafe { S::mul(S::load_e4m3(meta.add(32 * block + 16 * half)), S::splat(128.0)) }
    }
    fn put(meta: &mut [u8], row: usize, numbers: &[u8; 4]) {
        for (sixteen, &code) in meta.as_chunks_mut::<16>().0.iter_mut().zip(numbers) {
            sixteen[row] = if code == 0x7f { 0 } else { code & 0x7f };
        }
    }
    fn factors(meta: &[u8], row: usize, block: usize, half: usize) -> (f32, f32) {
        // Bit 7 is ignored, and spares 0x7f from being special.
        (nvfp4::half_scale(meta[32 * block + 16 * half + row] | 0x80), 0.0)
    }
}
