//! Values as text: as Python prints them, and as JSON.

use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::LazyLock;

use regex_automata::meta::Regex;

use super::meter::Meter;
use super::text::Text;
use super::value::{Value, runtime};
use crate::error::TextError;

/// Python's `str(value)`, with provenance.
pub(crate) fn to_text(value: &Value, meter: &Rc<Meter>) -> Result<Rc<Text>, TextError> {
    if let Value::Str(text) = value {
        return Ok(Rc::clone(text));
    }
    let mut out = Text::new(meter);
    display(value, &mut out)?;
    Ok(Rc::new(out))
}

/// Appends `str(value)`.
pub(crate) fn display(value: &Value, out: &mut Text) -> Result<(), TextError> {
    match value {
        Value::Undefined => Ok(()),
        Value::Str(text) => out.push_text(text),
        _ => repr(value, out),
    }
}

/// Appends `repr(value)`.
pub(crate) fn repr(value: &Value, out: &mut Text) -> Result<(), TextError> {
    out.meter().clone().tick(1)?;
    match value {
        Value::Undefined => out.push("Undefined", false),
        Value::None => out.push("None", false),
        Value::Bool(true) => out.push("True", false),
        Value::Bool(false) => out.push("False", false),
        Value::Int(value) => out.push(&value.to_string(), false),
        Value::Float(value) => out.push(&float(*value), false),
        Value::Str(text) if text.is_safe() => {
            out.push("Markup(", false)?;
            quote_python(text, out)?;
            out.push(")", false)
        }
        Value::Str(text) => quote_python(text, out),
        Value::List(list) => {
            let (open, close) = if list.tuple { ("(", ")") } else { ("[", "]") };
            out.push(open, false)?;
            for (i, item) in list.items.iter().enumerate() {
                if i > 0 {
                    out.push(", ", false)?;
                }
                repr(item, out)?;
            }
            if list.tuple && list.items.len() == 1 {
                out.push(",", false)?;
            }
            out.push(close, false)
        }
        Value::Map(map) => {
            out.push("{", false)?;
            for (i, (key, value)) in map.entries.iter().enumerate() {
                if i > 0 {
                    out.push(", ", false)?;
                }
                repr(key, out)?;
                out.push(": ", false)?;
                repr(value, out)?;
            }
            out.push("}", false)
        }
        Value::Loop(state) => {
            out.push(&format!("<LoopContext {}/{}>", state.index + 1, state.items.items.len()), false)
        }
        Value::Func("namespace") => out.push("<class 'jinja2.utils.Namespace'>", false),
        Value::Func("cycler") => out.push("<class 'jinja2.utils.Cycler'>", false),
        Value::Func("joiner") => out.push("<class 'jinja2.utils.Joiner'>", false),
        Value::Func(name @ ("range" | "dict")) => out.push(&format!("<class '{name}'>"), false),
        Value::Namespace(_) | Value::Turns(_) | Value::Func(_) | Value::Method(_) | Value::Macro(..) => {
            out.push(&format!("<{}>", value.kind()), false)
        }
    }
}

/// Python's text of a float: shortest digits, an exponent below 1e-4 and from 1e16.
pub(crate) fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') { plain } else { plain + ".0" }
}

/// What Python's `repr` writes as an escape: controls, format characters, separators but the space, and what is not assigned.
fn is_unprintable(c: char) -> bool {
    static CLASS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\A[\p{C}\p{Z}]").ok());
    CLASS.as_ref().is_some_and(|class| class.is_match(c.encode_utf8(&mut [0; 4]).as_bytes()))
}

pub(crate) fn quote_python(text: &Text, out: &mut Text) -> Result<(), TextError> {
    let s = text.as_str();
    let quote = if s.contains('\'') && !s.contains('"') { '"' } else { '\'' };
    let quoted = text.map_chars(|c, buffer| match c {
        '\\' => buffer.push_str("\\\\"),
        '\n' => buffer.push_str("\\n"),
        '\r' => buffer.push_str("\\r"),
        '\t' => buffer.push_str("\\t"),
        c if c == quote => buffer.extend(['\\', c]),
        c if c.is_ascii() && !c.is_ascii_control() => buffer.push(c),
        c if is_unprintable(c) => {
            let _ = match c as u32 {
                code @ ..0x100 => write!(buffer, "\\x{code:02x}"),
                code @ ..0x1_0000 => write!(buffer, "\\u{code:04x}"),
                code => write!(buffer, "\\U{code:08x}"),
            };
        }
        c => buffer.push(c),
    })?;
    let mut mark = [0; 4];
    let mark = quote.encode_utf8(&mut mark);
    out.push(mark, false)?;
    out.push_text(&quoted)?;
    out.push(mark, false)
}

