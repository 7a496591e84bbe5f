//! Metadata values in memory.

use std::borrow::Cow;
use std::fmt;

macro_rules! value_types {
    ($( $name:ident = $code:literal, $text:literal; )*) => {
        /// The type ids of the specification.
        #[repr(u8)]
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

/// A metadata value. Readers lend strings and arrays, writers take either form.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // The names say it.
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(Cow<'a, str>),
    Array(Cow<'a, Array>),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl From<Array> for Value<'_> {
    fn from(array: Array) -> Self {
        Self::Array(Cow::Owned(array))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(text.into())
    }
}

/// An array value: one allocation whatever its length.
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

/// Strings in one allocation, whatever their number. An array of them is no larger than one of numbers, which a header of
/// nothing but empty arrays would show.
///
/// The elements are bytes: some converters wrote vocabularies with tokens that are parts of UTF-8
/// sequences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StringArray {
    /// The strings, one after the other, and behind them little-endian words: where each string ends, and last their
    /// number. Nothing at all for no strings.
    bytes: Box<[u8]>,
}

/// Bytes of a word behind the strings.
const WORD: usize = size_of::<u32>();

impl StringArray {
    /// Collects strings. `None` where together they exceed 4 GiB.
    pub fn new<S: AsRef<[u8]>>(strings: impl IntoIterator<Item = S>) -> Option<Self> {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for s in strings {
            bytes.extend_from_slice(s.as_ref());
            ends.push(u32::try_from(bytes.len()).ok()?);
        }
        Self::join(bytes, &ends)
    }

    /// Takes strings that lie one after the other and where each ends. `None` where there is no room for both.
    pub(super) fn join(mut bytes: Vec<u8>, ends: &[u32]) -> Option<Self> {
        if !ends.is_empty() {
            let count = u32::try_from(ends.len()).ok()?;
            bytes.try_reserve_exact((ends.len() + 1) * WORD).ok()?;
            bytes.extend(ends.iter().chain([&count]).flat_map(|n| n.to_le_bytes()));
        }
        Some(Self { bytes: bytes.into() })
    }

    /// The word at this place from the end; the last one is 1.
    fn word(&self, place: usize) -> Option<usize> {
        let from = self.bytes.len().checked_sub(place.checked_mul(WORD)?)?;
        let word = self.bytes.get(from..)?.first_chunk()?;
        Some(u32::from_le_bytes(*word) as usize)
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.word(1).unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes of string `i`.
    pub fn get(&self, i: usize) -> Option<&[u8]> {
        let after = self.len().checked_sub(i).filter(|&n| n > 0)?;
        let begin = if i == 0 { 0 } else { self.word(after + 2)? };
        self.bytes.get(begin..self.word(after + 1)?)
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

impl Value<'_> {
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

    /// The value for a message: short, on one line.
    pub fn brief(&self) -> String {
        match self {
            Self::F32(v) => v.to_string(),
            Self::F64(v) => v.to_string(),
            Self::Bool(v) => v.to_string(),
            Self::String(v) if v.chars().count() > 40 => format!("{:?}...", v.chars().take(40).collect::<String>()),
            Self::String(v) => format!("{v:?}"),
            Self::Array(v) => format!("{} of {} elements", self.describe(), v.len()),
            other => other.as_integer().map_or_else(|| other.describe(), |n| n.to_string()),
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
        match self {
            Self::U8(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::I16(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::Bool(v) => v.len(),
            Self::String(v) => v.len(),
            Self::U64(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::F64(v) => v.len(),
        }
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
