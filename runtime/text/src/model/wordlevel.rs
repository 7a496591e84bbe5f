//! WordLevel: a piece is a token as it stands, or unknown.

use super::vocab::Vocab;
use crate::error::{TextError, short};

/// What unknown pieces become.
pub(crate) struct WordLevel {
    pub(super) unk: Option<u32>,
}

impl WordLevel {
    /// Appends the token of a piece.
    ///
    /// # Errors
    /// [`TextError::UnknownWord`] for a piece without a token, where none is named for those.
    pub(super) fn encode(&self, vocab: &Vocab, piece: &str, out: &mut Vec<u32>) -> Result<(), TextError> {
        let id = vocab.id(piece).filter(|&id| vocab.is_text(id)).or(self.unk);
        out.push(id.ok_or_else(|| TextError::UnknownWord { text: short(piece) })?);
        Ok(())
    }
}
