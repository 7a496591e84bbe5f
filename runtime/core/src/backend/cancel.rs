//! A flag with which a caller gives up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Shared by everyone who may cancel and the plugin that polls it.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag(Arc<AtomicU32>);

impl CancelFlag {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }
    /// Gives up: calls under way with this flag end soon, later ones fail at once.
    pub fn cancel(&self) {
        self.0.store(1, Ordering::Relaxed);
    }
    /// Has someone given up?
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }
    /// Makes the flag usable again.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
    /// As the ABI takes it; valid as long as this flag or a clone of it.
    pub(super) fn as_ptr(&self) -> *const u32 {
        self.0.as_ptr()
    }
}
