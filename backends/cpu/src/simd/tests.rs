use super::*;
use crate::tier::{Tier, tier_fn};

type Map = unsafe fn(*const f32, *mut f32);

macro_rules! maps {
    ($($name:ident: |$s:ident, $x:ident| $e:expr;)+) => {$(
        mod $name {
            use super::*;
            #[inline(always)]
            unsafe fn generic<$s: Simd>(x: *const f32, y: *mut f32) {
                // SAFETY: the tests pass 16 lanes.
                unsafe {
                    let $x = $s::load(x);
                    $s::store(y, $e);
                }
            }
            tier_fn! { pub fn tiers(x: *const f32, y: *mut f32) = self::generic; }
        }
    )+};
}
maps! {
    exp: |S, x| S::exp(x);
    sigmoid: |S, x| S::sigmoid(x);
    tanh: |S, x| S::tanh(x);
    round: |S, x| S::round(x);
    floor: |S, x| S::floor(x);
    to_i32: |S, x| S::from_i32(S::to_i32(x));
    reduce: |S, x| S::splat(S::reduce_add(x));
    largest: |S, x| S::splat(S::reduce_max(x));
    copysign: |S, x| S::copysign(S::splat(3.0), x);
    less: |S, x| S::select_lt(x, S::splat(1.0), S::splat(-1.0), x);
}

/// Sums of 16 vectors, the first of which is `x`, each on its own and all at once.
#[inline(always)]
unsafe fn sums<S: Simd>(x: *const f32, one: *mut f32, all: *mut f32) {
    // SAFETY: the test gives 31 numbers, and places for 16 sums each.
    unsafe {
        let vectors: [S::F; LANES] = std::array::from_fn(|i| S::load(x.add(i)));
        for (i, &v) in vectors.iter().enumerate() {
            one.add(i).write(S::reduce_add(v));
        }
        S::store(all, S::sum_each(&vectors));
    }
}
tier_fn! { fn sums_of(x: *const f32, one: *mut f32, all: *mut f32) = sums; }

#[test]
fn sums_of_many_vectors_are_those_of_each() {
    let x: [f32; 31] = std::array::from_fn(|i| (i as f32 * 1.7 - 20.0).exp2() * [1.0, -1.3][i % 2]);
    for tier in available() {
        let (mut one, mut all) = ([0.0f32; 16], [0.0f32; 16]);
        // SAFETY: sizes as `sums` says.
        unsafe { sums_of(tier)(x.as_ptr(), one.as_mut_ptr(), all.as_mut_ptr()) };
        assert_eq!(one.map(f32::to_bits), all.map(f32::to_bits), "{}", tier.name());
    }
}

fn available() -> impl Iterator<Item = Tier> {
    Tier::ALL.into_iter().filter(|t| t.available())
}

fn apply(f: Map, x: [f32; 16]) -> [f32; 16] {
    let mut y = [0.0; 16];
    // SAFETY: 16 lanes each; only available tiers are tested.
    unsafe { f(x.as_ptr(), y.as_mut_ptr()) };
    y
}

fn sweep(f: fn(Tier) -> Map, range: (f32, f32), exact: fn(f64) -> f64, tolerance: f64) {
    for tier in available() {
        for i in 0..20_000 {
            let x = [range.0 + (range.1 - range.0) * i as f32 / 20_000.0; 16];
            let y = f64::from(apply(f(tier), x)[5]);
            let e = exact(f64::from(x[5]));
            assert!((y - e).abs() <= tolerance * e.abs().max(1e-37), "{} {}: {y} {e}", tier.name(), x[5]);
        }
    }
}

#[test]
fn exponentials_are_close() {
    sweep(exp::tiers, (-87.0, 88.7), f64::exp, 2.5e-7);
    sweep(sigmoid::tiers, (-80.0, 80.0), |x| 1.0 / (1.0 + (-x).exp()), 4e-7);
    sweep(tanh::tiers, (-12.0, 12.0), f64::tanh, 4e-7);
}

#[test]
fn exponentials_at_the_ends() {
    let inf = f32::INFINITY;
    for tier in available() {
        let mut x = [0.0; 16];
        x[..7].copy_from_slice(&[0.0, -0.0, inf, -inf, f32::NAN, 88.8, -87.1]);
        let y = apply(exp::tiers(tier), x);
        assert_eq!((y[0], y[1], y[2], y[3], y[5], y[6]), (1.0, 1.0, inf, 0.0, inf, 0.0));
        assert!(y[4].is_nan());
        let y = apply(sigmoid::tiers(tier), x);
        assert_eq!((y[0], y[2], y[3]), (0.5, 1.0, 0.0));
        assert!(y[4].is_nan());
        let y = apply(tanh::tiers(tier), x);
        assert_eq!((y[0], y[2], y[3]), (0.0, 1.0, -1.0));
        assert!(y[4].is_nan());
    }
}

