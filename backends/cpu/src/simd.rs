//! What a SIMD tier offers: vectors of 16 lanes, whatever the registers' width.
//!
//! A kernel is written once, generic over [`Simd`], and instantiated per tier inside a function that has
//! the tier's `#[target_feature]`; everything here is inlined into that function. Sixteen lanes fill one
//! AVX-512 register, two of AVX2, four of NEON or SIMD128: wide enough to hide latency on all of them. Tiers that differ
//! in their integer dot products alone share the rest: `avx2.rs`, `neon.rs` and `simd128.rs` are generic over
//! what is in `*_dot.rs`.
//!
//! Results depend on the tier only where a tier has no fused multiply-add; within a tier they are fixed.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_dot;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_dot;
mod scalar;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128_dot;

#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use scalar::Scalar;

/// Tier with AVX2, FMA and F16C.
#[cfg(target_arch = "x86_64")]
pub type Avx2 = avx2::Ymm<avx2_dot::Maddubs>;
/// Tier with AVX-VNNI besides.
#[cfg(target_arch = "x86_64")]
pub type AvxVnni = avx2::Ymm<avx2_dot::Dpbusd>;
/// Halves of AVX-512's registers: its kernels for one token where these are fastest.
#[cfg(target_arch = "x86_64")]
pub type Avx512Ymm = avx2::Ymm<avx2_dot::DpbusdVl>;
/// Tier with NEON.
#[cfg(target_arch = "aarch64")]
pub type Neon = neon::Quads<neon_dot::Widening>;
/// Tier with `sdot` besides.
#[cfg(target_arch = "aarch64")]
pub type NeonDotprod = neon::Quads<neon_dot::Signed>;
/// Tier with `usdot` besides.
#[cfg(target_arch = "aarch64")]
pub type NeonI8mm = neon::Quads<neon_dot::Mixed>;
/// Tier with SIMD128.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub type Simd128 = simd128::Wasm<simd128_dot::Strict>;
/// Tier with relaxed SIMD besides.
#[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
pub type RelaxedSimd = simd128::Wasm<simd128_dot::Relaxed>;

/// Lanes of [`Simd::F`] and [`Simd::I`].
pub const LANES: usize = 16;

