//! Every format on every tier, against plain code that does the same arithmetic, bit for bit.

mod reference;

use super::strip::{Multiplier, RESULTS};
use super::tokens::Tiling;
use crate::memory::Memory;
use crate::pool::Pool;
use crate::simd::Simd;
use crate::tier::{Tier, tier_fn};
use crate::weight::{BLOCK, BlockFormat, Matrix, Prepared, STRIP};
use reference::{block, tame, tensor_scale};
use tern_abi::plugin::WeightSpec;
use tern_quant::{DType, dequantize, quantize};

const FLOATS: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
const TERNARY: [DType; 4] = [DType::TQ1_0, DType::TQ2_0, DType::I2_S, DType::I2_S_ARM];

fn blocks() -> impl Iterator<Item = DType> {
    DType::ALL.iter().copied().filter(|&dtype| BlockFormat::of(dtype).is_some())
}

fn dtypes() -> impl Iterator<Item = DType> {
    FLOATS.into_iter().chain(blocks()).chain(TERNARY)
}

#[test]
fn every_quantized_type_has_kernels() {
    for &dtype in DType::ALL.iter().filter(|dtype| dtype.is_quantized()) {
        assert!(dtypes().any(|d| d == dtype), "{dtype}");
    }
}

/// Noise, encoded: all of a matrix, with the tail that some formats have.
fn encoded(dtype: DType, rows: usize, columns: usize, seed: u32) -> Vec<u8> {
    let mut bytes = vec![0; dtype.tensor_bytes((rows * columns) as u64).unwrap() as usize];
    quantize(dtype, &noise(rows * columns, seed), &mut bytes).unwrap();
    bytes
}

fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut s = seed.wrapping_mul(2_654_435_761) | 1;
    (0..n)
        .map(|_| {
            s ^= s << 13;
            s ^= s >> 17;
            s ^= s << 5;
            (s >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn pack(dtype: DType, rows: usize, columns: usize, bytes: &[u8], pool: &Pool) -> Prepared {
    let shape = [rows as u64, columns as u64];
    let spec = WeightSpec { dtype: dtype.code(), shape: &shape, usage: 1, name: "w", cache_bytes: 0 };
    Prepared::new(&spec, bytes, pool, &|| false).unwrap()
}

/// All products, `[token][row]`, through the kernels.
fn product(m: &Matrix, x: &[f32], tokens: usize, tier: Tier) -> Vec<f32> {
    let (k, n) = (m.columns(), m.rows());
    let kernels = Multiplier::new(m.format(), k, tier);
    let tiling = Tiling::new(tokens, kernels.tile());
    let bytes = kernels.token_bytes();
    let tiles = Memory::zeroed(tokens * bytes).unwrap();
    let put = kernels.form().put(tier);
    let scratch = Memory::zeroed(kernels.scratch_bytes()).unwrap();
    let y = Memory::zeroed(RESULTS * 4).unwrap();
    let mut out = vec![f32::NAN; tokens * n];
    // SAFETY: all sizes as the functions ask for; the tier is available.
    unsafe {
        for t in 0..tokens {
            let tile = tiling.tile_of(t);
            put(x[t * k..].as_ptr(), k, tiles.ptr().add(tile.first * bytes), tile.width, t - tile.first);
        }
        for strip in 0..n.div_ceil(STRIP) {
            let first = strip * STRIP;
            let strip = kernels.strip(m, 0, strip);
            kernels.open(strip, tiling, scratch.ptr());
            for tile in tiling.tiles(0, tokens) {
                kernels.multiply(strip, tiling, scratch.ptr(), tiles.ptr(), tile, y.ptr().cast());
                let y = std::slice::from_raw_parts(y.ptr().cast::<f32>(), RESULTS);
                for t in 0..tile.width {
                    for r in 0..STRIP.min(n - first) {
                        out[(tile.first + t) * n + first + r] = y[(r / 16 * tile.width + t) * 16 + r % 16];
                    }
                }
            }
        }
    }
    out
}

/// Stores `(1 + 2^-12)² - (1 + 2^-11)`: 2^-24 where the tier rounds once, else 0.
#[inline(always)]
unsafe fn remainder<S: Simd>(out: *mut f32) {
    let x = 1.0 + (-12f32).exp2();
    // SAFETY: the caller gives 16 places.
    unsafe { S::store(out, S::fma(S::splat(x), S::splat(x), S::splat(-1.0 - (-11f32).exp2()))) }
}
tier_fn! { fn remainder_of(out: *mut f32) = remainder; }

/// Does the tier round a multiply-add once? Of relaxed SIMD only the engine knows.
fn fuses(tier: Tier) -> bool {
    let mut out = [0.0; 16];
    // SAFETY: 16 places; the tests are of tiers that there are.
    unsafe { remainder_of(tier)(out.as_mut_ptr()) };
    out[0] != 0.0
}

/// One product, as the kernels' documentation says it is done.
fn expected(dtype: DType, row: &[u8], w: &[f32], scale: Option<f32>, x: &[f32], fused: bool) -> f32 {
    let fma = |a: f32, b: f32, c: f32| if fused { a.mul_add(b, c) } else { a * b + c };
    let mut sum = 0.0f32;
    if TERNARY.contains(&dtype) {
        let top = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let inverse = if top >= 1e-36 { 127.0 / top } else { 0.0 };
        let token = if top >= 1e-36 { top / 127.0 } else { 0.0 };
        for (group, (x, w)) in x.chunks(256).zip(w.chunks(256)).enumerate() {
            let d = scale.unwrap_or_else(|| {
                let block = &row[group * dtype.block_bytes()..][..dtype.block_bytes()];
                tern_quant::f16_to_f32(u16::from_le_bytes(*block.last_chunk().unwrap()))
            });
            let code = |w: f32| if d == 0.0 { 0 } else { (w / d).round() as i32 };
            let dot: i32 = x.iter().zip(w).map(|(x, &w)| (x * inverse).round_ties_even() as i32 * code(w)).sum();
            sum = if scale.is_some() { sum + dot as f32 } else { fma(dot as f32, d, sum) };
        }
        return scale.map_or(sum, |d| sum * d) * token;
    }
    if FLOATS.contains(&dtype) {
        let mut chains = [0.0f32; 16];
        for (k, (&w, &x)) in w.iter().zip(x).enumerate() {
            chains[k % 16] = fma(w, x, chains[k % 16]);
        }
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                chains[i] += chains[i + half];
            }
        }
        return chains[0];
    }
    for (b, x) in x.chunks(BLOCK).enumerate() {
        let w = block(dtype, row, b);
        let top = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let scale = top * (1.0 / 127.0);
        let inverse = if top >= 1e-36 { 1.0 / scale } else { 0.0 };
        let q: Vec<i32> = x.iter().map(|v| (v * inverse).round_ties_even() as i32).collect();
        let dot = |range: std::ops::Range<usize>| range.map(|i| w.levels[i] * q[i]).sum::<i32>() as f32;
        let dot = match w.halves {
            true => fma(dot(16..32), w.scales[1], dot(0..16) * w.scales[0]),
            false => dot(0..32) * w.scales[0],
        };
        sum = fma(dot, scale, sum);
        if let Some([low, high]) = w.mins {
            // The second half's minimum for all, then what the first has besides.
            sum = fma(high, scale * q.iter().sum::<i32>() as f32, sum);
            if w.halves {
                sum = fma(low - high, scale * q[..16].iter().sum::<i32>() as f32, sum);
            }
        }
    }
    sum
}

fn check(dtype: DType, rows: usize, columns: usize, bytes: &[u8], x: &[f32], name: &str) {
    let pool = Pool::new(2);
    let w = pack(dtype, rows, columns, bytes, &pool);
    let m = w.matrix().unwrap();
    let row_bytes = dtype.row_bytes(columns).unwrap();
    let scale = tensor_scale(dtype, bytes);
    let mut plain = vec![0.0; rows * columns];
    dequantize(dtype, bytes, &mut plain).unwrap();
    let mut back = vec![0.0; rows * columns];
    w.read_rows(0, &mut back).unwrap();
    assert!(plain.iter().zip(&back).all(|(a, b)| a.to_bits() == b.to_bits()), "{dtype} {name}: rows read back differ");
    let all = x.len() / columns;
    for tier in Tier::ALL.into_iter().filter(|t| t.available()) {
        let fused = fuses(tier);
        let want: Vec<f32> = (0..all * rows)
            .map(|i| {
                let (t, r) = (i / rows, i % rows);
                let row = &bytes[r * row_bytes..][..row_bytes];
                expected(dtype, row, &plain[r * columns..][..columns], scale, &x[t * columns..][..columns], fused)
            })
            .collect();
        for tokens in [1, 2, 3, 5, 8, 17, 24, 64].into_iter().filter(|&t| t <= all) {
            let got = product(m, &x[..tokens * columns], tokens, tier);
            for (i, (g, w)) in got.iter().zip(&want).enumerate() {
                let (t, r) = (i / rows, i % rows);
                let same = g.to_bits() == w.to_bits();
                assert!(same, "{dtype} {rows}x{columns} {name} on {} T={tokens}: [{t}][{r}] {g} {w}", tier.name());
            }
        }
    }
}

#[test]
fn products_are_what_they_should_be() {
    for dtype in dtypes() {
        for (rows, blocks) in [(1, 1), (16, 3), (33, 2), (50, 5), (96, 1)] {
            let columns = blocks * dtype.block_len().max(BLOCK);
            let bytes = encoded(dtype, rows, columns, 7);
            check(dtype, rows, columns, &bytes, &noise(64 * columns, 9), "noise");
        }
    }
    for dtype in FLOATS {
        for (rows, columns) in [(35, 53), (18, 1100), (18, 4100)] {
            let bytes = encoded(dtype, rows, columns, 3);
            check(dtype, rows, columns, &bytes, &noise(24 * columns, 4), "odd columns");
        }
    }
}

#[test]
fn extreme_codes_do_not_saturate() {
    for dtype in blocks().chain(TERNARY) {
        let columns = 512;
        let rows = 17;
        let size = dtype.tensor_bytes((rows * columns) as u64).unwrap() as usize;
        let per = dtype.block_bytes();
        for fill in [0x00u8, 0xff, 0x7f, 0x80, 0x0f, 0xf0, 0x55] {
            let mut bytes = vec![fill; size];
            if dtype.tail_bytes() > 0 {
                let tail = size - dtype.tail_bytes();
                bytes[tail..][..4].copy_from_slice(&1f32.to_le_bytes());
            }
            for b in bytes.chunks_exact_mut(per) {
                tame(dtype, b);
            }
            for (name, x) in [
                ("high", [1.0f32; 2]),
                ("low", [-1.0; 2]),
                ("both", [1.0, -1.0]),
                ("tiny", [1e-37, -1e-37]),
                ("huge", [1e30, 1e30]),
            ] {
                let x: Vec<f32> = (0..17 * columns).map(|i| x[i % 2]).collect();
                check(dtype, rows, columns, &bytes, &x, name);
            }
        }
    }
}

#[test]
fn a_bad_number_shows() {
    for dtype in dtypes() {
        let columns = 512;
        let bytes = encoded(dtype, 16, columns, 7);
        let w = pack(dtype, 16, columns, &bytes, &Pool::new(1));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 15, 16, 31, 33, 511] {
                let mut x = noise(columns, 1);
                x[at] = bad;
                for tier in Tier::ALL.into_iter().filter(|t| t.available()) {
                    let y = product(w.matrix().unwrap(), &x, 1, tier);
                    assert!(y.iter().all(|y| !y.is_finite()), "{dtype} {bad} at {at} on {}", tier.name());
                }
            }
        }
    }
}

