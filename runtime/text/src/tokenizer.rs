//! The tokenizer: what is the same for every model kind, around one [`Model`].

pub(crate) mod build;
mod cache;

use std::collections::BTreeMap;
use std::ops::Range;

use crate::added::{AddedTokens, Special};
use crate::decode::{DecodeState, Decoders};
use crate::error::TextError;
use crate::model::vocab::Vocab;
use crate::model::{Model, Scratch};
use crate::normalize::Normalizers;
use crate::pretok::PreTokenizer;
use crate::spec::{SpecialIds, TokenType};
use cache::PieceCache;

/// Whether to put the begin-of-sequence token in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bos {
    /// As the model's files say, for what goes in front and for what goes behind.
    #[default]
    Auto,
    /// BOS in front, nothing behind.
    Yes,
    /// Only the text.
    No,
}

/// How to encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EncodeOptions {
    /// Whether control tokens written in the text become those tokens. Leave it off for text from users.
    pub special: bool,
    /// What goes around the text.
    pub bos: Bos,
}

/// How to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DecodeOptions {
    /// Leave control tokens out.
    pub skip_special: bool,
}

/// A model's tokenizer. Immutable; share it in an `Arc` among threads and sessions.
pub struct Tokenizer {
    vocab: Vocab,
    model: Model,
    normalizers: Normalizers,
    pre: PreTokenizer,
    decoders: Decoders,
    /// Matched in the text as given, before normalization; then the ones matched after it, in what lies between.
    raw: AddedTokens,
    normalized: AddedTokens,
    /// Added tokens whose text in decoded text is their normalized one.
    shown: BTreeMap<u32, String>,
    special: SpecialIds,
    /// What [`Bos::Auto`] puts around the text.
    before: Vec<u32>,
    after: Vec<u32>,
    ends: Vec<u32>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("model", &self.model.name())
            .field("tokens", &self.vocab.len())
            .field("special", &self.special)
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// What [`Bos::Auto`] puts behind a text.
    pub fn after(&self) -> &[u32] {
        &self.after
    }

    /// Token ids of a text.
    ///
    /// Control tokens written in the text are ordinary characters unless `options.special`; user-defined tokens are always
    /// found, as in Hugging Face's tokenizers. Takes time in proportion to the text's length (n log n at worst).
    ///
    /// # Errors
    /// [`TextError::NoSpecial`] if BOS is asked for and there is none; [`TextError::RegexLimit`]; [`TextError::UnknownWord`].
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>, TextError> {
        let mut out = Vec::with_capacity(text.len() / 4 + 2);
        match options.bos {
            Bos::Auto => out.extend_from_slice(&self.before),
            Bos::Yes => {
                out.push(self.special.bos.ok_or(TextError::NoSpecial { role: "bos", vocab: self.vocab.len() })?)
            }
            Bos::No => {}
        }
        let mut work = Work::new(text.len());
        let special = if options.special { Special::Anywhere } else { Special::Nowhere };
        self.encode_text(text, special, &mut work, &mut out)?;
        if options.bos == Bos::Auto {
            out.extend_from_slice(&self.after);
        }
        Ok(out)
    }

    /// Tokens of a text of which the byte ranges `user` must not become control tokens; nothing is put around it.
    pub(crate) fn encode_marked(&self, text: &str, user: &[Range<usize>]) -> Result<Vec<u32>, TextError> {
        let mut out = Vec::with_capacity(text.len() / 4 + 2);
        self.encode_text(text, Special::Outside { user, shift: 0 }, &mut Work::new(text.len()), &mut out)?;
        Ok(out)
    }

    fn encode_text(
        &self,
        text: &str,
        special: Special<'_>,
        work: &mut Work,
        out: &mut Vec<u32>,
    ) -> Result<(), TextError> {
        let mut at = 0;
        while let Some(found) = self.raw.find(text, at, special) {
            self.encode_unmarked(&text[at..found.start], at == 0, special.from(at), work, out)?;
            out.push(found.id);
            at = found.end;
        }
        self.encode_unmarked(&text[at..], at == 0, special.from(at), work, out)
    }

    /// A stretch between added tokens; `first` if it begins the whole text.
    fn encode_unmarked(
        &self,
        text: &str,
        first: bool,
        special: Special<'_>,
        work: &mut Work,
        out: &mut Vec<u32>,
    ) -> Result<(), TextError> {
        if self.normalizers.is_empty() {
            let front = if first { text.chars().next().map_or(0, char::len_utf8) } else { 0 };
            return self.encode_normalized(text, front, special, work, out);
        }
        let normalized = self.normalizers.apply(text, first)?;
        // In a changed text the ranges of user bytes no longer fit: then no byte counts as the template's.
        let special = match special {
            Special::Outside { .. } if *normalized.text != *text => Special::Nowhere,
            other => other,
        };
        self.encode_normalized(&normalized.text, normalized.front, special, work, out)
    }

