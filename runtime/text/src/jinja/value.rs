//! Values of the template language, as Python has them.

use std::cell::RefCell;
use std::rc::Rc;

use super::meter::Meter;
use super::text::Text;
use super::turns::Turns;
use crate::error::TextError;
use crate::limits::MAX_VALUE_DEPTH;

/// Memory charged per list item or half a map entry.
const ITEM_BYTES: usize = size_of::<Value>();

/// Memory charged per list or map besides its items.
const LIST_BYTES: usize = 128;

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Undefined,
    None,
    Bool(bool),
    /// Wide enough for every integer that JSON readers keep exact.
    Int(i128),
    Float(f64),
    Str(Rc<Text>),
    List(Rc<List>),
    Map(Rc<Map>),
    Namespace(Rc<Namespace>),
    Loop(Rc<Loop>),
    /// A `cycler` or `joiner`.
    Turns(Rc<Turns>),
    /// A built-in function, by name.
    Func(&'static str),
    /// A method that was named but not called.
    Method(&'static str),
    /// Index of a macro; the variables around it, where it stands in a block or is the body of a call block.
    Macro(usize, Option<Rc<Closure>>),
}

/// What a macro sees of the blocks around it. A closure may hold others: how deep is bounded, since they are dropped by
/// recursion.
#[derive(Debug)]
pub(crate) struct Closure {
    pub frames: Frames,
    depth: usize,
    bytes: usize,
    meter: Rc<Meter>,
}

impl Closure {
    pub(crate) fn new(meter: &Rc<Meter>, frames: Frames) -> Result<Rc<Self>, TextError> {
        let variables = frames.iter().flatten();
        let inner = variables.clone().map(|(_, v)| if let Value::Macro(_, Some(c)) = v { c.depth } else { 0 });
        let depth = 1 + inner.max().unwrap_or(0);
        if depth > MAX_VALUE_DEPTH {
            return Err(TextError::TemplateLimit { limit: "value depth", value: MAX_VALUE_DEPTH });
        }
        let bytes = LIST_BYTES + variables.map(|(name, _)| name.len() + 2 * ITEM_BYTES).sum::<usize>();
        meter.take(bytes)?;
        Ok(Rc::new(Self { frames, depth, bytes, meter: Rc::clone(meter) }))
    }
}

impl Drop for Closure {
    fn drop(&mut self) {
        self.meter.release(self.bytes);
    }
}

/// Variables by block, the outermost first.
pub(crate) type Frames = Vec<Vec<(String, Value)>>;

/// A list or tuple. Its nesting is known when it is made and bounded, so that whatever walks it may recurse.
#[derive(Debug)]
pub(crate) struct List {
    pub items: Vec<Value>,
    pub tuple: bool,
    depth: usize,
    meter: Rc<Meter>,
}

/// A dict, in order of insertion. Few have more than a dozen entries; a search through them costs steps.
#[derive(Debug)]
pub(crate) struct Map {
    pub entries: Vec<(Value, Value)>,
    depth: usize,
    meter: Rc<Meter>,
}

/// `namespace(...)`: the only thing a template can change. It cannot be put into lists or maps, so that it cannot close a
/// ring or hide a depth.
#[derive(Debug, Default)]
pub(crate) struct Namespace {
    pub fields: RefCell<Vec<(String, Value)>>,
}

/// The `loop` variable.
#[derive(Debug)]
pub(crate) struct Loop {
    pub items: Rc<List>,
    pub index: usize,
    pub depth: usize,
    /// Which of the loops that may run again this is.
    pub again: Option<usize>,
    pub last_changed: RefCell<Option<Value>>,
}

impl Drop for List {
    fn drop(&mut self) {
        self.meter.release(LIST_BYTES + self.items.len() * ITEM_BYTES);
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        self.meter.release(LIST_BYTES + self.entries.len() * 2 * ITEM_BYTES);
    }
}

fn deeper<'a>(values: impl Iterator<Item = &'a Value>) -> Result<usize, TextError> {
    let mut depth = 0;
    for value in values {
        depth = depth.max(match value {
            Value::List(list) => list.depth,
            Value::Map(map) => map.depth,
            Value::Namespace(_) | Value::Loop(_) | Value::Turns(_) | Value::Macro(_, Some(_)) => {
                return Err(runtime("a namespace, loop, cycler or caller cannot be put into a list or map"));
            }
            _ => 0,
        });
    }
    if depth >= MAX_VALUE_DEPTH {
        return Err(TextError::TemplateLimit { limit: "value depth", value: MAX_VALUE_DEPTH });
    }
    Ok(depth + 1)
}

