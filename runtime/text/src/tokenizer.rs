//! The tokenizer: what is the same for every model kind, around one [`Model`].

pub(crate) mod build;
mod cache;

use std::ops::Range;

use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::added::{AddedTokens, Special};
use crate::bpe::{Bpe, Scratch};
use crate::error::TextError;
use crate::pretok::PreTokenizer;
use crate::spec::{SpecialIds, TokenType};
use crate::vocab::Vocab;
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

/// The part that differs between kinds of tokenizers.
enum Model {
    /// Byte-level BPE.
    Bpe(Bpe),
}

/// A model's tokenizer. Immutable; share it in an `Arc` among threads and sessions.
pub struct Tokenizer {
    vocab: Vocab,
    model: Model,
    pre: PreTokenizer,
    nfc: bool,
    /// Matched in the text as given, before normalization; then the ones matched after it, in what lies between.
    raw: AddedTokens,
    normalized: AddedTokens,
    special: SpecialIds,
    /// What [`Bos::Auto`] puts around the text.
    before: Vec<u32>,
    after: Vec<u32>,
    ends: Vec<u32>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Model::Bpe(bpe) = &self.model;
        f.debug_struct("Tokenizer")
            .field("tokens", &self.vocab.len())
            .field("merges", &bpe.merges())
            .field("special", &self.special)
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Token ids of a text.
    ///
    /// Control tokens written in the text are ordinary characters unless `options.special`; user-defined tokens are always
    /// found, as in Hugging Face's tokenizers. Takes time in proportion to the text's length (n log n at worst).
    ///
    /// # Errors
    /// [`TextError::NoSpecial`] if BOS is asked for and there is none; [`TextError::RegexLimit`].
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
            self.encode_unmarked(&text[at..found.start], special.from(at), work, out)?;
            out.push(found.id);
            at = found.end;
        }
        self.encode_unmarked(&text[at..], special.from(at), work, out)
    }

    fn encode_unmarked(
        &self,
        text: &str,
        special: Special<'_>,
        work: &mut Work,
        out: &mut Vec<u32>,
    ) -> Result<(), TextError> {
        let composed: String;
        let (text, special) = if self.nfc && !is_nfc(text) {
            composed = text.nfc().collect();
            // Ranges of user bytes no longer fit: then no byte counts as the template's.
            let special = if let Special::Outside { .. } = special { Special::Nowhere } else { special };
            (composed.as_str(), special)
        } else {
            (text, special)
        };
        let mut at = 0;
        while let Some(found) = self.normalized.find(text, at, special) {
            self.encode_plain(&text[at..found.start], work, out)?;
            out.push(found.id);
            at = found.end;
        }
        self.encode_plain(&text[at..], work, out)
    }

    fn encode_plain(&self, text: &str, work: &mut Work, out: &mut Vec<u32>) -> Result<(), TextError> {
        let Model::Bpe(bpe) = &self.model;
        self.pre.split(text, &mut |piece| {
            let start = out.len();
            if work.cache.copy(piece, out) {
                return Ok(());
            }
            bpe.encode(&self.vocab, piece, &mut work.scratch, out);
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

    /// Appends the bytes of ids.
    ///
    /// # Errors
    /// [`TextError::UnknownId`]; `out` then holds the bytes of the ids before it.
    pub fn decode_bytes_into(&self, ids: &[u32], options: DecodeOptions, out: &mut Vec<u8>) -> Result<(), TextError> {
        for &id in ids {
            if options.skip_special && self.is_control(id) {
                continue;
            }
            if !self.vocab.bytes_into(id, out) {
                return Err(TextError::UnknownId { id, vocab: self.vocab.len() });
            }
        }
        Ok(())
    }

    /// The bytes that a token stands for, which need not be whole characters.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.vocab.bytes_into(id, &mut bytes).then_some(bytes)
    }

    /// A token's text as the file has it (ordinary tokens in GPT-2's byte alphabet).
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
