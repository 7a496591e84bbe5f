//! Finding added tokens (control and user-defined) in a text: leftmost first, the longest among those that begin there.

use std::ops::Range;
use std::sync::LazyLock;

use regex_automata::meta::Regex;

use crate::error::TextError;
use crate::limits::MAX_ADDED_TOKEN_BYTES;
use crate::spec::AddedToken;

/// A token found: bytes `start..end`, whitespace it swallows included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub start: usize,
    pub end: usize,
    pub id: u32,
}

/// Where in a text control tokens may be found.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Special<'a> {
    Nowhere,
    Anywhere,
    /// Outside of these byte ranges (rising, apart), which begin `shift` bytes before the text searched.
    Outside {
        user: &'a [Range<usize>],
        shift: usize,
    },
}

impl Special<'_> {
    /// The end of the stretch from `at` in which a control token may lie.
    fn until(self, at: usize) -> usize {
        match self {
            Special::Nowhere => 0,
            Special::Anywhere => usize::MAX,
            Special::Outside { user, shift } => {
                let at = at + shift;
                let next = user.partition_point(|r| r.end <= at);
                user.get(next).map_or(usize::MAX, |r| if r.start <= at { 0 } else { r.start.saturating_sub(shift) })
            }
        }
    }

    /// The same for the text from byte `at`.
    pub(crate) fn from(self, at: usize) -> Self {
        match self {
            Special::Outside { user, shift } => Special::Outside { user, shift: shift + at },
            other => other,
        }
    }
}

/// Searches for a set of added tokens.
#[derive(Default)]
pub(crate) struct AddedTokens {
    /// Sorted by text, so that the tokens with a common prefix form a range.
    sorted: Vec<AddedToken>,
    first: Vec<bool>,
}

impl AddedTokens {
    /// A set; tokens without text never match and are left out.
    pub(crate) fn new(mut tokens: Vec<AddedToken>) -> Result<Self, TextError> {
        tokens.retain(|t| !t.text.is_empty());
        tokens.sort_by(|a, b| a.text.as_bytes().cmp(b.text.as_bytes()));
        let mut first = vec![false; 256];
        for token in &tokens {
            if token.text.len() > MAX_ADDED_TOKEN_BYTES {
                let (found, limit) = (token.text.len(), MAX_ADDED_TOKEN_BYTES);
                return Err(TextError::TooLarge { what: "bytes of an added token", found, limit });
            }
            first[usize::from(token.text.as_bytes()[0])] = true;
        }
        Ok(Self { sorted: tokens, first })
    }

    /// The next token at or after byte `from`. Control tokens count only where `special` allows them.
    pub(crate) fn find(&self, text: &str, from: usize, special: Special<'_>) -> Option<Found> {
        if self.sorted.is_empty() {
            return None;
        }
        let bytes = text.as_bytes();
        let mut at = from;
        while at < bytes.len() {
            if self.first[usize::from(bytes[at])]
                && let Some(token) = self.longest(&bytes[at..], special.until(at).saturating_sub(at))
            {
                let end = at + token.text.len();
                if !token.single_word || stands_alone(text, at, end) {
                    return Some(widened(text, from, at, end, token));
                }
                at = end;
                continue;
            }
            at += 1;
        }
        None
    }

    /// Bytes of the longest token that a text begins with, whatever its flags.
    pub(crate) fn at_start(&self, text: &str) -> Option<usize> {
        let first = *text.as_bytes().first()?;
        let may = self.first.get(usize::from(first)).copied().unwrap_or(false);
        may.then(|| self.longest(text.as_bytes(), usize::MAX)).flatten().map(|token| token.text.len())
    }

    /// The longest token at the start of `bytes`; control tokens have `room` bytes.
    fn longest(&self, bytes: &[u8], room: usize) -> Option<&AddedToken> {
        let (mut range, mut best) = (&self.sorted[..], None);
        for (depth, &byte) in bytes.iter().enumerate() {
            let from = range.partition_point(|t| t.text.as_bytes().get(depth).is_none_or(|&b| b < byte));
            let to = range.partition_point(|t| t.text.as_bytes().get(depth).is_none_or(|&b| b <= byte));
            range = &range[from..to];
            // A token that ends here is the first of those it begins.
            let Some(token) = range.first() else { break };
            if token.text.len() == depth + 1 && (depth < room || !token.control) {
                best = Some(token);
            }
        }
        best
    }
}

fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    !text[..start].chars().next_back().is_some_and(is_word) && !text[end..].chars().next().is_some_and(is_word)
}

/// What Unicode's annex on regular expressions counts as part of a word: marks and joiners, too.
fn is_word(c: char) -> bool {
    static WORD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\w$").ok());
    WORD.as_ref().is_some_and(|word| word.is_match(&*c.encode_utf8(&mut [0; 4])))
}

fn widened(text: &str, from: usize, mut start: usize, mut end: usize, token: &AddedToken) -> Found {
    if token.lstrip {
        start = from + text[from..start].trim_end().len();
    }
    if token.rstrip {
        end = text.len() - text[end..].trim_start().len();
    }
    Found { start, end, id: token.id }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: u32, text: &str, control: bool) -> AddedToken {
        AddedToken { id, text: text.into(), control, ..AddedToken::default() }
    }

    #[test]
    fn the_longest_of_the_leftmost_wins() {
        let set =
            AddedTokens::new(vec![token(1, "<a", false), token(2, "<a>", true), token(3, "<ab>", false)]).unwrap();
        assert_eq!(set.find("x<a><ab>", 0, Special::Anywhere), Some(Found { start: 1, end: 4, id: 2 }));
        assert_eq!(set.find("x<a><ab>", 0, Special::Nowhere), Some(Found { start: 1, end: 3, id: 1 }));
        assert_eq!(set.find("x<a><ab>", 4, Special::Nowhere), Some(Found { start: 4, end: 8, id: 3 }));
        assert_eq!(set.find("<", 0, Special::Anywhere), None);
    }

    #[test]
    fn control_tokens_keep_out_of_user_text() {
        let set = AddedTokens::new(vec![token(1, "<a>", true), token(2, "<a", true), token(3, ">", false)]).unwrap();
        let find = |user: Range<usize>, at| {
            set.find("<a><a>", at, Special::Outside { user: std::slice::from_ref(&user), shift: 0 })
        };
        assert_eq!(find(0..3, 0), Some(Found { start: 2, end: 3, id: 3 }));
        assert_eq!(find(0..3, 3), Some(Found { start: 3, end: 6, id: 1 }));
        assert_eq!(find(2..3, 0), Some(Found { start: 0, end: 2, id: 2 }));
        assert_eq!(find(4..5, 3), Some(Found { start: 5, end: 6, id: 3 }));
    }

    #[test]
    fn neighbours_and_whitespace_follow_the_flags() {
        let mut word = token(1, "mask", false);
        word.single_word = true;
        let mut wide = token(2, "<m>", false);
        (wide.lstrip, wide.rstrip) = (true, true);
        let set = AddedTokens::new(vec![word, wide]).unwrap();
        assert_eq!(set.find("unmask mask_ mask", 0, Special::Nowhere).unwrap().start, 13);
        assert_eq!(set.find("a \n<m>\t b", 0, Special::Nowhere), Some(Found { start: 1, end: 8, id: 2 }));
        assert_eq!(set.find("a  <m>", 2, Special::Nowhere).unwrap().start, 2);
    }
}
