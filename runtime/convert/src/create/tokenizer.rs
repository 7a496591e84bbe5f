//! The tokenizer of a new model: that of another one, or every byte a token.

use super::{Files, text};
use crate::error::ConvertError;
use serde_json::{Map, Value, json};
use std::path::Path;
use tern_formats::FileSource;
use tern_formats::gguf::{self, ReadOptions};

/// Files of a folder that say how text becomes tokens.
const NAMES: &[&str] = &[
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
];

/// Ends a text.
const END: &str = "<|endoftext|>";
const END_ID: u64 = 256;

/// The files of the tokenizer of `from`, or of the byte-level one. `rows`: of the embedding.
///
/// # Errors
/// [`ConvertError::Model`] for more tokens than rows or an unknown tokenizer, [`ConvertError::Io`], [`ConvertError::Format`].
pub(super) fn files(from: Option<&Path>, rows: u64) -> Result<Files, ConvertError> {
    let (files, tokens) = match from {
        None => (bytes(), END_ID as usize + 1),
        Some(path) => {
            let tokens = tern::open_tokenizer(path, &tern::ModelOptions::default())?.vocab_size();
            (if path.is_dir() { of_folder(path)? } else { of_gguf(path)? }, tokens)
        }
    };
    if tokens as u64 > rows { Err(tern::Error::Vocabulary { tokens, rows }.into()) } else { Ok(files) }
}

fn of_folder(path: &Path) -> Result<Files, ConvertError> {
    let mut files = Files::new();
    for name in NAMES {
        let path = path.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => files.push(((*name).to_owned(), bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(ConvertError::Io { path, error }),
        }
    }
    Ok(files)
}

fn of_gguf(path: &Path) -> Result<Files, ConvertError> {
    let source = FileSource::open(path).map_err(|error| ConvertError::Io { path: path.to_owned(), error })?;
    let file = gguf::open_with(std::sync::Arc::new(source), ReadOptions::default())?;
    let files = crate::folder::tokenizer_files(&file.metadata)?;
    Ok(files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect())
}

/// Bytes as the characters that byte-level BPE writes them as (Radford et al., 2019): visible ones are themselves.
fn bytes() -> Files {
    let visible = |b: u32| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let mut hidden = 0;
    let mut vocabulary = Map::new();
    for b in 0..256u32 {
        let code = if visible(b) { b } else { 256 + hidden };
        hidden += u32::from(!visible(b));
        vocabulary.insert(char::from_u32(code).unwrap_or_default().to_string(), json!(b));
    }
    let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [{"id": END_ID, "content": END, "single_word": false, "lstrip": false, "rstrip": false,
                          "normalized": false, "special": true}],
        "pre_tokenizer": level, "decoder": level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                  "vocab": Value::Object(vocabulary), "merges": []},
    });
    let config = json!({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": END, "eos_token": END});
    vec![("tokenizer.json".to_owned(), text(&tokenizer)), ("tokenizer_config.json".to_owned(), text(&config))]
}
