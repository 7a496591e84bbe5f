//! Metadata values as they are stored.

use super::cursor::Cursor;
use super::value::{Array, StringArray, Value, ValueType};
use crate::Problem;
use crate::limits::MAX_STRING_BYTES;

/// Reads a value of a type.
pub(super) fn read_value(c: &mut Cursor<'_>, key: &str, kind: ValueType) -> Result<Value<'static>, Problem> {
    const WHAT: &str = "a metadata value";
    Ok(match kind {
        ValueType::U8 => Value::U8(u8::from_le_bytes(c.array(WHAT)?)),
        ValueType::I8 => Value::I8(i8::from_le_bytes(c.array(WHAT)?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(c.array(WHAT)?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(c.array(WHAT)?)),
        ValueType::U32 => Value::U32(u32::from_le_bytes(c.array(WHAT)?)),
        ValueType::I32 => Value::I32(i32::from_le_bytes(c.array(WHAT)?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(c.array(WHAT)?)),
        ValueType::U64 => Value::U64(u64::from_le_bytes(c.array(WHAT)?)),
        ValueType::I64 => Value::I64(i64::from_le_bytes(c.array(WHAT)?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(c.array(WHAT)?)),
        ValueType::Bool => {
            let offset = c.position();
            let [byte] = c.array(WHAT)?;
            Value::Bool(boolean(byte, key, offset)?)
        }
        ValueType::String => {
            let offset = c.position();
            let mut bytes = Vec::new();
            string(c, MAX_STRING_BYTES, &mut bytes)?;
            let text = String::from_utf8(bytes);
            text.map_err(|_| Problem::NotUtf8 { what: format!("the string of key '{key}'"), offset })?.into()
        }
        ValueType::Array => read_array(c, key)?.into(),
    })
}

/// Reads the type id before a value or before the elements of an array.
pub(super) fn read_type(c: &mut Cursor<'_>, key: &str) -> Result<ValueType, Problem> {
    let offset = c.position();
    let found = c.u32("a value type")?;
    ValueType::from_code(found).ok_or_else(|| Problem::UnknownValueType { key: key.to_owned(), found, offset })
}

/// Reads a length and appends that many bytes to `out`.
pub(super) fn string(c: &mut Cursor<'_>, limit: u64, out: &mut Vec<u8>) -> Result<(), Problem> {
    let offset = c.position();
    let found = c.u64("a string length")?;
    // What remains first: a truncated file is more likely than a hostile one, and the message differs.
    c.need("a string", found, 1)?;
    if found > limit {
        return Err(Problem::TooLong { what: "the string", offset, found, limit });
    }
    c.append("a string", found, out)
}

fn boolean(byte: u8, key: &str, offset: u64) -> Result<bool, Problem> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(Problem::BadBool { key: key.to_owned(), found, offset }),
    }
}

fn read_array(c: &mut Cursor<'_>, key: &str) -> Result<Array, Problem> {
    let offset = c.position();
    let kind = read_type(c, key)?;
    let n = c.u64("an array length")?;
    Ok(match kind {
        ValueType::U8 => Array::U8(numbers(c, n, u8::from_le_bytes)?),
        ValueType::I8 => Array::I8(numbers(c, n, i8::from_le_bytes)?),
        ValueType::U16 => Array::U16(numbers(c, n, u16::from_le_bytes)?),
        ValueType::I16 => Array::I16(numbers(c, n, i16::from_le_bytes)?),
        ValueType::U32 => Array::U32(numbers(c, n, u32::from_le_bytes)?),
        ValueType::I32 => Array::I32(numbers(c, n, i32::from_le_bytes)?),
        ValueType::F32 => Array::F32(numbers(c, n, f32::from_le_bytes)?),
        ValueType::U64 => Array::U64(numbers(c, n, u64::from_le_bytes)?),
        ValueType::I64 => Array::I64(numbers(c, n, i64::from_le_bytes)?),
        ValueType::F64 => Array::F64(numbers(c, n, f64::from_le_bytes)?),
        ValueType::Bool => {
            let begin = c.position();
            let bytes = numbers(c, n, u8::from_le_bytes)?;
            let bools = bytes.iter().zip(begin..).map(|(&byte, offset)| boolean(byte, key, offset));
            Array::Bool(bools.collect::<Result<_, _>>()?)
        }
        ValueType::String => Array::String(strings(c, n)?),
        ValueType::Array => return Err(Problem::NestedArray { key: key.to_owned(), offset }),
    })
}

fn numbers<T, const B: usize>(c: &mut Cursor<'_>, n: u64, from: fn([u8; B]) -> T) -> Result<Box<[T]>, Problem> {
    const WHAT: &str = "an array";
    let bytes = c.need(WHAT, n, B as u64)?;
    let none = || Problem::OutOfMemory { what: WHAT, bytes };
    let n = usize::try_from(n).map_err(|_| none())?;
    let mut out = Vec::new();
    out.try_reserve_exact(n).map_err(|_| none())?;
    let mut chunk = [[0u8; B]; 256];
    while out.len() < n {
        let take = (n - out.len()).min(chunk.len());
        let part = &mut chunk[..take];
        c.fill(WHAT, part.as_flattened_mut())?;
        out.extend(part.iter().map(|&b| from(b)));
    }
    Ok(out.into_boxed_slice())
}

fn strings(c: &mut Cursor<'_>, n: u64) -> Result<StringArray, Problem> {
    // Each string has at least its length field, so this bounds `n` by what is really in the file.
    let least = c.need("an array of strings", n, 8)?;
    let none = || Problem::OutOfMemory { what: "an array of strings", bytes: least };
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    ends.try_reserve_exact(usize::try_from(n).map_err(|_| none())?).map_err(|_| none())?;
    for _ in 0..n {
        string(c, MAX_STRING_BYTES, &mut bytes)?;
        // The cap on headers keeps the total below 4 GiB.
        ends.push(u32::try_from(bytes.len()).map_err(|_| none())?);
    }
    StringArray::join(bytes, &ends).ok_or_else(none)
}
