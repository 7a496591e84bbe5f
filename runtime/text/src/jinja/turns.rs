//! `cycler` and `joiner`: what gives out one value after the other.

use std::cell::Cell;
use std::rc::Rc;

use super::call::Given;
use super::eval::Interp;
use super::format;
use super::value::{List, Value, runtime};
use crate::error::{TextError, short};

type Result<T> = std::result::Result<T, TextError>;

/// A cycler, or a joiner: that is one of an empty text and the separator, whose second value stays.
#[derive(Debug)]
pub(crate) struct Turns {
    items: Rc<List>,
    at: Cell<usize>,
    joiner: bool,
}

impl Turns {
    pub(crate) fn kind(&self) -> &'static str {
        if self.joiner { "joiner" } else { "cycler" }
    }

    pub(crate) fn is_joiner(&self) -> bool {
        self.joiner
    }

    fn current(&self) -> Value {
        self.items.items.get(self.at.get()).cloned().unwrap_or(Value::Undefined)
    }

    /// The value whose turn it is; then it is the next one's.
    fn next(&self) -> Value {
        let (at, n) = (self.at.get(), self.items.items.len());
        let value = self.current();
        self.at.set(if self.joiner { n - 1 } else { (at + 1) % n });
        value
    }

    /// `turns.name`.
    pub(crate) fn attribute(&self, name: &str) -> Value {
        if self.joiner || name != "current" { Value::Undefined } else { self.current() }
    }

    /// `turns.name(...)`.
    pub(crate) fn method(&self, name: &str) -> Result<Value> {
        match name {
            "next" if !self.joiner => Ok(self.next()),
            "reset" if !self.joiner => {
                self.at.set(0);
                Ok(Value::None)
            }
            _ => Err(TextError::Unsupported {
                what: "chat template method",
                found: format!("{}.{}", self.kind(), short(name)),
            }),
        }
    }

    /// `turns()`.
    pub(crate) fn call(&self) -> Result<Value> {
        if self.joiner { Ok(self.next()) } else { Err(runtime("a cycler cannot be called")) }
    }
}

impl Interp<'_> {
    pub(super) fn cycler(&mut self, given: &Given) -> Result<Value> {
        if given.positional.is_empty() {
            return Err(runtime("at least one item has to be provided"));
        }
        self.turns(given.positional.clone(), false)
    }

    pub(super) fn joiner(&mut self, given: &Given) -> Result<Value> {
        let separator = match given.get(0, "sep") {
            Some(separator) => Value::Str(format::to_text(separator, &self.meter)?),
            None => Value::str(&self.meter, ", ")?,
        };
        let empty = Value::str(&self.meter, "")?;
        self.turns(vec![empty, separator], true)
    }

    fn turns(&mut self, items: Vec<Value>, joiner: bool) -> Result<Value> {
        // As a list, so that it is charged and what cannot be in lists is refused.
        let Value::List(items) = Value::list(&self.meter, items)? else { return Ok(Value::Undefined) };
        Ok(Value::Turns(Rc::new(Turns { items, at: Cell::new(0), joiner })))
    }
}
