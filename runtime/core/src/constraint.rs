//! Constraints: which tokens may come next, for text of a given form.
//!
//! The runtime only knows this interface, so that it depends on no grammar engine. `tern-grammar` implements it for JSON
//! Schema, regular expressions and grammars; an application may have a form of its own.

use crate::error::Error;
use std::fmt;
use std::sync::Arc;

/// The form that a generated text must have; see [`GenerateOptions::constraint`](crate::GenerateOptions::constraint). One
/// serves any number of generations, of any session with the tokenizer that it was made for.
///
/// What is generated is then exactly what the form describes: where a tokenizer would drop the space before the first
/// word of a text, it is kept.
#[derive(Clone)]
pub struct Constraint(Arc<dyn Form>);

impl Constraint {
    /// From what implements it.
    pub fn new(form: impl Form + 'static) -> Self {
        Self(Arc::new(form))
    }

    /// The beginning of a text.
    ///
    /// # Errors
    /// As [`Form::begin`].
    pub fn begin(&self) -> Result<Box<dyn Matcher>, Error> {
        self.0.begin()
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Constraint").field(&self.0.describe()).finish()
    }
}

/// A form of texts.
pub trait Form: Send + Sync {
    /// The beginning of a text of this form.
    ///
    /// # Errors
    /// [`Error::Constraint`].
    fn begin(&self) -> Result<Box<dyn Matcher>, Error>;

    /// What it is, for people.
    fn describe(&self) -> String;
}

/// A text on its way to a form. Must be a function of the tokens alone: results may not depend on what was asked before.
pub trait Matcher: Send {
    /// Sets the logits of all tokens that may not come next to minus infinity. An end token may come where the text is
    /// complete. `logits` may be longer than the vocabulary: what lies behind it never may.
    ///
    /// # Errors
    /// [`Error::Constraint`] where a limit is reached.
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), Error>;

    /// How many of `ids` may come next, one after the other; the text does not change.
    ///
    /// # Errors
    /// As [`Matcher::mask`].
    fn allowed(&mut self, ids: &[u32]) -> Result<usize, Error>;

    /// Appends a token, which must be allowed.
    ///
    /// # Errors
    /// As [`Matcher::mask`].
    fn push(&mut self, id: u32) -> Result<(), Error>;

    /// True where the text is complete and nothing may follow, or it was ended.
    fn is_done(&self) -> bool;
}
