//! Byte-pair merging of one piece of text, over its bytes or over its characters.
//!
//! The pair with the lowest rank is joined first, the leftmost among equals, until no pair has a rank. Short pieces (words)
//! are scanned for the lowest rank at each step; long ones keep their pairs in a heap, so that a megabyte of one letter takes
//! n log n steps.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::alphabet;
use crate::error::{TextError, short};
use crate::hash::{Inserted, MAX_PROBES, PairTable};
use crate::limits::MAX_MERGES;
use crate::spec::{BpeSpec, Merges, TokenType};

use super::vocab::Vocab;
use super::{NONE, Scratch};

/// Longest piece, in symbols, that is scanned rather than put on a heap: below it a scan of a few cache lines is faster.
const SCAN_MAX: usize = 48;

/// Merge table and the tokens of single symbols.
pub(crate) struct Bpe {
    pairs: PairTable,
    /// What a piece consists of.
    symbols: Symbols,
    /// Emitted for a symbol without a token.
    unk: Option<u32>,
    fuse_unk: bool,
    ignore_merges: bool,
}

enum Symbols {
    /// Bytes; the vocabulary has them in GPT-2's alphabet.
    Bytes([u32; 256]),
    Chars {
        /// Tokens `<0xNN>`, if unknown characters become them.
        fallback: Option<[u32; 256]>,
        prefix: String,
        suffix: String,
    },
}

impl Bpe {
    /// Checks the merges against the vocabulary.
    pub(super) fn new(vocab: &Vocab, spec: &BpeSpec<'_>, byte_level: bool) -> Result<Self, TextError> {
        let symbols = if byte_level {
            for (what, text) in [
                ("model.continuing_subword_prefix with byte-level pieces", &spec.prefix),
                ("model.end_of_word_suffix with byte-level pieces", &spec.suffix),
            ] {
                if !text.is_empty() {
                    return Err(TextError::Unsupported { what, found: short(text) });
                }
            }
            Symbols::Bytes(byte_tokens(vocab))
        } else {
            Symbols::Chars {
                fallback: spec.byte_fallback.then(|| vocab.hex_tokens()),
                prefix: spec.prefix.clone().into_owned(),
                suffix: spec.suffix.clone().into_owned(),
            }
        };
        Ok(Self {
            pairs: pairs(vocab, &spec.merges, &spec.prefix)?,
            symbols,
            unk: spec.unk,
            fuse_unk: spec.fuse_unk,
            ignore_merges: spec.ignore_merges,
        })
    }

    /// Appends the tokens of a piece.
    pub(super) fn encode(&self, vocab: &Vocab, piece: &str, scratch: &mut Scratch, out: &mut Vec<u32>) {
        if self.ignore_merges
            && let Some(id) = self.whole(vocab, piece, &mut scratch.spelled)
        {
            out.push(id);
            return;
        }
        scratch.symbols.clear();
        match &self.symbols {
            Symbols::Bytes(tokens) => {
                for &byte in piece.as_bytes() {
                    match tokens[usize::from(byte)] {
                        NONE => scratch.symbols.extend(self.unk),
                        id => scratch.symbols.push(id),
                    }
                }
            }
            Symbols::Chars { fallback, prefix, suffix } => {
                self.characters(vocab, piece, fallback.as_ref(), prefix, suffix, scratch);
            }
        }
        if scratch.symbols.len() <= SCAN_MAX {
            self.merge_short(&mut scratch.symbols, &mut scratch.ranks);
            out.extend_from_slice(&scratch.symbols);
        } else {
            self.merge_long(scratch, out);
        }
    }

    /// The token that a piece is as a whole.
    fn whole(&self, vocab: &Vocab, piece: &str, spelled: &mut String) -> Option<u32> {
        if let Symbols::Chars { .. } = self.symbols {
            return vocab.id(piece).filter(|&id| vocab.is_text(id));
        }
        spelled.clear();
        alphabet::spell(piece.as_bytes(), spelled);
        vocab.id(spelled).filter(|&id| vocab.kind(id) == Some(TokenType::Normal))
    }

    /// The symbols of a piece's characters.
    fn characters(
        &self,
        vocab: &Vocab,
        piece: &str,
        fallback: Option<&[u32; 256]>,
        prefix: &str,
        suffix: &str,
        scratch: &mut Scratch,
    ) {
        let Scratch { symbols, spelled, .. } = scratch;
        // Held back so that a run of unknown characters can become one token.
        let mut pending = None;
        for (at, c) in piece.char_indices() {
            let end = at + c.len_utf8();
            let mut text = &piece[at..end];
            let (inside, last) = (at > 0 && !prefix.is_empty(), end == piece.len() && !suffix.is_empty());
            if inside || last {
                spelled.clear();
                spelled.push_str(if inside { prefix } else { "" });
                spelled.push(c);
                spelled.push_str(if last { suffix } else { "" });
                text = spelled.as_str();
            }
            if let Some(id) = vocab.id(text).filter(|&id| vocab.is_text(id)) {
                symbols.extend(pending.take());
                symbols.push(id);
                continue;
            }
            if let Some(tokens) = fallback
                && text.bytes().all(|b| tokens[usize::from(b)] != NONE)
            {
                symbols.extend(text.bytes().map(|b| tokens[usize::from(b)]));
                continue;
            }
            if let Some(unk) = self.unk {
                if !self.fuse_unk {
                    symbols.extend(pending.take());
                }
                pending = Some(unk);
            }
        }
        symbols.extend(pending);
    }

