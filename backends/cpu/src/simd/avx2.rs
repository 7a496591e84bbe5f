//! AVX2 tiers: two 256-bit registers per vector. They need AVX2, FMA and F16C, and whatever their integer dot products do.

use super::avx2_dot::Dot;
use super::{LANES, Simd};
use std::arch::x86_64::*;
use std::marker::PhantomData;

/// The tiers of Haswell, Zen and later, which differ in their integer dot products.
#[derive(Clone, Copy, Debug)]
pub struct Ymm<D>(PhantomData<D>);

pub(super) type F = [__m256; 2];
pub(super) type I = [__m256i; 2];

/// Lanes below `n` all ones, in the form that masked loads take; `half` is 0 or 8.
#[inline(always)]
unsafe fn mask(n: usize, half: i32) -> __m256i {
    // SAFETY: the trait's contract.
    unsafe {
        let lanes = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(half));
        _mm256_cmpgt_epi32(_mm256_set1_epi32(n.min(16) as i32), lanes)
    }
}

/// Stores twice 16 signed bytes, and adds up either.
///
/// # Safety
/// As for [`Simd`]; `p` has 32 bytes.
#[inline(always)]
pub(super) unsafe fn store_and_sum(p: *mut i8, a: __m128i, b: __m128i) -> (i32, i32) {
    // SAFETY: the trait's contract.
    unsafe {
        let both = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(a), b);
        _mm256_storeu_si256(p.cast(), both);
        // The instruction that adds bytes takes unsigned ones: 128 more each, twice 8 of them.
        let sums = _mm256_sad_epu8(_mm256_xor_si256(both, _mm256_set1_epi8(-128)), _mm256_setzero_si256());
        let sums = _mm256_add_epi64(sums, _mm256_unpackhi_epi64(sums, sums));
        let (low, high) = (_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
        (_mm_cvtsi128_si32(low) - 16 * 128, _mm_cvtsi128_si32(high) - 16 * 128)
    }
}

/// In each 128 bits, sums of lanes eight and four apart: of `a`, and of `b`.
#[inline(always)]
unsafe fn quads(a: F, b: F) -> __m256 {
    // SAFETY: the trait's contract.
    unsafe {
        let (a, b) = (_mm256_add_ps(a[0], a[1]), _mm256_add_ps(b[0], b[1]));
        _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
    }
}
/// In each 128 bits, sums of lanes two apart: two of `a`, two of `b`.
#[inline(always)]
unsafe fn pairs(a: __m256, b: __m256) -> __m256 {
    // SAFETY: the trait's contract.
    unsafe {
        let (a, b) = (_mm256_castps_pd(a), _mm256_castps_pd(b));
        let (low, high) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
        _mm256_add_ps(_mm256_castpd_ps(low), _mm256_castpd_ps(high))
    }
}
/// In each 128 bits, sums of neighbours: two of `a`, two of `b`.
#[inline(always)]
unsafe fn singles(a: __m256, b: __m256) -> __m256 {
    // SAFETY: the trait's contract.
    unsafe { _mm256_add_ps(_mm256_shuffle_ps::<0b10_00_10_00>(a, b), _mm256_shuffle_ps::<0b11_01_11_01>(a, b)) }
}

/// One function per half.
macro_rules! halves {
    ($a:expr, |$x:ident| $e:expr) => {{
        let a = $a;
        let lo = {
            let $x = a[0];
            $e
        };
        let hi = {
            let $x = a[1];
            $e
        };
        [lo, hi]
    }};
    ($a:expr, $b:expr, |$x:ident, $y:ident| $e:expr) => {{
        let (a, b) = ($a, $b);
        let lo = {
            let ($x, $y) = (a[0], b[0]);
            $e
        };
        let hi = {
            let ($x, $y) = (a[1], b[1]);
            $e
        };
        [lo, hi]
    }};
}

