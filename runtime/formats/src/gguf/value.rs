//! Metadata values and how they are stored.

use super::cursor::Cursor;
use crate::Problem;
use crate::limits::MAX_STRING_BYTES;
use std::fmt;

macro_rules! value_types {
    ($( $name:ident = $code:literal, $text:literal; )*) => {
        /// The type ids of the specification.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)] // The names say it.
        pub enum ValueType { $( $name = $code, )* }

        impl ValueType {
            /// The type with this id.
            pub const fn from_code(code: u32) -> Option<Self> {
                match code { $( $code => Some(Self::$name), )* _ => None }
            }

            /// Its name, for example `u32`.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$name => $text, )* }
            }
        }
    };
}

value_types! {
    U8 = 0, "u8";
    I8 = 1, "i8";
    U16 = 2, "u16";
    I16 = 3, "i16";
    U32 = 4, "u32";
    I32 = 5, "i32";
    F32 = 6, "f32";
    Bool = 7, "bool";
    String = 8, "string";
    Array = 9, "array";
    U64 = 10, "u64";
    I64 = 11, "i64";
    F64 = 12, "f64";
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // The names say it.
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array value: one allocation whatever its length (two for strings).
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // The names say it.
pub enum Array {
    U8(Box<[u8]>),
    I8(Box<[i8]>),
    U16(Box<[u16]>),
    I16(Box<[i16]>),
    U32(Box<[u32]>),
    I32(Box<[i32]>),
    F32(Box<[f32]>),
    Bool(Box<[bool]>),
    String(StringArray),
    U64(Box<[u64]>),
    I64(Box<[i64]>),
    F64(Box<[f64]>),
}

/// Strings in one buffer: a vocabulary of 128 thousand tokens takes two allocations.
///
/// The elements are bytes: some converters wrote vocabularies with tokens that are parts of UTF-8
/// sequences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StringArray {
    bytes: Box<[u8]>,
    /// Where each string ends; it begins where the one before ends.
    ends: Box<[u32]>,
}

impl StringArray {
    /// Collects strings. `None` where together they exceed 4 GiB.
    pub fn new<S: AsRef<[u8]>>(strings: impl IntoIterator<Item = S>) -> Option<Self> {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for s in strings {
            bytes.extend_from_slice(s.as_ref());
            ends.push(u32::try_from(bytes.len()).ok()?);
        }
        Some(Self { bytes: bytes.into(), ends: ends.into() })
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of string `i`.
    pub fn get(&self, i: usize) -> Option<&[u8]> {
        let end = *self.ends.get(i)? as usize;
        let begin = i.checked_sub(1).and_then(|p| self.ends.get(p)).map_or(0, |&e| e as usize);
        self.bytes.get(begin..end)
    }

    /// String `i`, where it is UTF-8.
    pub fn get_str(&self, i: usize) -> Option<&str> {
        self.get(i).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// All strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + '_ {
        (0..self.len()).map(|i| self.get(i).unwrap_or_default())
    }
}

impl Value {
    /// Its type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// Its type in words, for example `array of i32`.
    pub fn describe(&self) -> String {
        match self {
            Self::Array(a) => format!("array of {}", a.element_type()),
            other => other.value_type().name().to_owned(),
        }
    }

    /// The number, where this is an integer of any width.
    pub fn as_integer(&self) -> Option<i128> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::I8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::I16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::I32(v) => Some(v.into()),
            Self::U64(v) => Some(v.into()),
            Self::I64(v) => Some(v.into()),
            _ => None,
        }
    }
}

/// Applies one expression to the slice in whichever variant, strings apart.
macro_rules! with_elements {
    ($array:expr, $v:ident => $each:expr, $s:ident => $strings:expr) => {
        match $array {
            Array::U8($v) => $each,
            Array::I8($v) => $each,
            Array::U16($v) => $each,
            Array::I16($v) => $each,
            Array::U32($v) => $each,
            Array::I32($v) => $each,
            Array::F32($v) => $each,
            Array::Bool($v) => $each,
            Array::U64($v) => $each,
            Array::I64($v) => $each,
            Array::F64($v) => $each,
            Array::String($s) => $strings,
        }
    };
}

impl Array {
    /// The type of its elements.
    pub fn element_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        with_elements!(self, v => v.len(), s => s.len())
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element `i` as an integer, where the elements are integers of any width.
    pub fn integer(&self, i: usize) -> Option<i128> {
        match self {
            Self::U8(v) => v.get(i).map(|&x| x.into()),
            Self::I8(v) => v.get(i).map(|&x| x.into()),
            Self::U16(v) => v.get(i).map(|&x| x.into()),
            Self::I16(v) => v.get(i).map(|&x| x.into()),
            Self::U32(v) => v.get(i).map(|&x| x.into()),
            Self::I32(v) => v.get(i).map(|&x| x.into()),
            Self::U64(v) => v.get(i).map(|&x| x.into()),
            Self::I64(v) => v.get(i).map(|&x| x.into()),
            _ => None,
        }
    }
}

/// Reads a value of a type.
pub(super) fn read(c: &mut Cursor<'_>, key: &str, kind: ValueType) -> Result<Value, Problem> {
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
            Value::String(text.map_err(|_| Problem::NotUtf8 { what: format!("the string of key '{key}'"), offset })?)
        }
        ValueType::Array => Value::Array(read_array(c, key)?),
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
    Ok(StringArray { bytes: bytes.into(), ends: ends.into() })
}
