//! What is done to text before it is cut.

mod chars;
pub(crate) mod charsmap;
mod sentencepiece;

use std::borrow::Cow;

use unicode_normalization_alignments::UnicodeNormalization;

use crate::alphabet;
use crate::error::TextError;
use crate::limits::{MAX_NORMALIZED_FACTOR, MAX_NORMALIZER_STEPS};
use crate::pretok::regex::Splitter;
use crate::spec::{Normalizer, Pattern};
use charsmap::Charsmap;
use sentencepiece::SentencePiece;

/// The steps, made ready.
pub(crate) struct Normalizers {
    steps: Vec<Step>,
}

enum Step {
    /// What needs no preparation.
    Plain(Normalizer),
    Replace {
        splitter: Splitter,
        content: String,
    },
    Charsmap(Charsmap),
    SentencePiece(SentencePiece),
}

/// A text on its way through the steps.
pub(crate) struct Normalized<'t> {
    /// The text so far.
    pub text: Cow<'t, str>,
    /// Bytes at its beginning that come of the very first character of the whole input: a piece that begins in them counts as
    /// the first one, as in Hugging Face's library.
    pub front: usize,
}

impl Normalizers {
    /// From steps.
    ///
    /// # Errors
    /// [`TextError::TooLarge`], [`TextError::Regex`], [`TextError::BadCharsmap`].
    pub(crate) fn new(steps: &[Normalizer]) -> Result<Self, TextError> {
        if steps.len() > MAX_NORMALIZER_STEPS {
            let (what, limit) = ("number of normalizer steps", MAX_NORMALIZER_STEPS);
            return Err(TextError::TooLarge { what, found: steps.len(), limit });
        }
        let ready = |step: &Normalizer| {
            Ok(match step {
                Normalizer::Replace { pattern, content } => {
                    Step::Replace { splitter: splitter(pattern)?, content: content.clone() }
                }
                Normalizer::Charsmap(table) => Step::Charsmap(Charsmap::new(table)?),
                Normalizer::SentencePiece { charsmap, remove_extra_whitespaces, prepend, symbols } => {
                    Step::SentencePiece(SentencePiece::new(charsmap, *remove_extra_whitespaces, *prepend, symbols)?)
                }
                other => Step::Plain(other.clone()),
            })
        };
        Ok(Self { steps: steps.iter().map(ready).collect::<Result<_, _>>()? })
    }

    /// The normalized form of a token that is searched for in normalized text. (SentencePiece's tokens are in it.)
    pub(crate) fn token(&self, text: &str) -> Result<String, TextError> {
        if self.steps.iter().any(|step| matches!(step, Step::SentencePiece(_))) {
            return Ok(text.to_owned());
        }
        Ok(self.apply(text, true)?.text.into_owned())
    }

    /// True if there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The normalized text. `first`: whether `text` begins the whole input.
    ///
    /// # Errors
    /// [`TextError::TooLarge`] for steps that blow the text up, [`TextError::RegexLimit`].
    pub(crate) fn apply<'t>(&self, text: &'t str, first: bool) -> Result<Normalized<'t>, TextError> {
        let limit = text.len().saturating_mul(MAX_NORMALIZED_FACTOR).saturating_add(1 << 10);
        let mut state = Normalized { text: Cow::Borrowed(text), front: 0 };
        // How many characters come from the very first one of the input.
        let mut front = usize::from(first);
        for step in &self.steps {
            if state.text.is_empty() {
                break;
            }
            let begin = state.text.char_indices().nth(front).map_or(state.text.len(), |(at, _)| at);
            let changed = match step {
                Step::Plain(step) => {
                    front = plain(step, &state.text[..begin]).map_or(front, |begin| begin.chars().count());
                    plain(step, &state.text)
                }
                Step::Replace { splitter, content } => replace(splitter, content, &state.text, limit, &mut front)?,
                Step::Charsmap(map) => Some(map.by_grapheme(&state.text, limit)?),
                Step::SentencePiece(step) => Some(step.apply(&state.text, front > 0, limit)?),
            };
            if let Some(changed) = changed {
                check(changed.len(), limit)?;
                state.text = Cow::Owned(changed);
            }
        }
        state.front = state.text.char_indices().nth(front).map_or(state.text.len(), |(at, _)| at);
        Ok(state)
    }
}

