//! Models in GGUF.

use super::read_definition;
use crate::error::Error;
use crate::models::{ConfigError, Definition, Hyper};
use tern_formats::gguf::{ARCHITECTURE_KEY, Gguf, Metadata};
use tern_text::{BpeSpec, Merges, SpecialIds, TokenType, Tokenizer};

/// The architecture's name and its hyper-parameters.
pub fn definition(file: &Gguf) -> Result<(String, Box<dyn Definition>), Error> {
    let name = file.metadata.require_str(ARCHITECTURE_KEY)?.to_owned();
    let hyper = Hyper::Gguf { metadata: &file.metadata, checkpoint: &file.checkpoint, architecture: &name };
    let definition = read_definition(&name, &hyper)?;
    Ok((name, definition))
}

/// The tokenizer of a GGUF file. Keys: see [`BpeSpec`].
pub fn tokenizer(m: &Metadata) -> Result<Tokenizer, Error> {
    let model = m.require_str("tokenizer.ggml.model")?;
    if model != "gpt2" {
        let (key, supported) = ("tokenizer.ggml.model".to_owned(), "gpt2 (byte-level BPE)".to_owned());
        return Err(ConfigError::Unsupported { key, found: model.to_owned(), supported }.into());
    }
    let texts = |key: &str| -> Result<Vec<&str>, Error> {
        let array = m.array_str(key)?.ok_or_else(|| ConfigError::Missing { key: key.to_owned() })?;
        let texts = (0..array.len()).map(|i| array.get_str(i).ok_or(i)).collect::<Result<Vec<_>, _>>();
        texts.map_err(|i| {
            let supported = "UTF-8".to_owned();
            ConfigError::Unsupported { key: format!("{key}[{i}]"), found: "bytes".to_owned(), supported }.into()
        })
    };
    let types = m.array_i32("tokenizer.ggml.token_type")?.unwrap_or_default();
    let types = types.iter().map(|&t| {
        TokenType::from_gguf(t).ok_or_else(|| {
            let (key, supported) = ("tokenizer.ggml.token_type".to_owned(), "1 to 6".to_owned());
            ConfigError::Unsupported { key, found: t.to_string(), supported }
        })
    });
    let id = |name: &str| m.u32(&format!("tokenizer.ggml.{name}_token_id"));
    let pre = m.str("tokenizer.ggml.pre")?.unwrap_or("default");
    let spec = BpeSpec {
        tokens: texts("tokenizer.ggml.tokens")?,
        types: types.collect::<Result<_, _>>()?,
        merges: Merges::Joined(texts("tokenizer.ggml.merges")?),
        pre,
        special: SpecialIds {
            bos: id("bos")?,
            eos: id("eos")?,
            eot: id("eot")?,
            pad: id("padding")?,
            unk: id("unknown")?,
        },
        add_bos: m.bool("tokenizer.ggml.add_bos_token")?.unwrap_or_else(|| BpeSpec::gguf_adds_bos(pre)),
        add_eos: m.bool("tokenizer.ggml.add_eos_token")?.unwrap_or(false),
        ignore_merges: BpeSpec::gguf_ignores_merges(pre),
        add_prefix_space: false,
    };
    Ok(Tokenizer::from_bpe(spec)?)
}
