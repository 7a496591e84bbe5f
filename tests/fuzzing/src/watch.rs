//! Memory and time of one case.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

/// Counts the bytes that each thread holds.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn count(requested: usize, change: isize) {
    let live = LIVE.get() + change;
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
    LARGEST.set(LARGEST.get().max(requested));
}

// SAFETY: forwards every call unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, -(layout.size() as isize));
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, size as isize - layout.size() as isize);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a call may use.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Most bytes held at once, and most asked for at once.
    pub heap: usize,
    /// Most processor time.
    pub time: Duration,
}

impl Budget {
    /// Memory as given; time in proportion to the input's bytes. The factors are some hundred times what is usual, since
    /// instrumented code on a busy machine must pass: what grows faster than the input shows, a slow line does not.
    pub fn new(heap: usize, input: usize) -> Self {
        Self { heap, time: Duration::from_millis(500) + Duration::from_micros(5) * input as u32 }
    }
}

/// Runs `f` and panics where it used more than it may.
pub fn within<T>(budget: Budget, what: &str, f: impl FnOnce() -> T) -> T {
    let (before, began) = (LIVE.get(), processor_time());
    PEAK.set(before);
    LARGEST.set(0);
    let result = f();
    let (peak, largest) = ((PEAK.get() - before) as usize, LARGEST.get());
    let time = processor_time() - began;
    assert!(peak <= budget.heap, "{what} held {peak} bytes, allowed are {}", budget.heap);
    assert!(largest <= budget.heap, "{what} asked for {largest} bytes at once, allowed are {}", budget.heap);
    assert!(time <= budget.time, "{what} took {time:?}, allowed are {:?}", budget.time);
    result
}

/// Of this thread alone: a machine that is busy with other things must not look like slow code.
fn processor_time() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec, which is all the call asks for.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    assert_eq!(failed, 0, "no processor clock");
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
