//! How fast the machine reads memory.

use super::products::shortest;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tern_cpu::memory::Memory;
use tern_cpu::pool::Pool;
use tern_cpu::stop::Stop;

/// GB/s of reading an array, each worker its part, with and without asking ahead: the better of both.
pub fn read(pool: &Pool, bytes: usize) -> f64 {
    let memory = Memory::zeroed(bytes).unwrap();
    // SAFETY: the memory's own bytes.
    unsafe { memory.ptr().write_bytes(1, bytes) };
    let sum = AtomicU64::new(0);
    let round = |ahead: usize| {
        let start = Instant::now();
        pool.run(&Stop::never(), &|worker| {
            let range = worker.split(bytes / 8, 32);
            // SAFETY: inside the memory.
            let part = unsafe { std::slice::from_raw_parts(memory.ptr().cast::<u64>().add(range.start), range.len()) };
            let mut sums = [0u64; 32];
            for chunk in part.as_chunks::<32>().0 {
                if ahead > 0 {
                    prefetch(chunk.as_ptr().wrapping_byte_add(ahead).cast());
                }
                for (s, x) in sums.iter_mut().zip(chunk) {
                    *s = s.wrapping_add(*x);
                }
            }
            sum.fetch_add(sums.iter().fold(0, |a, &b| a ^ b), Ordering::Relaxed);
        })
        .unwrap();
        start.elapsed().as_secs_f64()
    };
    let best = [0, 4 << 10, 16 << 10].map(|ahead| shortest(|| round(ahead))).into_iter().fold(f64::MAX, f64::min);
    bytes as f64 / best / 1e9
}

/// Asks for 256 bytes.
fn prefetch(p: *const u8) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..4 {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: any address may be asked for.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(64 * line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}
