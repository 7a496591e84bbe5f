//! Operators, indexing and slicing.

use std::ops::Range;
use std::rc::Rc;

use super::ast::{Cmp, Op};
use super::format;
use super::meter::Meter;
use super::text::Text;
use super::value::{Value, runtime};
use crate::error::TextError;

type Result<T> = std::result::Result<T, TextError>;

/// `left ~ right` where what is written is escaped: marked as soon as one side is.
pub(crate) fn concat_escaped(left: Value, right: &Value, meter: &Rc<Meter>) -> Result<Value> {
    let marked = |value: &Value| matches!(value, Value::Str(text) if text.is_safe());
    if !marked(&left) && !marked(right) {
        return join(left, right, meter);
    }
    let mut out = format::to_text(&left, meter)?.escaped()?;
    out.push_text(&format::to_text(right, meter)?.escaped()?)?;
    Ok(Value::text(out))
}

/// `left op right`.
pub(crate) fn binary(op: Op, left: Value, right: &Value, meter: &Rc<Meter>) -> Result<Value> {
    if op == Op::Add {
        match (&left, right) {
            (Value::Str(a), Value::Str(b)) if a.is_safe() || b.is_safe() => {
                let mut out = a.escaped()?;
                out.push_text(&b.escaped()?)?;
                return Ok(Value::text(out));
            }
            (Value::Str(_), Value::Str(_)) => return join(left, right, meter),
            _ => {}
        }
    }
    if op == Op::Concat {
        return join(left, right, meter);
    }
    let left = &left;
    match (op, left, right) {
        (Op::Add, Value::List(a), Value::List(b)) => {
            Value::room_for(meter, a.items.len() + b.items.len())?;
            let items = a.items.iter().chain(&b.items).cloned().collect();
            return Value::sequence(meter, items, a.tuple);
        }
        (Op::Mul, Value::Str(text), times) | (Op::Mul, times, Value::Str(text)) if times.as_int().is_some() => {
            let mut out = Text::new(meter);
            for _ in 0..times.as_int().unwrap_or(0).max(0) {
                meter.tick(1)?;
                out.push_text(text)?;
            }
            return Ok(Value::text(out.marked(text.is_safe())));
        }
        (Op::Mul, Value::List(list), times) | (Op::Mul, times, Value::List(list)) if times.as_int().is_some() => {
            let times = usize::try_from(times.as_int().unwrap_or(0).max(0)).unwrap_or(usize::MAX);
            Value::room_for(meter, times.saturating_mul(list.items.len().max(1)))?;
            let mut items = Vec::new();
            for _ in 0..times {
                items.extend(list.items.iter().cloned());
            }
            return Value::sequence(meter, items, list.tuple);
        }
        (Op::Rem, Value::Str(pattern), _) => return super::text_ops::percent(pattern, right).map(Value::text),
        _ => {}
    }
    if let (Some(a), Some(b)) = (left.as_int(), right.as_int())
        && let Some(result) = integers(op, a, b)?
    {
        return Ok(Value::Int(result));
    }
    match (left.as_float(), right.as_float()) {
        (Some(a), Some(b)) => floats(op, a, b),
        _ => Err(runtime(format!("operator {op:?} does not take {} and {}", left.kind(), right.kind()))),
    }
}

/// Both as text. A left side that nobody else holds grows in place, so that a chain of joins copies its beginning once.
fn join(left: Value, right: &Value, meter: &Rc<Meter>) -> Result<Value> {
    let mut out = match left {
        Value::Str(text) => match Rc::try_unwrap(text) {
            Ok(own) => own.marked(false),
            Err(shared) => shared.part(0..shared.as_str().len())?.marked(false),
        },
        other => {
            let mut out = Text::new(meter);
            format::display(&other, &mut out)?;
            out
        }
    };
    format::display(right, &mut out)?;
    Ok(Value::text(out))
}

