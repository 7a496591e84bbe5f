//! JSON as Hugging Face's libraries write it: Python's `json.dumps` with an indent of 2, keys sorted, a line feed at the end. A
//! file of theirs that was read has the same bytes when it is written again.

use serde_json::Value;
use std::fmt::Write;

/// The text of a settings file. With `ascii`, other characters are escaped, as in `config.json` and `generation_config.json`;
/// tokenizers' files have them as they are.
pub fn to_text(value: &Value, ascii: bool) -> String {
    let mut out = String::new();
    put(&mut out, value, ascii, 0);
    out.push('\n');
    out
}

fn put(out: &mut String, value: &Value, ascii: bool, depth: usize) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (i, (key, value)) in members.into_iter().enumerate() {
                line(out, i, depth + 1);
                string(out, key, ascii);
                out.push_str(": ");
                put(out, value, ascii, depth + 1);
            }
            line(out, 0, depth);
            out.push('}');
        }
        Value::Array(elements) if !elements.is_empty() => {
            out.push('[');
            for (i, value) in elements.iter().enumerate() {
                line(out, i, depth + 1);
                put(out, value, ascii, depth + 1);
            }
            line(out, 0, depth);
            out.push(']');
        }
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::String(text) => string(out, text, ascii),
        Value::Number(n) => match n.as_f64().filter(|_| n.is_f64()) {
            Some(n) => float(out, n),
            None => out.push_str(&n.to_string()),
        },
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Null => out.push_str("null"),
    }
}

/// Begins an element's line, after the comma where it is not the first.
fn line(out: &mut String, index: usize, depth: usize) {
    out.push_str(if index > 0 { ",\n" } else { "\n" });
    (0..depth).for_each(|_| out.push_str("  "));
}

fn string(out: &mut String, text: &str, ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || (ascii && c > '~') => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}"); // A string takes everything.
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Python's `repr`: the shortest digits that give the number back, with an exponent from 1e16 up and below 1e-4.
fn float(out: &mut String, n: f64) {
    let scientific = format!("{n:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let _ = if (-4..16).contains(&exponent) {
        write!(out, "{n:?}")
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "{digits}e{sign}{:02}", exponent.abs())
    };
}
