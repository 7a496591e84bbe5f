//! The cut of a text with the highest sum of its tokens' scores (Viterbi).

use super::trie::{ROOT, Trie};
use super::vocab::Vocab;
use super::{NONE, Scratch, check_scores};
use crate::error::TextError;
use crate::spec::TokenType;

/// How much worse than the worst token an unknown character is: SentencePiece's constant.
const UNKNOWN_PENALTY: f64 = 10.0;

/// How large a sum in single precision may grow: SentencePiece's constant.
const RESET: f64 = 100_000.0;

/// Scores and a trie of the tokens.
pub(crate) struct Unigram {
    trie: Trie,
    scores: Vec<f64>,
    unk: Option<u32>,
    unk_score: f64,
    /// Tokens `<0xNN>`, if unknown characters become them.
    fallback: Option<[u32; 256]>,
    single_precision: bool,
}

/// The best cut of a text up to a place.
#[derive(Clone, Copy)]
pub(super) struct Best {
    score: f64,
    /// Where its last token begins; [`NONE`] where no cut ends.
    start: u32,
    /// That token; [`NONE`] for an unknown character.
    token: u32,
}

impl Unigram {
    pub(super) fn new(
        vocab: &Vocab,
        scores: &[f64],
        unk: Option<u32>,
        byte_fallback: bool,
        single_precision: bool,
    ) -> Result<Self, TextError> {
        check_scores(scores)?;
        if scores.len() > vocab.len() {
            return Err(TextError::LengthMismatch { what: "scores", found: scores.len(), expected: vocab.len() });
        }
        let counted = |id: usize| !single_precision || vocab.kind(id as u32) == Some(TokenType::Normal);
        let counted = scores.iter().enumerate().filter(|(id, _)| counted(*id)).map(|(_, score)| *score);
        let lowest = counted.fold(if single_precision { f64::from(f32::MAX) } else { f64::INFINITY }, f64::min);
        let ids: Vec<u32> = (0..scores.len() as u32).filter(|&id| Some(id) != unk && vocab.is_text(id)).collect();
        Ok(Self {
            trie: Trie::new(vocab, ids)?,
            scores: scores.to_vec(),
            unk,
            unk_score: rounded(lowest - UNKNOWN_PENALTY, single_precision),
            fallback: byte_fallback.then(|| vocab.hex_tokens()),
            single_precision,
        })
    }

    /// Appends the tokens of a piece.
    pub(super) fn encode(&self, vocab: &Vocab, piece: &str, scratch: &mut Scratch, out: &mut Vec<u32>) {
        let best = &mut scratch.best;
        self.search(piece, best);
        // From the end back; tokens of a run of unknown characters count as one.
        let first = out.len();
        let (mut end, mut unknown_to) = (piece.len(), None);
        while end > 0 {
            let Best { start, token, .. } = best[end];
            let start = start as usize;
            if token == NONE {
                unknown_to = unknown_to.or(Some(end));
            } else {
                if let Some(to) = unknown_to.take() {
                    self.unknown(vocab, &piece[end..to], out);
                }
                out.push(token);
            }
            end = start;
        }
        if let Some(to) = unknown_to {
            self.unknown(vocab, &piece[..to], out);
        }
        out[first..].reverse();
    }

    fn search(&self, piece: &str, best: &mut Vec<Best>) {
        best.clear();
        best.resize(piece.len() + 1, Best { score: 0.0, start: NONE, token: NONE });
        // Where the furthest token so far ends.
        let mut reached = 0;
        for (start, c) in piece.char_indices() {
            if self.single_precision && best[start].score.abs() > RESET {
                reset(&mut best[start..=reached.max(start)]);
            }
            let so_far = best[start].score;
            let mut improve = |end: usize, score: f64, token: u32| {
                reached = reached.max(end);
                let (place, score) = (&mut best[end], rounded(score + so_far, self.single_precision));
                if place.start == NONE || score > place.score {
                    *place = Best { score, start: start as u32, token };
                }
            };
            let mut alone = false;
            let mut node = ROOT;
            for (offset, &byte) in piece.as_bytes()[start..].iter().enumerate() {
                let Some(child) = self.trie.child(node, byte) else { break };
                node = child;
                if let Some(token) = self.trie.token(node) {
                    alone |= offset + 1 == c.len_utf8();
                    improve(start + offset + 1, self.scores[token as usize], token);
                }
            }
            if !alone {
                improve(start + c.len_utf8(), self.unk_score, NONE);
            }
        }
    }

    /// The tokens of unknown characters, in reverse.
    fn unknown(&self, vocab: &Vocab, text: &str, out: &mut Vec<u32>) {
        // For Hugging Face a token, joined, even if its score is below that of its parts.
        if !self.single_precision
            && let Some(id) = vocab.id(text).filter(|&id| vocab.is_text(id))
        {
            out.push(id);
        } else if let Some(tokens) = &self.fallback
            && text.bytes().all(|b| tokens[usize::from(b)] != NONE)
        {
            out.extend(text.bytes().rev().map(|b| tokens[usize::from(b)]));
        } else {
            out.extend(self.unk);
        }
    }
}

/// Lets the sums of the first place and of all that were reached from before it begin anew, as SentencePiece does lest they
/// lose their precision.
fn reset(places: &mut [Best]) {
    let sum = places[0].score;
    for (at, place) in places.iter_mut().enumerate() {
        if at == 0 || place.start != NONE {
            place.score = rounded(place.score - sum, true);
        }
    }
}

/// Sums of two single-precision numbers, rounded, are single-precision sums.
fn rounded(score: f64, single_precision: bool) -> f64 {
    if single_precision { f64::from(score as f32) } else { score }
}