#[test]
fn experts_follow_each_other() {
    let (experts, rows, columns) = (3, 20, 64);
    let dtype = DType::Q4_0;
    let mut bytes = vec![0; experts * rows * dtype.row_bytes(columns).unwrap()];
    quantize(dtype, &noise(experts * rows * columns, 7), &mut bytes).unwrap();
    let shape = [experts as u64, rows as u64, columns as u64];
    let spec = WeightSpec { dtype: dtype.code(), shape: &shape, usage: 1, name: "experts", cache_bytes: 0 };
    let pool = Pool::new(2);
    let w = Prepared::new(&spec, &bytes, &pool, &|| false).unwrap();
    let mut plain = vec![0.0; experts * rows * columns];
    dequantize(dtype, &bytes, &mut plain).unwrap();
    let mut back = vec![0.0; 25 * columns];
    w.read_rows(30, &mut back).unwrap();
    assert_eq!(back, plain[30 * columns..55 * columns]);
    assert!(w.read_rows(36, &mut back).is_err());
    assert!(w.read_rows(u64::MAX, &mut back).is_err());
    assert!(Prepared::new(&spec, &bytes[1..], &pool, &|| false).is_err());
    let e = Prepared::new(&spec, &bytes, &pool, &|| true).err().unwrap();
    assert_eq!(e.status, tern_abi::status::CANCELLED);
}
