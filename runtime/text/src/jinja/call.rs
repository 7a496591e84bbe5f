//! Calls: arguments, built-in functions, macros and tests.

use std::rc::Rc;

use super::ast::{Args, Cmp};
use super::eval::Interp;
use super::format;
use super::ops;
use super::strftime::strftime;
use super::text::Text;
use super::value::{Closure, Namespace, Value, runtime};
use crate::error::{TextError, short};

type Result<T> = std::result::Result<T, TextError>;

/// The functions that every template has.
pub(super) const FUNCTIONS: &[&str] =
    &["range", "namespace", "dict", "cycler", "joiner", "raise_exception", "strftime_now"];

/// The filters of Jinja, whether they are here or not.
const FILTERS: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
    "xmlattr",
];

/// Its tests.
const TESTS: &[&str] = &[
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "callable",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

/// Evaluated arguments.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    pub positional: Vec<Value>,
    pub named: Vec<(String, Value)>,
}

impl Given {
    /// By name, else by place.
    pub(super) fn get(&self, index: usize, name: &str) -> Option<&Value> {
        self.named.iter().find(|(n, _)| n == name).map(|(_, v)| v).or_else(|| self.positional.get(index))
    }

    /// As above, where it must be there.
    pub(super) fn need(&self, index: usize, name: &str, of: &str) -> Result<&Value> {
        self.get(index, name).ok_or_else(|| runtime(format!("{of} needs argument {}", index + 1)))
    }

    /// The first argument, a name, and the others.
    pub(super) fn split_first(&self, of: &str) -> Result<(String, Given)> {
        let name = self.need(0, "", of)?.as_str().ok_or_else(|| runtime(format!("{of} takes a name first")))?;
        let positional = self.positional.get(1..).unwrap_or_default().to_vec();
        Ok((name.to_string(), Given { positional, named: self.named.clone() }))
    }
}

impl<'t> Interp<'t> {
    /// Evaluates arguments.
    pub(super) fn given(&mut self, args: &'t Args) -> Result<Given> {
        let mut given = Given::default();
        for arg in &args.positional {
            given.positional.push(self.eval(arg)?);
        }
        if let Some(list) = &args.spread {
            let list = self.eval(list)?;
            given.positional.extend(self.iterate(&list)?);
        }
        for (name, arg) in &args.named {
            given.named.push((name.clone(), self.eval(arg)?));
        }
        if let Some(dict) = &args.named_spread {
            let Value::Map(map) = self.eval(dict)? else { return Err(runtime("** takes a dict")) };
            self.meter.tick(map.entries.len())?;
            let names = map.entries.iter().filter_map(|(k, v)| Some((k.as_str()?.to_string(), v.clone())));
            given.named.extend(names);
        }
        Ok(given)
    }

    /// Calls a function or macro.
    pub(super) fn call(&mut self, callee: &Value, given: &Given) -> Result<Value> {
        match callee {
            Value::Func(name) => self.function(name, given),
            Value::Macro(index, around) => self.call_macro(*index, around.clone(), given, None),
            Value::Loop(state) => self.loop_again(state, given),
            Value::Turns(turns) => turns.call(),
            _ => Err(runtime(format!("a {} cannot be called", callee.kind()))),
        }
    }

    fn function(&mut self, name: &str, given: &Given) -> Result<Value> {
        match name {
            "range" => self.range(given),
            "cycler" => self.cycler(given),
            "joiner" => self.joiner(given),
            "namespace" => {
                let fields = Rc::new(Namespace::default());
                if let Some(Value::Map(map)) = given.positional.first() {
                    for (key, value) in &map.entries {
                        fields.set(key.as_str().unwrap_or_default(), value.clone())?;
                    }
                }
                for (key, value) in &given.named {
                    fields.set(key, value.clone())?;
                }
                Ok(Value::Namespace(fields))
            }
            "dict" => {
                let mut entries = match given.positional.first() {
                    Some(Value::Map(map)) => map.entries.clone(),
                    _ => Vec::new(),
                };
                for (key, value) in &given.named {
                    self.meter.tick(1 + entries.len() / 16)?;
                    match entries.iter_mut().find(|(k, _)| k.as_str() == Some(key)) {
                        Some((_, old)) => *old = value.clone(),
                        None => entries.push((Value::str(&self.meter, key)?, value.clone())),
                    }
                }
                Value::map(&self.meter, entries)
            }
            "raise_exception" => {
                let message = format::to_text(given.need(0, "message", name)?, &self.meter)?;
                Err(TextError::TemplateRaised { message: message.as_str().chars().take(1000).collect() })
            }
            "strftime_now" => {
                let pattern = given.need(0, "format", name)?.as_str().unwrap_or_default();
                self.meter.tick(pattern.len())?;
                Value::str(&self.meter, &strftime(pattern, self.now))
            }
            _ => Err(runtime(format!("{name:?} cannot be called"))),
        }
    }

