//! Models in Hugging Face folders.

use super::read_definition;
use crate::error::Error;
use crate::models::{ConfigError, Definition, Hyper};
use tern_formats::hf::{Config, Folder, TokenizerFiles};
use tern_text::Tokenizer;

/// The architecture's name and its hyper-parameters.
pub fn definition(folder: &Folder) -> Result<(String, Box<dyn Definition>), Error> {
    let Folder { config, checkpoint, .. } = folder;
    let names = config.strings("architectures")?.unwrap_or_default();
    let name =
        names.into_iter().next().ok_or_else(|| ConfigError::Missing { key: "architectures in config.json".into() })?;
    let definition = read_definition(&name, &Hyper::Hf { config, checkpoint })?;
    Ok((name, definition))
}

/// The tokenizer of `tokenizer.json`, else of `tokenizer.model`, with what `tokenizer_config.json` adds.
pub fn tokenizer(files: &TokenizerFiles) -> Result<Tokenizer, Error> {
    let config = files.config.as_ref().map(|c| c.value().to_string());
    match (&files.tokenizer, &files.sentencepiece) {
        (Some(json), _) => Ok(Tokenizer::from_hf(json, config.as_deref())?),
        (None, Some(model)) => Ok(Tokenizer::from_sentencepiece(model, config.as_deref())?),
        (None, None) => Err(ConfigError::Missing { key: "tokenizer.json or tokenizer.model".into() }.into()),
    }
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
