//! Filters: `value | name(args)`.

use std::rc::Rc;

use super::call::Given;
use super::eval::Interp;
use super::format::{self, JsonStyle};
use super::methods::DICT_METHODS;
use super::ops;
use super::text::Text;
use super::text_ops::{self, Ends};
use super::value::{Value, runtime};
use crate::error::{TextError, short};

type Result<T> = std::result::Result<T, TextError>;

/// Widest indentation; wider ones only serve to use up memory.
const MAX_INDENT: i128 = 256;

impl Interp<'_> {
    /// Applies a filter.
    pub(super) fn filter(&mut self, name: &str, of: Value, given: &Given) -> Result<Value> {
        let meter = Rc::clone(&self.meter);
        let text = || format::to_text(&of, &meter);
        let list = |items: Vec<Value>| Value::list(&meter, items);
        Ok(match name {
            "tojson" => {
                let mut out = Text::new(&meter);
                format::json(&of, &json_style(given)?, 0, &mut out)?;
                Value::text(out)
            }
            "trim" => {
                Value::text(text_ops::strip(&*text()?, Ends::Both, given.get(0, "chars").and_then(Value::as_str))?)
            }
            "upper" => Value::text(text_ops::upper(&*text()?)?),
            "lower" => Value::text(text_ops::lower(&*text()?)?),
            "capitalize" => Value::text(text_ops::capitalize(&*text()?)?),
            "title" => Value::text(text_ops::title_filter(&*text()?)?),
            "string" => Value::Str(text()?),
            "safe" => {
                let text = text()?;
                Value::text(text.part(0..text.as_str().len())?.marked(true))
            }
            "escape" | "e" => Value::text(text()?.escaped()?),
            "forceescape" => Value::text(text()?.part(0..text()?.as_str().len())?.marked(false).escaped()?),
            "replace" => {
                let (old, new) = (given.need(0, "old", name)?, given.need(1, "new", name)?);
                let count = given.get(2, "count").and_then(Value::as_int).and_then(|n| usize::try_from(n).ok());
                let (old, new) = (format::to_text(old, &meter)?, format::to_text(new, &meter)?);
                let text = text()?;
                let whole = text.part(0..text.as_str().len())?;
                let text = match self.eval_escape {
                    false => whole.marked(false),
                    true if old.is_safe() || new.is_safe() => whole.escaped()?,
                    true => whole,
                };
                Value::text(text_ops::replace(&text, old.as_str(), &new, count)?)
            }
            "indent" => {
                let width = match given.get(0, "width") {
                    Some(Value::Str(with)) => with.as_str().to_string(),
                    Some(width) => spaces(width)?,
                    None => " ".repeat(4),
                };
                let flag = |i, name| given.get(i, name).is_some_and(Value::is_true);
                Value::text(text_ops::indent(&*text()?, &width, flag(1, "first"), flag(2, "blank"))?)
            }
            "format" => {
                let tuple = Value::sequence(&meter, given.positional.clone(), true)?;
                Value::text(text_ops::percent(&text()?, &tuple)?)
            }
            "length" | "count" => Value::Int(self.length(&of)?),
            "default" | "d" => {
                let falsy = given.get(1, "boolean").is_some_and(Value::is_true) && !of.is_true();
                if matches!(of, Value::Undefined) || falsy {
                    match given.get(0, "default_value") {
                        Some(value) => value.clone(),
                        None => Value::str(&meter, "")?,
                    }
                } else {
                    of
                }
            }
            "int" => int(&of, given),
            "float" => match number(&of) {
                Some(value) => Value::Float(value),
                None => given.get(0, "default").cloned().unwrap_or(Value::Float(0.0)),
            },
            "abs" => match (of.as_int(), of.as_float()) {
                (Some(value), _) => Value::Int(value.saturating_abs()),
                (_, Some(value)) => Value::Float(value.abs()),
                _ => return Err(runtime(format!("a {} has no absolute value", of.kind()))),
            },
            "round" => {
                let value = of.as_float().ok_or_else(|| runtime(format!("cannot round a {}", of.kind())))?;
                let method = given.get(1, "method").and_then(Value::as_str).unwrap_or("common");
                if let (Some(whole), "common") = (of.as_int(), method) {
                    return Ok(Value::Int(whole));
                }
                let scale =
                    10f64.powi(given.get(0, "precision").and_then(Value::as_int).unwrap_or(0).clamp(-300, 300) as i32);
                Value::Float(match method {
                    "ceil" => (value * scale).ceil() / scale,
                    "floor" => (value * scale).floor() / scale,
                    _ => (value * scale).round_ties_even() / scale,
                })
            }
            "first" => self.iterate(&of)?.into_iter().next().unwrap_or(Value::Undefined),
            "last" => self.iterate(&of)?.pop().unwrap_or(Value::Undefined),
            "list" => list(self.iterate(&of)?)?,
            "reverse" => match &of {
                Value::Str(_) => ops::slice(&of, [&Value::None, &Value::None, &Value::Int(-1)], &meter)?,
                _ => {
                    let mut items = self.iterate(&of)?;
                    items.reverse();
                    list(items)?
                }
            },
            "join" => {
                let items = match given.get(1, "attribute") {
                    None => self.iterate(&of)?,
                    Some(path) => self.attributes(self.iterate(&of)?, path)?,
                };
                let separator =
                    given.get(0, "d").map_or_else(|| Ok(Rc::new(Text::new(&meter))), |d| format::to_text(d, &meter))?;
                let marked = |item: &Value| matches!(item, Value::Str(text) if text.is_safe());
                let separator = match self.eval_escape {
                    false => separator.part(0..separator.as_str().len())?.marked(false),
                    true if items.iter().any(marked) => separator.escaped()?,
                    true => separator.part(0..separator.as_str().len())?,
                };
                Value::text(text_ops::join(&separator, &items)?)
            }
            "items" => match of {
                Value::Undefined => list(Vec::new())?,
                of => self.map_items(&of)?,
            },
            "dictsort" => self.dictsort(&of, given)?,
            "sort" => {
                let items = self.iterate(&of)?;
                list(self.sorted(
                    items,
                    given.get(2, "attribute"),
                    given.get(0, "reverse").is_some_and(Value::is_true),
                    given.get(1, "case_sensitive").is_some_and(Value::is_true),
                )?)?
            }
            "unique" => {
                let sensitive = given.get(0, "case_sensitive").is_some_and(Value::is_true);
                let (mut out, mut keys): (Vec<Value>, Vec<Value>) = Default::default();
                'items: for item in self.iterate(&of)? {
                    let key = self.key(&item, given.get(1, "attribute"), sensitive)?;
                    for seen in &keys {
                        if seen.equals(&key, &meter)? {
                            continue 'items;
                        }
                    }
                    keys.push(key);
                    out.push(item);
                }
                list(out)?
            }
            "sum" => {
                let items = self.iterate(&of)?;
                let items = match given.get(0, "attribute") {
                    Some(path) => self.attributes(items, path)?,
                    None => items,
                };
                let mut total = given.get(1, "start").cloned().unwrap_or(Value::Int(0));
                for item in items {
                    total = ops::binary(super::ast::Op::Add, total, &item, &meter)?;
                }
                total
            }
            "min" | "max" => {
                let wanted = if name == "min" { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater };
                let sensitive = given.get(0, "case_sensitive").is_some_and(Value::is_true);
                let mut best: Option<(Value, Value)> = None;
                for item in self.iterate(&of)? {
                    let key = self.key(&item, given.get(1, "attribute"), sensitive)?;
                    let better = match &best {
                        None => true,
                        Some((best, _)) => key.compare(best, &meter)? == wanted,
                    };
                    if better {
                        best = Some((key, item));
                    }
                }
                best.map_or(Value::Undefined, |(_, item)| item)
            }
            "batch" => list(self.batches(&of, given)?)?,
            "slice" => list(self.slices(&of, given)?)?,
            "groupby" => list(self.groups(&of, given)?)?,
            "center" => {
                let width = given.get(0, "width").map_or(Some(80), Value::as_int);
                let width = width.ok_or_else(|| runtime("center takes a number"))?;
                Value::text(text_ops::pad(&*text()?, width, " ", text_ops::Side::Center)?)
            }
            "filesizeformat" => {
                let bytes = number(&of).ok_or_else(|| runtime(format!("a {} has no size", of.kind())))?;
                Value::str(&meter, &text_ops::file_size(bytes, given.get(0, "binary").is_some_and(Value::is_true)))?
            }
            // What is short enough stays what it is.
            "truncate" if !matches!(of, Value::Str(_)) && self.is_short(&of, given) => of,
            "truncate" => self.truncate(&*text()?, given)?,
            "striptags" => Value::text(super::html::strip_tags(&*text()?)?),
            "wordwrap" => {
                let width = given.get(0, "width").map_or(Some(79), Value::as_int);
                let flag = |i, name| given.get(i, name).is_none_or(Value::is_true);
                let style = super::wrap::Style {
                    width: width.ok_or_else(|| runtime("wordwrap takes a number"))?,
                    long_words: flag(1, "break_long_words"),
                    hyphens: flag(3, "break_on_hyphens"),
                };
                let with = match given.get(2, "wrapstring") {
                    None | Some(Value::None) => Rc::new(Text::copy(&meter, "\n", false)?),
                    Some(Value::Str(with)) => Rc::clone(with),
                    Some(other) => return Err(runtime(format!("wordwrap joins by text, not by a {}", other.kind()))),
                };
                Value::text(super::wrap::word_wrap(&*text()?, &style, &with)?)
            }
            "pprint" => {
                let mut out = Text::new(&meter);
                super::pretty::pretty(&of, &mut out)?;
                Value::text(out)
            }
            "wordcount" => Value::Int(text_ops::words(text()?.as_str()) as i128),
            "urlencode" => Value::text(text_ops::url_encoded(&*text()?)?),
            "attr" => {
                let attribute = given.need(0, "name", name)?.as_str().unwrap_or_default().to_string();
                match &of {
                    // Attributes only: a key is none.
                    Value::Map(_) if !DICT_METHODS.contains(&attribute.as_str()) => Value::Undefined,
                    Value::Undefined => Value::Undefined,
                    _ => self.attribute(&of, &attribute)?,
                }
            }
            "map" => self.map_filter(&of, given)?,
            "select" | "reject" => self.select(&of, given, name == "select", false)?,
            "selectattr" | "rejectattr" => self.select(&of, given, name == "selectattr", true)?,
            _ => return Err(TextError::Unsupported { what: "chat template filter", found: short(name) }),
        })
    }

    /// `len(value)`.
    pub(super) fn length(&self, of: &Value) -> Result<i128> {
        Ok(match of {
            Value::Undefined => 0,
            Value::Str(text) => {
                self.meter.tick(text.as_str().len() / 64)?;
                text.as_str().chars().count() as i128
            }
            Value::List(list) => list.items.len() as i128,
            Value::Map(map) => map.entries.len() as i128,
            Value::Loop(state) => state.items.items.len() as i128,
            _ => return Err(runtime(format!("a {} has no length", of.kind()))),
        })
    }

    /// The items of whatever can be looped over: characters, items, keys.
    pub(super) fn iterate(&self, of: &Value) -> Result<Vec<Value>> {
        match of {
            Value::Undefined => Ok(Vec::new()),
            Value::List(list) => {
                self.meter.tick(list.items.len() / 8)?;
                Ok(list.items.clone())
            }
            Value::Map(map) => {
                self.meter.tick(map.entries.len() / 8)?;
                Ok(map.entries.iter().map(|(k, _)| k.clone()).collect())
            }
            Value::Str(text) => {
                self.meter.tick(text.as_str().len())?;
                let chars = text.as_str().char_indices();
                // Single characters are plain, even of a marked text.
                chars.map(|(at, c)| Ok(Value::text(text.part(at..at + c.len_utf8())?.marked(false)))).collect()
            }
            _ => Err(runtime(format!("cannot loop over a {}", of.kind()))),
        }
    }

    /// `dict.items()`.
    pub(super) fn map_items(&self, of: &Value) -> Result<Value> {
        let Value::Map(map) = of else { return Err(runtime(format!("a {} has no items", of.kind()))) };
        self.meter.tick(map.entries.len())?;
        let pairs: Result<Vec<Value>> =
            map.entries.iter().map(|(k, v)| Value::sequence(&self.meter, vec![k.clone(), v.clone()], true)).collect();
        Value::list(&self.meter, pairs?)
    }

    /// The attribute `path` (dots between, numbers index) of each item.
    fn attributes(&mut self, items: Vec<Value>, path: &Value) -> Result<Vec<Value>> {
        items.into_iter().map(|item| self.path(item, path, None)).collect()
    }

    /// One attribute path; `default` stands in for what is not there, at every step.
    pub(super) fn path(&mut self, item: Value, path: &Value, default: Option<&Value>) -> Result<Value> {
        let or_default = |value: Value| match (&value, default) {
            (Value::Undefined, Some(default)) => default.clone(),
            _ => value,
        };
        let Some(names) = path.as_str() else { return ops::item(&item, path).map(or_default) };
        let mut value = item;
        for name in names.split('.') {
            self.meter.tick(1)?;
            let index = match name.parse::<i128>() {
                Ok(index) => Value::Int(index),
                Err(_) => Value::str(&self.meter, name)?,
            };
            value = or_default(ops::item(&value, &index)?);
        }
        Ok(value)
    }

    /// What an item is sorted or compared by: itself or an attribute, in small letters unless `sensitive`.
    pub(super) fn key(&mut self, item: &Value, by: Option<&Value>, sensitive: bool) -> Result<Value> {
        let key = match by {
            None | Some(Value::None) => item.clone(),
            Some(path) => match path.as_str() {
                // Several attributes, one after the other.
                Some(paths) if paths.contains(',') => {
                    let mut keys = Vec::new();
                    for path in paths.split(',') {
                        let path = Value::str(&self.meter, path)?;
                        keys.push(self.key(item, Some(&path), sensitive)?);
                    }
                    return Value::list(&self.meter, keys);
                }
                _ => self.path(item.clone(), path, None)?,
            },
        };
        match &key {
            Value::Str(text) if !sensitive => Ok(Value::text(text_ops::lower(text)?)),
            _ => Ok(key),
        }
    }

    fn map_filter(&mut self, of: &Value, given: &Given) -> Result<Value> {
        // Jinja looks whether there is anything before it looks whether it can loop.
        if !of.is_true() {
            return Value::list(&self.meter, Vec::new());
        }
        let items = self.iterate(of)?;
        let mut out = Vec::with_capacity(items.len());
        if let Some((_, path)) = given.named.iter().find(|(name, _)| name == "attribute") {
            let default = given.named.iter().find(|(name, _)| name == "default").map(|(_, v)| v.clone());
            for item in items {
                out.push(self.path(item, path, default.as_ref())?);
            }
        } else {
            let (name, rest) = given.split_first("map")?;
            for item in items {
                self.meter.tick(1)?;
                out.push(self.filter(&name, item, &rest)?);
            }
        }
        Value::list(&self.meter, out)
    }

    fn select(&mut self, of: &Value, given: &Given, keep: bool, by_attribute: bool) -> Result<Value> {
        let (attribute, given) = if by_attribute {
            let (name, rest) = given.split_first("selectattr")?;
            (Some(Value::str(&self.meter, &name)?), rest)
        } else {
            (None, given.clone())
        };
        let test = if given.positional.is_empty() { None } else { Some(given.split_first("select")?) };
        let mut out = Vec::new();
        let items = if of.is_true() { self.iterate(of)? } else { Vec::new() };
        for item in items {
            self.meter.tick(1)?;
            let value = match &attribute {
                Some(path) => self.path(item.clone(), path, None)?,
                None => item.clone(),
            };
            let holds = match &test {
                Some((name, rest)) => self.test(name, &value, rest)?,
                None => value.is_true(),
            };
            if holds == keep {
                out.push(item);
            }
        }
        Value::list(&self.meter, out)
    }

    fn dictsort(&mut self, of: &Value, given: &Given) -> Result<Value> {
        let Value::List(pairs) = self.map_items(of)? else { return Ok(Value::Undefined) };
        let by = if given.get(1, "by").and_then(Value::as_str) == Some("value") { 1 } else { 0 };
        let sensitive = given.get(0, "case_sensitive").is_some_and(Value::is_true);
        let reverse = given.get(2, "reverse").is_some_and(Value::is_true);
        let sorted = self.sorted(pairs.items.clone(), Some(&Value::Int(by)), reverse, sensitive)?;
        Value::list(&self.meter, sorted)
    }

    fn sorted(&mut self, items: Vec<Value>, by: Option<&Value>, reverse: bool, sensitive: bool) -> Result<Vec<Value>> {
        let mut keyed = Vec::with_capacity(items.len());
        for item in items {
            keyed.push((self.key(&item, by, sensitive)?, item));
        }
        // Backwards equal items keep their order too.
        let before = |a: &(Value, Value), b: &(Value, Value)| {
            let order = a.0.compare(&b.0, &self.meter)?;
            Ok(if reverse { order.is_gt() } else { order.is_lt() })
        };
        Ok(super::groups::sorted(keyed, before)?.into_iter().map(|(_, item)| item).collect())
    }
}

