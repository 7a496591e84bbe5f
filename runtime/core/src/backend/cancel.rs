//! A flag with which a caller gives up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Shared by everyone who may cancel and the plugin that polls it.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag {
    word: Arc<AtomicU32>,
    /// Is set along with it.
    shared: Option<Arc<AtomicU32>>,
}

impl CancelFlag {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }
    /// A flag that sets `shared` whenever it is set itself, for work that several callers share: who polls `shared` then
    /// looks which of them gave up.
    pub fn linked(shared: &Self) -> Self {
        Self { word: Arc::default(), shared: Some(Arc::clone(&shared.word)) }
    }
    /// Gives up: calls under way with this flag end soon, later ones fail at once.
    pub fn cancel(&self) {
        // Whoever sees `shared` set must see this one set.
        self.word.store(1, Ordering::SeqCst);
        if let Some(shared) = &self.shared {
            shared.store(1, Ordering::SeqCst);
        }
    }
    /// Has someone given up?
    pub fn is_cancelled(&self) -> bool {
        self.word.load(Ordering::SeqCst) != 0
    }
    /// Makes the flag usable again.
    pub fn reset(&self) {
        self.word.store(0, Ordering::SeqCst);
    }
    /// As the ABI takes it; valid as long as this flag or a clone of it.
    pub(super) fn as_ptr(&self) -> *const u32 {
        self.word.as_ptr()
    }
}
