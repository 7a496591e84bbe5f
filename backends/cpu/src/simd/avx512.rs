//! AVX-512 tier: one 512-bit register per vector. Needs F, BW, VL, DQ and VNNI.

use super::{LANES, Simd};
use std::arch::x86_64::*;

/// The tier of Ice Lake, Zen 4 and later.
#[derive(Clone, Copy, Debug)]
pub struct Avx512;

#[inline(always)]
fn mask(n: usize) -> u16 {
    // In 32 bits, so that all 16 lanes are not an overflow.
    ((1u32 << n.min(16)) - 1) as u16
}

/// Sums of lanes eight apart: of `a`, then of `b`.
#[inline(always)]
unsafe fn eights(a: __m512, b: __m512) -> __m512 {
    // SAFETY: the trait's contract.
    unsafe {
        let low = _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b);
        _mm512_add_ps(low, _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b))
    }
}
/// In each 256 bits, sums of lanes four apart: four of each half of `a`, then of `b`.
#[inline(always)]
unsafe fn quads(a: __m512, b: __m512) -> __m512 {
    // SAFETY: the trait's contract.
    unsafe {
        let low = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
        _mm512_add_ps(low, _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b))
    }
}
/// In each 128 bits, sums of lanes two apart: two of `a`, two of `b`.
#[inline(always)]
unsafe fn pairs(a: __m512, b: __m512) -> __m512 {
    // SAFETY: the trait's contract.
    unsafe {
        let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
        let (low, high) = (_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
        _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high))
    }
}
/// In each 128 bits, sums of neighbours: two of `a`, two of `b`.
#[inline(always)]
unsafe fn singles(a: __m512, b: __m512) -> __m512 {
    // SAFETY: the trait's contract.
    unsafe { _mm512_add_ps(_mm512_shuffle_ps::<0b10_00_10_00>(a, b), _mm512_shuffle_ps::<0b11_01_11_01>(a, b)) }
}

