//! Models in Hugging Face folders.

use super::{ModelFile, check_vocabulary, read_definition};
use crate::error::Error;
use crate::models::{ConfigError, Hyper};
use std::path::Path;
use std::sync::Arc;
use tern_formats::hf::{self, Config, Folder};
use tern_text::Tokenizer;

pub fn open(path: &Path, map: bool) -> Result<ModelFile, Error> {
    let folder = hf::open_dir_with(path, &|target, _| super::open_file(target, map))?;
    let (config, checkpoint) = (&folder.config, &folder.checkpoint);
    let names = config.strings("architectures")?.unwrap_or_default();
    let name =
        names.into_iter().next().ok_or_else(|| ConfigError::Missing { key: "architectures in config.json".into() })?;
    let definition = read_definition(&name, &Hyper::Hf { config, checkpoint })?;
    let json = folder
        .tokenizer_files
        .tokenizer
        .as_deref()
        .ok_or_else(|| ConfigError::Missing { key: "tokenizer.json".into() })?;
    let tokenizer_config = folder.tokenizer_files.config.as_ref().map(|c| c.value().to_string());
    let tokenizer = Arc::new(Tokenizer::from_hf(json, tokenizer_config.as_deref())?);
    check_vocabulary(&*definition, &tokenizer)?;
    Ok(ModelFile {
        format: "safetensors",
        architecture: name,
        name: config.str("_name_or_path")?.filter(|s| !s.is_empty()).map(str::to_owned),
        path: path.display().to_string(),
        template: template(&folder)?,
        config: Some(config.value().to_string()),
        definition,
        checkpoint: folder.checkpoint,
        tokenizer,
    })
}

/// `chat_template.jinja`, else the template in `tokenizer_config.json` (of several the one called "default").
fn template(folder: &Folder) -> Result<Option<String>, Error> {
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
