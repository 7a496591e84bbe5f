//! Why a step ends early: the caller cancelled it, or an op found bad data.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use tern_abi::plugin::{PluginError, Result};

/// Shared by all workers of a run. Once set it stays set, so that work which was skipped because of it
/// never counts as done.
pub struct Stop<'a> {
    poll: &'a (dyn Fn() -> bool + Sync),
    set: AtomicBool,
    error: Mutex<Option<PluginError>>,
}

impl<'a> Stop<'a> {
    /// Stops when `poll` says so.
    pub fn new(poll: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self { poll, set: AtomicBool::new(false), error: Mutex::new(None) }
    }
    /// Stops only on an error.
    pub fn never() -> Self {
        Self::new(&|| false)
    }

    /// Should work stop? Long ops ask at least every few milliseconds and then skip what is left, but
    /// still arrive at all their barriers.
    pub fn is_set(&self) -> bool {
        if self.set.load(Ordering::Relaxed) {
            return true;
        }
        let set = (self.poll)();
        if set {
            self.set.store(true, Ordering::Relaxed);
        }
        set
    }

    /// Ends the run with an error; the first one counts.
    pub fn fail(&self, error: PluginError) {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.set.store(true, Ordering::Relaxed);
    }

    /// What became of the run.
    pub fn into_result(self) -> Result<()> {
        match self.error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None if self.set.into_inner() => Err(PluginError::cancelled()),
            None => Ok(()),
        }
    }
}