    fn range(&mut self, given: &Given) -> Result<Value> {
        let mut numbers = Vec::new();
        for value in given.positional.iter().take(3) {
            numbers
                .push(value.as_int().ok_or_else(|| runtime(format!("range takes integers, not a {}", value.kind())))?);
        }
        let (start, stop, step) = match numbers[..] {
            [stop] => (0, stop, 1),
            [start, stop] => (start, stop, 1),
            [start, stop, step] if step != 0 => (start, stop, step),
            _ => return Err(runtime("range takes one to three integers, the third not 0")),
        };
        let span = if step > 0 { stop.saturating_sub(start) } else { start.saturating_sub(stop) };
        let count = span.max(0) / step.saturating_abs();
        Value::room_for(&self.meter, usize::try_from(count).unwrap_or(usize::MAX))?;
        let mut items = Vec::new();
        let mut at = start;
        while (step > 0 && at < stop) || (step < 0 && at > stop) {
            items.push(Value::Int(at));
            at = at.saturating_add(step);
        }
        Value::list(&self.meter, items)
    }

    /// Calls a macro; `caller` is the body of a call block.
    pub(super) fn call_macro(
        &mut self,
        index: usize,
        around: Option<Rc<Closure>>,
        given: &Given,
        caller: Option<Value>,
    ) -> Result<Value> {
        let _deeper = self.meter.enter()?;
        let Some(definition) = self.ast.macros.get(index) else { return Err(runtime("no such macro")) };
        let (frames, base) = (self.scopes.len(), self.base);
        self.base = frames;
        let mut frame = Vec::new();
        if let Some(around) = around {
            self.scopes.extend(around.frames.iter().cloned());
            // It may call itself, though it was not there yet when the closure was made.
            if definition.name != "caller" {
                frame.push((definition.name.clone(), Value::Macro(index, Some(around))));
            }
        }
        self.scopes.push(frame);
        let (escape, caller_escapes) = (std::mem::replace(&mut self.escape, definition.escape), self.eval_escape);
        let result = self.run_macro(definition, given, caller);
        let marked = self.escapes() || caller_escapes;
        self.escape = escape;
        self.scopes.truncate(frames);
        self.base = base;
        result.map(|text| Value::text(text.marked(marked)))
    }

    fn run_macro(&mut self, definition: &'t super::ast::Macro, given: &Given, caller: Option<Value>) -> Result<Text> {
        for (i, (name, default)) in definition.params.iter().enumerate() {
            let value = match (given.get(i, name), default) {
                (Some(value), _) => value.clone(),
                (None, Some(default)) => self.eval(default)?,
                (None, None) => Value::Undefined,
            };
            self.bind(name, value);
        }
        let uses = definition.uses;
        let more = given.positional.get(definition.params.len()..).unwrap_or_default();
        if uses.varargs {
            let more = Value::sequence(&self.meter, more.to_vec(), true)?;
            self.bind("varargs", more);
        } else if !more.is_empty() {
            return Err(runtime(format!("macro {} takes {} arguments", definition.name, definition.params.len())));
        }
        let mut named = Vec::new();
        for (name, value) in &given.named {
            if definition.params.iter().any(|(param, _)| param == name) {
                continue;
            }
            if !uses.kwargs {
                return Err(runtime(format!("macro {} has no parameter {}", definition.name, short(name))));
            }
            named.push((Value::str(&self.meter, name)?, value.clone()));
        }
        if uses.kwargs {
            let named = Value::map(&self.meter, named)?;
            self.bind("kwargs", named);
        }
        match caller {
            Some(_) if !uses.caller => return Err(runtime(format!("macro {} does not use caller", definition.name))),
            Some(caller) => self.bind("caller", caller),
            None => {}
        }
        self.capture(&definition.body)
    }

