//! WordPiece: the longest token at each place of a word, from the left.

use super::trie::{ROOT, Trie};
use super::vocab::Vocab;
use crate::error::TextError;

/// A trie of all tokens.
pub(crate) struct WordPiece {
    trie: Trie,
    /// Where the search for tokens inside a word begins; `None` if there are none.
    inside: Option<u32>,
    max_chars: usize,
    unk: u32,
}

impl WordPiece {
    pub(super) fn new(vocab: &Vocab, prefix: &str, max_chars: usize, unk: u32) -> Result<Self, TextError> {
        let trie = Trie::new(vocab, (0..vocab.len() as u32).filter(|&id| vocab.is_text(id)).collect())?;
        Ok(Self { inside: trie.walk(prefix), trie, max_chars, unk })
    }

    /// Appends the tokens of a word: `unk` alone where a part of it has none.
    pub(super) fn encode(&self, word: &str, out: &mut Vec<u32>) {
        let first = out.len();
        let mut at = 0;
        if word.chars().nth(self.max_chars).is_none() {
            while at < word.len() {
                let from = if at == 0 { Some(ROOT) } else { self.inside };
                let Some((end, token)) = from.and_then(|node| self.longest(word, at, node)) else { break };
                out.push(token);
                at = end;
            }
        }
        if at < word.len() {
            out.truncate(first);
            out.push(self.unk);
        }
    }

    /// The longest token at byte `at`, searched for from `node`.
    fn longest(&self, word: &str, at: usize, mut node: u32) -> Option<(usize, u32)> {
        let mut best = None;
        for (offset, &byte) in word.as_bytes()[at..].iter().enumerate() {
            let Some(child) = self.trie.child(node, byte) else { break };
            node = child;
            if let Some(token) = self.trie.token(node) {
                best = Some((at + offset + 1, token));
            }
        }
        best
    }
}