fn integers(op: Op, a: i128, b: i128) -> Result<Option<i128>> {
    let overflow = || runtime("integer out of range");
    let zero = || runtime("division by zero");
    Ok(Some(match op {
        Op::Add => a.checked_add(b).ok_or_else(overflow)?,
        Op::Sub => a.checked_sub(b).ok_or_else(overflow)?,
        Op::Mul => a.checked_mul(b).ok_or_else(overflow)?,
        // Python rounds down and gives the remainder the divisor's sign.
        Op::FloorDiv => {
            let quotient = a.checked_div(b).ok_or_else(zero)?;
            if a % b != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient }
        }
        Op::Rem => {
            let rest = a.checked_rem(b).ok_or_else(zero)?;
            if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }
        }
        Op::Pow if b >= 0 => a.checked_pow(u32::try_from(b).map_err(|_| overflow())?).ok_or_else(overflow)?,
        Op::Pow | Op::Div | Op::Concat => return Ok(None),
    }))
}

fn floats(op: Op, a: f64, b: f64) -> Result<Value> {
    if b == 0.0 && matches!(op, Op::Div | Op::FloorDiv | Op::Rem) {
        return Err(runtime("division by zero"));
    }
    Ok(Value::Float(match op {
        Op::Add => a + b,
        Op::Sub => a - b,
        Op::Mul => a * b,
        Op::Div => a / b,
        Op::FloorDiv => floor_division(a, b).0,
        Op::Rem => floor_division(a, b).1,
        Op::Pow => a.powf(b),
        Op::Concat => return Err(runtime("operator ~ takes text")),
    }))
}

/// Quotient rounded down and remainder with the divisor's sign, both out of the exact remainder, as Python has them.
fn floor_division(a: f64, b: f64) -> (f64, f64) {
    let mut rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest == 0.0 {
        rest = 0f64.copysign(b);
    } else if (b < 0.0) != (rest < 0.0) {
        rest += b;
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return (0f64.copysign(a / b), rest);
    }
    let whole = quotient.floor();
    (if quotient - whole > 0.5 { whole + 1.0 } else { whole }, rest)
}

/// `left cmp right`.
pub(crate) fn compare(cmp: Cmp, left: &Value, right: &Value, meter: &Meter) -> Result<bool> {
    Ok(match cmp {
        Cmp::Eq => left.equals(right, meter)?,
        Cmp::Ne => !left.equals(right, meter)?,
        Cmp::Lt => left.compare(right, meter)?.is_lt(),
        Cmp::Le => left.compare(right, meter)?.is_le(),
        Cmp::Gt => left.compare(right, meter)?.is_gt(),
        Cmp::Ge => left.compare(right, meter)?.is_ge(),
        Cmp::In => contains(right, left, meter)?,
        Cmp::NotIn => !contains(right, left, meter)?,
    })
}

