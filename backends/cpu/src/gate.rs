//! A counter that threads wait on: they spin, then yield, then sleep.

use crate::clock::Now;
use std::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, PoisonError};

/// Looks with a pause instruction between them: about a microsecond. Where two threads that wait for each other
/// share a processor, every spin is lost, so that longer ones multiply the cost of a barrier there: on one
/// processor 2 us with 30 spins, 11 us with 400.
const SPINS: u32 = 30;
/// Looks with a yield between them: some 100 us, which covers what a caller does from one token to the next. A
/// yield costs a fraction of a microsecond if nothing else wants the processor, and gives it away otherwise.
const YIELDS: u32 = 400;

/// See the module text. It begins at 0. Aligned so that neighbours do not share its cache lines.
#[derive(Default)]
#[repr(align(128))]
pub struct Gate {
    value: AtomicU32,
    sleepers: AtomicU32,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Gate {
    /// The current value.
    pub fn value(&self) -> u32 {
        self.value.load(Acquire)
    }

    /// Advances by one and wakes all who wait.
    pub fn advance(&self) {
        self.value.fetch_add(1, SeqCst);
        // Sequential consistency: either a sleeper is seen here, or it sees the new value before it sleeps.
        if self.sleepers.load(SeqCst) > 0 {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.wake.notify_all();
        }
    }

    /// Waits until the value is not `old`. Returns the nanoseconds that took, 0 where it was a matter of spins.
    pub fn wait(&self, old: u32) -> u64 {
        for _ in 0..SPINS {
            if self.value() != old {
                return 0;
            }
            std::hint::spin_loop();
        }
        let since = Now::read();
        for _ in 0..YIELDS {
            if self.value() != old {
                return since.nanoseconds();
            }
            std::thread::yield_now();
        }
        self.sleep(old);
        since.nanoseconds()
    }

    #[cold]
    fn sleep(&self, old: u32) {
        self.sleepers.fetch_add(1, SeqCst);
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while self.value.load(SeqCst) == old {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        self.sleepers.fetch_sub(1, SeqCst);
    }
}
