//! Memory: zeroed, aligned to a cache line, large blocks on huge pages.

mod limits;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod slab;

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use tern_abi::plugin::{PluginError, Result};

/// Alignment of every block: a cache line, and the widest vector.
pub const ALIGN: usize = 64;
/// Size of a huge page, where one TLB entry covers it instead of 4 KiB.
pub const HUGE: usize = 2 << 20;
/// From this size on memory is mapped, and lies on huge pages.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MAPPED: usize = 16 << 10;
/// Bytes past the end that may be read (not written), so that kernels can load whole vectors.
pub const SLACK: usize = 64;

static USED: AtomicU64 = AtomicU64::new(0);

/// Bytes that all live blocks hold.
pub fn used() -> u64 {
    USED.load(Ordering::Relaxed)
}

/// Gives an empty block's pointer its alignment.
#[repr(align(64))]
struct Line;

enum Kind {
    Empty,
    Heap(Layout),
    #[cfg(any(target_os = "linux", target_os = "android"))]
    Mapped(#[expect(dead_code, reason = "gives the memory back when it is dropped")] slab::Block),
}

/// A block of memory. It has no Rust references into it: access goes through pointers, and whoever makes
/// two accesses at once sees to it that they do not race.
pub struct Memory {
    ptr: NonNull<u8>,
    len: usize,
    kind: Kind,
}

// SAFETY: plain memory, freed once, not tied to a thread; races are the users' duty, see the type.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// `len` zeroed bytes, or a typed error.
    pub fn zeroed(len: usize) -> Result<Self> {
        if len == 0 {
            return Ok(Self { ptr: NonNull::<Line>::dangling().cast(), len, kind: Kind::Empty });
        }
        let failed = || PluginError::out_of_memory(format!("no memory for {len} bytes"));
        let padded = len.checked_add(SLACK).filter(|&n| n <= isize::MAX as usize - HUGE).ok_or_else(failed)?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if padded >= MAPPED
            && let Some(block) = slab::Block::new(padded)
        {
            USED.fetch_add(len as u64, Ordering::Relaxed);
            return Ok(Self { ptr: block.ptr(), len, kind: Kind::Mapped(block) });
        }
        let layout = Layout::from_size_align(padded, ALIGN).map_err(|_| failed())?;
        // SAFETY: the layout's size is not zero.
        let ptr = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(failed)?;
        USED.fetch_add(len as u64, Ordering::Relaxed);
        Ok(Self { ptr, len, kind: Kind::Heap(layout) })
    }

    /// First byte, aligned to [`ALIGN`].
    pub fn ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Is it empty?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        match self.kind {
            Kind::Empty => return,
            // SAFETY: allocated with this layout, freed once.
            Kind::Heap(layout) => unsafe { dealloc(self.ptr.as_ptr(), layout) },
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Kind::Mapped(_) => {}
        }
        USED.fetch_sub(self.len as u64, Ordering::Relaxed);
    }
}

/// Asks the system to read `bytes` of a mapped file in one piece, rather than page by page as they are touched. It may refuse, which
/// costs nothing.
pub fn will_need(bytes: &[u8]) {
    #[cfg(unix)]
    {
        // SAFETY: a plain query.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096).max(1);
        let before = bytes.as_ptr() as usize % page;
        let start = bytes.as_ptr().wrapping_sub(before).cast_mut();
        // SAFETY: advice on the pages that the bytes lie in; contents do not change.
        unsafe { libc::madvise(start.cast(), bytes.len() + before, libc::MADV_WILLNEED) };
    }
    #[cfg(not(unix))]
    let _ = bytes;
}

/// Does the system give huge pages to who asks for them?
pub fn has_huge_pages() -> bool {
    #[cfg(target_os = "linux")]
    {
        static GIVES: OnceLock<bool> = OnceLock::new();
        let told = || std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        *GIVES.get_or_init(|| told().is_ok_and(|modes| !modes.contains("[never]")))
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// Would `len` bytes more leave our blocks within a quarter of the memory that this process may use? What is mapped from a file the
/// system can drop when memory is short, a copy it cannot.
pub fn has_room(len: usize) -> bool {
    static MAY_USE: OnceLock<u64> = OnceLock::new();
    let limit = *MAY_USE.get_or_init(|| limits::of_container().into_iter().fold(machine().1, u64::min));
    used().saturating_add(len as u64) <= limit / 4
}

/// `(free, total)` bytes of the machine, 0 where unknown.
pub fn machine() -> (u64, u64) {
    #[cfg(unix)]
    {
        // SAFETY: plain queries.
        let (page, total) = unsafe { (libc::sysconf(libc::_SC_PAGESIZE), libc::sysconf(libc::_SC_PHYS_PAGES)) };
        #[cfg(any(target_os = "linux", target_os = "android"))]
        // SAFETY: a plain query.
        let free = unsafe { libc::sysconf(libc::_SC_AVPHYS_PAGES) };
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let free = 0;
        let bytes = |pages: libc::c_long| (pages.max(0) as u64).saturating_mul(page.max(0) as u64);
        (bytes(free), bytes(total))
    }
    #[cfg(not(unix))]
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroed_and_aligned() {
        for len in [1, 63, 64, 4096, 20_000, 200_000, HUGE - 1, HUGE, 3 * HUGE + 5] {
            let m = Memory::zeroed(len).unwrap();
            assert_eq!(m.ptr() as usize % ALIGN, 0);
            // SAFETY: the block has `len` bytes and nothing else accesses it.
            let bytes = unsafe { std::slice::from_raw_parts_mut(m.ptr(), m.len()) };
            assert!(bytes.iter().all(|&b| b == 0));
            bytes.fill(7);
        }
        assert!(Memory::zeroed(0).unwrap().is_empty());
    }

    #[test]
    fn impossible_is_an_error() {
        for len in [usize::MAX, usize::MAX / 2, 1 << 60] {
            assert_eq!(Memory::zeroed(len).err().unwrap().status, tern_abi::status::OUT_OF_MEMORY);
        }
    }
}