#[test]
fn tiers_agree_where_they_must() {
    let x = [0.5, -0.5, 1.5, 2.5, -1.25, 7.9e6, 3e9, -0.0, 1e-30, 100.25, -3.75, 0.1, 0.2, 0.3, 8388609.0, -2.5];
    for tier in available() {
        let same = |f: fn(Tier) -> Map| {
            let bits = |t| apply(f(t), x).map(f32::to_bits);
            assert_eq!(bits(tier), bits(Tier::Scalar), "{}", tier.name());
        };
        for f in [round::tiers, floor::tiers, reduce::tiers, largest::tiers, copysign::tiers, less::tiers] {
            same(f);
        }
        assert_eq!(apply(to_i32::tiers(tier), x)[..6], [0.0, -0.0, 2.0, 2.0, -1.0, 7.9e6]);
    }
}

#[inline(always)]
unsafe fn memory<S: Simd>(x: *const f32, y: *mut f32, n: usize) {
    // SAFETY: see the test, which gives n lanes, and 16 where whole vectors are used.
    unsafe {
        S::store_n(y, S::load_n(x, n), n);
        S::store_f16(y.add(16).cast(), S::load(x));
        S::store(y.add(24), S::load_f16(y.add(16).cast()));
        S::store(y.add(40), S::load_bf16(x.cast()));
        let codes = S::to_i32(S::load(x));
        let (a, b) = S::store_codes(y.add(56).cast(), codes, S::to_i32(S::mul(S::load(x), S::splat(0.5))));
        S::store(y.add(64), S::load_i8(y.add(56).cast()));
        y.add(80).write(a as f32);
        y.add(81).write(b as f32);
        y.add(82).write(f32::from_bits(S::top_magnitude(S::load(x), S::zero())));
    }
}
tier_fn! { fn memories(x: *const f32, y: *mut f32, n: usize) = memory; }

#[test]
fn loads_and_stores() {
    let x: [f32; 16] = std::array::from_fn(|i| (i as f32 - 7.0) * 15.3);
    let run = |tier, n| {
        let mut y = [9.0f32; 83];
        // SAFETY: 16 floats in, 83 out.
        unsafe { memories(tier)(x.as_ptr(), y.as_mut_ptr(), n) };
        y
    };
    for tier in available() {
        for n in 0..=16 {
            let y = run(tier, n);
            assert_eq!(y[..n], x[..n]);
            assert!(y[n..16].iter().all(|&v| v == 9.0));
            assert_eq!(y.map(f32::to_bits), run(Tier::Scalar, n).map(f32::to_bits), "{}", tier.name());
        }
        assert!((0..16).all(|i| (run(tier, 0)[24 + i] - x[i]).abs() <= 0.0005 * x[i].abs()));
        assert_eq!(run(tier, 0)[64..80], x.map(f32::round_ties_even));
        let sum = |factor: f32| x.iter().map(|x| (x * factor).round_ties_even()).sum::<f32>();
        assert_eq!(run(tier, 0)[80..], [sum(1.0), sum(0.5), x[15]]);
    }
}

/// What takes bytes apart: 64 bytes, then four vectors of floats.
#[inline(always)]
unsafe fn bytes<S: Simd>(from: *const u8, table: *const u8, out: *mut u8, y: *mut f32) {
    // SAFETY: the test gives 64 bytes, 16 bytes, 128 and 64 places.
    unsafe {
        let nibbles = S::and_bytes(S::load_bytes(from), S::splat_bytes(15));
        S::store_bytes(out, S::lookup(&*table.cast(), nibbles));
        S::store_bytes(out.add(64), S::spread_bytes(from));
        S::store(y, S::load_u4::<0>(from));
        S::store(y.add(16), S::load_u4::<4>(from));
        S::store(y.add(32), S::load_e8m0(from));
        S::store(y.add(48), S::load_e4m3(from.add(48)));
    }
}
tier_fn! { fn bytes_of(from: *const u8, table: *const u8, out: *mut u8, y: *mut f32) = bytes; }