    /// `value is name(args)`.
    pub(super) fn test(&mut self, name: &str, value: &Value, given: &Given) -> Result<bool> {
        let compare = |cmp| ops::compare(cmp, value, given.need(0, "", name)?, &self.meter);
        Ok(match name {
            "defined" => !matches!(value, Value::Undefined),
            "undefined" => matches!(value, Value::Undefined),
            "none" => matches!(value, Value::None),
            "string" => matches!(value, Value::Str(_)),
            "escaped" => matches!(value, Value::Str(text) if text.is_safe()),
            "filter" => value.as_str().is_some_and(|name| FILTERS.contains(&name)),
            "test" => value.as_str().is_some_and(|name| TESTS.contains(&name)),
            "mapping" => matches!(value, Value::Map(_)),
            "sequence" => matches!(value, Value::Str(_) | Value::List(_) | Value::Map(_) | Value::Undefined),
            "iterable" => {
                matches!(value, Value::Str(_) | Value::List(_) | Value::Map(_) | Value::Undefined | Value::Loop(_))
            }
            "number" => value.as_float().is_some(),
            "integer" => matches!(value, Value::Int(_)),
            "float" => matches!(value, Value::Float(_)),
            "boolean" => matches!(value, Value::Bool(_)),
            "true" => matches!(value, Value::Bool(true)),
            "false" => matches!(value, Value::Bool(false)),
            "callable" => match value {
                // What is not there can be called as far as Jinja knows, with an error.
                Value::Func(_) | Value::Method(_) | Value::Macro(..) | Value::Loop(_) | Value::Undefined => true,
                Value::Turns(turns) => turns.is_joiner(),
                _ => false,
            },
            "odd" | "even" => {
                let two = ops::binary(super::ast::Op::Rem, value.clone(), &Value::Int(2), &self.meter)?;
                two.equals(&Value::Int(i128::from(name == "odd")), &self.meter)?
            }
            "divisibleby" => {
                let by = given.need(0, "num", name)?.as_int().filter(|&n| n != 0);
                matches!((value.as_int(), by), (Some(v), Some(by)) if v.checked_rem(by) == Some(0))
            }
            "eq" | "equalto" | "==" => compare(Cmp::Eq)?,
            "ne" | "!=" => compare(Cmp::Ne)?,
            "lt" | "lessthan" | "<" => compare(Cmp::Lt)?,
            "le" | "<=" => compare(Cmp::Le)?,
            "gt" | "greaterthan" | ">" => compare(Cmp::Gt)?,
            "ge" | ">=" => compare(Cmp::Ge)?,
            "in" => compare(Cmp::In)?,
            "sameas" => {
                let other = given.need(0, "other", name)?;
                value.kind() == other.kind() && value.equals(other, &self.meter)?
            }
            "upper" | "lower" => {
                let text = format::to_text(value, &self.meter)?;
                self.meter.tick(text.as_str().len() / 64)?;
                let has = |is: fn(char) -> bool| text.as_str().chars().any(is);
                let (upper, lower) = (has(char::is_uppercase), has(char::is_lowercase));
                if name == "upper" { upper && !lower } else { lower && !upper }
            }
            _ => return Err(TextError::Unsupported { what: "chat template test", found: short(name) }),
        })
    }

    /// Runs statements into a string of their own.
    pub(super) fn capture(&mut self, body: &'t [super::ast::Stmt]) -> Result<Text> {
        let outer = std::mem::replace(&mut self.out, Text::new(&self.meter));
        self.captures += 1;
        let result = self.run(body);
        self.captures -= 1;
        let text = std::mem::replace(&mut self.out, outer);
        result.map(|_| text)
    }
}

impl Namespace {
    /// Sets a field; what could close a ring or hide a depth stays out.
    pub(super) fn set(&self, name: &str, value: Value) -> Result<()> {
        if matches!(value, Value::Namespace(_) | Value::Loop(_) | Value::Macro(..)) {
            return Err(runtime(format!("a {} cannot be put into a namespace", value.kind())));
        }
        let mut fields = self.fields.borrow_mut();
        match fields.iter_mut().find(|(k, _)| k == name) {
            Some((_, old)) => *old = value,
            None => fields.push((name.to_string(), value)),
        }
        Ok(())
    }
}
