//! Methods of strings, dicts and lists: `value.name(args)`.

use std::rc::Rc;

use super::call::Given;
use super::eval::Interp;
use super::text::Text;
use super::text_ops::{self, Ends};
use super::value::{Value, runtime};
use crate::error::TextError;

type Result<T> = std::result::Result<T, TextError>;

/// Methods of dicts, which a template may name without calling them.
pub(super) const DICT_METHODS: &[&str] = &["items", "keys", "values", "get", "copy"];

impl Interp<'_> {
    /// Calls a method of a value that is not callable by itself.
    pub(super) fn method(&mut self, of: &Value, name: &str, given: &Given) -> Result<Value> {
        match of {
            Value::Str(text) => string(text, name, given),
            Value::Map(map) => {
                let list = |items| Value::list(&self.meter, items);
                match name {
                    "items" => self.map_items(of),
                    "keys" => list(self.iterate(of)?),
                    "values" => list(map.entries.iter().map(|(_, v)| v.clone()).collect()),
                    "get" => match map.get(given.need(0, "key", "get")?)? {
                        Some(value) => Ok(value.clone()),
                        None => Ok(given.get(1, "default").cloned().unwrap_or(Value::None)),
                    },
                    "copy" => Ok(of.clone()),
                    _ => Err(unknown(of, name)),
                }
            }
            Value::List(list) => match name {
                "index" | "count" => {
                    let wanted = given.need(0, "value", name)?;
                    let mut count = 0;
                    for (i, item) in list.items.iter().enumerate() {
                        if item.equals(wanted, &self.meter)? {
                            if name == "index" {
                                return Ok(Value::Int(i as i128));
                            }
                            count += 1;
                        }
                    }
                    if name == "index" { Err(runtime("the value is not in the list")) } else { Ok(Value::Int(count)) }
                }
                "copy" => Ok(of.clone()),
                _ => Err(unknown(of, name)),
            },
            Value::Undefined => Err(runtime(format!("an undefined value has no method {name:?}"))),
            _ => Err(unknown(of, name)),
        }
    }
}

fn unknown(of: &Value, name: &str) -> TextError {
    TextError::Unsupported {
        what: "chat template method",
        found: format!("{}.{}", of.kind(), crate::error::short(name)),
    }
}

