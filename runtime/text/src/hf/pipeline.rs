//! The steps around the model: normalizer, pre-tokenizer, post-processor, decoder.

use serde_json::Value;

use super::schema::ConfigJson;
use crate::error::{TextError, short};
use crate::limits::MAX_PRE_STEPS;
use crate::pretok::regex::Splitter;
use crate::pretok::{PreTokenizer, Step, table};
use crate::spec::SpecialIds;

pub(super) struct Pipeline {
    pub pre: PreTokenizer,
    pub nfc: bool,
}

/// Tokens that the post-processor puts around a text.
#[derive(Default)]
pub(super) struct Around {
    pub before: Vec<u32>,
    pub after: Vec<u32>,
}

fn unsupported(what: &'static str, found: &Value) -> TextError {
    TextError::Unsupported { what, found: short(&found.to_string()) }
}

fn kind(part: &Value) -> &str {
    part.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn flag(part: &Value, name: &str, default: bool) -> bool {
    part.get(name).and_then(Value::as_bool).unwrap_or(default)
}

/// The parts of a `Sequence`, or the part itself.
fn parts<'a>(part: &'a Value, list: &str) -> &'a [Value] {
    match part.get(list).and_then(Value::as_array) {
        Some(parts) if kind(part) == "Sequence" => parts,
        _ => std::slice::from_ref(part),
    }
}

pub(super) fn read(
    normalizer: Option<&Value>,
    pre: Option<&Value>,
    decoder: Option<&Value>,
) -> Result<Pipeline, TextError> {
    let mut nfc = false;
    for part in normalizer.map(|n| parts(n, "normalizers")).unwrap_or_default() {
        match kind(part) {
            "NFC" => nfc = true,
            _ => return Err(unsupported("normalizer", part)),
        }
    }
    for part in decoder.map(|d| parts(d, "decoders")).unwrap_or_default() {
        if kind(part) != "ByteLevel" {
            return Err(unsupported("decoder", part));
        }
    }
    let Some(pre) = pre else {
        return Err(TextError::Unsupported {
            what: "pre_tokenizer",
            found: "null (BPE without byte-level pieces)".into(),
        });
    };
    let list = parts(pre, "pretokenizers");
    if list.len() > MAX_PRE_STEPS {
        return Err(TextError::TooLarge {
            what: "number of pre-tokenizer steps",
            found: list.len(),
            limit: MAX_PRE_STEPS,
        });
    }
    let mut steps = Vec::new();
    let mut byte_level = false;
    for part in list {
        // Behind ByteLevel the pieces are in its alphabet and no longer text.
        if byte_level {
            return Err(unsupported("pre_tokenizer behind ByteLevel", part));
        }
        match kind(part) {
            "Split" => steps.push(Step::Split(split(part)?)),
            "Digits" => steps.push(Step::Digits { individual: flag(part, "individual_digits", false) }),
            "ByteLevel" => {
                byte_level = true;
                if flag(part, "add_prefix_space", true) {
                    steps.push(Step::PrefixSpace);
                }
                if flag(part, "use_regex", true) {
                    steps.push(Step::Split(Splitter::new(table::GPT2)?));
                }
            }
            _ => return Err(unsupported("pre_tokenizer", part)),
        }
    }
    if !byte_level {
        return Err(unsupported("pre_tokenizer without ByteLevel", pre));
    }
    Ok(Pipeline { pre: PreTokenizer::new(steps)?, nfc })
}

fn split(part: &Value) -> Result<Splitter, TextError> {
    let (Some("Isolated"), false) = (part.get("behavior").and_then(Value::as_str), flag(part, "invert", false)) else {
        return Err(unsupported("pre_tokenizer Split behaviour", part));
    };
    match part.get("pattern").and_then(|p| p.get("Regex")).and_then(Value::as_str) {
        Some(pattern) => Splitter::new(pattern),
        None => Err(unsupported("pre_tokenizer Split pattern", part)),
    }
}

/// What the post-processor puts around one text; where there is none, what `add_bos_token` and `add_eos_token` say.
pub(super) fn around(
    post: Option<&Value>,
    special: &SpecialIds,
    config: &ConfigJson,
    id_of: &dyn Fn(&str) -> Option<u32>,
) -> Result<Around, TextError> {
    let mut around = Around::default();
    let mut template = false;
    for part in post.map(|p| parts(p, "processors")).unwrap_or_default() {
        match kind(part) {
            // Trims offsets, which this crate does not give out.
            "ByteLevel" => {}
            "TemplateProcessing" => {
                template = true;
                around = single(part, id_of)?;
            }
            _ => return Err(unsupported("post_processor", part)),
        }
    }
    if !template {
        if config.is_true("add_bos_token") {
            around.before.extend(special.bos);
        }
        if config.is_true("add_eos_token") {
            around.after.extend(special.eos);
        }
    }
    Ok(around)
}

/// The template for one text, such as `[{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]`.
fn single(part: &Value, id_of: &dyn Fn(&str) -> Option<u32>) -> Result<Around, TextError> {
    let mut around = Around::default();
    let mut seen = false;
    let items =
        part.get("single").and_then(Value::as_array).ok_or_else(|| unsupported("post_processor template", part))?;
    for item in items {
        if item.get("Sequence").is_some() {
            if seen {
                return Err(unsupported("post_processor template", part));
            }
            seen = true;
            continue;
        }
        let text = item.get("SpecialToken").and_then(|t| t.get("id")).and_then(Value::as_str);
        let text = text.ok_or_else(|| unsupported("post_processor template", item))?;
        // The name may stand for several ids; the table beside the template says which.
        let listed =
            part.get("special_tokens").and_then(|t| t.get(text)).and_then(|t| t.get("ids")).and_then(Value::as_array);
        let ids: Option<Vec<u32>> = match listed {
            Some(ids) => ids.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect(),
            None => id_of(text).map(|id| vec![id]),
        };
        let ids = ids.ok_or_else(|| TextError::SpecialText { role: "post_processor", text: short(text) })?;
        let list = if seen { &mut around.after } else { &mut around.before };
        list.extend(ids);
    }
    Ok(around)
}
