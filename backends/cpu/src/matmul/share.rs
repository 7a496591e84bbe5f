//! Who multiplies which strips.

use crate::pool::Worker;
use std::ops::Range;

/// One part in this many is left to whoever is first.
const TAIL: usize = 8;

/// Shares `n` strips: each worker calls `f` for its own, some at a time, until `f` says stop.
///
/// Products with few tokens wait for memory, which is fastest where a worker reads one long run: so every worker has
/// one, in pieces of up to `piece`, and only the ends of all runs are claimed one by one, to even out cores that are not equally fast.
pub fn streams(worker: &Worker<'_>, n: usize, piece: usize, mut f: impl FnMut(Range<usize>) -> bool) {
    let own = run(worker, n);
    for first in own.clone().step_by(piece) {
        if !f(first..(first + piece).min(own.end)) {
            return;
        }
    }
    let (count, tail) = (worker.count(), tail(worker, n));
    while let Some(range) = worker.claim(tail * count, 1) {
        for i in range {
            let strip = cut(worker, n, i % count + 1) - tail + i / count;
            if !f(strip..strip + 1) {
                return;
            }
        }
    }
}

/// The strips of [`streams`] that are this worker's alone.
pub fn run(worker: &Worker<'_>, n: usize) -> Range<usize> {
    let index = worker.index();
    cut(worker, n, index)..cut(worker, n, index + 1) - tail(worker, n)
}

/// Where the `i`th worker's strips begin.
fn cut(worker: &Worker<'_>, n: usize, i: usize) -> usize {
    n * i / worker.count()
}

/// Strips at the end of each worker's that are claimed.
fn tail(worker: &Worker<'_>, n: usize) -> usize {
    n / (TAIL * worker.count())
}

/// Activations that a worker goes through per strip: what stays in a second-level cache beside the weights.
const L2: usize = 512 << 10;
/// Every tile width divides it, so cuts here fall between tiles.
pub const CUT: usize = 24;

/// Cuts `tokens` into equal blocks that fit the cache; yields the tokens of a block.
pub fn block(tokens: usize, token_bytes: usize) -> usize {
    let fit = (L2 / token_bytes.max(1)).max(CUT);
    tokens.div_ceil(tokens.div_ceil(fit).max(1)).max(1).next_multiple_of(CUT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;
    use crate::stop::Stop;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn every_strip_once() {
        for threads in [1, 2, 3] {
            let pool = Pool::new(threads);
            for n in [0, 1, 2, 7, 18, 64, 100] {
                let seen: Vec<AtomicU32> = (0..n).map(|_| AtomicU32::new(0)).collect();
                pool.run(&Stop::never(), &|worker| {
                    streams(worker, n, 5, |strips| {
                        assert!((1..=5).contains(&strips.len()));
                        seen[strips].iter().for_each(|s| _ = s.fetch_add(1, Ordering::Relaxed));
                        true
                    });
                })
                .unwrap();
                assert!(seen.iter().all(|s| s.load(Ordering::Relaxed) == 1), "{n} strips, {threads} threads");
            }
        }
    }
}
