//! Half-precision and bfloat16 conversions.
//!
//! Written without branches on the value, so that loops over slices vectorize on every target, and
//! without producing subnormal `f32` intermediates, so that a host thread which flushes subnormals
//! to zero (audio threads do) still gets exact results.

/// Exponent bias difference between `f32` (127) and IEEE half (15), in `f32` exponent position.
const BIAS: u32 = (127 - 15) << 23;

/// Bit pattern of the smallest normal half, 2^-14, as `f32`.
const MIN_NORMAL: u32 = (127 - 14) << 23;

/// All-ones exponent of `f32`: infinity, and the bound above which lies NaN.
const INF: u32 = 0x7f80_0000;

/// Converts an IEEE 754 half-precision bit pattern to `f32`. Exact; signalling NaNs become quiet.
#[inline]
pub fn f16_to_f32(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let magnitude = i32::from(half & 0x7fff);
    let shifted = (magnitude as u32) << 13;

    let normal = shifted + BIAS;
    let special = shifted | INF | (u32::from(magnitude > 0x7c00) << 22);
    // A subnormal half counts units of 2^-24; the product is exact and a normal f32.
    let subnormal = (magnitude as f32 * (1.0 / 16_777_216.0)).to_bits();

    let finite = if magnitude < 0x0400 { subnormal } else { normal };
    let value = if magnitude >= 0x7c00 { special } else { finite };
    f32::from_bits(sign | value)
}

/// Converts `f32` to the nearest IEEE half, ties to even. Overflow gives infinity, NaN stays NaN (quiet).
#[inline]
pub fn f32_to_f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let magnitude = bits & 0x7fff_ffff;

    // Adding just under half a unit, plus the kept bit's parity, carries exactly when ties-to-even rounds up.
    let rounded = magnitude.wrapping_add(0x0fff + ((magnitude >> 13) & 1)).wrapping_sub(BIAS) >> 13;
    // Below 2^-14 the unit is 2^-24, which is the unit in the last place of 0.5: let the adder round.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let nan = 0x7e00 | ((magnitude >> 13) & 0x03ff);

    // Compared as signed numbers (both are non-negative) because baseline SSE2 has no unsigned compare.
    let signed = magnitude as i32;
    let finite = if signed < MIN_NORMAL as i32 { subnormal } else { rounded };
    // 65520 is the tie between the largest half and infinity; it rounds to even, that is, up.
    let clamped = if signed >= 65520f32.to_bits() as i32 { 0x7c00 } else { finite };
    let half = if signed > INF as i32 { nan } else { clamped };
    (sign | half) as u16
}

/// Converts a bfloat16 bit pattern to `f32`. Exact, every bit pattern included.
#[inline]
pub fn bf16_to_f32(brain: u16) -> f32 {
    f32::from_bits(u32::from(brain) << 16)
}

/// Converts `f32` to the nearest bfloat16, ties to even. Overflow gives infinity, NaN stays NaN (quiet).
#[inline]
pub fn f32_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    // Without this case a NaN whose payload lies in the dropped bits would round to infinity.
    let nan = (bits >> 16) | 0x0040;
    let is_nan = (bits & 0x7fff_ffff) as i32 > INF as i32;
    (if is_nan { nan } else { rounded }) as u16
}