// SAFETY of all functions: the trait's contract gives the features and the pointers' validity.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<D: Dot> Simd for Ymm<D> {
    type F = F;
    type I = I;
    type B = I;
    type Acc = I;

    const NAME: &'static str = D::NAME;
    const NEAR: usize = D::NEAR;
    const TILE: usize = 4;
    // With three, some of the sums had to live in memory: a tenth slower.
    const FLOAT_TILE: usize = 2;
    const PAIR: bool = false;

    #[inline(always)]
    unsafe fn zero() -> F {
        unsafe { [_mm256_setzero_ps(); 2] }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> F {
        unsafe { [_mm256_set1_ps(x); 2] }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F {
        unsafe { [_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))] }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, a: F) {
        unsafe {
            _mm256_storeu_ps(p, a[0]);
            _mm256_storeu_ps(p.add(8), a[1]);
        }
    }
    #[inline(always)]
    unsafe fn load_n(p: *const f32, n: usize) -> F {
        // Masked lanes are not read, so the address may run past the end: hence the wrapping step.
        unsafe { [_mm256_maskload_ps(p, mask(n, 0)), _mm256_maskload_ps(p.wrapping_add(8), mask(n, 8))] }
    }
    #[inline(always)]
    unsafe fn store_n(p: *mut f32, a: F, n: usize) {
        unsafe {
            _mm256_maskstore_ps(p, mask(n, 0), a[0]);
            _mm256_maskstore_ps(p.wrapping_add(8), mask(n, 8), a[1]);
        }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> F {
        unsafe { [_mm256_cvtph_ps(_mm_loadu_si128(p.cast())), _mm256_cvtph_ps(_mm_loadu_si128(p.add(8).cast()))] }
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, a: F) {
        unsafe {
            _mm_storeu_si128(p.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(a[0]));
            _mm_storeu_si128(p.add(8).cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(a[1]));
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> F {
        unsafe {
            halves!([p, p.add(8)], |p| {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
            })
        }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> F {
        unsafe { halves!([p, p.add(8)], |p| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast())))) }
    }

    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        unsafe { halves!(a, b, |a, b| _mm256_add_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        unsafe { halves!(a, b, |a, b| _mm256_sub_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        unsafe { halves!(a, b, |a, b| _mm256_mul_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        unsafe { halves!(a, b, |a, b| _mm256_div_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        unsafe { halves!(a, b, |a, b| _mm256_max_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        unsafe { halves!(a, b, |a, b| _mm256_min_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn abs(a: F) -> F {
        unsafe { halves!(a, |a| _mm256_andnot_ps(_mm256_set1_ps(-0.0), a)) }
    }
    #[inline(always)]
    unsafe fn sqrt(a: F) -> F {
        unsafe { halves!(a, |a| _mm256_sqrt_ps(a)) }
    }
    #[inline(always)]
    unsafe fn copysign(a: F, sign: F) -> F {
        unsafe {
            let bit = _mm256_set1_ps(-0.0);
            halves!(a, sign, |a, s| _mm256_or_ps(_mm256_andnot_ps(bit, a), _mm256_and_ps(bit, s)))
        }
    }
    #[inline(always)]
    unsafe fn select_lt(a: F, b: F, yes: F, no: F) -> F {
        unsafe {
            let m = halves!(a, b, |a, b| _mm256_cmp_ps::<_CMP_LT_OQ>(a, b));
            [_mm256_blendv_ps(no[0], yes[0], m[0]), _mm256_blendv_ps(no[1], yes[1], m[1])]
        }
    }
    #[inline(always)]
    unsafe fn round(a: F) -> F {
        unsafe { halves!(a, |a| _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)) }
    }
    #[inline(always)]
    unsafe fn floor(a: F) -> F {
        unsafe { halves!(a, |a| _mm256_floor_ps(a)) }
    }
    #[inline(always)]
    unsafe fn reduce_add(a: F) -> f32 {
        unsafe {
            let a = _mm256_add_ps(a[0], a[1]);
            let a = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let a = _mm_add_ps(a, _mm_movehl_ps(a, a));
            _mm_cvtss_f32(_mm_add_ss(a, _mm_shuffle_ps::<1>(a, a)))
        }
    }
    #[inline(always)]
    unsafe fn sum_each(a: &[F; LANES]) -> F {
        // Each step adds halves of what is left of two vectors, side by side; the order puts sum `i` into lane `i`.
        unsafe {
            let mut out = [_mm256_setzero_ps(); 2];
            for (out, a) in out.iter_mut().zip(a.as_chunks::<8>().0) {
                let (even, odd) =
                    (pairs(quads(a[0], a[4]), quads(a[1], a[5])), pairs(quads(a[2], a[6]), quads(a[3], a[7])));
                *out = singles(even, odd);
            }
            out
        }
    }
    #[inline(always)]
    unsafe fn reduce_max(a: F) -> f32 {
        unsafe {
            let a = _mm256_max_ps(a[0], a[1]);
            let a = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let a = _mm_max_ps(a, _mm_movehl_ps(a, a));
            _mm_cvtss_f32(_mm_max_ss(a, _mm_shuffle_ps::<1>(a, a)))
        }
    }

    #[inline(always)]
    unsafe fn to_i32(a: F) -> I {
        unsafe { halves!(a, |a| _mm256_cvtps_epi32(a)) }
    }
    #[inline(always)]
    unsafe fn from_i32(a: I) -> F {
        unsafe { halves!(a, |a| _mm256_cvtepi32_ps(a)) }
    }
    #[inline(always)]
    unsafe fn pow2(a: I) -> F {
        unsafe {
            let bias = _mm256_set1_epi32(127);
            halves!(a, |a| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(a, bias))))
        }
    }
    #[inline(always)]
    unsafe fn top_magnitude(a: F, b: F) -> u32 {
        unsafe {
            // Without their sign bits, floats are in the order of their bits.
            let mask = _mm256_set1_epi32(i32::MAX);
            let magnitude = |x| _mm256_and_si256(_mm256_castps_si256(x), mask);
            let x = _mm256_max_epi32(magnitude(a[0]), magnitude(a[1]));
            let y = _mm256_max_epi32(magnitude(b[0]), magnitude(b[1]));
            let x = _mm256_max_epi32(x, y);
            let x = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
            let x = _mm_max_epi32(x, _mm_shuffle_epi32::<0b01_00_11_10>(x));
            _mm_cvtsi128_si32(_mm_max_epi32(x, _mm_shuffle_epi32::<1>(x))).cast_unsigned()
        }
    }
    #[inline(always)]
    unsafe fn store_codes(p: *mut i8, a: I, b: I) -> (i32, i32) {
        unsafe {
            // Packing works within 128-bit lanes: 0-3 8-11 | 4-7 12-15 in words, put in order afterwards.
            let bytes = |a: I| {
                let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(a[0], a[1]));
                _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words))
            };
            store_and_sum(p, bytes(a), bytes(b))
        }
    }

    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> I {
        unsafe { [_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(32).cast())] }
    }
    #[inline(always)]
    unsafe fn store_bytes(p: *mut u8, a: I) {
        unsafe {
            _mm256_storeu_si256(p.cast(), a[0]);
            _mm256_storeu_si256(p.add(32).cast(), a[1]);
        }
    }
    #[inline(always)]
    unsafe fn splat_bytes(x: u8) -> I {
        unsafe { [_mm256_set1_epi8(x.cast_signed()); 2] }
    }
    #[inline(always)]
    unsafe fn and_bytes(a: I, b: I) -> I {
        unsafe { halves!(a, b, |a, b| _mm256_and_si256(a, b)) }
    }
    #[inline(always)]
    unsafe fn or_bytes(a: I, b: I) -> I {
        unsafe { halves!(a, b, |a, b| _mm256_or_si256(a, b)) }
    }
    #[inline(always)]
    unsafe fn shr_bytes<const N: u32>(a: I) -> I {
        // The count is a constant, which the compiler folds; const generics of the intrinsics are i32.
        unsafe { halves!(a, |a| _mm256_srl_epi16(a, _mm_cvtsi32_si128(N as i32))) }
    }
    #[inline(always)]
    unsafe fn shl_bytes<const N: u32>(a: I) -> I {
        unsafe { halves!(a, |a| _mm256_sll_epi16(a, _mm_cvtsi32_si128(N as i32))) }
    }

    #[inline(always)]
    unsafe fn spread_bytes(p: *const u8) -> I {
        unsafe {
            // Eight bytes, in both halves of a register, each of which takes four.
            halves!([p, p.add(8)], |p| {
                let bytes = _mm256_set1_epi64x(p.cast::<i64>().read_unaligned());
                let rows = _mm256_setr_epi32(
                    0,
                    0x0101_0101,
                    0x0202_0202,
                    0x0303_0303,
                    0x0404_0404,
                    0x0505_0505,
                    0x0606_0606,
                    0x0707_0707,
                );
                _mm256_shuffle_epi8(bytes, rows)
            })
        }
    }
    #[inline(always)]
    unsafe fn lookup(table: &[u8; 16], a: I) -> I {
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            halves!(a, |a| _mm256_shuffle_epi8(table, a))
        }
    }
    #[inline(always)]
    unsafe fn load_u4<const SHIFT: u32>(p: *const u8) -> F {
        unsafe {
            halves!([p, p.add(8)], |p| {
                let wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast()));
                // Above bit 7 there is nothing.
                let nibbles = if SHIFT == 4 {
                    _mm256_srli_epi32::<4>(wide)
                } else {
                    _mm256_and_si256(wide, _mm256_set1_epi32(15))
                };
                _mm256_cvtepi32_ps(nibbles)
            })
        }
    }
    #[inline(always)]
    unsafe fn load_e8m0(p: *const u8) -> F {
        unsafe {
            halves!([p, p.add(8)], |p| {
                let e = _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast()));
                let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(e, _mm256_set1_epi32(1)));
                // Below the smallest normal number, and above what `normal` is there: for e of 0 and 1.
                let tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x0020_0000), _mm256_min_epi32(e, _mm256_set1_epi32(1)));
                _mm256_castsi256_ps(_mm256_max_epi32(normal, tiny))
            })
        }
    }
    #[inline(always)]
    unsafe fn load_e4m3(p: *const u8) -> F {
        unsafe {
            let halves = _mm256_slli_epi16::<7>(_mm256_cvtepu8_epi16(_mm_loadu_si128(p.cast())));
            [_mm256_cvtph_ps(_mm256_castsi256_si128(halves)), _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(halves))]
        }
    }

    #[inline(always)]
    unsafe fn dots_of_two_bits<const P: usize>(w: [*const u8; P], x: *const i8, bias: i32) -> [F; P] {
        unsafe { D::dots_of_two_bits(w, x, bias) }
    }
    #[inline(always)]
    unsafe fn dot_start<const BITS: u32>(bias: i32) -> I {
        unsafe { D::start::<BITS>(bias) }
    }
    #[inline(always)]
    unsafe fn dot<const BITS: u32>(acc: I, w0: I, w1: I, x0: *const i8, x1: *const i8) -> I {
        unsafe {
            let x0 = _mm256_set1_epi32(x0.cast::<i32>().read_unaligned());
            let x1 = _mm256_set1_epi32(x1.cast::<i32>().read_unaligned());
            [D::add::<BITS>(acc[0], w0[0], w1[0], x0, x1), D::add::<BITS>(acc[1], w0[1], w1[1], x0, x1)]
        }
    }
    #[inline(always)]
    unsafe fn dot_finish<const BITS: u32>(acc: I, bias: i32) -> F {
        unsafe { halves!(acc, |a| _mm256_cvtepi32_ps(D::sums::<BITS>(a, bias))) }
    }

    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }
}