/// How to write JSON: the arguments of Python's `json.dumps` that Hugging Face's `tojson` has.
#[derive(Debug, Clone)]
pub(crate) struct JsonStyle {
    pub indent: Option<usize>,
    pub item_separator: String,
    pub key_separator: String,
    pub sort_keys: bool,
    pub ascii: bool,
}

/// Appends a value as JSON, nested in `level` containers.
pub(crate) fn json(value: &Value, style: &JsonStyle, level: usize, out: &mut Text) -> Result<(), TextError> {
    out.meter().clone().tick(1)?;
    match value {
        Value::None => out.push("null", false),
        Value::Bool(value) => out.push(if *value { "true" } else { "false" }, false),
        Value::Int(value) => out.push(&value.to_string(), false),
        Value::Float(value) if value.is_nan() => out.push("NaN", false),
        Value::Float(value) if value.is_infinite() => {
            out.push(if *value > 0.0 { "Infinity" } else { "-Infinity" }, false)
        }
        Value::Float(value) => out.push(&float(*value), false),
        Value::Str(text) => quote_json(text, style.ascii, out),
        Value::List(list) => {
            out.push("[", false)?;
            for (i, item) in list.items.iter().enumerate() {
                separate(style, i, level + 1, out)?;
                json(item, style, level + 1, out)?;
            }
            close(style, list.items.is_empty(), level, "]", out)
        }
        Value::Map(map) => {
            let mut entries: Vec<&(Value, Value)> = map.entries.iter().collect();
            if style.sort_keys {
                out.meter().clone().tick(entries.len() * 8)?;
                entries.sort_by(|a, b| a.0.as_str().cmp(&b.0.as_str()));
            }
            out.push("{", false)?;
            for (i, (key, value)) in entries.into_iter().enumerate() {
                separate(style, i, level + 1, out)?;
                match key {
                    Value::Str(text) => quote_json(text, style.ascii, out)?,
                    Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                        out.push("\"", false)?;
                        json(key, style, level, out)?;
                        out.push("\"", false)?;
                    }
                    _ => return Err(runtime(format!("a {} cannot be a key in JSON", key.kind()))),
                }
                out.push(&style.key_separator, false)?;
                json(value, style, level + 1, out)?;
            }
            close(style, map.entries.is_empty(), level, "}", out)
        }
        _ => Err(runtime(format!("{} cannot be written as JSON", value.kind()))),
    }
}

fn separate(style: &JsonStyle, index: usize, level: usize, out: &mut Text) -> Result<(), TextError> {
    if index > 0 {
        out.push(&style.item_separator, false)?;
    }
    new_line(style, level, out)
}

fn close(style: &JsonStyle, empty: bool, level: usize, bracket: &str, out: &mut Text) -> Result<(), TextError> {
    if !empty {
        new_line(style, level, out)?;
    }
    out.push(bracket, false)
}

fn new_line(style: &JsonStyle, level: usize, out: &mut Text) -> Result<(), TextError> {
    if let Some(indent) = style.indent {
        out.push("\n", false)?;
        for _ in 0..level {
            out.push(&" ".repeat(indent.min(64)), false)?;
        }
    }
    Ok(())
}

fn quote_json(text: &Text, ascii: bool, out: &mut Text) -> Result<(), TextError> {
    let quoted = text.map_chars(|c, buffer| match c {
        '"' => buffer.push_str("\\\""),
        '\\' => buffer.push_str("\\\\"),
        '\n' => buffer.push_str("\\n"),
        '\r' => buffer.push_str("\\r"),
        '\t' => buffer.push_str("\\t"),
        '\u{8}' => buffer.push_str("\\b"),
        '\u{c}' => buffer.push_str("\\f"),
        c if (c as u32) < 0x20 || (ascii && !c.is_ascii()) => {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(buffer, "\\u{unit:04x}");
            }
        }
        c => buffer.push(c),
    })?;
    out.push("\"", false)?;
    out.push_text(&quoted)?;
    out.push("\"", false)
}

#[cfg(test)]
mod tests {
    use super::float;

    #[test]
    fn floats_print_as_in_python() {
        for (value, text) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (-2.5e-7, "-2.5e-07"),
            (1.5e300, "1.5e+300"),
            (0.0, "0.0"),
        ] {
            assert_eq!(float(value), text);
        }
    }
}
