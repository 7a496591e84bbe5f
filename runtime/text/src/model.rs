//! The models: from a piece of text to tokens.

mod bpe;
mod scored;
mod trie;
mod unigram;
pub(crate) mod vocab;
mod wordlevel;
mod wordpiece;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::error::TextError;
use crate::spec::ModelSpec;
use bpe::Bpe;
use scored::ScoredBpe;
use unigram::Unigram;
use vocab::Vocab;
use wordlevel::WordLevel;
use wordpiece::WordPiece;

/// No token, no neighbour, no rank.
const NONE: u32 = u32::MAX;

/// A model of one of the kinds.
pub(crate) enum Model {
    Bpe(Box<Bpe>),
    Scored(Box<ScoredBpe>),
    Unigram(Box<Unigram>),
    WordPiece(WordPiece),
    WordLevel(WordLevel),
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
    best: Vec<unigram::Best>,
}

impl Model {
    /// Checks the parts against the vocabulary. `byte_level`: BPE is over bytes.
    ///
    /// # Errors
    /// Whatever does not fit together: see [`TextError`].
    pub(crate) fn new(vocab: &Vocab, spec: &ModelSpec<'_>, byte_level: bool) -> Result<Self, TextError> {
        let known = |role, id: Option<u32>| match id.filter(|&id| vocab.kind(id).is_none()) {
            Some(id) => Err(TextError::SpecialId { role, id, vocab: vocab.len() }),
            None => Ok(()),
        };
        Ok(match spec {
            ModelSpec::Bpe(bpe) => {
                known("unknown", bpe.unk)?;
                Self::Bpe(Box::new(Bpe::new(vocab, bpe, byte_level)?))
            }
            ModelSpec::ScoredBpe { scores, unk, fuse_unk } => {
                known("unknown", *unk)?;
                Self::Scored(Box::new(ScoredBpe::new(vocab, scores, *unk, *fuse_unk)?))
            }
            ModelSpec::Unigram { scores, unk, byte_fallback, single_precision } => {
                known("unknown", *unk)?;
                Self::Unigram(Box::new(Unigram::new(vocab, scores, *unk, *byte_fallback, *single_precision)?))
            }
            ModelSpec::WordPiece { prefix, max_chars, unk } => {
                known("unknown", Some(*unk))?;
                Self::WordPiece(WordPiece::new(vocab, prefix, *max_chars, *unk)?)
            }
            ModelSpec::WordLevel { unk } => {
                known("unknown", *unk)?;
                Self::WordLevel(WordLevel { unk: *unk })
            }
        })
    }

    /// Appends the tokens of a piece, which is not empty.
    ///
    /// # Errors
    /// [`TextError::UnknownWord`].
    pub(crate) fn encode(
        &self,
        vocab: &Vocab,
        piece: &str,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) -> Result<(), TextError> {
        match self {
            Self::Bpe(bpe) => bpe.encode(vocab, piece, scratch, out),
            Self::Scored(bpe) => bpe.encode(vocab, piece, scratch, out),
            Self::Unigram(unigram) => unigram.encode(vocab, piece, scratch, out),
            Self::WordPiece(words) => words.encode(piece, out),
            Self::WordLevel(words) => return words.encode(vocab, piece, out),
        }
        Ok(())
    }

    /// Its kind, for messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Bpe(_) => "BPE",
            Self::Scored(_) => "BPE with scores",
            Self::Unigram(_) => "Unigram",
            Self::WordPiece(_) => "WordPiece",
            Self::WordLevel(_) => "WordLevel",
        }
    }
}

/// Checks that all scores are finite.
fn check_scores<T: Copy + Into<f64>>(scores: &[T]) -> Result<(), TextError> {
    match scores.iter().position(|&score| !Into::<f64>::into(score).is_finite()) {
        Some(id) => Err(TextError::BadScore { id: id as u32, score: scores[id].into() }),
        None => Ok(()),
    }
}
