//! What one rendering may use: steps and memory. A template comes with a model file, so it may be made to hurt.

use std::cell::Cell;
use std::rc::Rc;

use crate::error::TextError;
use crate::limits::{MAX_TEMPLATE_DEPTH, MAX_TEMPLATE_LIVE_BYTES, MAX_TEMPLATE_STEPS};

/// Counts steps and the bytes that live strings and lists hold.
#[derive(Debug)]
pub(crate) struct Meter {
    steps: Cell<u64>,
    live: Cell<usize>,
    live_cap: usize,
    depth: Cell<usize>,
}

impl Meter {
    /// For an input of so many bytes; a long conversation may use more than a short one.
    pub(crate) fn new(input_bytes: usize) -> Rc<Self> {
        Rc::new(Self {
            steps: Cell::new(MAX_TEMPLATE_STEPS.saturating_add(input_bytes as u64)),
            live: Cell::new(0),
            live_cap: MAX_TEMPLATE_LIVE_BYTES.saturating_add(input_bytes.saturating_mul(8)),
            depth: Cell::new(0),
        })
    }

    /// Spends steps.
    pub(crate) fn tick(&self, steps: usize) -> Result<(), TextError> {
        match self.steps.get().checked_sub(steps as u64) {
            Some(left) => {
                self.steps.set(left);
                Ok(())
            }
            None => Err(TextError::TemplateLimit { limit: "steps", value: MAX_TEMPLATE_STEPS as usize }),
        }
    }

    /// Takes memory, before it is allocated.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), TextError> {
        let live = self.live.get().saturating_add(bytes);
        if live > self.live_cap {
            return Err(TextError::TemplateLimit { limit: "bytes held", value: self.live_cap });
        }
        self.live.set(live);
        Ok(())
    }

    /// Takes memory until the guard is dropped.
    pub(crate) fn hold(self: &Rc<Self>, bytes: usize) -> Result<Held, TextError> {
        self.take(bytes)?;
        Ok(Held(Rc::clone(self), bytes))
    }

    /// Gives memory back.
    pub(crate) fn release(&self, bytes: usize) {
        self.live.set(self.live.get().saturating_sub(bytes));
    }

    /// One level deeper in the evaluation, until the guard is dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> Result<Deeper, TextError> {
        let depth = self.depth.get() + 1;
        if depth > MAX_TEMPLATE_DEPTH {
            return Err(TextError::TemplateLimit { limit: "depth", value: MAX_TEMPLATE_DEPTH });
        }
        self.depth.set(depth);
        Ok(Deeper(Rc::clone(self)))
    }
}

/// See [`Meter::hold`].
pub(crate) struct Held(Rc<Meter>, usize);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.release(self.1);
    }
}

/// See [`Meter::enter`].
pub(crate) struct Deeper(Rc<Meter>);

impl Drop for Deeper {
    fn drop(&mut self) {
        self.0.depth.set(self.0.depth.get() - 1);
    }
}
