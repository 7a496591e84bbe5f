//! Blocks of mapped memory on huge pages, small ones many to a page.
//!
//! The system backs a mapping with a huge page only where all of the page lies in the mapping when it is first touched. The
//! matrices of a small model are smaller than that, and mapped one by one they end up in pages of 4 KiB, whose
//! translations cost a third of memory's bandwidth in a virtual machine. So they share mappings of a few huge pages, one
//! after the other. No place is given out twice: fresh memory is zeroed by the system, and what a block leaves is given
//! back to it at once.

use super::{ALIGN, HUGE};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

/// Size of a shared mapping: address space is taken in such pieces, memory only where it is touched.
const SLAB: usize = 16 * HUGE;
/// Larger blocks get a mapping of their own: at most so much of a shared one is left over at its end.
const LARGE: usize = HUGE;
/// No system has larger ordinary pages.
const PAGE: usize = 64 << 10;

/// The mapping that small blocks are cut from.
static OPEN: Mutex<Option<Slab>> = Mutex::new(None);

/// A shared mapping, and how much of it is given out.
struct Slab {
    mapping: Arc<Mapping>,
    given: usize,
}

/// Memory from the system, aligned to a huge page; unmapped when it is dropped.
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: plain memory, not tied to a thread; who may access which part is the blocks' matter.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// A part of a mapping, given back when it is dropped.
pub struct Block {
    mapping: Arc<Mapping>,
    at: usize,
    len: usize,
}

impl Block {
    /// `len` zeroed bytes, or `None` where the system has none.
    pub fn new(len: usize) -> Option<Self> {
        let len = len.checked_next_multiple_of(ALIGN)?;
        if len > LARGE {
            return Some(Self { mapping: Arc::new(Mapping::new(len)?), at: 0, len });
        }
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if open.as_ref().is_none_or(|slab| slab.mapping.len - slab.given < len) {
            // Where address space is scarce, a mapping of just this size may still be had.
            let mapping = Mapping::new(SLAB).or_else(|| Mapping::new(len))?;
            *open = Some(Slab { mapping: Arc::new(mapping), given: 0 });
        }
        let slab = open.as_mut()?;
        let block = Self { mapping: slab.mapping.clone(), at: slab.given, len };
        slab.given += len;
        Some(block)
    }

    /// First byte, aligned to [`ALIGN`].
    pub fn ptr(&self) -> NonNull<u8> {
        // SAFETY: inside the mapping.
        unsafe { self.mapping.base.add(self.at) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // Whole pages of this block only: the rest holds bytes of its neighbours.
        let (start, end) = (self.at.next_multiple_of(PAGE), (self.at + self.len) / PAGE * PAGE);
        if Arc::strong_count(&self.mapping) > 1 && start < end {
            // SAFETY: inside the mapping; nobody reads what is left.
            unsafe {
                libc::madvise(self.mapping.base.add(start).as_ptr().cast(), end - start, libc::MADV_DONTNEED);
            }
        }
    }
}

impl Mapping {
    fn new(len: usize) -> Option<Self> {
        let total = len.checked_add(HUGE)?;
        // SAFETY: a fresh anonymous mapping.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                total,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return None;
        }
        let base = base.cast::<u8>();
        let head = base.align_offset(HUGE);
        let end = (head + len).next_multiple_of(PAGE).min(total);
        // SAFETY: the ranges lie in the mapping and outside of what is kept; advice cannot harm.
        unsafe {
            if head > 0 {
                libc::munmap(base.cast(), head);
            }
            if end < total {
                libc::munmap(base.add(end).cast(), total - end);
            }
            let start = base.add(head);
            libc::madvise(start.cast(), len, libc::MADV_HUGEPAGE);
            Some(Self { base: NonNull::new(start)?, len: end - head })
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, unmapped once.
        unsafe {
            libc::munmap(self.base.as_ptr().cast(), self.len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_do_not_overlap_and_are_zeroed() {
        let mut blocks = Vec::new();
        for i in 0..400usize {
            let len = (i * 7919) % LARGE + 1;
            let block = Block::new(len).unwrap();
            // SAFETY: the block's own bytes.
            let bytes = unsafe { std::slice::from_raw_parts_mut(block.ptr().as_ptr(), len) };
            assert!(bytes.iter().all(|&b| b == 0), "block {i}");
            bytes.fill(i as u8 | 1);
            blocks.push((block, len, i as u8 | 1));
            if i % 3 == 0 {
                blocks.swap_remove((i * 31) % blocks.len());
            }
        }
        for (block, len, byte) in &blocks {
            // SAFETY: as above.
            let bytes = unsafe { std::slice::from_raw_parts(block.ptr().as_ptr(), *len) };
            assert!(bytes.iter().all(|b| b == byte));
        }
    }

    #[test]
    fn large_blocks_are_their_own_mapping() {
        let block = Block::new(LARGE + 1).unwrap();
        assert_eq!(block.ptr().as_ptr() as usize % HUGE, 0);
        assert_eq!(Arc::strong_count(&block.mapping), 1);
    }
}
