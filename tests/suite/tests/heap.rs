//! What our own structures take on the heap, counted: the forecast's share for them covers it, and nothing stays behind.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use tern::{ModelOptions, SessionOptions};
use tern_tests::{runtime, smollm2};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator, and two counters.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn the_heap_stays_within_what_is_forecast_for_it_and_is_given_back() {
    let options = ModelOptions { backend: Some("cpu".into()), threads: 2, ..Default::default() };
    let session = SessionOptions { context: Some(300), ..Default::default() };
    let plan = runtime().plan(smollm2(), &options, &session, 2).unwrap();
    let mut after = Vec::new();
    for _ in 0..3 {
        let before = LIVE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let model = runtime().open(smollm2(), options.clone()).unwrap();
        for _ in 0..2 {
            model.session(session).unwrap().forward(&[5; 200]).unwrap();
        }
        // Weights, keys and values are in mapped memory of the plugin's, which the budget counts.
        let peak = (PEAK.load(Ordering::Relaxed) - before) as u64;
        println!("{peak} bytes of heap at most; forecast for it {}", plan.host_bytes + plan.working_bytes);
        assert!(peak > 0 && peak <= plan.host_bytes + plan.working_bytes, "{peak}: {plan:?}");
        drop(model);
        after.push(LIVE.load(Ordering::Relaxed));
    }
    assert!(after[2] <= after[1] + 4096, "{after:?}");
}
