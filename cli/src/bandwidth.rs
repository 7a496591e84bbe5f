//! How fast this machine reads memory: the ceiling of decoding, which reads every weight once per token.
//!
//! Threads add up the words of one array, each its own part. Plain code is enough: the compiler makes vector
//! loads of it, and wider ones or several streams at once were measured to be no faster.

use crate::stats::Spread;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Larger arrays are not faster or slower, only more memory.
const MAX_BYTES: u64 = 1 << 30;
/// Smaller ones would measure how fast threads start.
const MIN_BYTES: u64 = 1 << 20;
/// Bytes that one sample reads at least, so that starting and ending it do not count.
const SAMPLE_BYTES: u64 = 1 << 30;
/// The best median counts: others on the machine can only make it slower.
const ROUNDS: usize = 5;
const SAMPLES: usize = 5;
/// On slow machines fewer rounds must do.
const TIME: Duration = Duration::from_secs(2);

const WORD: usize = size_of::<u64>();
/// Words added up side by side: enough registers to keep loads in flight.
const LANES: usize = 32;

/// Bytes per second of `threads` threads that read an array of `bytes` again and again. `None` where there is no
/// memory for the array or no thread can be had.
pub fn measure(bytes: u64, threads: u32) -> Option<f64> {
    let threads = threads.clamp(1, 1024) as usize;
    let bytes = usize::try_from(bytes.clamp(MIN_BYTES, MAX_BYTES)).ok()?;
    let array = touched(bytes / WORD)?;
    let part = array.len() / threads / LANES * LANES;
    if part == 0 {
        return None;
    }
    let read = (part * threads * WORD) as u64;
    let passes = SAMPLE_BYTES.div_ceil(read);
    let started = Instant::now();
    let mut best = None::<f64>;
    for _ in 0..ROUNDS {
        let median = round(&array, part, threads, passes)?;
        best = Some(best.map_or(median, |b| b.max(median)));
        if started.elapsed() > TIME {
            break;
        }
    }
    best
}

/// The median of some samples.
fn round(array: &[u64], part: usize, threads: usize, passes: u64) -> Option<f64> {
    let gate = Barrier::new(threads);
    let read_all = |part: &[u64]| {
        let mut times = [0.0; SAMPLES];
        for time in &mut times {
            gate.wait();
            let start = Instant::now();
            for _ in 0..passes {
                black_box(sum(black_box(part)));
            }
            gate.wait();
            *time = start.elapsed().as_secs_f64();
        }
        times
    };
    let mut parts = array.chunks_exact(part).take(threads);
    let own = parts.next()?;
    let times = std::thread::scope(|scope| {
        // If one thread cannot start, those before it must not wait for it: their receivers fail instead.
        let read_all = &read_all;
        let starts = parts.map(|part| {
            let (start, started) = std::sync::mpsc::channel();
            let work = move || {
                if started.recv().is_ok() {
                    read_all(part);
                }
            };
            std::thread::Builder::new().spawn_scoped(scope, work).ok().map(|_| start)
        });
        for start in starts.collect::<Option<Vec<_>>>()? {
            start.send(()).ok()?;
        }
        // This thread is one of them.
        Some(read_all(own))
    })?;
    let median = Spread::of(&times)?.median;
    Some((part * threads * WORD) as f64 * passes as f64 / median)
}

/// Memory that is really there: untouched pages would all be the same page of zeros. In huge pages where the
/// system has them, as a backend's weights are.
fn touched(words: usize) -> Option<Vec<u64>> {
    let mut array = Vec::new();
    array.try_reserve_exact(words).ok()?;
    crate::machine::advise_huge_pages(array.spare_capacity_mut());
    array.resize(words, 1);
    Some(array)
}

fn sum(words: &[u64]) -> u64 {
    let mut lanes = [0_u64; LANES];
    for block in words.as_chunks::<LANES>().0 {
        for (lane, word) in lanes.iter_mut().zip(block) {
            *lane = lane.wrapping_add(*word);
        }
    }
    lanes.iter().fold(0, |sum, lane| sum.wrapping_add(*lane))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_speeds() {
        assert_eq!(sum(&[1; 4 * LANES]), 4 * LANES as u64);
        // Memory of any machine is faster than 10 MB/s and slower than 100 TB/s.
        let speed = measure(1, 2).unwrap();
        assert!((1e7..1e14).contains(&speed), "{speed}");
    }
}
