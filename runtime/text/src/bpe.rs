//! Byte-pair merging of one piece of text.
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
use crate::spec::{Merges, TokenType};
use crate::vocab::{Vocab, hex_byte};

/// No token, no neighbour, no rank.
const NONE: u32 = u32::MAX;

/// Longest piece, in symbols, that is scanned rather than put on a heap: below it a scan of a few cache lines is faster.
const SCAN_MAX: usize = 48;

/// Merge table and the tokens of single bytes.
pub(crate) struct Bpe {
    pairs: PairTable,
    bytes: [u32; 256],
    /// Emitted for a byte without a token.
    unk: Option<u32>,
    ignore_merges: bool,
}

/// Working memory of one call.
#[derive(Default)]
pub(crate) struct Scratch {
    symbols: Vec<u32>,
    ranks: Vec<(u32, u32)>,
    next: Vec<u32>,
    prev: Vec<u32>,
    heap: BinaryHeap<Reverse<(u32, u32, u32)>>,
    spelled: String,
}

impl Bpe {
    /// Checks the merges against the vocabulary.
    pub(crate) fn new(
        vocab: &Vocab,
        merges: &Merges<'_>,
        unk: Option<u32>,
        ignore_merges: bool,
    ) -> Result<Self, TextError> {
        if merges.len() > MAX_MERGES {
            return Err(TextError::TooLarge { what: "number of merges", found: merges.len(), limit: MAX_MERGES });
        }
        let mut pairs = PairTable::new(merges.len());
        let mut joined = String::new();
        let mut guess = 0;
        for index in 0..merges.len() {
            let (left, right) = pair(merges, index)?;
            let find =
                |token: &str| vocab.id(token).ok_or_else(|| TextError::MergeToken { index, token: short(token) });
            joined.clear();
            joined.push_str(left);
            joined.push_str(right);
            // Training numbers tokens in the order of the merges, so the next one is nearly always right and needs no search.
            let merged = if vocab.text(guess) == Some(&joined) { guess } else { find(&joined)? };
            guess = merged.saturating_add(1);
            // Only the template and callers who ask may produce control tokens; a merge would let any text do so.
            if matches!(vocab.kind(merged), Some(TokenType::Control | TokenType::Unknown)) {
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
        Ok(Self { pairs, bytes: byte_tokens(vocab), unk, ignore_merges })
    }

    /// Appends the tokens of a piece.
    pub(crate) fn encode(&self, vocab: &Vocab, piece: &str, scratch: &mut Scratch, out: &mut Vec<u32>) {
        if self.ignore_merges {
            scratch.spelled.clear();
            alphabet::spell(piece.as_bytes(), &mut scratch.spelled);
            if let Some(id) = vocab.id(&scratch.spelled)
                && vocab.kind(id) == Some(TokenType::Normal)
            {
                out.push(id);
                return;
            }
        }
        let symbols = &mut scratch.symbols;
        symbols.clear();
        for &byte in piece.as_bytes() {
            match self.bytes[usize::from(byte)] {
                NONE => symbols.extend(self.unk),
                id => symbols.push(id),
            }
        }
        if symbols.len() <= SCAN_MAX {
            self.merge_short(symbols, &mut scratch.ranks);
            out.extend_from_slice(symbols);
        } else {
            self.merge_long(scratch, out);
        }
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

    /// Number of merges in use.
    pub(crate) fn merges(&self) -> usize {
        self.pairs.len()
    }
}

fn pair<'a>(merges: &Merges<'a>, index: usize) -> Result<(&'a str, &'a str), TextError> {
    match merges {
        Merges::Pairs(list) => Ok(list[index]),
        Merges::Joined(list) => list[index]
            .split_once(' ')
            .filter(|(a, b)| !a.is_empty() && !b.is_empty() && !b.contains(' '))
            .ok_or_else(|| TextError::BadMerge { index, text: short(list[index]) }),
    }
}

fn byte_tokens(vocab: &Vocab) -> [u32; 256] {
    let mut table = [NONE; 256];
    let mut spelled = String::new();
    for byte in 0..=255u8 {
        spelled.clear();
        alphabet::spell(&[byte], &mut spelled);
        if let Some(id) = vocab.id(&spelled).filter(|&id| vocab.kind(id) == Some(TokenType::Normal)) {
            table[usize::from(byte)] = id;
        }
    }
    for id in 0..vocab.len() as u32 {
        if vocab.kind(id) == Some(TokenType::Byte)
            && let Some(byte) = vocab.text(id).and_then(hex_byte)
            && table[usize::from(byte)] == NONE
        {
            table[usize::from(byte)] = id;
        }
    }
    table
}
