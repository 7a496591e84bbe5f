//! Reading SentencePiece's `tokenizer.model`.

mod proto;
mod write;

use std::borrow::Cow;

use crate::error::{TextError, short};
use crate::hf::Config;
use crate::limits::{MAX_TOKENIZER_JSON_BYTES, MAX_TOKENS};
use crate::spec::{AddedToken, Decoder, ModelSpec, Normalizer, Pattern, Prepend, SpecialIds, TokenType, TokenizerSpec};
use crate::tokenizer::Tokenizer;
use proto::{Fields, Value};

/// Field numbers of `sentencepiece_model.proto`.
mod field {
    pub const PIECES: u32 = 1;
    pub const TRAINER: u32 = 2;
    pub const NORMALIZER: u32 = 3;
    pub const PIECE_TEXT: u32 = 1;
    pub const PIECE_SCORE: u32 = 2;
    pub const PIECE_TYPE: u32 = 3;
    pub const MODEL_TYPE: u32 = 3;
    pub const SPACE_AS_SUFFIX: u32 = 24;
    pub const BYTE_FALLBACK: u32 = 35;
    pub const UNK_ID: u32 = 40;
    pub const BOS_ID: u32 = 41;
    pub const EOS_ID: u32 = 42;
    pub const PAD_ID: u32 = 43;
    pub const CHARSMAP: u32 = 2;
    pub const ADD_DUMMY_PREFIX: u32 = 3;
    pub const REMOVE_EXTRA_WHITESPACES: u32 = 4;
    pub const ESCAPE_WHITESPACES: u32 = 5;
}

impl Tokenizer {
    /// From the contents of `tokenizer.model` and, if there is one, `tokenizer_config.json`.
    ///
    /// # Errors
    /// Those of [`TokenizerSpec::from_sentencepiece`] and [`Tokenizer::new`].
    pub fn from_sentencepiece(model: &[u8], tokenizer_config: Option<&str>) -> Result<Self, TextError> {
        Self::new(TokenizerSpec::from_sentencepiece(model, tokenizer_config)?)
    }
}

/// Settings of training that encoding depends on, with the format's defaults.
struct Trainer {
    model: u64,
    byte_fallback: bool,
    special: SpecialIds,
}

/// How text is normalized, with the format's defaults.
struct Rules<'a> {
    charsmap: &'a [u8],
    prefix: bool,
    tidy: bool,
}

impl<'a> TokenizerSpec<'a> {
    /// What `tokenizer.model` describes. BOS and EOS are put around texts where `tokenizer_config.json` says so.
    ///
    /// # Errors
    /// [`TextError::BadProto`], [`TextError::Unsupported`] for models other than Unigram and BPE, [`TextError::TooLarge`].
    pub fn from_sentencepiece(model: &'a [u8], tokenizer_config: Option<&str>) -> Result<Self, TextError> {
        if model.len() > MAX_TOKENIZER_JSON_BYTES {
            let (what, limit) = ("bytes of tokenizer.model", MAX_TOKENIZER_JSON_BYTES);
            return Err(TextError::TooLarge { what, found: model.len(), limit });
        }
        let (mut tokens, mut types, mut scores) = (Vec::new(), Vec::new(), Vec::new());
        let mut trainer = Trainer::read(Fields::new(&[], 0))?;
        let mut rules = Rules::read(Fields::new(&[], 0))?;
        for item in Fields::new(model, 0) {
            let (number, value) = item?;
            match number {
                field::PIECES => {
                    if tokens.len() == MAX_TOKENS {
                        let what = "number of tokens";
                        return Err(TextError::TooLarge { what, found: MAX_TOKENS + 1, limit: MAX_TOKENS });
                    }
                    let (text, score, kind) = piece(value.message()?)?;
                    tokens.push(Cow::Borrowed(text));
                    types.push(kind);
                    scores.push(score);
                }
                field::TRAINER => trainer = Trainer::read(value.message()?)?,
                field::NORMALIZER => rules = Rules::read(value.message()?)?,
                _ => {}
            }
        }
        // The ids of the trainer are settings; which of them exist is said by the pieces.
        let mut special = trainer.special.within(tokens.len());
        // For the library the piece's type counts.
        let unknown = types.iter().position(|kind| *kind == TokenType::Unknown);
        special.unk = unknown.map(|id| id as u32).or(special.unk);
        let config = Config::parse(tokenizer_config)?;
        let around = |name, id: Option<u32>| if config.is_true(name) { id.into_iter().collect() } else { Vec::new() };
        let symbols =
            tokens.iter().zip(&types).filter(|(_, kind)| **kind == TokenType::UserDefined).map(|(t, _)| t.to_string());
        let added = tokens
            .iter()
            .zip(&types)
            .enumerate()
            .filter_map(|(id, (text, kind))| added(id as u32, text, *kind, trainer.model == 1));
        Ok(Self {
            added: added.collect(),
            before: around("add_bos_token", special.bos),
            after: around("add_eos_token", special.eos),
            model: match trainer.model {
                1 => ModelSpec::Unigram {
                    scores: unigram_scores(&tokens, &types, &scores),
                    unk: special.unk,
                    byte_fallback: trainer.byte_fallback,
                    single_precision: true,
                },
                2 => ModelSpec::ScoredBpe { scores, unk: special.unk, fuse_unk: true },
                other => {
                    let what = "tokenizer.model: model_type (known are 1, Unigram, and 2, BPE)";
                    return Err(TextError::Unsupported { what, found: other.to_string() });
                }
            },
            normalizers: vec![Normalizer::SentencePiece {
                charsmap: rules.charsmap.to_vec(),
                remove_extra_whitespaces: rules.tidy,
                prepend: if rules.prefix { Prepend::First } else { Prepend::Never },
                symbols: symbols.collect(),
            }],
            pre: Vec::new(),
            decoders: match rules.tidy {
                true => Decoder::sentencepiece_tidy(),
                false => Decoder::sentencepiece(usize::from(rules.prefix)),
            },
            tokens,
            types,
            special,
        })
    }
}

