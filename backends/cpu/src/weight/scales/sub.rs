//! Scales of K-quants and their like: small integers per block or half of one, times a number in half precision per 256
//! columns. Products of the two are exact in single precision.

use super::Scales;
use crate::simd::Simd;
use crate::weight::format::half;

/// Blocks of 256 columns.
const BLOCKS: usize = 8;

/// The numbers of a row: `N` integers, and the number that multiplies them.
pub struct Sub<T, const N: usize> {
    /// In order of columns.
    pub scales: [T; N],
    /// In half precision.
    pub d: [u8; 2],
}

/// Signed bytes, `N` of 8 or 16, for codes that are multiplied `TIMES`-fold.
///
/// `N x 16` scales; 16 d.
pub struct SubBytes<const N: usize, const TIMES: u32>;

impl<const N: usize, const TIMES: u32> SubBytes<N, TIMES> {
    /// Scales per block.
    const PER: usize = N / BLOCKS;
}

impl<const N: usize, const TIMES: u32> Scales for SubBytes<N, TIMES> {
    type Numbers = Sub<i8, N>;
    const BLOCKS: usize = BLOCKS;
    const BYTES: usize = 16 * N + 32;
    const HALVES: bool = N == 16;

    #[inline(always)]
    unsafe fn scale<S: Simd>(meta: *const u8, block: usize, half: usize) -> S::F {
        // SAFETY: the piece of meta of this block.
        unsafe {
            let at = Self::PER * block + half;
            let scale = S::mul(S::load_f16(meta.add(16 * N).cast()), S::load_i8(meta.add(16 * at).cast()));
            if TIMES == 1 { scale } else { S::mul(scale, S::splat(1.0 / TIMES as f32)) }
        }
    }
    fn put(meta: &mut [u8], row: usize, numbers: &Self::Numbers) {
        for (sixteen, scale) in meta.as_chunks_mut::<16>().0.iter_mut().zip(numbers.scales) {
            sixteen[row] = scale.cast_unsigned();
        }
        meta[16 * N + 2 * row..][..2].copy_from_slice(&numbers.d);
    }
    #[inline(always)]
    fn factors(meta: &[u8], row: usize, block: usize, which: usize) -> (f32, f32) {
        let at = Self::PER * block + which % Self::PER;
        (half(&meta[16 * N..], row) * f32::from(meta[16 * at + row].cast_signed()) * (1.0 / TIMES as f32), 0.0)
    }
}

/// Numbers n below 16 for each half of a block, which mean 2n + 1, for codes that are multiplied eightfold.
///
/// `8 x 16` bytes, the first half's number in the low bits; 16 d.
pub struct SubNibbles;

impl Scales for SubNibbles {
    type Numbers = Sub<u8, 16>;
    const BLOCKS: usize = BLOCKS;
    const BYTES: usize = 160;
    const HALVES: bool = true;

    #[inline(always)]
    unsafe fn scale<S: Simd>(meta: *const u8, block: usize, half: usize) -> S::F {
        // SAFETY: the piece of meta of this block.
        unsafe {
            let n = nibble::<S>(meta.add(16 * block), half);
            let d = S::load_f16(meta.add(128).cast());
            S::fma(n, S::mul(d, S::splat(0.25)), S::mul(d, S::splat(0.125)))
        }
    }
    fn put(meta: &mut [u8], row: usize, numbers: &Self::Numbers) {
        for (sixteen, [low, high]) in meta.as_chunks_mut::<16>().0.iter_mut().zip(numbers.scales.as_chunks().0) {
            sixteen[row] = low | high << 4;
        }
        meta[128 + 2 * row..][..2].copy_from_slice(&numbers.d);
    }
    fn factors(meta: &[u8], row: usize, block: usize, which: usize) -> (f32, f32) {
        let n = meta[16 * block + row] >> (4 * which) & 15;
        (half(&meta[128..], row) * f32::from(2 * n + 1) * 0.125, 0.0)
    }
}

/// Numbers whose magnitude is the scale of a block, for codes that are multiplied eightfold, and which are themselves added to
/// codes: the shift of IQ1_S.
///
/// `8 x 16` signed bytes; 16 d.
pub struct SubSigned;

impl Scales for SubSigned {
    type Numbers = Sub<i8, 8>;
    const BLOCKS: usize = BLOCKS;
    const BYTES: usize = 160;
    const MINS: bool = true;

    #[inline(always)]
    unsafe fn scale<S: Simd>(meta: *const u8, block: usize, _half: usize) -> S::F {
        // SAFETY: the piece of meta of this block.
        unsafe {
            let number = S::load_i8(meta.add(16 * block).cast());
            S::mul(S::mul(S::load_f16(meta.add(128).cast()), S::splat(0.125)), S::abs(number))
        }
    }
    #[inline(always)]
    unsafe fn min<S: Simd>(meta: *const u8, block: usize, _part: usize) -> S::F {
        // SAFETY: as above.
        unsafe {
            let number = S::load_i8(meta.add(16 * block).cast());
            S::mul(S::mul(S::load_f16(meta.add(128).cast()), S::splat(0.125)), number)
        }
    }
    fn put(meta: &mut [u8], row: usize, numbers: &Self::Numbers) {
        SubBytes::<8, 1>::put(meta, row, numbers);
    }
    fn factors(meta: &[u8], row: usize, block: usize, _half: usize) -> (f32, f32) {
        let number = f32::from(meta[16 * block + row].cast_signed());
        let d = half(&meta[128..], row) * 0.125;
        (d * number.abs(), d * number)
    }
    fn weight((scale, min): (f32, f32), level: i32) -> f32 {
        // One product, as in the file's format, so that zeros have its signs.
        let down = scale.is_sign_negative() != min.is_sign_negative();
        scale * (level + if down { -1 } else { 1 }) as f32
    }
}

