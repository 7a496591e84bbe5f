//! A text on its way to a form.

use crate::compiler::reason;
use llguidance::Matcher as Engine;
use std::sync::Mutex;
use tern::{Error, Form, Matcher};

/// A compiled source. Texts share its lexer, which they build as they go.
pub struct Compiled {
    /// At the beginning of a text. Behind a lock since copying it is all that its type allows to do from several threads.
    start: Mutex<Engine>,
    description: String,
}

impl Compiled {
    pub fn new(start: Engine, description: String) -> Self {
        Self { start: Mutex::new(start), description }
    }
}

impl Form for Compiled {
    fn begin(&self) -> Result<Box<dyn Matcher>, Error> {
        let engine = self.start.lock().map_err(|_| failed("it failed before"))?.clone();
        Ok(Box::new(Text { engine }))
    }

    fn describe(&self) -> String {
        self.description.clone()
    }
}

struct Text {
    engine: Engine,
}

impl Matcher for Text {
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), Error> {
        let allowed = self.engine.compute_mask_or_eos().map_err(|e| failed(&reason(&e)))?;
        let words = allowed.as_slice().iter().copied().chain(std::iter::repeat(0));
        let mut left = allowed.len();
        for (chunk, word) in logits.chunks_mut(32).zip(words) {
            // Behind the vocabulary nothing is allowed.
            let word = if left >= 32 { word } else { word & !(u32::MAX << left) };
            left = left.saturating_sub(32);
            if word != u32::MAX {
                for (bit, logit) in chunk.iter_mut().enumerate() {
                    if word >> bit & 1 == 0 {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            }
        }
        Ok(())
    }

    fn allowed(&mut self, ids: &[u32]) -> Result<usize, Error> {
        if self.engine.is_stopped() || ids.is_empty() {
            return Ok(0);
        }
        self.engine.validate_tokens(ids).map_err(|e| failed(&reason(&e)))
    }

    fn push(&mut self, id: u32) -> Result<(), Error> {
        match self.engine.try_consume_tokens(&[id]) {
            Ok(1) => Ok(()),
            Ok(_) => Err(Error::Internal { what: format!("token {id} is not of the constraint's form") }),
            Err(e) => Err(failed(&reason(&e))),
        }
    }

    fn is_done(&self) -> bool {
        self.engine.is_stopped()
    }
}

fn failed(what: &str) -> Error {
    Error::Constraint { what: what.to_owned() }
}
