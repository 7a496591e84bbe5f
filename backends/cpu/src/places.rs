//! Where things are in an op's scratch.

/// Places one after the other, each at the begin of a cache line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places {
    end: usize,
}

impl Places {
    /// A place for `n` things of `size` bytes; `None` where sizes overflow.
    pub fn take(&mut self, n: usize, size: usize) -> Option<usize> {
        let at = self.end;
        self.end = n.checked_mul(size)?.checked_next_multiple_of(64)?.checked_add(at)?;
        Some(at)
    }
    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.end
    }
    /// Bytes of these places and, behind them, of `each` per worker, where they fit the address space.
    pub fn with_workers(&self, each: &Self, workers: usize) -> Option<usize> {
        each.end.checked_mul(workers)?.checked_add(self.end).filter(|&n| n <= isize::MAX as usize)
    }
}
