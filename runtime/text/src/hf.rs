//! Reading Hugging Face's `tokenizer.json` and `tokenizer_config.json`.
//!
//! The parts that make a byte-level BPE tokenizer are read; any other kind of model, step or flag is named in an error rather
//! than ignored, since ignoring one gives other tokens than the model was trained on.

mod pipeline;
mod schema;

use crate::added::AddedToken;
use crate::error::{TextError, short};
use crate::limits::{MAX_TOKENIZER_JSON_BYTES, MAX_TOKENS};
use crate::spec::{Merges, SpecialIds, TokenType};
use crate::tokenizer::Tokenizer;
use crate::tokenizer::build::Parts;
use schema::{AddedJson, ConfigJson, MergeJson, ModelJson, TokenizerJson};

impl Tokenizer {
    /// From the contents of `tokenizer.json` and, if there is one, `tokenizer_config.json` (which names BOS and EOS).
    ///
    /// # Errors
    /// [`TextError::Json`], [`TextError::Unsupported`] for a part this crate does not have, and what
    /// [`from_bpe`](Self::from_bpe) checks.
    pub fn from_hf(tokenizer_json: &str, tokenizer_config: Option<&str>) -> Result<Self, TextError> {
        let json: TokenizerJson<'_> = parse("tokenizer.json", tokenizer_json)?;
        let config: ConfigJson = match tokenizer_config {
            Some(text) => parse("tokenizer_config.json", text)?,
            None => ConfigJson::default(),
        };
        let model = &json.model;
        model.check()?;
        let pipeline = pipeline::read(json.normalizer.as_ref(), json.pre_tokenizer.as_ref(), json.decoder.as_ref())?;
        let (tokens, types) = token_list(model, &json.added_tokens)?;
        let id_of = |text: &str| {
            let added = json.added_tokens.iter().find(|t| t.content == text).map(|t| t.id);
            added.or_else(|| model.id(text))
        };
        let named = |role, text: Option<&str>| match text {
            None => Ok(None),
            Some(text) => id_of(text).map(Some).ok_or_else(|| TextError::SpecialText { role, text: short(text) }),
        };
        let special = SpecialIds {
            bos: named("bos", config.text("bos_token")?)?,
            eos: named("eos", config.text("eos_token")?)?,
            eot: None,
            pad: named("padding", config.text("pad_token")?)?,
            unk: named("unknown", model.unk_token.as_deref())?,
        };
        let around = pipeline::around(json.post_processor.as_ref(), &special, &config, &id_of)?;
        let (mut raw, mut normalized) = (Vec::new(), Vec::new());
        for token in &json.added_tokens {
            let list = if token.normalized { &mut normalized } else { &mut raw };
            list.push(token.to_added());
        }
        Self::from_parts(Parts {
            tokens,
            types,
            merges: merges(&model.merges),
            pre: pipeline.pre,
            nfc: pipeline.nfc,
            raw,
            normalized,
            special,
            before: around.before,
            after: around.after,
            ignore_merges: model.ignore_merges,
        })
    }
}

/// One form for all: the joined one where the file has only that, so that its entries are checked as such.
fn merges<'a>(list: &'a [MergeJson<'_>]) -> Merges<'a> {
    let joined: Option<Vec<&str>> =
        list.iter().map(|m| if let MergeJson::Joined(text) = m { Some(text.as_ref()) } else { None }).collect();
    match joined {
        Some(joined) => Merges::Joined(joined),
        None => Merges::Pairs(
            list.iter()
                .map(|m| match m {
                    MergeJson::Pair(left, right) => (left.as_ref(), right.as_ref()),
                    MergeJson::Joined(text) => text.split_once(' ').unwrap_or((text.as_ref(), "")),
                })
                .collect(),
        ),
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

/// Texts and types by id, out of the model's map and the added tokens, which must fill `0..n` without gaps.
fn token_list<'a>(
    model: &'a ModelJson<'_>,
    added: &'a [AddedJson<'_>],
) -> Result<(Vec<&'a str>, Vec<TokenType>), TextError> {
    let highest = model.vocab.0.iter().map(|(_, id)| *id).chain(added.iter().map(|t| t.id)).max();
    let Some(highest) = highest else { return Err(TextError::NoTokens { limit: MAX_TOKENS }) };
    let n = highest as usize + 1;
    if n > MAX_TOKENS {
        return Err(TextError::TooLarge { what: "number of tokens", found: n, limit: MAX_TOKENS });
    }
    let mut tokens: Vec<Option<&str>> = vec![None; n];
    let mut types = vec![TokenType::Normal; n];
    let clash = |id: u32, found: &str| TextError::BadField {
        field: format!("id {id}"),
        expected: "one token per id, the same in model.vocab and added_tokens",
        found: short(found),
    };
    for (text, id) in &model.vocab.0 {
        let id = *id;
        if tokens[id as usize].replace(text.as_ref()).is_some() {
            return Err(clash(id, text.as_ref()));
        }
    }
    for token in added {
        let slot = &mut tokens[token.id as usize];
        if slot.is_some_and(|t| t != token.content) {
            return Err(clash(token.id, &token.content));
        }
        *slot = Some(token.content.as_ref());
        types[token.id as usize] = if token.special { TokenType::Control } else { TokenType::UserDefined };
    }
    let found = tokens.iter().flatten().count();
    let all: Option<Vec<&str>> = tokens.into_iter().collect();
    match all {
        Some(tokens) => Ok((tokens, types)),
        None => Err(TextError::LengthMismatch { what: "model.vocab with added_tokens", found, expected: n }),
    }
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
        }
    }
}