/// An error whose line the statement around it fills in.
pub(crate) fn runtime(message: impl Into<String>) -> TextError {
    TextError::TemplateRuntime { line: 0, message: message.into() }
}

impl Value {
    /// Refuses a list of so many items before anything is allocated for it.
    pub(crate) fn room_for(meter: &Meter, items: usize) -> Result<(), TextError> {
        meter.tick(items)?;
        let bytes = items.saturating_mul(ITEM_BYTES);
        meter.take(bytes)?;
        meter.release(bytes);
        Ok(())
    }

    /// A list.
    pub(crate) fn list(meter: &Rc<Meter>, items: Vec<Value>) -> Result<Value, TextError> {
        Self::sequence(meter, items, false)
    }

    /// A list or tuple.
    pub(crate) fn sequence(meter: &Rc<Meter>, items: Vec<Value>, tuple: bool) -> Result<Value, TextError> {
        let depth = deeper(items.iter())?;
        meter.take(LIST_BYTES + items.len() * ITEM_BYTES)?;
        meter.tick(items.len() / 8)?;
        Ok(Value::List(Rc::new(List { items, tuple, depth, meter: Rc::clone(meter) })))
    }

    /// A map.
    pub(crate) fn map(meter: &Rc<Meter>, entries: Vec<(Value, Value)>) -> Result<Value, TextError> {
        let depth = deeper(entries.iter().map(|(_, v)| v))?;
        meter.take(LIST_BYTES + entries.len() * 2 * ITEM_BYTES)?;
        meter.tick(entries.len() / 8)?;
        Ok(Value::Map(Rc::new(Map { entries, depth, meter: Rc::clone(meter) })))
    }

    /// A string.
    pub(crate) fn text(text: Text) -> Value {
        Value::Str(Rc::new(text))
    }

    /// A string that the template wrote.
    pub(crate) fn str(meter: &Rc<Meter>, text: &str) -> Result<Value, TextError> {
        Text::copy(meter, text, false).map(Value::text)
    }

    /// From JSON. All strings in it count as a user's; `depth` is the levels it may have.
    pub(crate) fn from_json(meter: &Rc<Meter>, json: &serde_json::Value, depth: usize) -> Result<Value, TextError> {
        use serde_json::Value as Json;
        let Some(below) = depth.checked_sub(1) else {
            return Err(TextError::TemplateLimit { limit: "value depth", value: MAX_VALUE_DEPTH });
        };
        Ok(match json {
            Json::Null => Value::None,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Value::Int(i128::from(value)),
                (_, Some(value)) => Value::Int(i128::from(value)),
                _ => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::text(Text::copy(meter, text, true)?),
            Json::Array(items) => {
                let items: Result<Vec<Value>, TextError> =
                    items.iter().map(|i| Self::from_json(meter, i, below)).collect();
                Value::list(meter, items?)?
            }
            Json::Object(entries) => {
                let entries: Result<Vec<_>, TextError> = entries
                    .iter()
                    .map(|(k, v)| Ok((Value::text(Text::copy(meter, k, true)?), Self::from_json(meter, v, below)?)))
                    .collect();
                Value::map(meter, entries?)?
            }
        })
    }

