//! KV pages: which are free.

/// A pool of equal pages. Every layer's state has the same ones.
pub struct Pages {
    capacity: u64,
    free: Vec<u32>,
    fresh: u32,
}

impl Pages {
    /// `capacity` pages, all free.
    pub fn new(capacity: u64) -> Self {
        Self { capacity: capacity.min(u64::from(u32::MAX)), free: Vec::new(), fresh: 0 }
    }

    /// Pages in all.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// A free page; used ones first, so that memory never touched stays untouched.
    pub fn take(&mut self) -> Option<u32> {
        self.free.pop().or_else(|| {
            (u64::from(self.fresh) < self.capacity).then(|| {
                self.fresh += 1;
                self.fresh - 1
            })
        })
    }

    /// Gives pages back.
    pub fn free(&mut self, pages: impl Iterator<Item = u32>) {
        self.free.extend(pages);
    }
}
