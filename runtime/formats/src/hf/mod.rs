//! Hugging Face folders: `config.json`, a tokenizer and safetensors.
//!
//! Files are opened through a closure, so that a folder may as well be a browser's cache or the assets
//! of an application; [`open_dir`] does it for a folder on disk.

mod config;
mod dir;
mod text;

pub use config::Config;
pub use dir::{open_dir, open_dir_with};
pub use text::to_text;

use crate::json::{read_bytes, read_text};
use crate::limits::{MAX_CONFIG_BYTES, MAX_TEMPLATE_BYTES, MAX_TOKENIZER_BYTES, MAX_TOKENIZER_CONFIG_BYTES};
use crate::safetensors::{self, INDEX_FILE};
use crate::{Checkpoint, FormatError, Opener, Problem, Source};
use std::io;
use std::sync::Arc;

/// The single-file checkpoint's name.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// A model as Hugging Face lays it out.
#[derive(Debug)]
pub struct Folder {
    /// `config.json`: hyper-parameters.
    pub config: Config,
    /// `generation_config.json`: default sampling and end tokens.
    pub generation_config: Option<Config>,
    /// `chat_template.jinja`, or the template in `chat_template.json`, as text.
    pub chat_template: Option<String>,
    /// Everything of the tokenizer.
    pub tokenizer_files: TokenizerFiles,
    /// The weights, from one file or from shards.
    pub checkpoint: Checkpoint,
}

/// The files of a tokenizer, of which a folder has some. What is in them is for whoever makes a tokenizer of it.
#[derive(Debug, Default)]
pub struct TokenizerFiles {
    /// `tokenizer.json` as text: all of a fast tokenizer.
    pub tokenizer: Option<String>,
    /// `tokenizer_config.json`; it may hold the chat template of older models.
    pub config: Option<Config>,
    /// `special_tokens_map.json`: which tokens begin, end, pad.
    pub special_tokens_map: Option<Config>,
    /// `added_tokens.json`: ids by text.
    pub added_tokens: Option<Config>,
    /// `vocab.json` as text: ids by token, of a BPE tokenizer without `tokenizer.json`.
    pub vocab: Option<String>,
    /// `merges.txt` as text, beside `vocab`.
    pub merges: Option<String>,
    /// `tokenizer.model`: a SentencePiece model, a protocol buffer.
    pub sentencepiece: Option<Vec<u8>>,
    /// The model's `config.json`, which tells what kind of tokenizer `vocab` is where nothing else does.
    pub model: Option<Config>,
}

impl TokenizerFiles {
    /// Reads what there is.
    ///
    /// # Errors
    /// As [`open`].
    pub fn open(open: &Opener<'_>) -> Result<Self, FormatError> {
        let sentencepiece = optional(open, "tokenizer.model")?;
        Ok(Self {
            tokenizer: text(open, "tokenizer.json", MAX_TOKENIZER_BYTES)?,
            config: json(open, "tokenizer_config.json", MAX_TOKENIZER_CONFIG_BYTES)?,
            special_tokens_map: json(open, "special_tokens_map.json", MAX_CONFIG_BYTES)?,
            added_tokens: json(open, "added_tokens.json", MAX_TOKENIZER_CONFIG_BYTES)?,
            vocab: text(open, "vocab.json", MAX_TOKENIZER_BYTES)?,
            merges: text(open, "merges.txt", MAX_TOKENIZER_BYTES)?,
            sentencepiece: sentencepiece
                .map(|source| read_bytes(&*source, "tokenizer.model", MAX_TOKENIZER_BYTES))
                .transpose()?,
            model: json(open, "config.json", MAX_CONFIG_BYTES)?,
        })
    }
}

/// Opens a folder. `name` is for error messages; `open` gives the file of a name (always a single
/// path component), or [`io::ErrorKind::NotFound`] where there is none.
///
/// Only `config.json` and the weights must exist.
///
/// # Errors
/// Naming the file: [`Problem::Open`], [`Problem::NoWeights`], [`Problem::TooLong`], [`Problem::Json`],
/// and those of [`safetensors::open`] and [`safetensors::open_sharded`].
pub fn open(name: &str, open: &Opener<'_>) -> Result<Folder, FormatError> {
    let config = open("config.json").map_err(|error| failed("config.json", error))?;
    Ok(Folder {
        config: Config::read(&*config, MAX_CONFIG_BYTES)?,
        generation_config: json(open, "generation_config.json", MAX_CONFIG_BYTES)?,
        chat_template: chat_template(open)?,
        tokenizer_files: TokenizerFiles::open(open)?,
        checkpoint: weights(name, open)?,
    })
}

fn chat_template(open: &Opener<'_>) -> Result<Option<String>, FormatError> {
    if let Some(template) = text(open, "chat_template.jinja", MAX_TEMPLATE_BYTES)? {
        return Ok(Some(template));
    }
    // What some processors save instead: the template as the only member of an object.
    let Some(file) = json(open, "chat_template.json", MAX_TEMPLATE_BYTES)? else { return Ok(None) };
    file.require_str("chat_template").map(|template| Some(template.to_owned()))
}

fn weights(name: &str, open: &Opener<'_>) -> Result<Checkpoint, FormatError> {
    if let Some(source) = optional(open, WEIGHTS_FILE)? {
        return Ok(safetensors::open(Arc::from(source))?.checkpoint);
    }
    if let Some(index) = optional(open, INDEX_FILE)? {
        return safetensors::open_sharded(&*index, open);
    }
    let expected = "model.safetensors, model.safetensors.index.json";
    Err(FormatError::new(name, Problem::NoWeights { expected }))
}

/// A file of JSON that need not be there.
///
/// # Errors
/// As [`open`].
pub fn optional_json(open: &Opener<'_>, name: &'static str) -> Result<Option<Config>, FormatError> {
    json(open, name, MAX_CONFIG_BYTES)
}

/// A file of a list of JSON objects that need not be there.
///
/// # Errors
/// As [`open`].
pub fn optional_list(open: &Opener<'_>, name: &'static str) -> Result<Option<Vec<Config>>, FormatError> {
    optional(open, name)?.map(|source| Config::read_list(&*source, MAX_CONFIG_BYTES)).transpose()
}

fn text(open: &Opener<'_>, name: &'static str, limit: u64) -> Result<Option<String>, FormatError> {
    optional(open, name)?.map(|source| read_text(&*source, name, limit)).transpose()
}

fn json(open: &Opener<'_>, name: &'static str, limit: u64) -> Result<Option<Config>, FormatError> {
    optional(open, name)?.map(|source| Config::read(&*source, limit)).transpose()
}

fn optional(open: &Opener<'_>, name: &str) -> Result<Option<Box<dyn Source>>, FormatError> {
    match open(name) {
        Ok(source) => Ok(Some(source)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(name, error)),
    }
}

fn failed(name: &str, error: io::Error) -> FormatError {
    FormatError::new(name, Problem::Open { error })
}
