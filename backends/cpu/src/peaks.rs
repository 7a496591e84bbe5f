//! How much arithmetic the tier does at best: the roof above work that reads little memory, such as prefill.
//!
//! Sums that do not wait for each other, over numbers in registers and the first-level cache.

use crate::clock::Now;
use crate::pool::Pool;
use crate::simd::{LANES, Simd};
use crate::stop::Stop;
use crate::tier::{Tier, tier_fn};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use tern_abi::plugin::Result;

/// Rounds of one sample: from a fraction of a millisecond on, which is long enough for workers that still wait for work.
const ROUNDS: usize = 100_000;
/// The best counts: others on the machine can only make it slower.
const SAMPLES: usize = 8;

/// Multiplications and additions a second of all workers together: with 32-bit floats, and with bytes summed in 32 bits. 0 where
/// there is no clock.
pub fn measure(tier: Tier, pool: &Pool) -> Result<(f64, f64)> {
    if Now::read().is_none() {
        return Ok((0.0, 0.0));
    }
    let best = |kernel: unsafe fn(usize, usize)| {
        let mut best = 0.0_f64;
        for sums in [4, 6, 12].repeat(SAMPLES) {
            let (start, workers) = (Now::read(), AtomicUsize::new(0));
            pool.run(&Stop::never(), &|_| {
                workers.fetch_add(1, Ordering::Relaxed);
                // SAFETY: the tier is available: a device has it.
                unsafe { kernel(sums, ROUNDS) }
            })?;
            let lanes = (ROUNDS * sums * LANES * workers.into_inner()) as f64;
            best = best.max(lanes / start.nanoseconds().max(1) as f64 * 1e9);
        }
        Ok(best)
    };
    // Each step adds one product to a lane, or two times four.
    Ok((2.0 * best(floats_fn(tier))?, 16.0 * best(bytes_fn(tier))?))
}

/// Sums of 4, 6 and 12 vectors: as many as hide the latency of one, and fit the registers, on this or that processor.
///
/// # Safety
/// See [`Simd`].
#[inline(always)]
unsafe fn floats<S: Simd>(sums: usize, rounds: usize) {
    // SAFETY: the caller's.
    unsafe {
        match sums {
            4 => add_floats::<S, 4>(rounds),
            6 => add_floats::<S, 6>(rounds),
            _ => add_floats::<S, 12>(rounds),
        }
    }
}

/// The same of bytes.
///
/// # Safety
/// See [`Simd`].
#[inline(always)]
unsafe fn bytes<S: Simd>(sums: usize, rounds: usize) {
    // SAFETY: the caller's.
    unsafe {
        match sums {
            4 => add_bytes::<S, 4>(rounds),
            6 => add_bytes::<S, 6>(rounds),
            _ => add_bytes::<S, 12>(rounds),
        }
    }
}

tier_fn! {
    fn floats_fn(sums: usize, rounds: usize) = floats;
    fn bytes_fn(sums: usize, rounds: usize) = bytes;
}

/// # Safety
/// See [`Simd`].
#[inline(always)]
unsafe fn add_floats<S: Simd, const N: usize>(rounds: usize) {
    // SAFETY: the caller's.
    unsafe {
        let (a, b) = (S::splat(black_box(0.5)), S::splat(black_box(0.25)));
        let mut sums = [S::splat(black_box(1.0)); N];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = S::fma(a, b, *sum);
            }
        }
        for sum in sums {
            black_box(S::reduce_add(sum));
        }
    }
}

/// # Safety
/// See [`Simd`].
#[inline(always)]
unsafe fn add_bytes<S: Simd, const N: usize>(rounds: usize) {
    // SAFETY: the caller's; `x` has eight bytes.
    unsafe {
        let (a, b) = (S::splat_bytes(black_box(1)), S::splat_bytes(black_box(2)));
        let x = black_box([0_i8; 8]);
        let mut sums = [S::dot_start::<8>(black_box(0)); N];
        for _ in 0..rounds {
            let x = black_box(x.as_ptr());
            for sum in &mut sums {
                *sum = S::dot::<8>(*sum, a, b, x, x.add(4));
            }
        }
        for sum in sums {
            black_box(S::reduce_add(S::dot_finish::<8>(sum, 0)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_has_a_roof() {
        let pool = Pool::new(1);
        for tier in Tier::ALL.into_iter().filter(|tier| tier.available()) {
            let (floats, bytes) = measure(tier, &pool).unwrap();
            // From a slow emulator to a processor of the future.
            for rate in [floats, bytes] {
                assert!((1e6..1e14).contains(&rate), "{}: {rate}", tier.name());
            }
        }
    }
}