#[test]
fn bytes_mean_what_they_should() {
    let table: [u8; 16] = std::array::from_fn(|i| (i as u8).wrapping_mul(37) ^ 0x91);
    for start in 0..=255u8 {
        // Every byte in every place; the last sixteen below 128.
        let from: [u8; 64] = std::array::from_fn(|i| start.wrapping_add(i as u8) & if i < 48 { 255 } else { 127 });
        for tier in available() {
            let (mut out, mut y) = ([0u8; 128], [0f32; 64]);
            // SAFETY: sizes as `bytes` says.
            unsafe { bytes_of(tier)(from.as_ptr(), table.as_ptr(), out.as_mut_ptr(), y.as_mut_ptr()) };
            for i in 0..64 {
                assert_eq!(out[i], table[usize::from(from[i] & 15)], "{}", tier.name());
                assert_eq!(out[64 + i], from[i / 4], "{}", tier.name());
            }
            for i in 0..16 {
                let exponent = f64::from(from[i]) - 128.0;
                let (small, fraction) = (i32::from(from[48 + i] >> 3), f64::from(from[48 + i] & 7) / 8.0);
                let small = if small == 0 { fraction * 2f64.powi(-6) } else { (1.0 + fraction) * 2f64.powi(small - 7) };
                let want = [f64::from(from[i] & 15), f64::from(from[i] >> 4), exponent.exp2(), small / 256.0];
                for (j, want) in want.into_iter().enumerate() {
                    assert_eq!(f64::from(y[16 * j + i]), want, "{} {j} {:#x}", tier.name(), from[i]);
                }
            }
        }
    }
}

/// Dot products of 32 codes per row, all of them through one running sum.
#[inline(always)]
unsafe fn dots<S: Simd, const BITS: u32>(w: *const u8, x: *const i8, bias: i32, y: *mut f32) {
    // SAFETY: the test gives 512 codes, 32 numbers and 16 results.
    unsafe {
        let mut acc = S::dot_start::<BITS>(bias);
        for q in 0..4 {
            let (w0, w1) = (S::load_bytes(w.add(64 * q)), S::load_bytes(w.add(64 * q + 256)));
            acc = S::dot::<BITS>(acc, w0, w1, x.add(4 * q), x.add(4 * q + 16));
        }
        S::store(y, S::dot_finish::<BITS>(acc, bias));
    }
}
#[inline(always)]
unsafe fn dots4<S: Simd>(w: *const u8, x: *const i8, bias: i32, y: *mut f32) {
    // SAFETY: passed on.
    unsafe { dots::<S, 4>(w, x, bias, y) }
}
#[inline(always)]
unsafe fn dots5<S: Simd>(w: *const u8, x: *const i8, bias: i32, y: *mut f32) {
    // SAFETY: passed on.
    unsafe { dots::<S, 5>(w, x, bias, y) }
}
#[inline(always)]
unsafe fn dots6<S: Simd>(w: *const u8, x: *const i8, bias: i32, y: *mut f32) {
    // SAFETY: passed on.
    unsafe { dots::<S, 6>(w, x, bias, y) }
}
#[inline(always)]
unsafe fn dots8<S: Simd>(w: *const u8, x: *const i8, bias: i32, y: *mut f32) {
    // SAFETY: passed on.
    unsafe { dots::<S, 8>(w, x, bias, y) }
}
tier_fn! {
    fn dot4(w: *const u8, x: *const i8, bias: i32, y: *mut f32) = dots4;
    fn dot5(w: *const u8, x: *const i8, bias: i32, y: *mut f32) = dots5;
    fn dot6(w: *const u8, x: *const i8, bias: i32, y: *mut f32) = dots6;
    fn dot8(w: *const u8, x: *const i8, bias: i32, y: *mut f32) = dots8;
}

#[test]
fn dot_products_are_exact_at_the_extremes() {
    type Dot = fn(Tier) -> unsafe fn(*const u8, *const i8, i32, *mut f32);
    let kinds: [(u32, Dot); 4] = [(4, dot4), (5, dot5), (6, dot6), (8, dot8)];
    for (bits, f) in kinds {
        let top = ((1u32 << bits) - 1) as u8;
        for pattern in 0..6u32 {
            let w: [u8; 512] = std::array::from_fn(|i| match pattern {
                0 => top,
                1 => 0,
                2 => top * (i % 2) as u8,
                3 => top / 2 + (i % 2) as u8,
                _ => (i as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3 - (pattern % 2) as usize] & top,
            });
            for x in [[127i8; 32], [-127; 32], std::array::from_fn(|i| if i % 2 == 0 { 127 } else { -127 })] {
                // What undoes an offset of half the range, as all callers with 8 bits have it.
                let bias = -(i32::from(top / 2) + 1) * x.iter().map(|&x| i32::from(x)).sum::<i32>();
                let exact: [f32; 16] = std::array::from_fn(|row| {
                    let code = |k: usize| i32::from(w[64 * (k / 4) + 4 * row + k % 4]);
                    ((0..32).map(|k| code(k) * i32::from(x[k])).sum::<i32>() + bias) as f32
                });
                for tier in available() {
                    let mut y = [0.0; 16];
                    // SAFETY: sizes as `dots` says.
                    unsafe { f(tier)(w.as_ptr(), x.as_ptr(), bias, y.as_mut_ptr()) };
                    assert_eq!(y, exact, "{} {bits} bits, pattern {pattern}", tier.name());
                }
            }
        }
    }
}