/// `value in container`.
pub(crate) fn contains(container: &Value, value: &Value, meter: &Meter) -> Result<bool> {
    match container {
        Value::Undefined => Ok(false),
        Value::Str(text) => {
            let Some(part) = value.as_str() else {
                return Err(runtime(format!("only strings can be in a string, not {}", value.kind())));
            };
            meter.tick(text.as_str().len() / 64)?;
            Ok(text.as_str().contains(part))
        }
        Value::List(list) => {
            for item in &list.items {
                if item.equals(value, meter)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Map(map) => Ok(map.get(value)?.is_some()),
        _ => Err(runtime(format!("nothing can be in a {}", container.kind()))),
    }
}

/// `of[index]`; what is not there is undefined.
pub(crate) fn item(of: &Value, index: &Value) -> Result<Value> {
    match (of, index) {
        (Value::Map(map), _) => Ok(map.get(index)?.cloned().unwrap_or(Value::Undefined)),
        (Value::List(list), _) if index.as_int().is_some() => {
            let at = place(index.as_int().unwrap_or(0), list.items.len());
            Ok(at.and_then(|at| list.items.get(at)).cloned().unwrap_or(Value::Undefined))
        }
        (Value::Str(text), _) if index.as_int().is_some() => {
            let s = text.as_str();
            text.meter().tick(s.len() / 64)?;
            let found = match index.as_int().unwrap_or(0) {
                // The last character, which templates ask for, is found from the end.
                n if n < 0 => usize::try_from(-(n + 1)).ok().and_then(|n| s.char_indices().nth_back(n)),
                n => usize::try_from(n).ok().and_then(|n| s.char_indices().nth(n)),
            };
            match found {
                Some((at, c)) => text.part(at..at + c.len_utf8()).map(Value::text),
                None => Ok(Value::Undefined),
            }
        }
        (Value::Undefined, _) => Err(runtime("an undefined value has no items")),
        (Value::Namespace(fields), Value::Str(name)) => {
            let fields = fields.fields.borrow();
            Ok(fields.iter().find(|(k, _)| k == name.as_str()).map_or(Value::Undefined, |(_, v)| v.clone()))
        }
        _ => Ok(Value::Undefined),
    }
}

fn place(index: i128, len: usize) -> Option<usize> {
    let index = if index < 0 { index.checked_add(len as i128)? } else { index };
    usize::try_from(index).ok()
}

/// `of[start:stop:step]`.
pub(crate) fn slice(of: &Value, bounds: [&Value; 3], meter: &Rc<Meter>) -> Result<Value> {
    let mut numbers = [None; 3];
    for (number, bound) in numbers.iter_mut().zip(bounds) {
        *number = match bound {
            Value::None => None,
            _ => match bound.as_int() {
                Some(number) => Some(number),
                None if matches!(of, Value::Undefined) => None,
                None => return Ok(Value::Undefined),
            },
        };
    }
    match of {
        Value::List(list) => {
            let places = places(numbers, list.items.len(), meter)?;
            Value::sequence(meter, places.into_iter().map(|at| list.items[at].clone()).collect(), list.tuple)
        }
        Value::Str(text) => {
            let s = text.as_str();
            meter.tick(s.len() / 16)?;
            let _held = meter.hold(s.len().saturating_mul(size_of::<Range<usize>>() + size_of::<usize>()))?;
            let chars: Vec<Range<usize>> = s.char_indices().map(|(at, c)| at..at + c.len_utf8()).collect();
            let places = places(numbers, chars.len(), meter)?;
            let mut out = Text::new(meter);
            if let (Some(&first), Some(&last), None | Some(1)) = (places.first(), places.last(), numbers[2]) {
                out.push_part(text, chars[first].start..chars[last].end)?;
            } else {
                for at in places {
                    out.push_part(text, chars[at].clone())?;
                }
            }
            Ok(Value::text(out.marked(text.is_safe())))
        }
        Value::Undefined => Err(runtime("an undefined value has no slices")),
        // Jinja takes what cannot be indexed for what is not there.
        _ => Ok(Value::Undefined),
    }
}

/// The places that a slice takes, by Python's rules.
fn places([start, stop, step]: [Option<i128>; 3], len: usize, meter: &Meter) -> Result<Vec<usize>> {
    meter.tick(1 + len / 8)?;
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(runtime("a slice cannot have step 0"));
    }
    let n = len as i128;
    let (lowest, highest) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let clamp = |at: i128| if at < 0 { at.saturating_add(n).max(lowest) } else { at.min(highest) };
    let start = start.map_or(if step > 0 { lowest } else { highest }, clamp);
    let stop = stop.map_or(if step > 0 { highest } else { lowest }, clamp);
    let mut out = Vec::new();
    let mut at = start;
    while (step > 0 && at < stop) || (step < 0 && at > stop) {
        out.extend(usize::try_from(at).ok());
        at = at.saturating_add(step);
    }
    Ok(out)
}
