//! A trie of token texts, built once and then only read.

use super::NONE;
use super::vocab::Vocab;
use crate::error::TextError;
use crate::limits::MAX_TRIE_TOKEN_BYTES;

/// Nodes in the order of their depth, so that the children of a node stand side by side.
pub(super) struct Trie {
    /// The byte that leads to a node.
    labels: Vec<u8>,
    /// Where a node's children begin; they end where the next node's begin.
    children: Vec<u32>,
    /// The token that ends at a node, or [`NONE`].
    tokens: Vec<u32>,
}

/// The node where every search begins.
pub(super) const ROOT: u32 = 0;

impl Trie {
    /// Of the texts of `ids`. Takes a few bytes per byte of text.
    ///
    /// # Errors
    /// [`TextError::TooLarge`]: a search at every place of a text may follow the longest one.
    pub(super) fn new(vocab: &Vocab, mut ids: Vec<u32>) -> Result<Self, TextError> {
        let text = |id: u32| vocab.text(id).unwrap_or_default().as_bytes();
        let longest = ids.iter().map(|&id| text(id).len()).max().unwrap_or(0);
        if longest > MAX_TRIE_TOKEN_BYTES {
            let (what, limit) = ("bytes of a Unigram or WordPiece token", MAX_TRIE_TOKEN_BYTES);
            return Err(TextError::TooLarge { what, found: longest, limit });
        }
        ids.sort_by(|&a, &b| text(a).cmp(text(b)));
        let mut trie = Self { labels: vec![0], children: Vec::new(), tokens: Vec::new() };
        // Each level: the ranges of sorted ids below its nodes.
        let mut level = vec![(0, ids.len())];
        let mut depth = 0;
        while !level.is_empty() {
            let mut below = Vec::new();
            for (from, to) in level {
                let mut at = from;
                let mut token = NONE;
                while at < to && text(ids[at]).len() == depth {
                    token = if token == NONE { ids[at] } else { token };
                    at += 1;
                }
                trie.tokens.push(token);
                trie.children.push(trie.labels.len() as u32);
                while at < to {
                    let label = text(ids[at])[depth];
                    let end = at + ids[at..to].partition_point(|&id| text(id)[depth] == label);
                    trie.labels.push(label);
                    below.push((at, end));
                    at = end;
                }
            }
            level = below;
            depth += 1;
        }
        trie.children.push(trie.labels.len() as u32);
        Ok(trie)
    }

    /// The node that `byte` leads to.
    pub(super) fn child(&self, node: u32, byte: u8) -> Option<u32> {
        let (from, to) = (self.children[node as usize] as usize, self.children[node as usize + 1] as usize);
        let labels = &self.labels[from..to];
        // Most nodes have one or two children.
        let found = if labels.len() < 16 {
            labels.iter().position(|&label| label == byte)
        } else {
            labels.binary_search(&byte).ok()
        };
        found.map(|at| (from + at) as u32)
    }

    /// The token that ends at a node.
    pub(super) fn token(&self, node: u32) -> Option<u32> {
        let id = self.tokens[node as usize];
        (id != NONE).then_some(id)
    }

    /// The node that a text leads to from the root.
    pub(super) fn walk(&self, text: &str) -> Option<u32> {
        text.bytes().try_fold(ROOT, |node, byte| self.child(node, byte))
    }
}
