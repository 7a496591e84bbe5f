//! The vocabulary: texts of all tokens in one allocation, and the way from a text to its id.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::decode::hex_byte;
use crate::error::{TextError, short};
use crate::hash::{self, IdTable, Inserted, MAX_PROBES};
use crate::limits::{MAX_TOKEN_BYTES, MAX_TOKENS};
use crate::spec::TokenType;

use super::NONE;

/// Token texts and types by id.
pub(crate) struct Vocab {
    text: String,
    /// Where each token's text ends in `text`.
    ends: Vec<u32>,
    types: Vec<TokenType>,
    /// Added tokens that the model does not have.
    outside: BTreeSet<u32>,
    ids: IdTable,
}

impl Vocab {
    /// Checks and stores the tokens. `types` is as long as `tokens`.
    pub(crate) fn new(
        tokens: &[Cow<'_, str>],
        types: Vec<TokenType>,
        outside: BTreeSet<u32>,
    ) -> Result<Self, TextError> {
        if tokens.is_empty() {
            return Err(TextError::NoTokens { limit: MAX_TOKENS });
        }
        let too_large = |what, found, limit| TextError::TooLarge { what, found, limit };
        if tokens.len() > MAX_TOKENS {
            return Err(too_large("number of tokens", tokens.len(), MAX_TOKENS));
        }
        if types.len() != tokens.len() {
            return Err(TextError::LengthMismatch { what: "token types", found: types.len(), expected: tokens.len() });
        }
        let mut total = 0usize;
        for token in tokens {
            if token.len() > MAX_TOKEN_BYTES {
                return Err(too_large("bytes of a token", token.len(), MAX_TOKEN_BYTES));
            }
            total = total.saturating_add(token.len());
        }
        if u32::try_from(total).is_err() {
            return Err(too_large("bytes of all tokens", total, u32::MAX as usize));
        }
        let mut vocab = Self {
            text: String::with_capacity(total),
            ends: Vec::with_capacity(tokens.len()),
            types,
            outside,
            ids: IdTable::new(tokens.len()),
        };
        for (id, token) in tokens.iter().enumerate() {
            let id = id as u32;
            vocab.text.push_str(token);
            vocab.ends.push(vocab.text.len() as u32);
            let Vocab { text, ends, ids, .. } = &mut vocab;
            match ids.insert(hash::bytes(token.as_bytes()), id, |other| bytes_of(text, ends, other) == token.as_bytes())
            {
                Inserted::New => {}
                Inserted::Known(first) => {
                    return Err(TextError::DuplicateToken { text: short(token), first, second: id });
                }
                Inserted::Crowded => {
                    return Err(too_large("number of tokens with one hash", MAX_PROBES + 1, MAX_PROBES));
                }
            }
        }
        Ok(vocab)
    }

    /// Number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Text of a token as the file has it.
    pub(crate) fn text(&self, id: u32) -> Option<&str> {
        ((id as usize) < self.ends.len()).then(|| text_of(&self.text, &self.ends, id))
    }

    /// Type of a token.
    pub(crate) fn kind(&self, id: u32) -> Option<TokenType> {
        self.types.get(id as usize).copied()
    }

    /// Id of a text as the file has it.
    pub(crate) fn id(&self, text: &str) -> Option<u32> {
        let bytes = text.as_bytes();
        self.ids.get(hash::bytes(bytes), |id| bytes_of(&self.text, &self.ends, id) == bytes)
    }

    /// Whether ordinary text may become this token.
    pub(crate) fn is_text(&self, id: u32) -> bool {
        match self.kind(id) {
            Some(TokenType::Normal) => true,
            Some(TokenType::UserDefined) => !self.outside.contains(&id),
            _ => false,
        }
    }

    /// The tokens `<0xNN>` of all bytes; [`NONE`] where there is none.
    pub(super) fn hex_tokens(&self) -> [u32; 256] {
        let mut table = [NONE; 256];
        for id in 0..self.len() as u32 {
            if self.kind(id) == Some(TokenType::Byte)
                && let Some(byte) = self.text(id).and_then(hex_byte)
                && let slot = &mut table[usize::from(byte)]
                && *slot == NONE
            {
                *slot = id;
            }
        }
        table
    }
}

/// For comparing, without the checks that slicing a `str` makes.
fn bytes_of<'a>(text: &'a str, ends: &[u32], id: u32) -> &'a [u8] {
    let id = id as usize;
    let start = if id == 0 { 0 } else { ends[id - 1] as usize };
    &text.as_bytes()[start..ends[id] as usize]
}

fn text_of<'a>(text: &'a str, ends: &[u32], id: u32) -> &'a str {
    let id = id as usize;
    let start = if id == 0 { 0 } else { ends[id - 1] as usize };
    &text[start..ends[id] as usize]
}
