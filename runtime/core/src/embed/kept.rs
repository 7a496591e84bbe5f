//! What embedding ran on, kept from one call to the next: for a few short texts, making it takes longer than running it.

use crate::context::{Context, ContextSize, Runner};
use std::sync::{Mutex, PoisonError};

/// What a model keeps.
#[derive(Default)]
pub struct Kept {
    pub encoder: Slot<Runner>,
    pub decoder: Slot<Context>,
}

impl Kept {
    /// Gives it up.
    pub fn clear(&self) {
        self.encoder.swap(None);
        self.decoder.swap(None);
    }
}

/// Something of a size, with its memory. There is at most one; callers at the same time make their own.
pub struct Slot<T>(Mutex<Option<(ContextSize, T)>>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Slot<T> {
    /// What is kept, if it is large enough. What is too small makes room for its successor.
    pub fn take(&self, needed: ContextSize) -> Option<(ContextSize, T)> {
        self.swap(None).filter(|(size, _)| {
            size.positions >= needed.positions && size.chunk >= needed.chunk && size.sequences >= needed.sequences
        })
    }

    /// Keeps it in the place of another.
    pub fn put(&self, kept: (ContextSize, T)) {
        self.swap(Some(kept));
    }

    fn swap(&self, new: Option<(ContextSize, T)>) -> Option<(ContextSize, T)> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), new)
    }
}
