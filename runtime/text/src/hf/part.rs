//! Looking into the parts of `tokenizer.json` that differ by their `type`.

use serde_json::Value;

use crate::error::{TextError, short};
use crate::spec::{Behavior, Pattern, Prepend};

pub(super) fn unsupported(what: &'static str, found: &Value) -> TextError {
    TextError::Unsupported { what, found: short(&found.to_string()) }
}

pub(super) fn kind(part: &Value) -> &str {
    part.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// A flag; `default` where it is absent or null.
///
/// # Errors
/// [`TextError::BadField`] for anything but a truth value.
pub(super) fn flag(part: &Value, name: &str, default: bool) -> Result<bool, TextError> {
    match part.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(value)) => Ok(*value),
        Some(other) => Err(bad(part, name, "true or false", other)),
    }
}

/// A text that must be there.
pub(super) fn text<'v>(part: &'v Value, name: &str) -> Result<&'v str, TextError> {
    part.get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| bad(part, name, "a string", part.get(name).unwrap_or(&Value::Null)))
}

/// One character that must be there.
pub(super) fn character(part: &Value, name: &str) -> Result<char, TextError> {
    let text = text(part, name)?;
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => Ok(c),
        _ => Err(bad(part, name, "one character", &Value::from(text))),
    }
}

/// A count that must be there.
pub(super) fn count(part: &Value, name: &str) -> Result<usize, TextError> {
    let found = part.get(name).unwrap_or(&Value::Null);
    found.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(|| bad(part, name, "a count", found))
}

fn bad(part: &Value, name: &str, expected: &'static str, found: &Value) -> TextError {
    TextError::BadField { field: format!("{}.{name}", kind(part)), expected, found: short(&found.to_string()) }
}

/// The parts of a `Sequence` in order, sequences in it included; or the part itself.
pub(super) fn parts<'v>(part: Option<&'v Value>, list: &str) -> Vec<&'v Value> {
    match part {
        None | Some(Value::Null) => Vec::new(),
        Some(part) => match part.get(list).and_then(Value::as_array) {
            Some(inner) if kind(part) == "Sequence" => inner.iter().flat_map(|p| parts(Some(p), list)).collect(),
            _ => vec![part],
        },
    }
}

/// `{"String": ...}` or `{"Regex": ...}`.
pub(super) fn pattern(part: &Value) -> Result<Pattern, TextError> {
    let pattern = part.get("pattern").unwrap_or(&Value::Null);
    let of = |name: &str| pattern.get(name).and_then(Value::as_str).map(str::to_owned);
    of("String")
        .map(Pattern::Text)
        .or_else(|| of("Regex").map(Pattern::Regex))
        .ok_or_else(|| bad(part, "pattern", "String or Regex", pattern))
}

/// `behavior`.
pub(super) fn behavior(part: &Value) -> Result<Behavior, TextError> {
    Ok(match text(part, "behavior")? {
        "Removed" => Behavior::Removed,
        "Isolated" => Behavior::Isolated,
        "MergedWithPrevious" => Behavior::MergedWithPrevious,
        "MergedWithNext" => Behavior::MergedWithNext,
        "Contiguous" => Behavior::Contiguous,
        _ => return Err(unsupported("behavior", part)),
    })
}

/// When `Metaspace` puts a space in front; older files have a flag instead.
pub(super) fn prepend(part: &Value) -> Result<Prepend, TextError> {
    if !flag(part, "add_prefix_space", true)? {
        return Ok(Prepend::Never);
    }
    Ok(match part.get("prepend_scheme").and_then(Value::as_str) {
        None | Some("always") => Prepend::Always,
        Some("first") => Prepend::First,
        Some("never") => Prepend::Never,
        Some(_) => return Err(unsupported("prepend_scheme", part)),
    })
}
