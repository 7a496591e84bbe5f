//! The tokenizer's files, the chat template, and what generation begins and ends with.

use crate::error::ConvertError;
use serde_json::{Value, json};
use tern_formats::gguf::Metadata;
use tern_formats::hf::to_text;
use tern_text::{ModelSpec, TokenizerSpec};

/// Names and contents.
pub(crate) fn files(metadata: &Metadata) -> Result<Vec<(&'static str, Vec<u8>)>, ConvertError> {
    let spec = TokenizerSpec::from_gguf(tern::tokenizer_keys(metadata)?)?;
    let json = spec.to_hf().map(|text| ("tokenizer.json", text.into_bytes()));
    // The class that takes tokenizer.json as it stands, else the one that reads tokenizer.model.
    let class = if json.is_ok() { "PreTrainedTokenizerFast" } else { "LlamaTokenizer" };
    let mut files = Vec::new();
    if matches!(spec.model, ModelSpec::ScoredBpe { .. } | ModelSpec::Unigram { .. }) {
        files.push(("tokenizer.model", spec.to_sentencepiece()?));
        files.extend(json.ok());
    } else {
        files.push(json?);
    }
    let text =
        |id: Option<u32>| id.and_then(|id| spec.tokens.get(id as usize)).map(|t| json!(t)).unwrap_or(Value::Null);
    let context = metadata.str("general.architecture")?.unwrap_or_default();
    let config = json!({
        "tokenizer_class": class,
        "bos_token": text(spec.special.bos),
        "eos_token": text(spec.special.eos),
        "pad_token": text(spec.special.pad),
        "unk_token": text(spec.special.unk),
        "add_bos_token": !spec.before.is_empty(),
        "add_eos_token": !spec.after.is_empty(),
        "clean_up_tokenization_spaces": false,
        "model_max_length": metadata.u64(&format!("{context}.context_length"))?,
    });
    let ends: Vec<u32> = spec.special.eos.into_iter().chain(metadata.u32("tokenizer.ggml.eot_token_id")?).collect();
    let mut ends: Vec<Value> = ends.into_iter().map(Value::from).collect();
    ends.dedup();
    let generation = json!({
        "bos_token_id": spec.special.bos,
        "eos_token_id": if ends.len() == 1 { ends.remove(0) } else { Value::Array(ends) },
        "pad_token_id": spec.special.pad,
    });
    files.push(("tokenizer_config.json", to_text(&config, false).into_bytes()));
    files.push(("generation_config.json", to_text(&generation, true).into_bytes()));
    if let Some(template) = metadata.str("tokenizer.chat_template")? {
        files.push(("chat_template.jinja", template.as_bytes().to_vec()));
    }
    Ok(files)
}
