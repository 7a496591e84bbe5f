//! Finding added tokens (control and user-defined) in a text: leftmost first, the longest among those that begin there.

use crate::error::TextError;
use crate::limits::MAX_ADDED_TOKEN_BYTES;

/// How one added token is matched; the names are those of `tokenizer.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AddedToken {
    pub id: u32,
    pub text: String,
    /// Found only where the caller parses special tokens.
    pub control: bool,
    /// Swallows whitespace before it.
    pub lstrip: bool,
    /// Swallows whitespace after it.
    pub rstrip: bool,
    /// Matches only where neither neighbour is a letter, digit or underscore.
    pub single_word: bool,
}

/// A token found: bytes `start..end`, whitespace it swallows included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub start: usize,
    pub end: usize,
    pub id: u32,
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

    /// The tokens, sorted by text.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &AddedToken> {
        self.sorted.iter()
    }

    /// The next token at or after byte `from`. Control tokens count only if `special`.
    pub(crate) fn find(&self, text: &str, from: usize, special: bool) -> Option<Found> {
        if self.sorted.is_empty() {
            return None;
        }
        let bytes = text.as_bytes();
        let mut at = from;
        while at < bytes.len() {
            if self.first[usize::from(bytes[at])]
                && let Some(token) = self.longest(&bytes[at..], special)
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

    fn longest(&self, bytes: &[u8], special: bool) -> Option<&AddedToken> {
        let (mut range, mut best) = (&self.sorted[..], None);
        for (depth, &byte) in bytes.iter().enumerate() {
            let from = range.partition_point(|t| t.text.as_bytes().get(depth).is_none_or(|&b| b < byte));
            let to = range.partition_point(|t| t.text.as_bytes().get(depth).is_none_or(|&b| b <= byte));
            range = &range[from..to];
            // A token that ends here is the first of those it begins.
            let Some(token) = range.first() else { break };
            if token.text.len() == depth + 1 && (special || !token.control) {
                best = Some(token);
            }
        }
        best
    }
}

fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    !text[..start].chars().next_back().is_some_and(word) && !text[end..].chars().next().is_some_and(word)
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
        let set = AddedTokens::new(vec![token(1, "<a", false), token(2, "<a>", true), token(3, "<ab>", false)]).unwrap();
        assert_eq!(set.find("x<a><ab>", 0, true), Some(Found { start: 1, end: 4, id: 2 }));
        assert_eq!(set.find("x<a><ab>", 0, false), Some(Found { start: 1, end: 3, id: 1 }));
        assert_eq!(set.find("x<a><ab>", 4, false), Some(Found { start: 4, end: 8, id: 3 }));
        assert_eq!(set.find("<", 0, true), None);
    }

    #[test]
    fn neighbours_and_whitespace_follow_the_flags() {
        let mut word = token(1, "mask", false);
        word.single_word = true;
        let mut wide = token(2, "<m>", false);
        (wide.lstrip, wide.rstrip) = (true, true);
        let set = AddedTokens::new(vec![word, wide]).unwrap();
        assert_eq!(set.find("unmask mask_ mask", 0, false).unwrap().start, 13);
        assert_eq!(set.find("a \n<m>\t b", 0, false), Some(Found { start: 1, end: 8, id: 2 }));
        assert_eq!(set.find("a  <m>", 2, false).unwrap().start, 2);
    }
}