    fn merge_short(&self, symbols: &mut Vec<u32>, ranks: &mut Vec<(u32, u32)>) {
        let rank = |a: u32, b: u32| self.pairs.get(a, b).unwrap_or((NONE, NONE));
        ranks.clear();
        ranks.extend(symbols.windows(2).map(|w| rank(w[0], w[1])));
        loop {
            let mut best = (NONE, 0);
            for (at, &(r, _)) in ranks.iter().enumerate() {
                if r < best.0 {
                    best = (r, at);
                }
            }
            let (r, at) = best;
            if r == NONE {
                return;
            }
            symbols[at] = ranks[at].1;
            symbols.remove(at + 1);
            ranks.remove(at);
            if at < ranks.len() {
                ranks[at] = rank(symbols[at], symbols[at + 1]);
            }
            if at > 0 {
                ranks[at - 1] = rank(symbols[at - 1], symbols[at]);
            }
        }
    }

    /// Symbols form a linked list; heap entries are (rank, place, merged id) and are checked when they come up, since either
    /// side may have been merged meanwhile.
    fn merge_long(&self, scratch: &mut Scratch, out: &mut Vec<u32>) {
        let Scratch { symbols, next, prev, heap, .. } = scratch;
        let n = symbols.len();
        next.clear();
        next.extend((1..n as u32).chain([NONE]));
        prev.clear();
        prev.extend([NONE].into_iter().chain(0..n as u32 - 1));
        let mut list = std::mem::take(heap).into_vec();
        list.clear();
        list.extend(
            symbols.windows(2).enumerate().filter_map(|(at, w)| {
                self.pairs.get(w[0], w[1]).map(|(rank, merged)| Reverse((rank, at as u32, merged)))
            }),
        );
        *heap = BinaryHeap::from(list);
        while let Some(Reverse((rank, at, merged))) = heap.pop() {
            let left = at as usize;
            let right = next[left];
            if symbols[left] == NONE || right == NONE {
                continue;
            }
            if self.pairs.get(symbols[left], symbols[right as usize]) != Some((rank, merged)) {
                continue;
            }
            symbols[left] = merged;
            symbols[right as usize] = NONE;
            let after = next[right as usize];
            next[left] = after;
            if after != NONE {
                prev[after as usize] = at;
                if let Some((r, m)) = self.pairs.get(merged, symbols[after as usize]) {
                    heap.push(Reverse((r, at, m)));
                }
            }
            let before = prev[left];
            if before != NONE
                && let Some((r, m)) = self.pairs.get(symbols[before as usize], merged)
            {
                heap.push(Reverse((r, before, m)));
            }
        }
        out.extend(symbols.iter().copied().filter(|&id| id != NONE));
    }
}

/// The table of merges, checked against the vocabulary.
fn pairs(vocab: &Vocab, merges: &Merges<'_>, prefix: &str) -> Result<PairTable, TextError> {
    if merges.len() > MAX_MERGES {
        return Err(TextError::TooLarge { what: "number of merges", found: merges.len(), limit: MAX_MERGES });
    }
    let mut pairs = PairTable::new(merges.len());
    let mut joined = String::new();
    let mut guess = 0;
    for index in 0..merges.len() {
        let (left, right) = pair(merges, index)?;
        let find = |token: &str| vocab.id(token).ok_or_else(|| TextError::MergeToken { index, token: short(token) });
        joined.clear();
        joined.push_str(left);
        joined.push_str(right.strip_prefix(prefix).unwrap_or(right));
        // Training numbers tokens in the order of the merges, so the next one is nearly always right and needs no search.
        let merged = if vocab.text(guess) == Some(&joined) { guess } else { find(&joined)? };
        guess = merged.saturating_add(1);
        // Only the template and callers who ask may produce control tokens; a merge would let any text do so.
        if !vocab.is_text(merged) {
            continue;
        }
        match pairs.insert(find(left)?, find(right)?, index as u32, merged) {
            Inserted::New => {}
            Inserted::Known(first) => {
                return Err(TextError::DuplicateMerge { first: first as usize, second: index });
            }
            Inserted::Crowded => {
                return Err(TextError::TooLarge {
                    what: "number of merges with one hash",
                    found: MAX_PROBES + 1,
                    limit: MAX_PROBES,
                });
            }
        }
    }
    Ok(pairs)
}

fn pair<'m>(merges: &'m Merges<'_>, index: usize) -> Result<(&'m str, &'m str), TextError> {
    match merges {
        Merges::Pairs(list) => Ok((&list[index].0, &list[index].1)),
        Merges::Joined(list) => list[index]
            .split_once(' ')
            .filter(|(a, b)| !a.is_empty() && !b.is_empty() && !b.contains(' '))
            .ok_or_else(|| TextError::BadMerge { index, text: short(&list[index]) }),
    }
}

/// The tokens of single bytes: in the alphabet, else written `<0xNN>`.
fn byte_tokens(vocab: &Vocab) -> [u32; 256] {
    let mut table = vocab.hex_tokens();
    let mut spelled = String::new();
    for byte in 0..=255u8 {
        spelled.clear();
        alphabet::spell(&[byte], &mut spelled);
        if let Some(id) = vocab.id(&spelled).filter(|&id| vocab.kind(id) == Some(TokenType::Normal)) {
            table[usize::from(byte)] = id;
        }
    }
    table
}
