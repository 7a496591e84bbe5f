//! The thread pool: workers stay for a whole run and meet at cheap barriers.
//!
//! The calling thread is worker 0. One run at a time; a run inside a run would wait for itself. A run has as many of the
//! workers as the last ones had use for ([`Crew`]).

use crate::clock::Now;
use crate::crew::Crew;
use crate::gate::Gate;
use crate::stop::Stop;
use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tern_abi::plugin::{PluginError, Result};

/// More workers than this are not started unless asked for: small models stop gaining, and every barrier
/// waits for the slowest.
const DEFAULT_MAX: usize = 16;
/// A bound on what a caller may ask for.
const MAX: usize = 256;

/// What a run executes: every worker calls it once.
type Job<'a> = dyn Fn(&Worker<'_>) + Sync + 'a;

#[repr(align(128))]
struct Line<T>(T);

struct Shared {
    /// Each worker's own, since not all have a part in every run. The first is the caller's and not used.
    starts: Vec<Gate>,
    /// Workers of the current run.
    active: AtomicUsize,
    /// Nanoseconds that workers waited in it.
    waited: AtomicU64,
    done: Gate,
    barrier: Gate,
    arrived: Line<AtomicUsize>,
    /// The same for what workers announce between two barriers.
    announcements: Gate,
    announced: Line<AtomicUsize>,
    claimed: Line<AtomicUsize>,
    running: Line<AtomicUsize>,
    stopped: AtomicBool,
    broken: AtomicBool,
    quit: AtomicBool,
    job: UnsafeCell<Option<(&'static Job<'static>, &'static Stop<'static>)>>,
}

// SAFETY: `job` is written by the thread that holds the run lock while no worker runs, and read by workers
// after their gate of `starts` has advanced, which orders the two.
unsafe impl Sync for Shared {}

/// See the module text.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Held for a run.
    crew: Mutex<Crew>,
}

/// A worker's place in a run.
pub struct Worker<'a> {
    index: usize,
    count: usize,
    waited: Cell<u64>,
    shared: &'a Shared,
    stop: &'a Stop<'a>,
}

/// That a worker has announced.
#[derive(Clone, Copy)]
pub struct Announced(u32);

impl Pool {
    /// A pool of `threads` workers; 0 means one per processor. Where threads cannot be started there are
    /// fewer, down to the caller alone.
    pub fn new(threads: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
        let wanted = if threads == 0 { processors.min(DEFAULT_MAX) } else { threads.min(MAX) };
        for count in [wanted, 1] {
            if let Some(pool) = Self::start(count) {
                return pool;
            }
        }
        Self { shared: Arc::new(Shared::new(1)), threads: Vec::new(), crew: Mutex::new(Crew::new(1)) }
    }

    fn start(count: usize) -> Option<Self> {
        let shared = Arc::new(Shared::new(count));
        let mut pool = Self { shared: shared.clone(), threads: Vec::new(), crew: Mutex::new(Crew::new(count)) };
        for index in 1..count {
            let shared = shared.clone();
            let thread = std::thread::Builder::new().name(format!("tern-cpu-{index}"));
            // On failure the pool's drop ends those already started.
            pool.threads.push(thread.spawn(move || shared.serve(index)).ok()?);
        }
        Some(pool)
    }

    /// Number of workers.
    pub fn count(&self) -> usize {
        self.shared.starts.len()
    }

    /// Calls `job` once on every worker that has a part in this run, and returns when all have returned.
    pub fn run(&self, stop: &Stop<'_>, job: &Job<'_>) -> Result<()> {
        let mut crew = self.crew.lock().unwrap_or_else(PoisonError::into_inner);
        let (shared, count, began) = (&*self.shared, crew.active(), Now::read());
        shared.stopped.store(stop.is_set(), Ordering::Relaxed);
        shared.claimed.0.store(0, Ordering::Relaxed);
        shared.active.store(count, Ordering::Relaxed);
        shared.waited.store(0, Ordering::Relaxed);
        let finished = shared.done.value();
        if count > 1 {
            // SAFETY: only the lifetimes change; the workers are done with both before this function returns,
            // also where a job panics.
            unsafe {
                let job = std::mem::transmute::<&Job<'_>, &'static Job<'static>>(job);
                let stop = std::mem::transmute::<&Stop<'_>, &'static Stop<'static>>(stop);
                *shared.job.get() = Some((job, stop));
            }
            shared.running.0.store(count - 1, Ordering::Relaxed);
            shared.starts[1..count].iter().for_each(Gate::advance);
        }
        shared.call(0, stop, job);
        if count > 1 {
            shared.waited.fetch_add(shared.done.wait(finished), Ordering::Relaxed);
        }
        shared.arrived.0.store(0, Ordering::Relaxed);
        shared.announced.0.store(0, Ordering::Relaxed);
        crew.learn(began.nanoseconds(), shared.waited.load(Ordering::Relaxed));
        if shared.broken.swap(false, Ordering::Relaxed) {
            return Err(PluginError::new(tern_abi::status::PANIC, "a kernel panicked; the step is void"));
        }
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::Relaxed);
        self.shared.starts.iter().for_each(Gate::advance);
        for thread in self.threads.drain(..) {
            // A worker catches its panics, so there is nothing to learn from the result.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn new(count: usize) -> Self {
        Self {
            starts: (0..count).map(|_| Gate::default()).collect(),
            active: AtomicUsize::new(count),
            waited: AtomicU64::new(0),
            done: Gate::default(),
            barrier: Gate::default(),
            arrived: Line(AtomicUsize::new(0)),
            announcements: Gate::default(),
            announced: Line(AtomicUsize::new(0)),
            claimed: Line(AtomicUsize::new(0)),
            running: Line(AtomicUsize::new(0)),
            stopped: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            quit: AtomicBool::new(false),
            job: UnsafeCell::new(None),
        }
    }