/// What Python's `float` makes of numbers and strings.
fn number(of: &Value) -> Option<f64> {
    of.as_float().or_else(|| of.as_str().and_then(|s| s.trim().parse().ok()))
}

fn int(of: &Value, given: &Given) -> Value {
    let parsed = match of {
        Value::Float(value) if value.is_finite() => Some(*value as i128),
        Value::Str(text) => {
            let s = text.as_str().trim();
            s.parse().ok().or_else(|| s.parse::<f64>().ok().filter(|f| f.is_finite()).map(|f| f as i128))
        }
        other => other.as_int(),
    };
    match parsed {
        Some(value) => Value::Int(value),
        None => given.get(0, "default").cloned().unwrap_or(Value::Int(0)),
    }
}

fn spaces(width: &Value) -> Result<String> {
    let width = width.as_int().filter(|w| (0..=MAX_INDENT).contains(w));
    let width = width.and_then(|w| usize::try_from(w).ok());
    Ok(" ".repeat(width.ok_or_else(|| runtime(format!("indentation must be between 0 and {MAX_INDENT}")))?))
}

fn json_style(given: &Given) -> Result<JsonStyle> {
    let flag = |name| given.get(usize::MAX, name).is_some_and(Value::is_true);
    // `tojson(2)` is Jinja's own order of arguments, `indent=2` what Hugging Face's templates write.
    let indent = match given.get(usize::MAX, "indent").or(given.positional.first()) {
        None | Some(Value::None | Value::Undefined | Value::Bool(_)) => None,
        Some(width) => Some(spaces(width)?.len()),
    };
    let separators = match given.get(usize::MAX, "separators") {
        Some(Value::List(list)) => {
            match (list.items.first().and_then(Value::as_str), list.items.get(1).and_then(Value::as_str)) {
                (Some(a), Some(b)) => Some((a.to_string(), b.to_string())),
                _ => return Err(runtime("separators of tojson are two strings")),
            }
        }
        _ => None,
    };
    let (item_separator, key_separator) =
        separators.unwrap_or_else(|| ((if indent.is_some() { "," } else { ", " }).to_string(), ": ".to_string()));
    Ok(JsonStyle { indent, item_separator, key_separator, sort_keys: flag("sort_keys"), ascii: flag("ensure_ascii") })
}
