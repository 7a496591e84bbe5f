//! SentencePiece's BPE: merges follow from the tokens and their scores, there is no list of them.

use std::cmp::Reverse;

use super::vocab::Vocab;
use super::{NONE, Scratch, check_scores};
use crate::error::TextError;

/// Scores as ranks, and the tokens of bytes.
pub(crate) struct ScoredBpe {
    /// Place of each token's score among all different scores, the highest first.
    ranks: Vec<u32>,
    bytes: [u32; 256],
    unk: Option<u32>,
    fuse_unk: bool,
    /// Bytes of the longest token: longer texts need not be looked up.
    longest: usize,
}

impl ScoredBpe {
    pub(super) fn new(vocab: &Vocab, scores: &[f32], unk: Option<u32>, fuse_unk: bool) -> Result<Self, TextError> {
        check_scores(scores)?;
        if scores.len() != vocab.len() {
            return Err(TextError::LengthMismatch { what: "scores", found: scores.len(), expected: vocab.len() });
        }
        let mut order: Vec<u32> = (0..scores.len() as u32).collect();
        order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
        let mut ranks = vec![0; scores.len()];
        let mut rank = 0;
        for (at, &id) in order.iter().enumerate() {
            if at > 0 && scores[id as usize] != scores[order[at - 1] as usize] {
                rank += 1;
            }
            ranks[id as usize] = rank;
        }
        let longest = (0..vocab.len() as u32).filter_map(|id| vocab.text(id)).map(str::len).max().unwrap_or(0);
        Ok(Self { ranks, bytes: vocab.hex_tokens(), unk, fuse_unk, longest })
    }

    /// Appends the tokens of a piece.
    ///
    /// Symbols are stretches of the piece, named by where they begin and listed by `next` and `prev`; `symbols` holds where
    /// each ends, or [`NONE`] once it is merged into the one before. Heap entries are (rank, beginning, end), checked when they
    /// come up.
    pub(super) fn encode(&self, vocab: &Vocab, piece: &str, scratch: &mut Scratch, out: &mut Vec<u32>) {
        let Scratch { symbols: ends, next, prev, heap, .. } = scratch;
        let n = piece.len();
        for list in [&mut *ends, next, prev] {
            list.clear();
            list.resize(n, NONE);
        }
        heap.clear();
        let mut before = NONE;
        for (at, c) in piece.char_indices() {
            let end = at + c.len_utf8();
            ends[at] = end as u32;
            next[at] = if end < n { end as u32 } else { NONE };
            prev[at] = before;
            if before != NONE {
                heap.extend(self.candidate(vocab, piece, before, end as u32));
            }
            before = at as u32;
        }
        while let Some(Reverse((_, at, end))) = heap.pop() {
            let left = at as usize;
            let right = next[left];
            if ends[left] == NONE || right == NONE || ends[right as usize] != end {
                continue;
            }
            let after = next[right as usize];
            (ends[left], next[left], ends[right as usize]) = (end, after, NONE);
            if after != NONE {
                prev[after as usize] = at;
                heap.extend(self.candidate(vocab, piece, at, ends[after as usize]));
            }
            if prev[left] != NONE {
                heap.extend(self.candidate(vocab, piece, prev[left], end));
            }
        }
        let (mut at, mut after_unknown) = (0, false);
        while at < n {
            let end = ends[at] as usize;
            let known = self.emit(vocab, &piece[at..end], out);
            let fused = after_unknown && self.fuse_unk;
            if !known && !fused {
                out.extend(self.unk);
            }
            (at, after_unknown) = (end, !known);
        }
    }

    /// The merge of the stretch `start..end`, if it is a token.
    fn candidate(&self, vocab: &Vocab, piece: &str, start: u32, end: u32) -> Option<Reverse<(u32, u32, u32)>> {
        let (from, to) = (start as usize, end as usize);
        if to - from > self.longest {
            return None;
        }
        let id = vocab.id(&piece[from..to]).filter(|&id| vocab.is_text(id))?;
        Some(Reverse((self.ranks[id as usize], start, end)))
    }

    /// Appends the token of a stretch, or those of its bytes.
    fn emit(&self, vocab: &Vocab, text: &str, out: &mut Vec<u32>) -> bool {
        if let Some(id) = vocab.id(text).filter(|&id| vocab.is_text(id)) {
            out.push(id);
            return true;
        }
        let all = text.bytes().all(|b| self.bytes[usize::from(b)] != NONE);
        if all {
            out.extend(text.bytes().map(|b| self.bytes[usize::from(b)]));
        }
        all
    }
}