/// Vector operations of a tier.
///
/// # Safety
/// Every function requires that the processor has the tier's features, and that the calling function is
/// inlined into one that enables them. Pointers must be valid for the lanes named; no alignment is required.
/// `max` and `min` give their second operand where either is NaN.
#[allow(missing_docs)] // One-line operations whose name says everything; the others are documented.
#[allow(clippy::missing_safety_doc)] // Stated once, above.
pub trait Simd: Copy + Send + Sync + 'static {
    /// 16 lanes of f32.
    type F: Copy;
    /// 16 lanes of i32.
    type I: Copy;
    /// 64 bytes: four consecutive columns of 16 rows, row by row.
    type B: Copy;
    /// How far ahead of the reader products ask for weights, in bytes, into a second-level cache: what keeps enough cache lines on
    /// their way to use all of memory's bandwidth. A first-level cache of 32 KiB is too small to wait in beside a token (decoding in
    /// Q4_0 was 23% slower with it). With one thread 8 to 64 KiB are alike and 4 a fifth slower; the share of a thread in a small matrix
    /// is short, so that more is asked for in vain beyond its end: two threads are a tenth slower with 32 KiB, a quarter with 64.
    const AHEAD: usize = 8 << 10;
    /// The same where little is computed: with codes of whole bytes, and of two bits.
    const NEAR: usize = Self::AHEAD;
    /// Sums of a running integer dot product, in whatever form the tier accumulates best.
    type Acc: Copy;

    /// As in `TERN_CPU_TIER`.
    const NAME: &'static str;
    /// Tokens that the matrix kernels take at a time; with [`PAIR`](Self::PAIR) two panels of rows at once. As many
    /// sums as there are registers for.
    const TILE: usize;
    /// The same for float weights: 6, with four rows at once, or 3 or 2, with two.
    const FLOAT_TILE: usize;
    /// Are there registers for two panels?
    const PAIR: bool;

    unsafe fn zero() -> Self::F;
    unsafe fn splat(x: f32) -> Self::F;
    unsafe fn load(p: *const f32) -> Self::F;
    unsafe fn store(p: *mut f32, a: Self::F);
    /// The first `n <= 16` lanes; the others are zero.
    unsafe fn load_n(p: *const f32, n: usize) -> Self::F;
    /// The first `n <= 16` lanes.
    unsafe fn store_n(p: *mut f32, a: Self::F, n: usize);
    unsafe fn load_f16(p: *const u16) -> Self::F;
    /// Rounds to nearest, ties to even.
    unsafe fn store_f16(p: *mut u16, a: Self::F);
    unsafe fn load_bf16(p: *const u16) -> Self::F;
    /// Sixteen signed bytes as floats.
    unsafe fn load_i8(p: *const i8) -> Self::F;

    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once where the tier can, always the same way within a tier.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn abs(a: Self::F) -> Self::F;
    unsafe fn sqrt(a: Self::F) -> Self::F;
    /// Magnitude of `a`, sign of `sign`.
    unsafe fn copysign(a: Self::F, sign: Self::F) -> Self::F;
    /// Per lane `a < b ? yes : no`; a NaN compares false.
    unsafe fn select_lt(a: Self::F, b: Self::F, yes: Self::F, no: Self::F) -> Self::F;
    /// To the nearest integer, ties to even.
    unsafe fn round(a: Self::F) -> Self::F;
    unsafe fn floor(a: Self::F) -> Self::F;
    /// Pairs lanes `i` and `i + 8`, then `i + 4`, `i + 2`, `i + 1`: one tree for all tiers.
    unsafe fn reduce_add(a: Self::F) -> f32;
    /// Lane `i` is [`reduce_add`](Self::reduce_add) of vector `i`, bit for bit.
    unsafe fn sum_each(a: &[Self::F; LANES]) -> Self::F;
    /// Largest lane, same tree.
    unsafe fn reduce_max(a: Self::F) -> f32;

    /// To the nearest integer, ties to even; out of range gives `i32::MIN` or saturates.
    unsafe fn to_i32(a: Self::F) -> Self::I;
    unsafe fn from_i32(a: Self::I) -> Self::F;
    /// `2^a` for `a` in -126..=127.
    unsafe fn pow2(a: Self::I) -> Self::F;
    /// The largest of 32 magnitudes, as bits of f32. A NaN counts as larger than infinity.
    unsafe fn top_magnitude(a: Self::F, b: Self::F) -> u32;
    /// Stores 32 lanes that are in -128..=127 as bytes, and yields the sums of either half.
    unsafe fn store_codes(p: *mut i8, a: Self::I, b: Self::I) -> (i32, i32);

    unsafe fn load_bytes(p: *const u8) -> Self::B;
    unsafe fn store_bytes(p: *mut u8, a: Self::B);
    unsafe fn splat_bytes(x: u8) -> Self::B;
    unsafe fn and_bytes(a: Self::B, b: Self::B) -> Self::B;
    unsafe fn or_bytes(a: Self::B, b: Self::B) -> Self::B;
    /// Shifts right by `N`, bytes or 16-bit lanes, whichever the tier has: bits may cross from odd bytes into even ones, so
    /// mask afterwards.
    unsafe fn shr_bytes<const N: u32>(a: Self::B) -> Self::B;
    /// The same to the left, from even bytes into odd ones.
    unsafe fn shl_bytes<const N: u32>(a: Self::B) -> Self::B;

    /// Sixteen bytes, each four times: one per row of a quad.
    #[inline(always)]
    unsafe fn spread_bytes(p: *const u8) -> Self::B {
        // SAFETY: as the caller's: 16 bytes at `p`, 64 in the array.
        unsafe {
            let bytes: [u8; 64] = std::array::from_fn(|i| *p.add(i / 4));
            Self::load_bytes(bytes.as_ptr())
        }
    }
    /// `table[b]` for each byte b of `a`, which is below 16.
    #[inline(always)]
    unsafe fn lookup(table: &[u8; 16], a: Self::B) -> Self::B {
        // SAFETY: as the caller's: arrays of 64 bytes.
        unsafe {
            let mut bytes = [0; 64];
            Self::store_bytes(bytes.as_mut_ptr(), a);
            let found = bytes.map(|b| table[usize::from(b & 15)]);
            Self::load_bytes(found.as_ptr())
        }
    }
    /// Bits `SHIFT` to `SHIFT + 3` of sixteen bytes as floats; `SHIFT` is 0 or 4.
    #[inline(always)]
    unsafe fn load_u4<const SHIFT: u32>(p: *const u8) -> Self::F {
        // SAFETY: as the caller's: 16 bytes at `p`, 16 floats in the array.
        unsafe {
            let floats: [f32; LANES] = std::array::from_fn(|i| f32::from(*p.add(i) >> SHIFT & 15));
            Self::load(floats.as_ptr())
        }
    }
    /// `2^(e - 128)` for sixteen bytes e, also where that is subnormal.
    #[inline(always)]
    unsafe fn load_e8m0(p: *const u8) -> Self::F {
        // SAFETY: as the caller's: 16 bytes at `p`, 16 floats in the array.
        unsafe {
            let floats: [f32; LANES] = std::array::from_fn(|i| tern_quant::mxfp4::half_scale(*p.add(i)));
            Self::load(floats.as_ptr())
        }
    }
    /// Sixteen bytes below 128 as floats with four bits of exponent and three of fraction, times `2^-8`: half-precision
    /// numbers whose other bits are zero.
    #[inline(always)]
    unsafe fn load_e4m3(p: *const u8) -> Self::F {
        // SAFETY: as the caller's: 16 bytes at `p`, 16 numbers in the array.
        unsafe {
            let halves: [u16; LANES] = std::array::from_fn(|i| u16::from(*p.add(i)) << 7);
            Self::load_f16(halves.as_ptr())
        }
    }

    /// Begins a dot product at `bias`, one number for all lanes.
    ///
    /// `BITS` is 4, 5, 6 or 8: codes are below `2^BITS`, and x is in -127..=127. A running sum holds at most
    /// 32 products per lane, so that tiers which sum in 16 bits stay in range.
    unsafe fn dot_start<const BITS: u32>(bias: i32) -> Self::Acc;
    /// Adds `w0 · x0 + w1 · x1`: per lane four codes times the four numbers at `x0`, and at `x1`.
    unsafe fn dot<const BITS: u32>(acc: Self::Acc, w0: Self::B, w1: Self::B, x0: *const i8, x1: *const i8)
    -> Self::Acc;
    /// The sums, for the `bias` of [`Simd::dot_start`], as floats; exact below 2^24, which 32 products are.
    unsafe fn dot_finish<const BITS: u32>(acc: Self::Acc, bias: i32) -> Self::F;

    /// Two-bit codes as bytes: those in bits 0, 2, 4 and 6 of 64 bytes.
    #[inline(always)]
    unsafe fn two_bits(p: *const u8) -> [Self::B; 4] {
        // SAFETY: as the caller's: 64 bytes at `p`.
        unsafe {
            let all = Self::load_bytes(p);
            let mask = Self::splat_bytes(3);
            [
                Self::and_bytes(all, mask),
                Self::and_bytes(Self::shr_bytes::<2>(all), mask),
                Self::and_bytes(Self::shr_bytes::<4>(all), mask),
                Self::and_bytes(Self::shr_bytes::<6>(all), mask),
            ]
        }
    }
    /// Dot products of 256 two-bit codes per lane with the 256 numbers at `x`, plus `bias`, for each of `P` runs of 1024 bytes: vector
    /// `v` of a run has quads `4v` to `4v + 3`, as [`two_bits`](Self::two_bits) has them. Asks for what lies further on.
    #[inline(always)]
    unsafe fn dots_of_two_bits<const P: usize>(w: [*const u8; P], x: *const i8, bias: i32) -> [Self::F; P] {
        // SAFETY: passed on.
        unsafe { shifted_dots::<Self, P>(w, x, bias) }
    }

    /// Asks for the cache line at `p`, which may be any address, into the second-level cache: what is asked for long enough
    /// before it is read does not fit the first.
    unsafe fn prefetch(p: *const u8);

    /// `e^a` within 2 units in the last place; 0 below -87, infinity from 88.73 up.
    #[inline(always)]
    unsafe fn exp(a: Self::F) -> Self::F {
        // SAFETY: as the caller's. The order of operands lets a NaN through.
        unsafe {
            let x = Self::min(Self::splat(89.0), Self::max(Self::splat(-88.0), a));
            // At most 127, so that 2^n is finite; the rest of the range is the polynomial's.
            let n = Self::min(Self::round(Self::mul(x, Self::splat(std::f32::consts::LOG2_E))), Self::splat(127.0));
            // ln 2 in two parts: the first has few bits, so n times it is exact.
            let r = Self::fma(n, Self::splat(-0.693_359_4), x);
            let r = Self::fma(n, Self::splat(2.121_944_4e-4), r);
            let mut p = Self::splat(1.987_569_1e-4);
            for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_5e-2, 0.166_666_65, 0.5] {
                p = Self::fma(p, r, Self::splat(c));
            }
            let p = Self::add(Self::fma(Self::mul(p, r), r, r), Self::splat(1.0));
            let y = Self::mul(p, Self::pow2(Self::to_i32(n)));
            Self::select_lt(a, Self::splat(-87.0), Self::zero(), y)
        }
    }

    /// `1 / (1 + e^-a)`.
    #[inline(always)]
    unsafe fn sigmoid(a: Self::F) -> Self::F {
        // SAFETY: as the caller's.
        unsafe {
            let one = Self::splat(1.0);
            Self::div(one, Self::add(one, Self::exp(Self::sub(Self::zero(), a))))
        }
    }

    /// Hyperbolic tangent, by its series near zero where the quotient would cancel.
    #[inline(always)]
    unsafe fn tanh(a: Self::F) -> Self::F {
        // SAFETY: as the caller's.
        unsafe {
            let x = Self::abs(a);
            let one = Self::splat(1.0);
            // 1 - 2 / (e^2x + 1); beyond 10 the result is 1 in f32.
            let e = Self::exp(Self::mul(Self::splat(2.0), Self::min(Self::splat(10.0), x)));
            let far = Self::sub(one, Self::div(Self::splat(2.0), Self::add(e, one)));
            let s = Self::mul(x, x);
            let mut p = Self::splat(-5.704_988_7e-3);
            for c in [2.063_909e-2, -5.373_971_5e-2, 0.133_314_42, -0.333_332_8] {
                p = Self::fma(p, s, Self::splat(c));
            }
            let near = Self::fma(Self::mul(p, s), x, x);
            Self::copysign(Self::select_lt(x, Self::splat(0.625), near, far), a)
        }
    }
}

/// As [`Simd::dots_of_two_bits`], for any tier.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn shifted_dots<S: Simd, const P: usize>(w: [*const u8; P], x: *const i8, bias: i32) -> [S::F; P] {
    // SAFETY: as the caller's: `P` runs, 256 numbers.
    unsafe {
        let mut sums = [S::zero(); P];
        // Where sums are kept in 16 bits, half a run is 64 products each, at most 64 * 3 * 127 = 24384 < 2^15.
        for half in 0..2 {
            let bias = if half == 0 { bias } else { 0 };
            for (sum, w) in sums.iter_mut().zip(w) {
                let mut acc = S::dot_start::<2>(bias);
                for v in 8 * half..8 * half + 8 {
                    let from = w.add(64 * v);
                    S::prefetch(from.wrapping_add(S::NEAR));
                    let quads = S::two_bits(from);
                    let x = x.add(16 * v);
                    acc = S::dot::<2>(acc, quads[0], quads[1], x, x.add(4));
                    acc = S::dot::<2>(acc, quads[2], quads[3], x.add(8), x.add(12));
                }
                *sum = S::add(*sum, S::dot_finish::<2>(acc, bias));
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests;
