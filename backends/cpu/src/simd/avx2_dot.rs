//! Integer dot products in 256-bit registers: eight rows, four columns each.

use super::avx2::I;
use std::arch::x86_64::*;

/// Running dot products of unsigned codes below `2^BITS` and signed numbers in -127..=127, as
/// [`Simd::dot`](super::Simd::dot) has them.
///
/// # Safety
/// As for [`Simd`](super::Simd).
#[allow(clippy::missing_safety_doc)] // Stated once, above.
pub trait Dot: Copy + Send + Sync + 'static {
    /// Name of the tier.
    const NAME: &'static str;
    /// Sums that begin at `bias`, or at zero where `sums` adds it.
    unsafe fn start<const BITS: u32>(bias: i32) -> I;
    /// Adds `w0 · x0 + w1 · x1`.
    unsafe fn add<const BITS: u32>(acc: __m256i, w0: __m256i, w1: __m256i, x0: __m256i, x1: __m256i) -> __m256i;
    /// The sums in 32 bits, for the `bias` of `start`.
    unsafe fn sums<const BITS: u32>(acc: __m256i, bias: i32) -> __m256i;
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
}

/// With AVX-VNNI: four products per lane and instruction, added in 32 bits, where nothing saturates.
#[derive(Clone, Copy, Debug)]
pub struct Dpbusd;

// SAFETY of all functions: the trait's contract gives the features.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Dot for Dpbusd {
    const NAME: &'static str = "avxvnni";

    #[inline(always)]
    unsafe fn start<const BITS: u32>(bias: i32) -> I {
        unsafe { [_mm256_set1_epi32(bias); 2] }
    }
    #[inline(always)]
    unsafe fn add<const BITS: u32>(acc: __m256i, w0: __m256i, w1: __m256i, x0: __m256i, x1: __m256i) -> __m256i {
        unsafe { _mm256_dpbusd_avx_epi32(_mm256_dpbusd_avx_epi32(acc, w0, x0), w1, x1) }
    }
    #[inline(always)]
    unsafe fn sums<const BITS: u32>(acc: __m256i, _bias: i32) -> __m256i {
        acc
    }
}
