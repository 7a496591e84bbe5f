//! SentencePiece's own normalizer.

use super::charsmap::Charsmap;
use super::check;
use crate::added::AddedTokens;
use crate::error::TextError;
use crate::spec::{AddedToken, Prepend};

/// Stands for a space.
const SPACE: &str = "▁";

/// Replacements, then the rules for spaces.
pub(super) struct SentencePiece {
    charsmap: Charsmap,
    /// Spaces at the ends go, runs of spaces become one.
    tidy: bool,
    prepend: Prepend,
    symbols: AddedTokens,
}

impl SentencePiece {
    pub(super) fn new(charsmap: &[u8], tidy: bool, prepend: Prepend, symbols: &[String]) -> Result<Self, TextError> {
        let symbol = |text: &String| AddedToken { text: text.clone(), ..AddedToken::default() };
        let symbols = AddedTokens::new(symbols.iter().map(symbol).collect())?;
        Ok(Self { charsmap: Charsmap::new(charsmap)?, tidy, prepend, symbols })
    }

    /// The normalized text; nothing where there is nothing but spaces to remove.
    pub(super) fn apply(&self, text: &str, first: bool, limit: usize) -> Result<String, TextError> {
        let mut out = String::with_capacity(text.len() + SPACE.len());
        if self.prepend == Prepend::Always || (self.prepend == Prepend::First && first) {
            out.push_str(SPACE);
        }
        let begin = out.len();
        let mut after_space = self.tidy;
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let one = rest.chars().next().map_or(1, char::len_utf8);
            let (length, mut part) = match self.symbols.at_start(rest) {
                Some(length) => (length, &rest[..length]),
                None => self.charsmap.longest(rest).unwrap_or((one, &rest[..one])),
            };
            at += length;
            if after_space {
                part = part.trim_start_matches(' ');
            }
            for c in part.chars() {
                match c {
                    ' ' => out.push_str(SPACE),
                    c => out.push(c),
                }
            }
            if !part.is_empty() {
                after_space = self.tidy && part.ends_with(' ');
            }
            check(out.len(), limit)?;
        }
        if self.tidy {
            let kept = begin + out[begin..].trim_end_matches(SPACE).len();
            out.truncate(if kept == begin { 0 } else { kept });
        }
        Ok(out)
    }
}
