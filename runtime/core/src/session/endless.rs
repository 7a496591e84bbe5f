//! Text without end in fixed memory: where the context is full, its middle is forgotten.
//!
//! Attention needs the first few positions as sinks (Xiao et al., "Efficient Streaming Language Models with Attention Sinks",
//! arXiv 2309.17453) and the recent ones. There, cached keys take new rotations for their new places. Keys are kept rotated
//! here, and what layers above the first hold of a token has seen those that go; so the kept tokens are computed again, at
//! positions 0, 1, 2 ... What follows is then, bit for bit, what it would be in a new session that is given these tokens, on
//! every backend and for every kind of state. With half of the context kept, a generated token costs one more token of a
//! prompt, which takes a fraction of a decoding step.

use super::Shared;
use crate::error::Error;

/// What stays where the context is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endless {
    /// The first tokens: sinks, or an instruction.
    pub first: usize,
    /// The most recent ones; 0 for half of the context.
    pub recent: usize,
}

impl Default for Endless {
    fn default() -> Self {
        Self { first: 4, recent: 0 }
    }
}

impl Endless {
    /// How many recent tokens stay in a context of `capacity`.
    ///
    /// # Errors
    /// [`Error::Setting`] where nothing would be freed.
    pub(super) fn recent(&self, capacity: usize) -> Result<usize, Error> {
        let recent = if self.recent == 0 { capacity / 2 } else { self.recent };
        if self.first.saturating_add(recent) >= capacity {
            let found = format!("{} first and {recent} recent tokens", self.first);
            let expected = "fewer together than the context holds";
            return Err(Error::Setting { setting: "endless", found, expected });
        }
        Ok(recent)
    }

    /// Forgets the middle of a full session; what is left of its tokens.
    pub(super) fn forget(&self, shared: &Shared) -> Result<Vec<u32>, Error> {
        let tokens = shared.tokens();
        let recent = self.recent(shared.capacity)?;
        let first = self.first.min(tokens.len());
        let tail = tokens.get(first.max(tokens.len().saturating_sub(recent))..).unwrap_or_default();
        shared.engine.with(|c| c.rollback(shared.place, tokens.len() - first))??;
        shared.push(tail)?;
        Ok(shared.tokens())
    }
}
