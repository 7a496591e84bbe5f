//! From a tokenizer's parts to SentencePiece's `tokenizer.model`.

use super::field;
use crate::error::{TextError, short};
use crate::spec::{ModelSpec, Normalizer, Prepend, TokenType, TokenizerSpec};

/// Ids in the trainer's settings are signed; this says that there is none.
const NO_ID: u64 = -1i64 as u64;

impl TokenizerSpec<'_> {
    /// The contents of a `tokenizer.model` that describes this tokenizer: SentencePiece's BPE or Unigram. Which tokens stand
    /// around a text is not in it.
    ///
    /// # Errors
    /// [`TextError::NotInProto`] for another kind of tokenizer.
    pub fn to_sentencepiece(&self) -> Result<Vec<u8>, TextError> {
        let refused =
            |part, found: &dyn std::fmt::Debug| TextError::NotInProto { part, found: short(&format!("{found:?}")) };
        let (model, unk, fallback, scores): (u64, _, bool, Vec<f32>) = match &self.model {
            ModelSpec::ScoredBpe { scores, unk, .. } => (2, *unk, true, scores.clone()),
            ModelSpec::Unigram { scores, unk, byte_fallback, .. } => {
                (1, *unk, *byte_fallback, scores.iter().map(|&score| score as f32).collect())
            }
            _ => return Err(refused("model", &"neither SentencePiece's BPE nor Unigram")),
        };
        let [Normalizer::SentencePiece { charsmap, remove_extra_whitespaces, prepend, .. }] = &*self.normalizers else {
            return Err(refused("normalizer", &self.normalizers));
        };
        if !self.pre.is_empty() {
            return Err(refused("pre-tokenizer", &self.pre));
        }
        let mut out = Vec::new();
        let scores = scores.into_iter().chain(std::iter::repeat(0.0));
        for ((text, kind), score) in self.tokens.iter().zip(&self.types).zip(scores) {
            let mut piece = Vec::new();
            // In GGUF user-defined tokens have their spaces as they are.
            let spaced = (*kind == TokenType::UserDefined).then(|| text.replace(' ', "▁"));
            bytes(&mut piece, field::PIECE_TEXT, spaced.as_deref().unwrap_or(text).as_bytes());
            key(&mut piece, field::PIECE_SCORE, 5);
            piece.extend(score.to_le_bytes());
            integer(&mut piece, field::PIECE_TYPE, *kind as u64);
            bytes(&mut out, field::PIECES, &piece);
        }
        let mut trainer = Vec::new();
        integer(&mut trainer, field::MODEL_TYPE, model);
        integer(&mut trainer, field::BYTE_FALLBACK, fallback.into());
        let ids = [unk, self.special.bos, self.special.eos, self.special.pad];
        for (number, id) in [field::UNK_ID, field::BOS_ID, field::EOS_ID, field::PAD_ID].into_iter().zip(ids) {
            integer(&mut trainer, number, id.map_or(NO_ID, u64::from));
        }
        bytes(&mut out, field::TRAINER, &trainer);
        let mut rules = Vec::new();
        bytes(&mut rules, field::CHARSMAP, charsmap);
        integer(&mut rules, field::ADD_DUMMY_PREFIX, (*prepend != Prepend::Never).into());
        integer(&mut rules, field::REMOVE_EXTRA_WHITESPACES, (*remove_extra_whitespaces).into());
        integer(&mut rules, field::ESCAPE_WHITESPACES, 1);
        bytes(&mut out, field::NORMALIZER, &rules);
        Ok(out)
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn key(out: &mut Vec<u8>, number: u32, wire: u64) {
    varint(out, u64::from(number) << 3 | wire);
}

fn integer(out: &mut Vec<u8>, number: u32, value: u64) {
    key(out, number, 0);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    key(out, number, 2);
    varint(out, value.len() as u64);
    out.extend(value);
}