    /// Python's truth.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Value::Undefined | Value::None => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Str(text) => !text.as_str().is_empty(),
            Value::List(list) => !list.items.is_empty(),
            Value::Map(map) => !map.entries.is_empty(),
            Value::Namespace(_)
            | Value::Loop(_)
            | Value::Turns(_)
            | Value::Func(_)
            | Value::Method(_)
            | Value::Macro(..) => true,
        }
    }

    /// The type's name, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Value::Undefined => "undefined",
            Value::None => "none",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "string",
            Value::List(_) => "list",
            Value::Map(_) => "dict",
            Value::Namespace(_) => "namespace",
            Value::Loop(_) => "loop",
            Value::Turns(turns) => turns.kind(),
            Value::Func(_) | Value::Method(_) => "function",
            Value::Macro(..) => "macro",
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        if let Value::Str(text) = self { Some(text.as_str()) } else { None }
    }

    /// An integer; booleans count, as in Python.
    pub(crate) fn as_int(&self) -> Option<i128> {
        match self {
            Value::Int(value) => Some(*value),
            Value::Bool(value) => Some(i128::from(*value)),
            _ => None,
        }
    }

    /// A number.
    pub(crate) fn as_float(&self) -> Option<f64> {
        match self {
            Value::Float(value) => Some(*value),
            _ => self.as_int().map(|v| v as f64),
        }
    }

    /// Python's `==`.
    pub(crate) fn equals(&self, other: &Value, meter: &Meter) -> Result<bool, TextError> {
        meter.tick(1)?;
        Ok(match (self, other) {
            (Value::Undefined, Value::Undefined) | (Value::None, Value::None) => true,
            (Value::Str(a), Value::Str(b)) => a.as_str() == b.as_str(),
            (Value::List(a), Value::List(b)) => {
                if a.items.len() != b.items.len() || a.tuple != b.tuple {
                    return Ok(false);
                }
                for (a, b) in a.items.iter().zip(&b.items) {
                    if !a.equals(b, meter)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Map(a), Value::Map(b)) => {
                if a.entries.len() != b.entries.len() {
                    return Ok(false);
                }
                for (key, value) in &a.entries {
                    match b.get(key)? {
                        Some(other) if value.equals(other, meter)? => {}
                        _ => return Ok(false),
                    }
                }
                true
            }
            (Value::Namespace(a), Value::Namespace(b)) => Rc::ptr_eq(a, b),
            (Value::Loop(a), Value::Loop(b)) => Rc::ptr_eq(a, b),
            (Value::Turns(a), Value::Turns(b)) => Rc::ptr_eq(a, b),
            (Value::Func(a), Value::Func(b)) | (Value::Method(a), Value::Method(b)) => a == b,
            (Value::Macro(a, _), Value::Macro(b, _)) => a == b,
            _ => match (self.as_int(), other.as_int()) {
                (Some(a), Some(b)) => a == b,
                _ => matches!((self.as_float(), other.as_float()), (Some(a), Some(b)) if a == b),
            },
        })
    }

    /// Python's order, of numbers, strings and lists.
    pub(crate) fn compare(&self, other: &Value, meter: &Meter) -> Result<std::cmp::Ordering, TextError> {
        use std::cmp::Ordering;
        meter.tick(1)?;
        match (self, other) {
            (Value::Str(a), Value::Str(b)) => return Ok(a.as_str().cmp(b.as_str())),
            (Value::List(a), Value::List(b)) => {
                for (a, b) in a.items.iter().zip(&b.items) {
                    match a.compare(b, meter)? {
                        Ordering::Equal => {}
                        other => return Ok(other),
                    }
                }
                return Ok(a.items.len().cmp(&b.items.len()));
            }
            _ => {}
        }
        if let (Some(a), Some(b)) = (self.as_int(), other.as_int()) {
            return Ok(a.cmp(&b));
        }
        let floats = self.as_float().zip(other.as_float()).and_then(|(a, b)| a.partial_cmp(&b));
        floats.ok_or_else(|| runtime(format!("{} and {} have no order", self.kind(), other.kind())))
    }
}

impl Map {
    /// The value of a key.
    pub(crate) fn get(&self, key: &Value) -> Result<Option<&Value>, TextError> {
        self.meter.tick(1 + self.entries.len() / 16)?;
        if let Some(text) = key.as_str() {
            return Ok(self.get_str(text));
        }
        for (k, v) in &self.entries {
            if k.equals(key, &self.meter)? {
                return Ok(Some(v));
            }
        }
        Ok(None)
    }

    /// The value of a string key.
    pub(crate) fn get_str(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|(k, _)| k.as_str() == Some(key)).map(|(_, v)| v)
    }
}