/// A piece's text, score and kind.
fn piece(fields: Fields<'_>) -> Result<(&str, f32, TokenType), TextError> {
    let (mut text, mut score, mut kind) = ("", 0.0, TokenType::Normal);
    for item in fields {
        let (number, value) = item?;
        match number {
            field::PIECE_TEXT => text = value.text()?,
            field::PIECE_SCORE => score = value.float()?,
            field::PIECE_TYPE => {
                let number = value.integer()?;
                kind = i32::try_from(number).ok().and_then(TokenType::from_gguf).ok_or_else(|| {
                    TextError::Unsupported { what: "tokenizer.model: type of a piece", found: number.to_string() }
                })?;
            }
            _ => {}
        }
    }
    Ok((text, score, kind))
}

/// The token to search for in a text, if it is one.
fn added(id: u32, text: &str, kind: TokenType, unigram: bool) -> Option<AddedToken> {
    let control = match kind {
        TokenType::Control | TokenType::Unknown => true,
        // Unigram's scores of these decide.
        TokenType::UserDefined if unigram => return None,
        TokenType::UserDefined => false,
        TokenType::Normal | TokenType::Unused | TokenType::Byte => return None,
    };
    Some(AddedToken { id, text: text.to_owned(), control, normalized: !control, ..AddedToken::default() })
}

/// Scores as SentencePiece (from 0.2.3) uses them: user-defined tokens are better than anything, the longer the better.
fn unigram_scores(tokens: &[Cow<'_, str>], types: &[TokenType], scores: &[f32]) -> Vec<f64> {
    let score = |((text, kind), score): ((&Cow<'_, str>, &TokenType), &f32)| match kind {
        TokenType::UserDefined => f64::from((0.1 * (text.len() as f64 - 1.0)) as f32),
        _ => f64::from(*score),
    };
    tokens.iter().zip(types).zip(scores).map(score).collect()
}

impl Trainer {
    fn read(fields: Fields<'_>) -> Result<Self, TextError> {
        let mut trainer = Self { model: 1, byte_fallback: false, special: SpecialIds::default() };
        let special = &mut trainer.special;
        (special.unk, special.bos, special.eos) = (Some(0), Some(1), Some(2));
        // A negative id, as a 64-bit integer, means that there is none.
        let id = |value: Value<'_>| value.integer().map(|id| u32::try_from(id).ok());
        for item in fields {
            let (number, value) = item?;
            match number {
                field::MODEL_TYPE => trainer.model = value.integer()?,
                field::SPACE_AS_SUFFIX if value.integer()? != 0 => {
                    let what = "tokenizer.model: treat_whitespace_as_suffix";
                    return Err(TextError::Unsupported { what, found: short("true") });
                }
                field::BYTE_FALLBACK => trainer.byte_fallback = value.integer()? != 0,
                field::UNK_ID => special.unk = id(value)?,
                field::BOS_ID => special.bos = id(value)?,
                field::EOS_ID => special.eos = id(value)?,
                field::PAD_ID => special.pad = id(value)?,
                _ => {}
            }
        }
        Ok(trainer)
    }
}

impl<'a> Rules<'a> {
    fn read(fields: Fields<'a>) -> Result<Self, TextError> {
        let mut rules = Self { charsmap: &[], prefix: true, tidy: true };
        for item in fields {
            let (number, value) = item?;
            match number {
                field::CHARSMAP => rules.charsmap = value.bytes()?,
                field::ADD_DUMMY_PREFIX => rules.prefix = value.integer()? != 0,
                field::REMOVE_EXTRA_WHITESPACES => rules.tidy = value.integer()? != 0,
                field::ESCAPE_WHITESPACES if value.integer()? == 0 => {
                    let what = "tokenizer.model: escape_whitespaces";
                    return Err(TextError::Unsupported { what, found: short("false") });
                }
                _ => {}
            }
        }
        Ok(rules)
    }
}

impl SpecialIds {
    /// Without those outside a vocabulary.
    fn within(self, tokens: usize) -> Self {
        let keep = |id: Option<u32>| id.filter(|&id| (id as usize) < tokens);
        Self { bos: keep(self.bos), eos: keep(self.eos), pad: keep(self.pad), unk: keep(self.unk), ..Self::default() }
    }
}

impl Decoder {
    /// How SentencePiece's tokens become text where it removes extra spaces.
    fn sentencepiece_tidy() -> Vec<Self> {
        let (pattern, content) = (Pattern::Text("▁".to_owned()), " ".to_owned());
        vec![Self::Replace { pattern, content }, Self::LeadingSpace, Self::ByteFallback, Self::Fuse]
    }

    /// How SentencePiece's tokens become text; up to `spaces` at the beginning are not part of it.
    pub(crate) fn sentencepiece(spaces: usize) -> Vec<Self> {
        let (pattern, content) = (Pattern::Text("▁".to_owned()), " ".to_owned());
        let mut steps = vec![Self::Replace { pattern, content }, Self::ByteFallback, Self::Fuse];
        if spaces > 0 {
            steps.push(Self::Strip { content: ' ', start: spaces, stop: 0 });
        }
        steps
    }
}