    /// Life of a worker thread.
    fn serve(&self, index: usize) {
        let mut seen = 0;
        loop {
            self.starts[index].wait(seen);
            seen = seen.wrapping_add(1);
            if self.quit.load(Ordering::Relaxed) {
                return;
            }
            // SAFETY: see `Sync for Shared`.
            if let Some((job, stop)) = unsafe { *self.job.get() } {
                self.call(index, stop, job);
            }
            if self.running.0.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.done.advance();
            }
        }
    }

    /// Runs `job`. If it panics, the others must not wait for it at a barrier.
    fn call(&self, index: usize, stop: &Stop<'_>, job: &Job<'_>) {
        let count = self.active.load(Ordering::Relaxed);
        let worker = Worker { index, count, waited: Cell::new(0), shared: self, stop };
        let result = catch_unwind(AssertUnwindSafe(|| job(&worker)));
        self.waited.fetch_add(worker.waited.get(), Ordering::Relaxed);
        if let Err(payload) = result {
            // A payload's destructor could panic again.
            std::mem::forget(payload);
            self.broken.store(true, Ordering::SeqCst);
            self.barrier.advance();
            self.announcements.advance();
        }
    }
}

impl Worker<'_> {
    /// `0 .. count`; the calling thread is 0.
    pub fn index(&self) -> usize {
        self.index
    }
    /// Number of workers in this run.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Waits for all workers. What they wrote before is visible after; [`claim`](Self::claim) starts anew.
    pub fn barrier(&self) {
        let shared = self.shared;
        // The order of these two loads matters: see `call`, which sets `broken` before it advances.
        let round = shared.barrier.value();
        self.leave_if_broken();
        if shared.arrived.0.fetch_add(1, Ordering::AcqRel) + 1 == self.count {
            shared.arrived.0.store(0, Ordering::Relaxed);
            shared.claimed.0.store(0, Ordering::Relaxed);
            // One worker decides for all, so that all leave at the same barrier.
            shared.stopped.store(self.stop.is_set(), Ordering::Relaxed);
            shared.barrier.advance();
        } else {
            self.waited.set(self.waited.get() + shared.barrier.wait(round));
        }
        self.leave_if_broken();
    }

    /// The first half of a barrier, at most once between two of them: what this worker wrote so far is visible to all who have
    /// waited for [`all_announced`](Self::all_announced). Between the halves there is work to do instead of waiting.
    pub fn announce(&self) -> Announced {
        let shared = self.shared;
        // As in `barrier`.
        let round = shared.announcements.value();
        self.leave_if_broken();
        if shared.announced.0.fetch_add(1, Ordering::AcqRel) + 1 == self.count {
            shared.announced.0.store(0, Ordering::Relaxed);
            shared.announcements.advance();
        }
        Announced(round)
    }

    /// The second half: waits until all workers have announced.
    pub fn all_announced(&self, own: Announced) {
        self.waited.set(self.waited.get() + self.shared.announcements.wait(own.0));
        self.leave_if_broken();
    }

    /// Was the run stopped before the last barrier? The same answer for all workers until the next one.
    pub fn stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Relaxed)
    }

    /// Another worker panicked and will not come to the barrier: unwinds to [`Shared::call`], which every
    /// job runs under. This never runs unless there is a defect.
    fn leave_if_broken(&self) {
        if self.shared.broken.load(Ordering::Relaxed) {
            resume_unwind(Box::new("another worker panicked"));
        }
    }

    /// This worker's share of `0 .. n`: contiguous, a multiple of `granularity` except at the end.
    pub fn split(&self, n: usize, granularity: usize) -> Range<usize> {
        let granularity = granularity.max(1);
        let parts = n.div_ceil(granularity);
        let cut = |i: usize| (parts * i / self.count() * granularity).min(n);
        cut(self.index)..cut(self.index + 1)
    }

    /// The next unclaimed `chunk` of `0 .. n`, or `None` when all are taken. Between two barriers all calls
    /// draw from one counter, so there is one such loop.
    pub fn claim(&self, n: usize, chunk: usize) -> Option<Range<usize>> {
        let first = self.shared.claimed.0.fetch_add(chunk, Ordering::Relaxed);
        (first < n).then(|| first..(first + chunk).min(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use std::time::{Duration, Instant};

    #[test]
    fn every_item_once() {
        for threads in [1, 2, 3, 8] {
            let pool = Pool::new(threads);
            let (n, rounds) = (1000, 50);
            let counts: Vec<AtomicUsize> = (0..2 * n).map(|_| AtomicUsize::new(0)).collect();
            let add = |range: Range<usize>, at: usize| {
                for i in range {
                    counts[at + i].fetch_add(1, Ordering::Relaxed);
                }
            };
            for _ in 0..rounds {
                pool.run(&Stop::never(), &|worker| {
                    while let Some(range) = worker.claim(n, 7) {
                        add(range, 0);
                    }
                    worker.barrier();
                    while let Some(range) = worker.claim(n, 64) {
                        add(range, n);
                    }
                    worker.barrier();
                    add(worker.split(n, 16), 0);
                })
                .unwrap();
            }
            assert!(counts[..n].iter().all(|c| c.load(Ordering::Relaxed) == 2 * rounds));
            assert!(counts[n..].iter().all(|c| c.load(Ordering::Relaxed) == rounds));
        }
    }

    /// More threads than processors, many barriers: each must see what all wrote before it.
    #[test]
    fn barriers_order_memory() {
        let pool = Pool::new(8);
        let cells: Vec<AtomicU64> = (0..8).map(|_| AtomicU64::new(0)).collect();
        let wrong = AtomicUsize::new(0);
        pool.run(&Stop::never(), &|worker| {
            for round in 1..=2000u64 {
                cells[worker.index()].store(round, Ordering::Relaxed);
                worker.barrier();
                if cells.iter().any(|c| c.load(Ordering::Relaxed) != round) {
                    wrong.fetch_add(1, Ordering::Relaxed);
                }
                worker.barrier();
            }
        })
        .unwrap();
        assert_eq!(wrong.into_inner(), 0);
    }

    /// The same with barriers in two halves.
    #[test]
    fn announcements_order_memory() {
        let pool = Pool::new(8);
        let cells: Vec<AtomicU64> = (0..8).map(|_| AtomicU64::new(0)).collect();
        let wrong = AtomicUsize::new(0);
        pool.run(&Stop::never(), &|worker| {
            for round in 1..=2000u64 {
                cells[worker.index()].store(round, Ordering::Relaxed);
                let announced = worker.announce();
                // Some never wait.
                if worker.index() % 3 != 2 {
                    worker.all_announced(announced);
                    if cells.iter().any(|c| c.load(Ordering::Relaxed) != round) {
                        wrong.fetch_add(1, Ordering::Relaxed);
                    }
                }
                worker.barrier();
            }
        })
        .unwrap();
        assert_eq!(wrong.into_inner(), 0);
    }

    #[test]
    fn all_stop_at_the_same_barrier() {
        for threads in [1, 2, 8] {
            let pool = Pool::new(threads);
            let asked = Instant::now();
            let poll = || asked.elapsed() > Duration::from_millis(5);
            let stop = Stop::new(&poll);
            let rounds: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
            pool.run(&stop, &|worker| {
                while !worker.stopped() {
                    rounds[worker.index()].fetch_add(1, Ordering::Relaxed);
                    worker.barrier();
                }
            })
            .unwrap();
            let rounds: Vec<usize> = rounds.into_iter().map(AtomicUsize::into_inner).collect();
            assert!(rounds.iter().all(|&r| r == rounds[0] && r > 0), "{rounds:?}");
            assert_eq!(stop.into_result().unwrap_err().status, tern_abi::status::CANCELLED);
        }
    }

    #[test]
    fn a_panic_ends_the_run_and_the_pool_lives_on() {
        for threads in [1, 2, 8] {
            for culprit in [0, threads - 1] {
                for halves in [false, true] {
                    // On a busy machine only the first run of a pool is sure to have all workers.
                    let pool = Pool::new(threads);
                    let result = pool.run(&Stop::never(), &|worker| {
                        worker.barrier();
                        if worker.index() == culprit {
                            // Unwinds without a message in the test's output.
                            resume_unwind(Box::new(()));
                        }
                        if halves {
                            worker.all_announced(worker.announce());
                        }
                        worker.barrier();
                    });
                    assert_eq!(result.unwrap_err().status, tern_abi::status::PANIC);
                    pool.run(&Stop::never(), &|worker| worker.all_announced(worker.announce())).unwrap();
                }
            }
        }
    }

    #[test]
    fn shares_cover_all() {
        let pool = Pool::new(3);
        for (n, granularity) in [(0, 16), (1, 16), (100, 16), (1000, 1), (48, 16)] {
            let cuts = Mutex::new(vec![]);
            pool.run(&Stop::never(), &|worker| {
                let range = worker.split(n, granularity);
                assert!(range.end == n || range.end % granularity == 0);
                cuts.lock().unwrap().push((range.start, range.end));
            })
            .unwrap();
            let mut cuts = cuts.into_inner().unwrap();
            cuts.sort_unstable();
            assert_eq!((cuts[0].0, cuts[cuts.len() - 1].1), (0, n));
            assert!(cuts.windows(2).all(|w| w[0].1 == w[1].0));
        }
    }
}
