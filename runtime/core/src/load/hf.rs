//! Models in Hugging Face folders.

use super::read_definition;
use crate::error::Error;
use crate::models::{ConfigError, Definition, Hyper, hugging_face};
use std::borrow::Cow;
use tern_formats::hf::{Config, Folder, TokenizerFiles};
use tern_text::{Tokenizer, TokenizerSpec, VocabFiles};

/// The architecture's name and its hyper-parameters.
pub fn definition(folder: &Folder) -> Result<(String, Box<dyn Definition>), Error> {
    let (checkpoint, config) = (&folder.checkpoint, &*hugging_face(&folder.config)?);
    let names = config.strings("architectures")?.unwrap_or_default();
    let name =
        names.into_iter().next().ok_or_else(|| ConfigError::Missing { key: "architectures in config.json".into() })?;
    let definition = read_definition(&name, &Hyper::Hf { config, checkpoint: Some(checkpoint) })?;
    Ok((name, definition))
}

/// The tokenizer of a folder.
pub fn tokenizer(files: &TokenizerFiles) -> Result<Tokenizer, Error> {
    Ok(Tokenizer::new(tokenizer_spec(files)?)?)
}

/// The parts of the tokenizer of `tokenizer.json`, else of `tokenizer.model`, else of `vocab.json` and `merges.txt`, with what
/// the other files add.
///
/// # Errors
/// [`Error::Text`], and [`Error::Config`] where there are no such files.
pub fn tokenizer_spec(files: &TokenizerFiles) -> Result<TokenizerSpec<'_>, Error> {
    let text = |config: &Option<Config>| config.as_ref().map(|c| c.value().to_string());
    let config = text(&files.config);
    if let Some(json) = &files.tokenizer {
        return Ok(TokenizerSpec::from_hf(json, config.as_deref())?);
    }
    if let Some(model) = &files.sentencepiece {
        return Ok(TokenizerSpec::from_sentencepiece(model, config.as_deref())?);
    }
    let (Some(vocab), Some(merges)) = (&files.vocab, &files.merges) else {
        let key = "tokenizer.json, tokenizer.model, or vocab.json with merges.txt".into();
        return Err(ConfigError::Missing { key }.into());
    };
    Ok(TokenizerSpec::from_vocab(&VocabFiles {
        vocab,
        merges,
        config: config.map(Cow::Owned),
        special_tokens_map: text(&files.special_tokens_map).map(Cow::Owned),
        added_tokens: text(&files.added_tokens).map(Cow::Owned),
        model: text(&files.model).map(Cow::Owned),
    })?)
}

/// `chat_template.jinja`, else the template in `tokenizer_config.json` (of several the one called "default").
///
/// # Errors
/// [`Error::Format`] for one that is no text.
pub fn template(folder: &Folder) -> Result<Option<String>, Error> {
    if folder.chat_template.is_some() {
        return Ok(folder.chat_template.clone());
    }
    let Some(field) = folder.tokenizer_files.config.as_ref().and_then(|c: &Config| c.get("chat_template")) else {
        return Ok(None);
    };
    let named = field.as_array().and_then(|all| {
        all.iter().find(|t| t.get("name").and_then(|n| n.as_str()) == Some("default")).and_then(|t| t.get("template"))
    });
    Ok(named.unwrap_or(field).as_str().map(str::to_owned))
}
