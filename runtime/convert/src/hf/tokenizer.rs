//! The tokenizer and the chat template as GGUF keys.

use crate::error::ConvertError;
use std::borrow::Cow;
use tern_formats::gguf::{Array, StringArray, Value};
use tern_formats::hf::Folder;
use tern_text::{GgufTokenizer, TokenType};

/// Adds them. `rows`: of the embedding; GGUF has a token for each.
///
/// # Errors
/// [`ConvertError::Model`] for a tokenizer that is not known here, [`ConvertError::Text`] for one that GGUF has no keys for.
pub fn entries(entries: &mut Vec<(String, Value<'_>)>, folder: &Folder, rows: u64) -> Result<(), ConvertError> {
    let spec = tern::tokenizer_spec(&folder.tokenizer_files)?;
    keys(entries, padded(spec.to_gguf()?, rows), folder)?;
    if let Some(template) = tern::chat_template(folder)? {
        entries.push(("tokenizer.chat_template".to_owned(), template.into()));
    }
    Ok(())
}

/// Models pad their embeddings; other programs want as many tokens as rows.
fn padded(mut keys: GgufTokenizer<'_>, rows: u64) -> GgufTokenizer<'_> {
    let rows = usize::try_from(rows).unwrap_or(0);
    for i in keys.tokens.len()..rows {
        keys.tokens.push(Cow::Owned(format!("[PAD{i}]")));
    }
    let tokens = keys.tokens.len();
    if let Some(types) = &mut keys.token_type {
        types.resize(tokens, TokenType::Unused as i32);
    }
    if let Some(scores) = &mut keys.scores {
        // Below any real one.
        scores.resize(tokens, -10_000.0);
    }
    keys
}

fn keys<'v>(
    entries: &mut Vec<(String, Value<'v>)>,
    keys: GgufTokenizer<'_>,
    folder: &Folder,
) -> Result<(), ConvertError> {
    let mut set = |key: &str, value: Option<Value<'v>>| {
        if let Some(value) = value {
            entries.push((format!("tokenizer.ggml.{key}"), value));
        }
    };
    let text = |s: Cow<'_, str>| Value::from(s.into_owned());
    let texts = |list: &[Cow<'_, str>]| {
        let none = || ConvertError::Unsupported { what: "a vocabulary of more than 4 GiB".to_owned() };
        let array = StringArray::new(list.iter().map(|s| s.as_bytes())).ok_or_else(none)?;
        Ok::<_, ConvertError>(Value::from(Array::String(array)))
    };
    set("model", Some(text(keys.model)));
    set("pre", keys.pre.map(text));
    set("tokens", Some(texts(&keys.tokens)?));
    set("scores", keys.scores.map(|s| Value::from(Array::F32(s.into()))));
    set("token_type", keys.token_type.map(|t| Value::from(Array::I32(t.into()))));
    set("merges", keys.merges.as_deref().map(texts).transpose()?);
    let s = keys.special;
    let ends = ends(folder)?;
    // Where generation ends at other tokens, too, one of them has a place as end of turn.
    let eot = s.eot.or_else(|| ends.iter().copied().find(|&id| Some(id) != s.eos));
    let ids = [
        ("bos", s.bos),
        ("eos", s.eos.or_else(|| ends.first().copied())),
        ("eot", eot.filter(|_| s.eos.is_some())),
        ("unknown", s.unk),
        ("seperator", s.sep),
        ("padding", s.pad),
        ("cls", keys.cls),
        ("mask", s.mask),
    ];
    for (name, id) in ids {
        set(&format!("{name}_token_id"), id.map(Value::U32));
    }
    let flags = [
        ("add_bos_token", keys.add_bos),
        ("add_eos_token", keys.add_eos),
        ("add_sep_token", keys.add_sep),
        ("add_space_prefix", keys.add_space_prefix),
        ("remove_extra_whitespaces", keys.remove_extra_whitespaces),
        ("normalizer.lowercase", keys.lowercase),
        ("normalizer.strip_accents", keys.strip_accents),
    ];
    for (name, flag) in flags {
        set(name, flag.map(Value::Bool));
    }
    set("precompiled_charsmap", keys.precompiled_charsmap.map(|m| Value::from(Array::U8(m.into()))));
    Ok(())
}

/// The tokens at which generation ends, where the folder says.
fn ends(folder: &Folder) -> Result<Vec<u32>, ConvertError> {
    let Some(config) = &folder.generation_config else { return Ok(Vec::new()) };
    let key = "eos_token_id";
    if !config.get(key).is_some_and(serde_json::Value::is_array) {
        return Ok(config.u32(key)?.into_iter().collect());
    }
    let ids = config.array(key)?.unwrap_or_default();
    Ok(ids.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect())
}
