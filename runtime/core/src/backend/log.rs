//! What the host offers plugins: a place for log lines.

use super::call::one_line;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};
use tern_abi::{Header, Host, MINOR, Str};

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warning,
    /// Something worth knowing.
    Information,
    /// Details.
    Debug,
}

/// Takes a log line of a plugin, from any thread.
pub type LogSink = Arc<dyn Fn(Level, &str) + Send + Sync>;

/// A longer line is cut: its length is a plugin's word.
const LINE_BYTES: u64 = 4096;

static SINK: RwLock<Option<LogSink>> = RwLock::new(None);

struct Shared(Host);
// SAFETY: the struct is immutable, its pointers are null, and its function may be called from any thread.
unsafe impl Sync for Shared {}

/// One for the whole process, because a loaded plugin is: it may keep the pointer, and is never unloaded.
static HOST: Shared = Shared(Host {
    header: Header::of::<Host>(),
    minor: MINOR,
    reserved: 0,
    log: Some(log),
    user: std::ptr::null_mut(),
});

/// What to pass to a plugin's entry.
pub(super) fn host() -> *const Host {
    &HOST.0
}

/// Sets where plugins' log lines go; `None` drops them.
pub(super) fn set_sink(sink: Option<LogSink>) {
    *SINK.write().unwrap_or_else(PoisonError::into_inner) = sink;
}

/// The callback. A panic of the application's sink must not unwind into a plugin.
unsafe extern "C" fn log(_user: *mut c_void, level: u32, line: Str) {
    let deliver = || {
        // Cloned, so that a sink may replace itself.
        let Some(sink) = SINK.read().unwrap_or_else(PoisonError::into_inner).clone() else { return };
        if line.ptr.is_null() {
            return;
        }
        let len = line.len.min(LINE_BYTES) as usize;
        // SAFETY: the plugin vouches for `line` during the call; `len` is no more than its length.
        let text = one_line(unsafe { std::slice::from_raw_parts(line.ptr, len) });
        let level = match level {
            1 => Level::Error,
            2 => Level::Warning,
            3 => Level::Information,
            _ => Level::Debug,
        };
        sink(level, &text);
    };
    if let Err(payload) = catch_unwind(AssertUnwindSafe(deliver)) {
        // Its destructor could panic again, outside the guard.
        std::mem::forget(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn lines_arrive_and_a_panicking_sink_is_survived() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&seen);
        set_sink(Some(Arc::new(move |level, line| {
            keep.lock().unwrap().push((level, line.to_owned()));
            assert!(level != Level::Error, "the sink fails");
        })));
        let call = HOST.0.log.unwrap();
        for (level, text) in [(2, "first"), (1, "second\n"), (9, "third")] {
            // SAFETY: the text is valid for the call.
            unsafe { call(std::ptr::null_mut(), level, Str::new(text)) };
        }
        // SAFETY: a null line is what a careless plugin may pass.
        unsafe { call(std::ptr::null_mut(), 1, Str { ptr: std::ptr::null(), len: 9 }) };
        set_sink(None);
        let seen = seen.lock().unwrap();
        let expect = [(Level::Warning, "first"), (Level::Error, "second"), (Level::Debug, "third")];
        assert_eq!(*seen, expect.map(|(l, t)| (l, t.to_owned())));
    }
}
