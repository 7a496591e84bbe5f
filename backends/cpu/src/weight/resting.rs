//! Rows that are used where the host has them, in its mapped file, until steps have moved them into memory of our own.
//!
//! Where they are they cost no time before the first token. But a file is mapped in pages of 4 KiB mostly, whose translations cost
//! a third of what a core can read (24 GB/s against 36 of huge pages on a Zen 4), and that is what decoding is made of. See
//! `moving.rs` for when they move. The bytes stay the same, so do results.

use super::matrix::STRIP;
use crate::memory::Memory;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tern_abi::plugin::{Release, Result};

/// See the module.
pub struct Resting {
    /// The host's first byte.
    from: *const u8,
    len: usize,
    /// How much may be moved at a time: strips are not torn apart. 0 where nothing moves.
    strip: usize,
    release: Release,
    copy: OnceLock<Memory>,
    /// So many bytes are read from the copy.
    moved: AtomicUsize,
    stays: AtomicBool,
}

// SAFETY: the host's bytes are plain memory that nobody writes; the copy is written beyond what is read.
unsafe impl Send for Resting {}
// SAFETY: as above.
unsafe impl Sync for Resting {}

impl Resting {
    /// Rows that stay where they are.
    pub fn new(from: *const u8, len: usize) -> Self {
        let (moved, stays) = (AtomicUsize::new(0), AtomicBool::new(true));
        Self { from, len, strip: 0, release: Release::NONE, copy: OnceLock::new(), moved, stays }
    }

    /// Lets rows of `row_bytes` move; the host hears of it through `release`.
    pub fn may_move(mut self, row_bytes: usize, release: Release) -> Self {
        (self.strip, self.release) = (STRIP * row_bytes, release);
        self.stays = AtomicBool::new(self.strip == 0);
        self
    }

    /// Bytes in all.
    pub fn bytes(&self) -> usize {
        self.len
    }
    /// Bytes of the copy, as far as it is made.
    pub fn moved(&self) -> usize {
        self.moved.load(Ordering::Acquire)
    }
    /// The byte at `offset`. What follows it to the end of its strip is in the same memory.
    pub fn at(&self, offset: usize) -> *const u8 {
        match self.copy.get() {
            Some(copy) if offset < self.moved() => copy.ptr().wrapping_add(offset).cast_const(),
            _ => self.from.wrapping_add(offset),
        }
    }

    /// Is there something to move?
    pub fn rests(&self) -> bool {
        !self.stays.load(Ordering::Relaxed)
    }
    /// Leaves the rest where it is.
    pub fn stay(&self) {
        self.stays.store(true, Ordering::Relaxed);
    }

    /// The next bytes to move, about as many as are wanted and at least a strip, and where the copy of the first one is.
    ///
    /// # Errors
    /// There is no memory for the copy.
    pub fn next(&self, wanted: usize) -> Result<(Range<usize>, *mut u8)> {
        if self.copy.get().is_none() {
            let copy = Memory::zeroed(self.len)?;
            self.copy.get_or_init(|| copy);
        }
        let to = self.copy.get().map_or(std::ptr::null_mut(), Memory::ptr);
        let first = self.moved();
        let strips = (wanted / self.strip.max(1)).max(1);
        let end = first.saturating_add(strips.saturating_mul(self.strip)).min(self.len);
        Ok((first..end, to.wrapping_add(first)))
    }

    /// Copies some of the [`next`](Self::next) bytes to their place, and lets the host's go.
    ///
    /// # Safety
    /// `to` is that place, and nobody else copies these bytes.
    pub unsafe fn copy(&self, bytes: Range<usize>, to: *mut u8) {
        // SAFETY: the host's bytes last as long as this; the copy's are read by nobody before they are settled.
        unsafe {
            to.copy_from_nonoverlapping(self.from.add(bytes.start), bytes.len());
            self.release.call(bytes.start as u64, bytes.len() as u64);
        }
    }

    /// All before `end` was copied, and is read from there from now on.
    pub fn settle(&self, end: usize) {
        self.moved.store(end, Ordering::Release);
        if end == self.len {
            self.stay();
        }
    }
}