/// A pattern, compiled.
pub(crate) fn splitter(pattern: &Pattern) -> Result<Splitter, TextError> {
    match pattern {
        Pattern::Text(text) => Splitter::literal(text),
        Pattern::Regex(regex) => Splitter::new(regex),
    }
}

fn check(bytes: usize, limit: usize) -> Result<(), TextError> {
    if bytes > limit {
        return Err(TextError::TooLarge { what: "bytes of normalized text", found: bytes, limit });
    }
    Ok(())
}

/// The text with `content` for every match.
fn replace(
    splitter: &Splitter,
    content: &str,
    text: &str,
    limit: usize,
    front: &mut usize,
) -> Result<Option<String>, TextError> {
    let mut out = String::new();
    let mut at = 0;
    let mut any = false;
    for found in splitter.matches(text) {
        let (start, end) = found?;
        any = true;
        if start == 0 && end > 0 {
            // What replaces characters stands in the place of the last of them.
            let (replaced, added) = (text[..end].chars().count(), content.chars().count());
            *front = if replaced > *front { 0 } else { *front - replaced + added };
        }
        out.push_str(&text[at..start]);
        out.push_str(content);
        check(out.len(), limit)?;
        at = end;
    }
    if !any {
        return Ok(None);
    }
    out.push_str(&text[at..]);
    Ok(Some(out))
}

/// Steps on characters alone; `None` where nothing changes.
fn plain(step: &Normalizer, text: &str) -> Option<String> {
    let changed: String = match step {
        // ASCII is normalized already.
        Normalizer::Nfc | Normalizer::Nfd | Normalizer::Nfkc | Normalizer::Nfkd if text.is_ascii() => return None,
        Normalizer::Nfc => text.nfc().map(|(c, _)| c).collect(),
        Normalizer::Nfd => text.nfd().map(|(c, _)| c).collect(),
        Normalizer::Nfkc => text.nfkc().map(|(c, _)| c).collect(),
        Normalizer::Nfkd => text.nfkd().map(|(c, _)| c).collect(),
        Normalizer::Lowercase => text.chars().flat_map(char::to_lowercase).collect(),
        Normalizer::Strip { left, right } => {
            let mut rest = text;
            if *left {
                rest = rest.trim_start();
            }
            if *right {
                rest = rest.trim_end();
            }
            rest.to_owned()
        }
        Normalizer::StripAccents => text.chars().filter(|&c| !chars::is_mark(c)).collect(),
        Normalizer::Prepend(prefix) => format!("{prefix}{text}"),
        Normalizer::Nmt => chars::nmt(text),
        Normalizer::Bert { clean_text, chinese_chars, strip_accents, lowercase } => {
            let mut out = text.to_owned();
            if *clean_text {
                out = chars::clean(&out);
            }
            if *chinese_chars {
                out = chars::space_chinese(&out);
            }
            if *strip_accents {
                out = out.nfd().map(|(c, _)| c).filter(|&c| !chars::is_non_spacing(c)).collect();
            }
            if *lowercase {
                out = out.chars().flat_map(char::to_lowercase).collect();
            }
            out
        }
        Normalizer::Bytes => {
            let mut out = String::with_capacity(text.len() * 2);
            alphabet::spell(text.as_bytes(), &mut out);
            out
        }
        Normalizer::Replace { .. } | Normalizer::Charsmap(_) | Normalizer::SentencePiece { .. } => return None,
    };
    Some(changed)
}
