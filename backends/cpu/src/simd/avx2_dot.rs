//! Integer dot products in 256-bit registers: eight rows, four columns each.

use super::avx2::{F, I, Ymm};
use super::{Simd, shifted_dots};
use std::arch::x86_64::*;

/// Running dot products of unsigned codes below `2^BITS` and signed numbers in -127..=127, as
/// [`Simd::dot`] has them.
///
/// # Safety
/// As for [`Simd`].
#[allow(clippy::missing_safety_doc)] // Stated once, above.
pub trait Dot: Copy + Send + Sync + 'static {
    /// Name of the tier.
    const NAME: &'static str;
    /// See [`Simd::NEAR`].
    const NEAR: usize = 8 << 10;
    /// Sums that begin at `bias`, or at zero where `sums` adds it.
    unsafe fn start<const BITS: u32>(bias: i32) -> I;
    /// Adds `w0 · x0 + w1 · x1`.
    unsafe fn add<const BITS: u32>(acc: __m256i, w0: __m256i, w1: __m256i, x0: __m256i, x1: __m256i) -> __m256i;
    /// The sums in 32 bits, for the `bias` of `start`.
    unsafe fn sums<const BITS: u32>(acc: __m256i, bias: i32) -> __m256i;
    /// As [`Simd::dots_of_two_bits`].
    unsafe fn dots_of_two_bits<const P: usize>(w: [*const u8; P], x: *const i8, bias: i32) -> [F; P];
}

/// With AVX2 alone, through `maddubs`: it adds two products in 16 bits, and saturates, which must not happen.
///
/// Four bits: sums stay in 16 bits. Two products are at most 2 * 15 * 127; a running sum has 32 products per 32-bit
/// lane, 16 per 16-bit lane: 16 * 15 * 127 = 30480 < 2^15.
///
/// Five and six bits: the four products added in 16 bits are at most 4 * 63 * 127 = 32004 < 2^15; then 32 bits.
///
/// Eight bits: codes are biased by 128. With the bias taken off, |w| <= 128 is an unsigned byte, x takes w's
/// sign, and two products are at most 2 * 128 * 127 = 32512 < 2^15.
#[derive(Clone, Copy, Debug)]
pub struct Maddubs;

// SAFETY of all functions: the trait's contract gives the features.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Dot for Maddubs {
    const NAME: &'static str = "avx2";

    #[inline(always)]
    unsafe fn start<const BITS: u32>(_bias: i32) -> I {
        unsafe { [_mm256_setzero_si256(); 2] }
    }
    #[inline(always)]
    unsafe fn add<const BITS: u32>(acc: __m256i, w0: __m256i, w1: __m256i, x0: __m256i, x1: __m256i) -> __m256i {
        unsafe {
            if BITS <= 4 {
                let acc = _mm256_add_epi16(acc, _mm256_maddubs_epi16(w0, x0));
                _mm256_add_epi16(acc, _mm256_maddubs_epi16(w1, x1))
            } else if BITS <= 6 {
                let sum = _mm256_add_epi16(_mm256_maddubs_epi16(w0, x0), _mm256_maddubs_epi16(w1, x1));
                _mm256_add_epi32(acc, _mm256_madd_epi16(sum, _mm256_set1_epi16(1)))
            } else {
                let mut acc = acc;
                for (w, x) in [(w0, x0), (w1, x1)] {
                    let w = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
                    let sum = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
                    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(sum, _mm256_set1_epi16(1)));
                }
                acc
            }
        }
    }
    #[inline(always)]
    unsafe fn sums<const BITS: u32>(acc: __m256i, bias: i32) -> __m256i {
        unsafe {
            // Eight-bit sums are of signed codes already: their bias, which undoes the offset, is not wanted.
            let sums = if BITS <= 4 { _mm256_madd_epi16(acc, _mm256_set1_epi16(1)) } else { acc };
            if BITS <= 6 { _mm256_add_epi32(sums, _mm256_set1_epi32(bias)) } else { sums }
        }
    }
    #[inline(always)]
    unsafe fn dots_of_two_bits<const P: usize>(w: [*const u8; P], x: *const i8, bias: i32) -> [F; P] {
        unsafe { shifted_dots::<Ymm<Self>, P>(w, x, bias) }
    }
}

/// Four products per lane and instruction, added in 32 bits, where nothing saturates: with AVX-VNNI, or with AVX-512 VNNI and VL.
macro_rules! dpbusd {
    ($name:ident, $tier:literal, $dot:ident, $near:expr) => {
        #[doc = concat!("Through `", stringify!($dot), "`.")]
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        // SAFETY of all functions: the trait's contract gives the features.
        #[allow(clippy::undocumented_unsafe_blocks)]
        impl Dot for $name {
            const NAME: &'static str = $tier;
            const NEAR: usize = $near;

            #[inline(always)]
            unsafe fn start<const BITS: u32>(bias: i32) -> I {
                unsafe { [_mm256_set1_epi32(bias); 2] }
            }
            #[inline(always)]
            unsafe fn add<const BITS: u32>(
                acc: __m256i,
                w0: __m256i,
                w1: __m256i,
                x0: __m256i,
                x1: __m256i,
            ) -> __m256i {
                unsafe { $dot($dot(acc, w0, x0), w1, x1) }
            }
            #[inline(always)]
            unsafe fn sums<const BITS: u32>(acc: __m256i, _bias: i32) -> __m256i {
                acc
            }
            // Codes stay where they are in their bytes; sums are shifted instead.
            #[inline(always)]
            unsafe fn dots_of_two_bits<const P: usize>(w: [*const u8; P], x: *const i8, bias: i32) -> [F; P] {
                unsafe {
                    let masks = [0x03, 0x0c, 0x30, 0xc0].map(|mask: u8| _mm256_set1_epi8(mask.cast_signed()));
                    let zero = [_mm256_setzero_si256(); 2];
                    let mut out = [[_mm256_setzero_ps(); 2]; P];
                    for (out, w) in out.iter_mut().zip(w) {
                        let mut sums = [[_mm256_set1_epi32(bias); 2], zero, zero, zero];
                        for v in 0..16 {
                            let from = w.add(64 * v);
                            Ymm::<Self>::prefetch(from.wrapping_add(Self::NEAR));
                            let all = Ymm::<Self>::load_bytes(from);
                            for (i, (sum, mask)) in sums.iter_mut().zip(masks).enumerate() {
                                let x = _mm256_set1_epi32(x.add(16 * v + 4 * i).cast::<i32>().read_unaligned());
                                for (sum, all) in sum.iter_mut().zip(all) {
                                    *sum = $dot(*sum, _mm256_and_si256(all, mask), x);
                                }
                            }
                        }
                        let [a, b, c, d] = sums;
                        for half in 0..2 {
                            let low = _mm256_add_epi32(a[half], _mm256_srai_epi32::<2>(b[half]));
                            let high =
                                _mm256_add_epi32(_mm256_srai_epi32::<4>(c[half]), _mm256_srai_epi32::<6>(d[half]));
                            out[half] = _mm256_cvtepi32_ps(_mm256_add_epi32(low, high));
                        }
                    }
                    out
                }
            }
        }
    };
}
dpbusd!(Dpbusd, "avxvnni", _mm256_dpbusd_avx_epi32, 8 << 10);
// A core of a Zen 4 reads whole bytes at 29 to 38 GB/s by itself, and at 19 to 22 where lines of the next page are asked for;
// two bits at 25 and 15. What takes more computing needs asking: five bits at 29 with it, and 24 without.
dpbusd!(DpbusdVl, "avx512-ymm", _mm256_dpbusd_epi32, 512);
