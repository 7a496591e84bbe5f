//! Models in GGUF.

use super::read_definition;
use crate::error::Error;
use crate::models::{ConfigError, Definition, Hyper};
use std::borrow::Cow;
use tern_formats::gguf::{ARCHITECTURE_KEY, Array, Gguf, Metadata, Value};
use tern_text::{GgufTokenizer, SpecialIds, Tokenizer};

/// The architecture's name and its hyper-parameters.
pub fn definition(file: &Gguf) -> Result<(String, Box<dyn Definition>), Error> {
    let name = file.metadata.require_str(ARCHITECTURE_KEY)?.to_owned();
    let hyper = Hyper::Gguf { metadata: &file.metadata, checkpoint: &file.checkpoint, architecture: &name };
    let definition = read_definition(&name, &hyper)?;
    Ok((name, definition))
}

/// The tokenizer of a GGUF file.
pub fn tokenizer(m: &Metadata) -> Result<Tokenizer, Error> {
    Ok(Tokenizer::from_gguf(tokenizer_keys(m)?)?)
}

/// The keys of a GGUF file that describe its tokenizer, as they stand, for [`Tokenizer::from_gguf`] to judge.
///
/// # Errors
/// [`Error::Format`], and [`Error::Config`] for keys that are missing or of another type.
pub fn tokenizer_keys(m: &Metadata) -> Result<GgufTokenizer<'_>, Error> {
    let texts = |key: &str| -> Result<Option<Vec<Cow<'_, str>>>, Error> {
        let Some(array) = m.array_str(key)? else { return Ok(None) };
        let texts = (0..array.len()).map(|i| array.get_str(i).map(Cow::Borrowed).ok_or(i)).collect::<Result<_, _>>();
        texts.map(Some).map_err(|i| {
            let supported = "UTF-8".to_owned();
            ConfigError::Unsupported { key: format!("{key}[{i}]"), found: "bytes".to_owned(), supported }.into()
        })
    };
    let id = |name: &str| m.u32(&format!("tokenizer.ggml.{name}_token_id"));
    let flag = |name: &str| m.bool(&format!("tokenizer.ggml.{name}"));
    let tokens = "tokenizer.ggml.tokens";
    Ok(GgufTokenizer {
        model: m.require_str("tokenizer.ggml.model")?.into(),
        pre: m.str("tokenizer.ggml.pre")?.map(Cow::Borrowed),
        tokens: texts(tokens)?.ok_or_else(|| ConfigError::Missing { key: tokens.to_owned() })?,
        token_type: m.array_i32("tokenizer.ggml.token_type")?.map(Cow::into_owned),
        scores: m.array_f32("tokenizer.ggml.scores")?.map(<[f32]>::to_vec),
        merges: texts("tokenizer.ggml.merges")?,
        special: SpecialIds {
            bos: id("bos")?,
            eos: id("eos")?,
            eot: id("eot")?,
            pad: id("padding")?,
            unk: id("unknown")?,
            sep: id("seperator")?,
            mask: id("mask")?,
        },
        cls: id("cls")?,
        add_bos: flag("add_bos_token")?,
        add_eos: flag("add_eos_token")?,
        add_sep: flag("add_sep_token")?,
        add_space_prefix: flag("add_space_prefix")?,
        remove_extra_whitespaces: flag("remove_extra_whitespaces")?,
        precompiled_charsmap: charsmap(m)?,
        lowercase: flag("normalizer.lowercase")?,
        strip_accents: flag("normalizer.strip_accents")?,
    })
}

/// The table of replacements: bytes, which some writers declare as signed.
fn charsmap(m: &Metadata) -> Result<Option<Cow<'_, [u8]>>, Error> {
    let key = "tokenizer.ggml.precompiled_charsmap";
    match m.get(key) {
        None => Ok(None),
        Some(Value::Array(Cow::Borrowed(Array::U8(bytes)))) => Ok(Some(Cow::Borrowed(bytes))),
        Some(Value::Array(Cow::Borrowed(Array::I8(bytes)))) => {
            Ok(Some(bytes.iter().map(|&b| b.cast_unsigned()).collect()))
        }
        Some(other) => {
            let (found, supported) = (other.describe(), "array of u8".to_owned());
            Err(ConfigError::Unsupported { key: key.to_owned(), found, supported }.into())
        }
    }
}
