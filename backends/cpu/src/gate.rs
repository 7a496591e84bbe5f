//! A counter that threads wait on: they spin, then yield, then sleep.

use std::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, PoisonError};

/// How long to wait in which way. With more threads than processors the thread waited for is likely not
/// running, and spinning only keeps it from running.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Looks with a pause instruction between them.
    pub spins: u32,
    /// Looks with a yield to the scheduler between them.
    pub yields: u32,
}

/// See the module text. Aligned so that neighbours do not share its cache lines.
#[repr(align(128))]
pub struct Gate {
    value: AtomicU32,
    sleepers: AtomicU32,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Gate {
    /// A gate at 0.
    pub fn new() -> Self {
        Self { value: AtomicU32::new(0), sleepers: AtomicU32::new(0), lock: Mutex::new(()), wake: Condvar::new() }
    }

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

    /// Waits until the value is not `old`.
    pub fn wait(&self, old: u32, patience: Patience) {
        for _ in 0..patience.spins {
            if self.value() != old {
                return;
            }
            std::hint::spin_loop();
        }
        for _ in 0..patience.yields {
            if self.value() != old {
                return;
            }
            std::thread::yield_now();
        }
        self.sleep(old);
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