    /// Of the text, `front` bytes come of the first character of the whole input.
    fn encode_normalized(
        &self,
        text: &str,
        front: usize,
        special: Special<'_>,
        work: &mut Work,
        out: &mut Vec<u32>,
    ) -> Result<(), TextError> {
        let mut at = 0;
        while let Some(found) = self.normalized.find(text, at, special) {
            self.encode_plain(&text[at..found.start], front.saturating_sub(at), work, out)?;
            out.push(found.id);
            at = found.end;
        }
        self.encode_plain(&text[at..], front.saturating_sub(at), work, out)
    }

    fn encode_plain(&self, text: &str, front: usize, work: &mut Work, out: &mut Vec<u32>) -> Result<(), TextError> {
        self.pre.split(text, front, &mut |piece| {
            let start = out.len();
            if work.cache.copy(piece, out) {
                return Ok(());
            }
            self.model.encode(&self.vocab, piece, &mut work.scratch, out)?;
            work.cache.keep(piece, start, out.len());
            Ok(())
        })
    }

    /// The text of ids; bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`TextError::UnknownId`].
    pub fn decode(&self, ids: &[u32], options: DecodeOptions) -> Result<String, TextError> {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        self.decode_bytes_into(ids, options, &mut bytes)?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    /// Appends the bytes of ids, which are a text from its beginning.
    ///
    /// # Errors
    /// [`TextError::UnknownId`]; `out` then holds what was certain before it.
    pub fn decode_bytes_into(&self, ids: &[u32], options: DecodeOptions, out: &mut Vec<u8>) -> Result<(), TextError> {
        let mut state = self.decoders.begin();
        for &id in ids {
            self.decode_next(&mut state, id, options, out)?;
        }
        self.decoders.finish(&mut state, out);
        Ok(())
    }

    /// The state of decoding at the beginning of a text, or in the middle of one.
    pub(crate) fn decode_state(&self, inside: bool) -> DecodeState {
        if inside { self.decoders.middle() } else { self.decoders.begin() }
    }

    /// Appends the bytes that are certain with one more id.
    pub(crate) fn decode_next(
        &self,
        state: &mut DecodeState,
        id: u32,
        options: DecodeOptions,
        out: &mut Vec<u8>,
    ) -> Result<(), TextError> {
        let (Some(text), Some(kind)) = (self.vocab.text(id), self.vocab.kind(id)) else {
            return Err(TextError::UnknownId { id, vocab: self.vocab.len() });
        };
        if options.skip_special && self.is_control(id) {
            return Ok(());
        }
        // A normalized text has been through the steps that decoding undoes.
        let (text, kind) = self.shown.get(&id).map_or((text, kind), |shown| (shown.as_str(), TokenType::Normal));
        self.decoders.push(state, text, kind, out)
    }

    /// Appends the bytes held back at the end of a text.
    pub(crate) fn decode_end(&self, state: &mut DecodeState, out: &mut Vec<u8>) {
        self.decoders.finish(state, out);
    }

    /// The bytes that a token stands for in the middle of a text; they need not be whole characters.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut state = self.decoders.middle();
        self.decode_next(&mut state, id, DecodeOptions::default(), &mut bytes).ok()?;
        // Whether it is the last one is not known; what holds back only that is given out as if another followed.
        self.decoders.finish(&mut state, &mut bytes);
        Some(bytes)
    }

    /// A token's text as the file has it (ordinary tokens in the model's own spelling).
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.vocab.text(id)
    }

    /// A token's type.
    pub fn token_type(&self, id: u32) -> Option<TokenType> {
        self.vocab.kind(id)
    }

    /// The id of a token's text as the file has it.
    pub fn id_of(&self, text: &str) -> Option<u32> {
        self.vocab.id(text)
    }

    /// Number of tokens. Embeddings may have more rows; those are padding.
    pub fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    /// True for tokens that steer the model and never come out of ordinary text.
    pub fn is_control(&self, id: u32) -> bool {
        matches!(self.vocab.kind(id), Some(TokenType::Control | TokenType::Unknown))
    }

    /// True for tokens that end a reply: the declared EOS and end-of-turn ids, and every added token (control or
    /// user-defined) whose text is one of the usual ones for it (`<|im_end|>`, `<|eot_id|>`, `<|end_of_text|>`,
    /// `<|endoftext|>` ... the list is `END_TEXTS` in `tokenizer/build.rs`): files often declare only one of several.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// The ids for which [`is_end`](Self::is_end) holds, rising.
    pub fn end_ids(&self) -> &[u32] {
        &self.ends
    }

    /// Begin of sequence.
    pub fn bos(&self) -> Option<u32> {
        self.special.bos
    }

    /// End of sequence.
    pub fn eos(&self) -> Option<u32> {
        self.special.eos
    }

    /// All ids with a meaning, as declared.
    pub fn special_ids(&self) -> SpecialIds {
        self.special
    }

    /// Whether [`Bos::Auto`] puts BOS in front.
    pub fn adds_bos(&self) -> bool {
        self.special.bos.is_some_and(|bos| self.before.first() == Some(&bos))
    }
}

/// Working memory of one encode call.
struct Work {
    scratch: Scratch,
    cache: PieceCache,
}

impl Work {
    fn new(text_bytes: usize) -> Self {
        Self { scratch: Scratch::default(), cache: PieceCache::for_text(text_bytes) }
    }
}
