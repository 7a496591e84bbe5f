//! What embedding ran on, kept from one call to the next: for a few short texts, making it takes longer than running it.

use crate::context::{Context, ContextSize, Runner};
use crate::error::Error;
use std::sync::{Mutex, PoisonError};

/// Tokens of texts that are called short: all of them share what is kept.
const SHORT: u64 = 64;

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

/// Positions that serve texts of `longest` tokens, and those of later calls that are about as long, in a model for texts of up to
/// `most`.
pub fn positions(longest: u64, most: u64) -> u64 {
    longest.checked_next_power_of_two().unwrap_or(u64::MAX).max(SHORT).min(most).max(longest)
}

/// Something of a size, with its memory. There is at most one; callers at the same time make their own.
pub struct Slot<T>(Mutex<Option<(ContextSize, T)>>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Slot<T> {
    /// What is kept, if it is large enough. Else it makes room for one of size `roomy`, or of what is `needed` where memory has no
    /// more.
    pub fn take_or_make(
        &self,
        needed: ContextSize,
        roomy: ContextSize,
        make: impl Fn(ContextSize) -> Result<T, Error>,
    ) -> Result<(ContextSize, T), Error> {
        let enough = |size: &ContextSize| {
            size.positions >= needed.positions && size.chunk >= needed.chunk && size.sequences >= needed.sequences
        };
        if let Some(kept) = self.swap(None).filter(|(size, _)| enough(size)) {
            return Ok(kept);
        }
        let made = |size| Ok((size, make(size)?));
        match made(roomy) {
            Err(Error::Memory { .. }) => made(needed),
            other => other,
        }
    }

    /// Keeps it in the place of another.
    pub fn put(&self, kept: (ContextSize, T)) {
        self.swap(Some(kept));
    }

    fn swap(&self, new: Option<(ContextSize, T)>) -> Option<(ContextSize, T)> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), new)
    }
}
