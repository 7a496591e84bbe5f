//! A hard cap on memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A cap on bytes, shared by everything that takes memory under it.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    peak: AtomicU64,
}

impl Budget {
    /// At most `limit` bytes.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU64::new(0), peak: AtomicU64::new(0) })
    }

    /// No cap; what is taken is counted all the same.
    pub fn unlimited() -> Arc<Self> {
        Self::new(u64::MAX)
    }

    /// The cap; `u64::MAX` where there is none.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes taken.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The most that was ever taken.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Bytes left.
    pub fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used())
    }

    /// Takes bytes until the reservation is dropped; what is left where they do not fit.
    pub fn take(self: &Arc<Self>, bytes: u64) -> Result<Reserved, u64> {
        let add = |used: u64| used.checked_add(bytes).filter(|&sum| sum <= self.limit);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(before) => {
                self.peak.fetch_max(before + bytes, Ordering::Relaxed);
                Ok(Reserved { budget: Arc::clone(self), bytes })
            }
            Err(used) => Err(self.limit.saturating_sub(used)),
        }
    }
}

/// Bytes taken from a [`Budget`].
#[derive(Debug)]
pub struct Reserved {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_holds_and_what_is_dropped_comes_back() {
        let budget = Budget::new(100);
        let a = budget.take(60).unwrap();
        assert_eq!(budget.take(41).unwrap_err(), 40);
        let b = budget.take(40).unwrap();
        assert_eq!((budget.left(), budget.take(1).unwrap_err()), (0, 0));
        drop(a);
        assert_eq!((budget.left(), budget.peak()), (60, 100));
        drop(b);
        assert_eq!(budget.used(), 0);
        assert!(Budget::unlimited().take(u64::MAX).is_ok());
    }
}