// SAFETY of all functions: the trait's contract gives the features and the pointers' validity.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Avx512 {
    type F = __m512;
    type I = __m512i;
    type B = __m512i;
    type Acc = __m512i;

    const NAME: &'static str = "avx512";
    const TILE: usize = 8;
    const FLOAT_TILE: usize = 6;
    const PAIR: bool = true;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, a: __m512) {
        unsafe { _mm512_storeu_ps(p, a) }
    }
    #[inline(always)]
    unsafe fn load_n(p: *const f32, n: usize) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(mask(n), p) }
    }
    #[inline(always)]
    unsafe fn store_n(p: *mut f32, a: __m512, n: usize) {
        unsafe { _mm512_mask_storeu_ps(p, mask(n), a) }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, a: __m512) {
        unsafe {
            _mm256_storeu_si256(p.cast(), _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a))
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> __m512 {
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast())))) }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn abs(a: __m512) -> __m512 {
        unsafe { _mm512_abs_ps(a) }
    }
    #[inline(always)]
    unsafe fn sqrt(a: __m512) -> __m512 {
        unsafe { _mm512_sqrt_ps(a) }
    }
    #[inline(always)]
    unsafe fn copysign(a: __m512, sign: __m512) -> __m512 {
        unsafe {
            let bit = _mm512_set1_ps(-0.0);
            _mm512_or_ps(_mm512_andnot_ps(bit, a), _mm512_and_ps(bit, sign))
        }
    }
    #[inline(always)]
    unsafe fn select_lt(a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), no, yes) }
    }
    #[inline(always)]
    unsafe fn round(a: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    unsafe fn floor(a: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    unsafe fn reduce_add(a: __m512) -> f32 {
        unsafe {
            let a = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            let a = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let a = _mm_add_ps(a, _mm_movehl_ps(a, a));
            _mm_cvtss_f32(_mm_add_ss(a, _mm_shuffle_ps::<1>(a, a)))
        }
    }
    #[inline(always)]
    unsafe fn sum_each(a: &[__m512; LANES]) -> __m512 {
        // Each step adds halves of what is left of two vectors, side by side; the order puts sum `i` into lane `i`.
        unsafe {
            let mut q = [_mm512_setzero_ps(); 4];
            for (i, q) in q.iter_mut().enumerate() {
                *q = quads(eights(a[i], a[i + 4]), eights(a[i + 8], a[i + 12]));
            }
            singles(pairs(q[0], q[1]), pairs(q[2], q[3]))
        }
    }
    #[inline(always)]
    unsafe fn reduce_max(a: __m512) -> f32 {
        unsafe {
            let a = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            let a = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let a = _mm_max_ps(a, _mm_movehl_ps(a, a));
            _mm_cvtss_f32(_mm_max_ss(a, _mm_shuffle_ps::<1>(a, a)))
        }
    }

    #[inline(always)]
    unsafe fn to_i32(a: __m512) -> __m512i {
        unsafe { _mm512_cvtps_epi32(a) }
    }
    #[inline(always)]
    unsafe fn from_i32(a: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(a) }
    }
    #[inline(always)]
    unsafe fn pow2(a: __m512i) -> __m512 {
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_add_epi32(a, _mm512_set1_epi32(127)))) }
    }
    #[inline(always)]
    unsafe fn top_magnitude(a: __m512, b: __m512) -> u32 {
        unsafe {
            // Without their sign bits, floats are in the order of their bits.
            let mask = _mm512_set1_epi32(i32::MAX);
            let magnitude = |x| _mm512_and_si512(_mm512_castps_si512(x), mask);
            let x = _mm512_max_epi32(magnitude(a), magnitude(b));
            let x = _mm256_max_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64::<1>(x));
            let x = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
            let x = _mm_max_epi32(x, _mm_shuffle_epi32::<0b01_00_11_10>(x));
            _mm_cvtsi128_si32(_mm_max_epi32(x, _mm_shuffle_epi32::<1>(x))).cast_unsigned()
        }
    }
    #[inline(always)]
    unsafe fn store_codes(p: *mut i8, a: __m512i, b: __m512i) -> (i32, i32) {
        unsafe { super::avx2::store_and_sum(p, _mm512_cvtepi32_epi8(a), _mm512_cvtepi32_epi8(b)) }
    }

    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store_bytes(p: *mut u8, a: __m512i) {
        unsafe { _mm512_storeu_si512(p.cast(), a) }
    }
    #[inline(always)]
    unsafe fn splat_bytes(x: u8) -> __m512i {
        unsafe { _mm512_set1_epi8(x.cast_signed()) }
    }
    #[inline(always)]
    unsafe fn and_bytes(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(a, b) }
    }
    #[inline(always)]
    unsafe fn or_bytes(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    unsafe fn shr_bytes<const N: u32>(a: __m512i) -> __m512i {
        unsafe { _mm512_srli_epi16::<N>(a) }
    }
    #[inline(always)]
    unsafe fn shl_bytes<const N: u32>(a: __m512i) -> __m512i {
        unsafe { _mm512_slli_epi16::<N>(a) }
    }

    #[inline(always)]
    unsafe fn spread_bytes(p: *const u8) -> __m512i {
        unsafe {
            let bytes = _mm512_broadcast_i32x4(_mm_loadu_si128(p.cast()));
            // Each 128 bits take four of the sixteen.
            let rows = _mm512_set_epi32(
                0x0f0f_0f0f,
                0x0e0e_0e0e,
                0x0d0d_0d0d,
                0x0c0c_0c0c,
                0x0b0b_0b0b,
                0x0a0a_0a0a,
                0x0909_0909,
                0x0808_0808,
                0x0707_0707,
                0x0606_0606,
                0x0505_0505,
                0x0404_0404,
                0x0303_0303,
                0x0202_0202,
                0x0101_0101,
                0,
            );
            _mm512_shuffle_epi8(bytes, rows)
        }
    }
    #[inline(always)]
    unsafe fn lookup(table: &[u8; 16], a: __m512i) -> __m512i {
        unsafe { _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())), a) }
    }
    #[inline(always)]
    unsafe fn load_u4<const SHIFT: u32>(p: *const u8) -> __m512 {
        unsafe {
            let wide = _mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast()));
            // Above bit 7 there is nothing.
            let nibbles =
                if SHIFT == 4 { _mm512_srli_epi32::<4>(wide) } else { _mm512_and_si512(wide, _mm512_set1_epi32(15)) };
            _mm512_cvtepi32_ps(nibbles)
        }
    }
    #[inline(always)]
    unsafe fn load_e8m0(p: *const u8) -> __m512 {
        unsafe {
            let e = _mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast()));
            let normal = _mm512_slli_epi32::<23>(_mm512_sub_epi32(e, _mm512_set1_epi32(1)));
            // Below the smallest normal number, and above what `normal` is there: for e of 0 and 1.
            let tiny = _mm512_sllv_epi32(_mm512_set1_epi32(0x0020_0000), _mm512_min_epi32(e, _mm512_set1_epi32(1)));
            _mm512_castsi512_ps(_mm512_max_epi32(normal, tiny))
        }
    }
    #[inline(always)]
    unsafe fn load_e4m3(p: *const u8) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_slli_epi16::<7>(_mm256_cvtepu8_epi16(_mm_loadu_si128(p.cast())))) }
    }

    #[inline(always)]
    unsafe fn dot_start<const BITS: u32>(bias: i32) -> __m512i {
        unsafe { _mm512_set1_epi32(bias) }
    }
    #[inline(always)]
    unsafe fn dot<const BITS: u32>(acc: __m512i, w0: __m512i, w1: __m512i, x0: *const i8, x1: *const i8) -> __m512i {
        // The broadcasts become memory operands of the products. Sums are in 32 bits: nothing saturates.
        unsafe {
            let acc = _mm512_dpbusd_epi32(acc, w0, _mm512_set1_epi32(x0.cast::<i32>().read_unaligned()));
            _mm512_dpbusd_epi32(acc, w1, _mm512_set1_epi32(x1.cast::<i32>().read_unaligned()))
        }
    }
    #[inline(always)]
    unsafe fn dot_finish<const BITS: u32>(acc: __m512i, _bias: i32) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(acc) }
    }

    /// Codes stay where they are in their bytes: those of bits 2, 4 and 6 give 4, 16 and 64 times their products, which a sum in 32
    /// bits has room for, and is divided by in the end, exactly. So there is nothing to shift, and each place has a chain of its own.
    #[inline(always)]
    unsafe fn dots_of_two_bits<const P: usize>(w: [*const u8; P], x: *const i8, bias: i32) -> [__m512; P] {
        unsafe {
            let masks = [0x03, 0x0c, 0x30, 0xc0].map(|mask: u8| _mm512_set1_epi8(mask.cast_signed()));
            let zero = _mm512_setzero_si512();
            let mut acc = [[_mm512_set1_epi32(bias), zero, zero, zero]; P];
            for v in 0..16 {
                for (acc, w) in acc.iter_mut().zip(w) {
                    let from = w.add(64 * v);
                    Self::prefetch(from.wrapping_add(Self::NEAR));
                    let all = Self::load_bytes(from);
                    for (i, acc) in acc.iter_mut().enumerate() {
                        let x = _mm512_set1_epi32(x.add(16 * v + 4 * i).cast::<i32>().read_unaligned());
                        *acc = _mm512_dpbusd_epi32(*acc, _mm512_and_si512(all, masks[i]), x);
                    }
                }
            }
            acc.map(|[a, b, c, d]| {
                let low = _mm512_add_epi32(a, _mm512_srai_epi32::<2>(b));
                let high = _mm512_add_epi32(_mm512_srai_epi32::<4>(c), _mm512_srai_epi32::<6>(d));
                _mm512_cvtepi32_ps(_mm512_add_epi32(low, high))
            })
        }
    }

    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }
}