fn string(text: &Rc<Text>, name: &str, given: &Given) -> Result<Value> {
    let s = text.as_str();
    let chars = || match given.get(0, "chars") {
        None | Some(Value::None) => Ok(None),
        Some(Value::Str(chars)) => Ok(Some(chars.as_str())),
        Some(other) => Err(runtime(format!("{name} takes a string, not a {}", other.kind()))),
    };
    let need = |i: usize| {
        let value = given.need(i, "", name)?;
        value.as_str().ok_or_else(|| runtime(format!("{name} takes a string, not a {}", value.kind())))
    };
    let limit = |i: usize, name: &str| given.get(i, name).and_then(Value::as_int).and_then(|n| usize::try_from(n).ok());
    let list = |items| Value::list(text.meter(), items);
    let all = |test: fn(char) -> bool| Value::Bool(!s.is_empty() && s.chars().all(test));
    text.meter().tick(1 + s.len() / 64)?;
    Ok(match name {
        "strip" => Value::text(text_ops::strip(text, Ends::Both, chars()?)?),
        "lstrip" => Value::text(text_ops::strip(text, Ends::Left, chars()?)?),
        "rstrip" => Value::text(text_ops::strip(text, Ends::Right, chars()?)?),
        "split" | "rsplit" => {
            let separator = match given.get(0, "sep") {
                None | Some(Value::None) => None,
                Some(_) if given.positional.is_empty() => given.get(0, "sep").and_then(Value::as_str),
                Some(_) => Some(need(0)?),
            };
            list(text_ops::split(text, separator, limit(1, "maxsplit"), name == "rsplit")?)?
        }
        "splitlines" => list(text_ops::split_lines(text, given.get(0, "keepends").is_some_and(Value::is_true))?)?,
        "startswith" | "endswith" => {
            let s = s.get(text_ops::window(s, given)).unwrap_or_default();
            let matches = |part: &str| if name == "startswith" { s.starts_with(part) } else { s.ends_with(part) };
            match given.need(0, "prefix", name)? {
                Value::List(parts) => Value::Bool(parts.items.iter().filter_map(Value::as_str).any(matches)),
                _ => Value::Bool(matches(need(0)?)),
            }
        }
        "replace" => {
            let Value::Str(new) = given.need(1, "new", name)? else { return Err(runtime("replace takes strings")) };
            Value::text(text_ops::replace(text, need(0)?, new, limit(2, "count"))?)
        }
        "removeprefix" => {
            Value::text(text.part(s.strip_prefix(need(0)?).map_or(0, |rest| s.len() - rest.len())..s.len())?)
        }
        "removesuffix" => Value::text(text.part(0..s.strip_suffix(need(0)?).unwrap_or(s).len())?),
        "upper" => Value::text(text_ops::upper(text)?),
        "lower" => Value::text(text_ops::lower(text)?),
        "capitalize" => Value::text(text_ops::capitalize(text)?),
        "title" => Value::text(text_ops::title_method(text)?),
        "join" => {
            let items = match given.need(0, "items", name)? {
                Value::List(list) => list.items.clone(),
                Value::Str(text) => {
                    text.meter().tick(text.as_str().len())?;
                    let chars = text.as_str().char_indices();
                    chars
                        .map(|(at, c)| Ok(Value::text(text.part(at..at + c.len_utf8())?.marked(false))))
                        .collect::<Result<_>>()?
                }
                Value::Map(map) => map.entries.iter().map(|(k, _)| k.clone()).collect(),
                other => return Err(runtime(format!("cannot join a {}", other.kind()))),
            };
            Value::text(text_ops::join(text, &items)?)
        }
        "center" | "ljust" | "rjust" => {
            let width =
                given.need(0, "width", name)?.as_int().ok_or_else(|| runtime(format!("{name} takes a number")))?;
            let fill = if given.get(1, "fillchar").is_some() { need(1)? } else { " " };
            let side = match name {
                "center" => text_ops::Side::Center,
                "ljust" => text_ops::Side::Left,
                _ => text_ops::Side::Right,
            };
            Value::text(text_ops::pad(text, width, fill, side)?)
        }
        "zfill" => {
            let width = given.need(0, "width", name)?.as_int().ok_or_else(|| runtime("zfill takes a number"))?;
            let sign = usize::from(s.starts_with(['+', '-']));
            let digits = text_ops::pad(
                &text.part(sign..s.len())?,
                width.saturating_sub(sign as i128),
                "0",
                text_ops::Side::Right,
            )?;
            let mut out = text.part(0..sign)?;
            out.push_text(&digits)?;
            Value::text(out)
        }
        "partition" | "rpartition" => {
            let part = need(0)?;
            if part.is_empty() {
                return Err(runtime("an empty string separates nothing"));
            }
            let cut = match (name == "partition", if name == "partition" { s.find(part) } else { s.rfind(part) }) {
                (_, Some(at)) => (at, at + part.len()),
                (true, None) => (s.len(), s.len()),
                (false, None) => (0, 0),
            };
            let parts = [0..cut.0, cut.0..cut.1, cut.1..s.len()].map(|r| text.part(r).map(Value::text));
            Value::sequence(text.meter(), parts.into_iter().collect::<Result<_>>()?, true)?
        }
        "swapcase" => Value::text(text.map_chars(|c, out| {
            if c.is_uppercase() { out.extend(c.to_lowercase()) } else { out.extend(c.to_uppercase()) }
        })?),
        "format" => Value::text(text_ops::braces(text, &given.positional, &given.named)?),
        "count" => {
            let s = s.get(text_ops::window(s, given)).unwrap_or_default();
            Value::Int(s.matches(need(0)?).count() as i128)
        }
        "find" | "rfind" | "index" | "rindex" => {
            let part = need(0)?;
            let window = text_ops::window(s, given);
            let inside = s.get(window.clone()).unwrap_or_default();
            match if name.starts_with('r') { inside.rfind(part) } else { inside.find(part) } {
                Some(at) => Value::Int(s[..window.start + at].chars().count() as i128),
                None if name.ends_with("index") => return Err(runtime("the text is not in the string")),
                None => Value::Int(-1),
            }
        }
        "isdigit" | "isnumeric" | "isdecimal" => all(char::is_numeric),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isspace" => all(text_ops::is_space),
        "isascii" => Value::Bool(s.is_ascii()),
        "isupper" => Value::Bool(s.chars().any(char::is_uppercase) && !s.chars().any(char::is_lowercase)),
        "islower" => Value::Bool(s.chars().any(char::is_lowercase) && !s.chars().any(char::is_uppercase)),
        "istitle" => Value::Bool(text_ops::is_title(s)),
        _ => return Err(unknown(&Value::Str(Rc::clone(text)), name)),
    })
}
