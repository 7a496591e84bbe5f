//! `pprint`: values over several lines, as Python's module of that name writes them.

use super::format;
use super::groups::sorted;
use super::text::Text;
use super::text_ops::{is_space, split_lines};
use super::value::{Map, Value};
use crate::error::TextError;

type Result<T> = std::result::Result<T, TextError>;

/// Characters in a line.
const WIDTH: usize = 80;

/// The value, broken where a line would be too long.
pub(super) fn pretty(value: &Value, out: &mut Text) -> Result<()> {
    write(value, Place { indent: 0, allowance: 0, level: 0 }, out)
}

/// Where a value stands.
#[derive(Clone, Copy)]
struct Place {
    indent: usize,
    /// Characters that must fit behind it.
    allowance: usize,
    level: usize,
}

impl Place {
    fn inside(self) -> Self {
        Self { level: self.level + 1, ..self }
    }
}

fn write(value: &Value, place: Place, out: &mut Text) -> Result<()> {
    let line = on_one_line(value, out)?;
    let most = WIDTH.saturating_sub(place.indent + place.allowance);
    if width(&line)? <= most {
        return out.push_text(&line);
    }
    match value {
        Value::Str(text) if !text.is_safe() => write_text(text, place.inside(), out),
        Value::List(list) => {
            let (open, close) = match (list.tuple, list.items.len()) {
                (false, _) => ("[", "]"),
                (true, 1) => ("(", ",)"),
                (true, _) => ("(", ")"),
            };
            out.push(open, false)?;
            let place = Place { allowance: place.allowance + close.len(), ..place.inside() };
            let inner = Place { indent: place.indent + 1, ..place };
            for (i, item) in list.items.iter().enumerate() {
                if i > 0 {
                    new_line(inner.indent, ",", out)?;
                }
                let last = i + 1 == list.items.len();
                write(item, Place { allowance: if last { place.allowance } else { 1 }, ..inner }, out)?;
            }
            out.push(close, false)
        }
        Value::Map(map) => {
            out.push("{", false)?;
            let place = Place { indent: place.indent + 1, allowance: place.allowance + 1, ..place.inside() };
            let entries = by_key(map, out)?;
            for (i, (key, value)) in entries.iter().enumerate() {
                if i > 0 {
                    new_line(place.indent, ",", out)?;
                }
                let key = on_one_line(key, out)?;
                out.push_text(&key)?;
                out.push(": ", false)?;
                let last = i + 1 == entries.len();
                let allowance = if last { place.allowance } else { 1 };
                write(value, Place { indent: place.indent + width(&key)? + 2, allowance, ..place }, out)?;
            }
            out.push("}", false)
        }
        _ => out.push_text(&line),
    }
}

fn new_line(indent: usize, before: &str, out: &mut Text) -> Result<()> {
    out.push(before, false)?;
    out.push("\n", false)?;
    out.push(&" ".repeat(indent.min(1 << 10)), false)?;
    // Deep values have wide indents.
    (1 << 10..indent).try_for_each(|_| out.push(" ", false))
}

fn width(text: &Text) -> Result<usize> {
    text.meter().tick(text.as_str().len() / 64)?;
    Ok(text.as_str().chars().count())
}

/// `repr(value)` with the entries of dicts in the order of their keys.
fn on_one_line(value: &Value, of: &Text) -> Result<Text> {
    let mut out = Text::new(of.meter());
    one_line(value, &mut out)?;
    Ok(out)
}

fn one_line(value: &Value, out: &mut Text) -> Result<()> {
    match value {
        Value::List(list) => {
            out.push(if list.tuple { "(" } else { "[" }, false)?;
            for (i, item) in list.items.iter().enumerate() {
                out.push(if i > 0 { ", " } else { "" }, false)?;
                one_line(item, out)?;
            }
            out.push(if list.tuple && list.items.len() == 1 { "," } else { "" }, false)?;
            out.push(if list.tuple { ")" } else { "]" }, false)
        }
        Value::Map(map) => {
            out.push("{", false)?;
            for (i, (key, value)) in by_key(map, out)?.iter().enumerate() {
                out.push(if i > 0 { ", " } else { "" }, false)?;
                one_line(key, out)?;
                out.push(": ", false)?;
                one_line(value, out)?;
            }
            out.push("}", false)
        }
        _ => format::repr(value, out),
    }
}