/// The numbers of a row with minima, which are subtracted: `N` pairs, and what multiplies either.
pub struct Affine<const N: usize> {
    /// Scale and minimum, in order of columns.
    pub pairs: [(u8, u8); N],
    /// Two numbers in half precision.
    pub d_dmin: [u8; 4],
}

/// Bytes for a scale and a minimum per block, as Q4_K and Q5_K have them.
///
/// `8 x 16` scales; `8 x 16` minima; 16 d; 16 dmin.
pub struct SubMins;

impl Scales for SubMins {
    type Numbers = Affine<8>;
    const BLOCKS: usize = BLOCKS;
    const BYTES: usize = 320;
    const MINS: bool = true;

    #[inline(always)]
    unsafe fn scale<S: Simd>(meta: *const u8, block: usize, _half: usize) -> S::F {
        // SAFETY: the piece of meta of this block.
        unsafe { S::mul(S::load_f16(meta.add(256).cast()), S::load_i8(meta.add(16 * block).cast())) }
    }
    #[inline(always)]
    unsafe fn min<S: Simd>(meta: *const u8, block: usize, _part: usize) -> S::F {
        // SAFETY: as above.
        unsafe {
            let min = S::load_i8(meta.add(128 + 16 * block).cast());
            S::sub(S::zero(), S::mul(S::load_f16(meta.add(288).cast()), min))
        }
    }
    #[inline(always)]
    fn put(meta: &mut [u8], row: usize, numbers: &Self::Numbers) {
        for (sub, (scale, min)) in numbers.pairs.into_iter().enumerate() {
            meta[16 * sub + row] = scale;
            meta[128 + 16 * sub + row] = min;
        }
        meta[256 + 2 * row..][..2].copy_from_slice(&numbers.d_dmin[..2]);
        meta[288 + 2 * row..][..2].copy_from_slice(&numbers.d_dmin[2..]);
    }
    #[inline(always)]
    fn factors(meta: &[u8], row: usize, block: usize, _half: usize) -> (f32, f32) {
        let (scale, min) = (f32::from(meta[16 * block + row]), f32::from(meta[128 + 16 * block + row]));
        (half(&meta[256..], row) * scale, -(half(&meta[288..], row) * min))
    }
}

/// Four bits each for a scale and a minimum per half of a block, as Q2_K has them.
///
/// `8 x 2 x 16` bytes, the scale in the low bits; 16 d; 16 dmin.
pub struct AffineNibbles;

impl Scales for AffineNibbles {
    type Numbers = Affine<16>;
    const BLOCKS: usize = BLOCKS;
    const BYTES: usize = 320;
    const HALVES: bool = true;
    const MINS: bool = true;

    #[inline(always)]
    unsafe fn scale<S: Simd>(meta: *const u8, block: usize, half: usize) -> S::F {
        // SAFETY: the piece of meta of this block.
        unsafe {
            let scale = nibble::<S>(meta.add(32 * block + 16 * half), 0);
            S::mul(S::load_f16(meta.add(256).cast()), scale)
        }
    }
    #[inline(always)]
    unsafe fn min<S: Simd>(meta: *const u8, block: usize, part: usize) -> S::F {
        // SAFETY: as above. Differences of integers times dmin are exact, too.
        unsafe {
            let halves = meta.add(32 * block);
            let second = nibble::<S>(halves.add(16), 1);
            let minus = match part {
                0 => S::sub(S::zero(), second),
                _ => S::sub(second, nibble::<S>(halves, 1)),
            };
            S::mul(S::load_f16(meta.add(288).cast()), minus)
        }
    }
    fn put(meta: &mut [u8], row: usize, numbers: &Self::Numbers) {
        for (sixteen, (scale, min)) in meta.as_chunks_mut::<16>().0.iter_mut().zip(numbers.pairs) {
            sixteen[row] = scale | min << 4;
        }
        meta[256 + 2 * row..][..2].copy_from_slice(&numbers.d_dmin[..2]);
        meta[288 + 2 * row..][..2].copy_from_slice(&numbers.d_dmin[2..]);
    }
    fn factors(meta: &[u8], row: usize, block: usize, which: usize) -> (f32, f32) {
        let pair = meta[32 * block + 16 * which + row];
        let (scale, min) = (f32::from(pair & 15), f32::from(pair >> 4));
        (half(&meta[256..], row) * scale, -(half(&meta[288..], row) * min))
    }
}

/// The low (0) or high (1) four bits of sixteen bytes.
///
/// # Safety
/// As for [`Simd`]; `at` has 16 bytes.
#[inline(always)]
unsafe fn nibble<S: Simd>(at: *const u8, which: usize) -> S::F {
    // SAFETY: passed on.
    unsafe { if which == 0 { S::load_u4::<0>(at) } else { S::load_u4::<4>(at) } }
}
