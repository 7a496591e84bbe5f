//! The post-processor: which tokens stand around a text.

use serde_json::Value;

use super::part::{kind, parts, unsupported};
use super::schema::Config;
use crate::error::{TextError, short};
use crate::limits::MAX_TOKENS_AROUND;
use crate::spec::SpecialIds;

/// Tokens around a text.
#[derive(Default)]
pub(super) struct Around {
    pub before: Vec<u32>,
    pub after: Vec<u32>,
}

/// What the post-processor puts around one text; where there is none, what `add_bos_token` and `add_eos_token` say.
pub(super) fn around(
    post: Option<&Value>,
    special: &SpecialIds,
    config: &Config,
    id_of: &dyn Fn(&str) -> Option<u32>,
) -> Result<Around, TextError> {
    let mut around = Around::default();
    let mut framed = false;
    for part in parts(post, "processors") {
        let (before, after) = match kind(part) {
            // Trims offsets, which this crate does not give out.
            "ByteLevel" => continue,
            "TemplateProcessing" => single(part, id_of)?,
            "BertProcessing" | "RobertaProcessing" => (vec![pair(part, "cls")?], vec![pair(part, "sep")?]),
            _ => return Err(unsupported("post_processor", part)),
        };
        framed = true;
        around.before.splice(0..0, before);
        around.after.extend(after);
    }
    if !framed {
        if config.is_true("add_bos_token") {
            around.before.extend(special.bos);
        }
        if config.is_true("add_eos_token") {
            around.after.extend(special.eos);
        }
    }
    Ok(around)
}

/// The id of `["[CLS]", 101]`.
fn pair(part: &Value, name: &str) -> Result<u32, TextError> {
    let id = part.get(name).and_then(|pair| pair.get(1)).and_then(Value::as_u64);
    id.and_then(|id| u32::try_from(id).ok()).ok_or_else(|| unsupported("post_processor", part))
}

/// The template for one text, such as `[{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]`.
fn single(part: &Value, id_of: &dyn Fn(&str) -> Option<u32>) -> Result<(Vec<u32>, Vec<u32>), TextError> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
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
        let list = if seen { &mut after } else { &mut before };
        let found = list.len().saturating_add(ids.len());
        if found > MAX_TOKENS_AROUND {
            let what = "number of tokens that post_processor puts around a text";
            return Err(TextError::TooLarge { what, found, limit: MAX_TOKENS_AROUND });
        }
        list.extend(ids);
    }
    Ok((before, after))
}