/// By key; keys without an order go by the names of their types.
fn by_key(map: &Map, out: &Text) -> Result<Vec<(Value, Value)>> {
    let meter = out.meter();
    meter.tick(map.entries.len())?;
    sorted(map.entries.clone(), |a, b| match a.0.compare(&b.0, meter) {
        Ok(order) => Ok(order.is_lt()),
        Err(TextError::TemplateRuntime { .. }) => Ok(type_name(&a.0) < type_name(&b.0)),
        Err(other) => Err(other),
    })
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::None => "NoneType",
        Value::Str(text) if text.is_safe() => "Markup",
        Value::Str(_) => "str",
        other => other.kind(),
    }
}

/// A string in pieces of a line each.
fn write_text(text: &Text, place: Place, out: &mut Text) -> Result<()> {
    let Place { mut indent, mut allowance, level } = place;
    if level == 1 {
        (indent, allowance) = (indent + 1, allowance + 1);
    }
    let lines = split_lines(text, true)?;
    let most = WIDTH as i128 - indent as i128;
    let mut chunks: Vec<Text> = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let Value::Str(line) = line else { continue };
        let last_line = i + 1 == lines.len();
        let whole = quoted(line)?;
        if width(&whole)? as i128 <= most - if last_line { allowance as i128 } else { 0 } {
            chunks.push(whole);
            continue;
        }
        let parts = parts(line.as_str());
        let (mut from, mut to, mut size) = (0, 0, Size::default());
        for (j, &part) in parts.iter().enumerate() {
            text.meter().tick(1)?;
            let last = last_line && j + 1 == parts.len();
            let most = most - if last { allowance as i128 } else { 0 };
            let with = size.and(&line.as_str()[to..part], text)?;
            if with.quoted() as i128 > most {
                if to > from {
                    chunks.push(quoted(&line.part(from..to)?)?);
                }
                from = to;
                size = Size::default().and(&line.as_str()[to..part], text)?;
            } else {
                size = with;
            }
            to = part;
        }
        if to > from {
            chunks.push(quoted(&line.part(from..to)?)?);
        }
    }
    let brackets = level == 1 && chunks.len() > 1;
    out.push(if brackets { "(" } else { "" }, false)?;
    for (i, chunk) in chunks.iter().enumerate() {
        if i > 0 {
            new_line(indent, "", out)?;
        }
        out.push_text(chunk)?;
    }
    out.push(if brackets { ")" } else { "" }, false)
}

fn quoted(text: &Text) -> Result<Text> {
    let mut out = Text::new(text.meter());
    format::quote_python(text, &mut out)?;
    Ok(out)
}

/// Where words with the whitespace behind them end.
fn parts(s: &str) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut spaces = false;
    for (at, c) in s.char_indices() {
        if spaces && !is_space(c) {
            ends.push(at);
        }
        spaces = is_space(c);
    }
    ends.push(s.len());
    ends
}

/// How long a text is with its quotes, put together piece by piece.
#[derive(Clone, Copy, Default)]
struct Size {
    /// Without escapes of quotes.
    chars: usize,
    single: usize,
    double: bool,
}

impl Size {
    fn and(self, part: &str, of: &Text) -> Result<Self> {
        let single = part.matches('\'').count();
        // With a double quote in it, single ones are escaped; they are counted apart.
        let plain = Text::copy(of.meter(), &part.replace(['\'', '"'], "_"), false)?;
        Ok(Self {
            chars: self.chars + width(&quoted(&plain)?)? - 2,
            single: self.single + single,
            double: self.double || part.contains('"'),
        })
    }

    fn quoted(self) -> usize {
        self.chars + 2 + if self.double { self.single } else { 0 }
    }
}
