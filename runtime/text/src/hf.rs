//! Reading Hugging Face's `tokenizer.json` and `tokenizer_config.json`.
//!
//! Any model, step or flag that this crate does not have is named in an error rather than ignored, since ignoring one gives other
//! tokens than the model was trained on. `truncation` and `padding` are ignored: they shape training batches, not texts.

mod model;
mod part;
mod post;
mod schema;
mod steps;
mod vocab;
mod write;

use std::borrow::Cow;

use crate::decode::hex_byte;
use crate::error::{TextError, short};
use crate::limits::{MAX_TOKENIZER_JSON_BYTES, MAX_TOKENS};
use crate::spec::{AddedToken, SpecialIds, TokenType, TokenizerSpec};
use crate::tokenizer::Tokenizer;
pub(crate) use schema::Config;
use schema::{AddedJson, Text, TokenizerJson};
pub use vocab::VocabFiles;

impl Tokenizer {
    /// From the contents of `tokenizer.json` and, if there is one, `tokenizer_config.json` (which names BOS and EOS).
    ///
    /// # Errors
    /// Those of [`TokenizerSpec::from_hf`] and [`Tokenizer::new`].
    pub fn from_hf(tokenizer_json: &str, tokenizer_config: Option<&str>) -> Result<Self, TextError> {
        Self::new(TokenizerSpec::from_hf(tokenizer_json, tokenizer_config)?)
    }
}

impl<'a> TokenizerSpec<'a> {
    /// What `tokenizer.json` and, if there is one, `tokenizer_config.json` describe.
    ///
    /// # Errors
    /// [`TextError::Json`], [`TextError::Unsupported`] for a part this crate does not have, [`TextError::BadField`],
    /// [`TextError::SpecialText`], [`TextError::LengthMismatch`], [`TextError::TooLarge`].
    pub fn from_hf(tokenizer_json: &'a str, tokenizer_config: Option<&str>) -> Result<Self, TextError> {
        let mut json: TokenizerJson<'a> = parse("tokenizer.json", tokenizer_json)?;
        let config = Config::parse(tokenizer_config)?;
        let model = &json.model;
        let id_of = |text: &str| {
            let added = json.added_tokens.iter().find(|t| t.content == text).map(|t| t.id);
            added.or_else(|| model.id(text))
        };
        let named = |role, text: Option<&str>| match text {
            None => Ok(None),
            Some(text) => id_of(text).map(Some).ok_or_else(|| TextError::SpecialText { role, text: short(text) }),
        };
        let unk = match named("unknown", model.unk_token.as_deref()) {
            // Such a model knows all its words, or says so when it meets another.
            Err(_) if model.kind.as_deref() == Some("WordLevel") => None,
            unk => unk?.or(model.unk_id),
        };
        let special = SpecialIds {
            bos: named("bos", config.text("bos_token")?)?,
            eos: named("eos", config.text("eos_token")?)?,
            eot: None,
            pad: named("padding", config.text("pad_token")?)?,
            unk,
            sep: named("separator", config.text("sep_token")?)?,
            mask: named("mask", config.text("mask_token")?)?,
        };
        let around = post::around(json.post_processor.as_ref(), &special, &config, &id_of)?;
        let byte_fallback = model.byte_fallback;
        let entries = std::mem::take(&mut json.model.vocab.entries);
        let (tokens, types, added) = token_list(entries, &json.added_tokens, unk, byte_fallback)?;
        Ok(Self {
            normalizers: steps::normalizers(json.normalizer.as_ref())?,
            pre: steps::pre_tokenizers(json.pre_tokenizer.as_ref())?,
            decoders: steps::decoders(json.decoder.as_ref())?,
            model: model::spec(json.model, unk)?,
            added,
            tokens,
            types,
            special,
            before: around.before,
            after: around.after,
        })
    }
}

fn parse<'a, T: serde::Deserialize<'a>>(file: &'static str, text: &'a str) -> Result<T, TextError> {
    if text.len() > MAX_TOKENIZER_JSON_BYTES {
        return Err(TextError::TooLarge { what: file, found: text.len(), limit: MAX_TOKENIZER_JSON_BYTES });
    }
    serde_json::from_str(text).map_err(|e| TextError::Json {
        file,
        line: e.line(),
        column: e.column(),
        message: short(&e.to_string()),
    })
}

/// Texts and types by id, and the added tokens.
type TokenList<'a> = (Vec<Cow<'a, str>>, Vec<TokenType>, Vec<AddedToken>);

/// Out of the model's vocabulary and the added tokens. Ids that neither has become unused tokens, as converters to GGUF do it.
fn token_list<'a>(
    entries: Vec<(Text<'a>, u32)>,
    added: &[AddedJson<'a>],
    unk: Option<u32>,
    byte_fallback: bool,
) -> Result<TokenList<'a>, TextError> {
    let highest = entries.iter().map(|(_, id)| *id).chain(added.iter().map(|t| t.id)).max();
    let Some(highest) = highest else { return Err(TextError::NoTokens { limit: MAX_TOKENS }) };
    let (n, listed) = (highest as usize + 1, entries.len() + added.len());
    if n > MAX_TOKENS {
        return Err(TextError::TooLarge { what: "number of tokens", found: n, limit: MAX_TOKENS });
    }
    // More holes than tokens would be memory that the file does not account for.
    if n / 2 > listed {
        return Err(TextError::LengthMismatch { what: "model.vocab with added_tokens", found: listed, expected: n });
    }
    let mut tokens: Vec<Option<Cow<'a, str>>> = vec![None; n];
    let mut types = vec![TokenType::Normal; n];
    let clash = |id: u32, found: &str| TextError::BadField {
        field: format!("id {id}"),
        expected: "one token per id, the same in model.vocab and added_tokens",
        found: short(found),
    };
    for (Text(text), id) in entries {
        if byte_fallback && hex_byte(&text).is_some() {
            types[id as usize] = TokenType::Byte;
        }
        if let Some(other) = tokens[id as usize].replace(text) {
            return Err(clash(id, &other));
        }
    }
    let mut list = Vec::with_capacity(added.len());
    for token in added {
        let slot = &mut tokens[token.id as usize];
        if slot.as_ref().is_some_and(|t| *t != token.content) {
            return Err(clash(token.id, &token.content));
        }
        list.push(AddedToken { outside: slot.is_none(), ..token.to_added() });
        *slot = Some(token.content.clone());
        types[token.id as usize] = match token.special {
            true if unk == Some(token.id) => TokenType::Unknown,
            true => TokenType::Control,
            false => TokenType::UserDefined,
        };
    }
    let fill = |(id, text): (usize, Option<Cow<'a, str>>)| {
        text.unwrap_or_else(|| {
            types[id] = TokenType::Unused;
            Cow::Owned(format!("[PAD{id}]"))
        })
    };
    let tokens = tokens.into_iter().enumerate().map(fill).collect();
    Ok((tokens, types, list))
}

impl AddedJson<'_> {
    fn to_added(&self) -> AddedToken {
        AddedToken {
            id: self.id,
            text: self.content.to_string(),
            control: self.special,
            lstrip: self.lstrip,
            rstrip: self.rstrip,
            single_word: self.single_word,
            normalized: self.normalized,
            outside: false,
        }
    }
}
