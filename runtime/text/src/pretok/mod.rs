//! Cutting text into the pieces that the model works on.

mod cut;
pub(crate) mod regex;
mod scripts;
pub(crate) mod table;
mod threes;

pub use table::PRE_TOKENIZER_NAMES;

use unicode_categories::UnicodeCategories;

use crate::alphabet;
use crate::error::TextError;
use crate::limits::MAX_PRE_STEPS;
use crate::spec::{Behavior, Pattern, PreStep, Prepend};
use regex::Splitter;
use scripts::Scripts;

/// A step made ready.
enum Step {
    Split { splitter: Splitter, behavior: Behavior, invert: bool },
    Digits { individual: bool },
    Scripts(&'static Scripts),
    Chunks(usize),
    Punctuation(Behavior),
    PrefixSpace,
    Metaspace { replacement: char, prepend: Prepend, split: bool },
    Bytes,
}

/// The steps, applied in order; each sees the pieces of the one before, apart from each other.
pub(crate) struct PreTokenizer {
    steps: Vec<Step>,
}

/// What takes the pieces.
pub(crate) type Sink<'a> = dyn FnMut(&str) -> Result<(), TextError> + 'a;

impl PreTokenizer {
    /// From steps; more than the cap would only serve to use up the stack.
    pub(crate) fn new(steps: &[PreStep]) -> Result<Self, TextError> {
        if steps.len() > MAX_PRE_STEPS {
            return Err(TextError::TooLarge {
                what: "number of pre-tokenizer steps",
                found: steps.len(),
                limit: MAX_PRE_STEPS,
            });
        }
        Ok(Self { steps: steps.iter().map(Step::new).collect::<Result<_, _>>()? })
    }

    /// Gives `sink` the pieces of `text` in order, none of them empty. `front` bytes of it come of the first character
    /// of the whole input.
    pub(crate) fn split(&self, text: &str, front: usize, sink: &mut Sink<'_>) -> Result<(), TextError> {
        run(&self.steps, text, front, sink)
    }
}

impl Step {
    fn new(step: &PreStep) -> Result<Self, TextError> {
        Ok(match step {
            PreStep::Split { pattern, behavior, invert } => {
                let splitter = match pattern {
                    Pattern::Text(text) => Splitter::literal(text)?,
                    Pattern::Regex(regex) => Splitter::new(regex)?,
                };
                Self::Split { splitter, behavior: *behavior, invert: *invert }
            }
            PreStep::Digits { individual } => Self::Digits { individual: *individual },
            PreStep::Scripts => Self::Scripts(Scripts::table()?),
            PreStep::Chunks { chars } => Self::Chunks((*chars).max(1)),
            PreStep::Punctuation(behavior) => Self::Punctuation(*behavior),
            PreStep::PrefixSpace => Self::PrefixSpace,
            &PreStep::Metaspace { replacement, prepend, split } => Self::Metaspace { replacement, prepend, split },
            PreStep::Bytes => Self::Bytes,
        })
    }
}

fn run(steps: &[Step], text: &str, front: usize, sink: &mut Sink<'_>) -> Result<(), TextError> {
    if text.is_empty() {
        return Ok(());
    }
    let Some((step, rest)) = steps.split_first() else { return sink(text) };
    let cut = &mut |start: usize, end: usize| run(rest, &text[start..end], front.saturating_sub(start), sink);
    match step {
        Step::Split { splitter, behavior, invert } => cut::cut(text, splitter.matches(text), *behavior, *invert, cut),
        Step::Digits { individual: true } => {
            cut::cut(text, chars(text, char::is_numeric), Behavior::Isolated, false, cut)
        }
        Step::Digits { individual: false } => {
            cut::cut(text, chars(text, char::is_numeric), Behavior::Contiguous, false, cut)
        }
        Step::Scripts(scripts) => scripts.cut(text, cut),
        Step::Chunks(chars) => {
            let starts = text.char_indices().map(|(at, _)| at).step_by(*chars);
            let ends = starts.clone().skip(1).chain([text.len()]);
            starts.zip(ends).try_for_each(|(start, end)| cut(start, end))
        }
        Step::Punctuation(behavior) => cut::cut(text, chars(text, is_punctuation), *behavior, false, cut),
        Step::PrefixSpace if text.starts_with(' ') => run(rest, text, front, sink),
        // What is put in front goes with the first character.
        Step::PrefixSpace => run(rest, &format!(" {text}"), if front > 0 { front + 1 } else { 0 }, sink),
        Step::Metaspace { replacement, prepend, split } => {
            let mut buffer = [0; 4];
            let mark = &*replacement.encode_utf8(&mut buffer);
            let mut front = text.get(..front).unwrap_or(text).replace(' ', mark).len();
            let mut changed = text.replace(' ', mark);
            let wanted = *prepend == Prepend::Always || (*prepend == Prepend::First && front > 0);
            if wanted && !changed.starts_with(*replacement) {
                changed.insert(0, *replacement);
                front += if front > 0 { mark.len() } else { 0 };
            }
            if !split {
                return run(rest, &changed, front, sink);
            }
            let spaces = chars(&changed, |c| c == *replacement);
            cut::cut(&changed, spaces, Behavior::MergedWithNext, false, &mut |start, end| {
                run(rest, &changed[start..end], front.saturating_sub(start), sink)
            })
        }
        Step::Bytes => {
            let (begin, end) = text.as_bytes().split_at(front.min(text.len()));
            let mut spelled = String::with_capacity(text.len() * 2);
            alphabet::spell(begin, &mut spelled);
            let front = spelled.len();
            alphabet::spell(end, &mut spelled);
            run(rest, &spelled, front, sink)
        }
    }
}

/// ASCII's punctuation and Unicode's general category P, as of Unicode 8 like Hugging Face's.
pub(crate) fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || c.is_punctuation()
}

/// The characters for which `is` holds, each a match.
fn chars<'t>(
    text: &'t str,
    is: impl Fn(char) -> bool + 't,
) -> impl Iterator<Item = Result<(usize, usize), TextError>> + 't {
    text.char_indices().filter(move |&(_, c)| is(c)).map(|(at, c)| Ok((at, at + c.len_utf8())))
}
