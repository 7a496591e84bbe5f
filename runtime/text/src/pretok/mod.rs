//! Cutting text into the pieces that merging works on.

pub(crate) mod regex;
pub(crate) mod table;

pub use table::PRE_TOKENIZER_NAMES;

use crate::error::TextError;
use crate::limits::MAX_PRE_STEPS;
use regex::Splitter;

/// One way to cut a piece into smaller ones.
pub(crate) enum Step {
    /// Matches and the gaps between them.
    Split(Splitter),
    /// Runs of digits, or each digit, apart from the rest.
    Digits {
        /// Each digit alone.
        individual: bool,
    },
    /// A space in front of a piece that has none.
    PrefixSpace,
}

/// The steps, applied in order; each sees the pieces of the one before, apart from each other.
pub(crate) struct PreTokenizer {
    steps: Vec<Step>,
}

/// What takes the pieces.
pub(crate) type Sink<'a> = dyn FnMut(&str) -> Result<(), TextError> + 'a;

impl PreTokenizer {
    /// From steps; more than the cap would only serve to use up the stack.
    pub(crate) fn new(steps: Vec<Step>) -> Result<Self, TextError> {
        if steps.len() > MAX_PRE_STEPS {
            return Err(TextError::TooLarge {
                what: "number of pre-tokenizer steps",
                found: steps.len(),
                limit: MAX_PRE_STEPS,
            });
        }
        Ok(Self { steps })
    }

    /// The one that GGUF calls `name`.
    pub(crate) fn named(name: &str, prefix_space: bool) -> Result<Self, TextError> {
        let patterns = table::steps(name).ok_or_else(|| TextError::Unsupported {
            what: "pre-tokenizer (tokenizer.ggml.pre)",
            found: crate::error::short(name),
        })?;
        let mut steps = Vec::new();
        if prefix_space {
            steps.push(Step::PrefixSpace);
        }
        for pattern in patterns {
            steps.push(Step::Split(Splitter::new(pattern)?));
        }
        Self::new(steps)
    }

    /// Gives `sink` the pieces of `text` in order.
    pub(crate) fn split(&self, text: &str, sink: &mut Sink<'_>) -> Result<(), TextError> {
        run(&self.steps, text, sink)
    }
}

fn run(steps: &[Step], text: &str, sink: &mut Sink<'_>) -> Result<(), TextError> {
    if text.is_empty() {
        return Ok(());
    }
    let Some((step, rest)) = steps.split_first() else { return sink(text) };
    match step {
        Step::Split(splitter) => splitter.split(text, &mut |piece| run(rest, piece, sink)),
        Step::Digits { individual } => digits(text, *individual, &mut |piece| run(rest, piece, sink)),
        Step::PrefixSpace if text.starts_with(' ') => run(rest, text, sink),
        Step::PrefixSpace => run(rest, &format!(" {text}"), sink),
    }
}

fn digits(text: &str, individual: bool, sink: &mut Sink<'_>) -> Result<(), TextError> {
    let mut start = 0;
    let mut inside = false;
    for (at, c) in text.char_indices() {
        let digit = c.is_numeric();
        if at > start && (digit != inside || (digit && individual)) {
            sink(&text[start..at])?;
            start = at;
        }
        inside = digit;
    }
    sink(&text[start..])
}
