//! The template language of chat templates: Jinja with the settings and additions of Hugging Face.
//!
//! A renderer of its own rather than a general one, for two reasons. A template comes with a model file and must not be able
//! to hurt: steps, memory and depth are metered at every operation (a string doubled forty times is forty steps and a
//! terabyte). And only the template may write control tokens: strings carry which of their bytes a user wrote through every
//! operation, which no search for special texts before or after rendering can replace.
//!
//! source -> [`lexer`] -> [`parser`] -> [`ast`] -> [`eval`] over [`value`]s.

mod ast;
mod call;
mod eval;
mod filters;
mod format;
mod groups;
mod html;
mod lexer;
mod meter;
mod methods;
mod ops;
mod parser;
mod pretty;
mod strftime;
mod text;
mod text_ops;
mod turns;
mod value;
mod wrap;

use std::ops::Range;
use std::rc::Rc;

use crate::error::TextError;
use crate::limits::{MAX_RENDERED_BYTES, MAX_TEMPLATE_BYTES, MAX_VALUE_DEPTH};
use eval::Interp;
use meter::Meter;
use text::Text;
use value::Value;

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    ast: ast::Ast,
}

/// A value given to a template.
pub(crate) enum Input<'a> {
    /// From a user; strings in it are marked as such.
    Json(&'a serde_json::Value),
    /// Text to be trusted as if the template had written it.
    Trusted(&'a str),
    Bool(bool),
    /// The messages: maps of which the first field may be trusted.
    Maps(Vec<Vec<(&'a str, Input<'a>)>>),
}

/// A rendered text with the ranges of its bytes that came from a user, rising and apart.
pub(crate) struct Output {
    pub text: String,
    pub user: Vec<Range<usize>>,
}

impl Template {
    /// Parses.
    pub(crate) fn new(source: &str) -> Result<Self, TextError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(TextError::TooLarge {
                what: "bytes of the chat template",
                found: source.len(),
                limit: MAX_TEMPLATE_BYTES,
            });
        }
        Ok(Self { ast: parser::parse(lexer::tokens(source)?)? })
    }

    /// Renders. `now` is local time in seconds since 1970.
    pub(crate) fn render(&self, globals: &[(&str, Input<'_>)], now: i64) -> Result<Output, TextError> {
        let bytes = globals.iter().map(|(name, value)| name.len() + value.bytes()).sum();
        let meter = Meter::new(bytes);
        let mut values = Vec::with_capacity(globals.len());
        for (name, value) in globals {
            values.push(((*name).to_string(), value.to_value(&meter)?));
        }
        let mut interp = Interp {
            ast: &self.ast,
            out: Text::new(&meter),
            globals: values,
            scopes: vec![Vec::new()],
            base: 0,
            captures: 0,
            out_cap: MAX_RENDERED_BYTES.saturating_add(bytes.saturating_mul(2)),
            loop_depth: 0,
            escape: ast::Escape::Off,
            eval_escape: false,
            recursive: Vec::new(),
            now,
            meter,
        };
        interp.run(&self.ast.body)?;
        let (text, user) = interp.out.into_parts();
        Ok(Output { text, user })
    }
}

impl Input<'_> {
    fn bytes(&self) -> usize {
        match self {
            Input::Json(json) => json_bytes(json, MAX_VALUE_DEPTH),
            Input::Trusted(text) => text.len(),
            Input::Bool(_) => 1,
            Input::Maps(maps) => maps.iter().flatten().map(|(name, value)| name.len() + value.bytes()).sum(),
        }
    }

    fn to_value(&self, meter: &Rc<Meter>) -> Result<Value, TextError> {
        match self {
            Input::Json(json) => Value::from_json(meter, json, MAX_VALUE_DEPTH - 2),
            Input::Trusted(text) => Value::str(meter, text),
            Input::Bool(value) => Ok(Value::Bool(*value)),
            Input::Maps(maps) => {
                let mut items = Vec::with_capacity(maps.len());
                for fields in maps {
                    let mut entries = Vec::with_capacity(fields.len());
                    for (name, value) in fields {
                        entries.push((Value::text(Text::copy(meter, name, true)?), value.to_value(meter)?));
                    }
                    items.push(Value::map(meter, entries)?);
                }
                Value::list(meter, items)
            }
        }
    }
}

/// Roughly the memory a JSON value takes, looking no deeper than it may be.
fn json_bytes(json: &serde_json::Value, depth: usize) -> usize {
    use serde_json::Value as Json;
    let Some(below) = depth.checked_sub(1) else { return 0 };
    match json {
        Json::String(text) => 16 + text.len(),
        Json::Array(items) => 16 + items.iter().map(|i| json_bytes(i, below)).sum::<usize>(),
        Json::Object(entries) => 16 + entries.iter().map(|(k, v)| 16 + k.len() + json_bytes(v, below)).sum::<usize>(),
        _ => 16,
    }
}
