//! The keys of a GGUF file, and typed access to them.

use super::entries::Entries;
use super::value::{Array, StringArray, Value};
use crate::names::NameIndex;
use crate::{FormatError, Problem};
use std::borrow::Cow;

/// Keys and values in the order of the file.
///
/// Every getter comes in two forms: `x(key)` gives `None` where the key is absent, `require_x(key)`
/// an error. A key of another type is always an error, never reinterpreted. One thing is lenient
/// because writers differ in it: an integer getter accepts an integer of any width and sign whose
/// value fits (booleans and floats are not integers).
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    file: String,
    entries: Entries,
    index: NameIndex,
}

macro_rules! required {
    ($( $(#[$doc:meta])* $require:ident = $get:ident -> $type:ty, $expected:literal; )*) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// [`Problem::MissingKey`], or as the form without `require`.
            pub fn $require(&self, key: &str) -> Result<$type, FormatError> {
                self.$get(key)?.ok_or_else(|| self.error(Problem::MissingKey { key: key.to_owned(), expected: $expected }))
            }
        )*
    };
}

macro_rules! integers {
    ($( $get:ident, $array:ident, $variant:ident, $text:literal, $array_text:literal; )*) => {
        $(
            #[doc = concat!("An integer that fits `", $text, "`.")]
            ///
            /// # Errors
            /// [`Problem::WrongType`] where the value is no integer, [`Problem::OutOfRange`] where it does not fit.
            pub fn $get(&self, key: &str) -> Result<Option<$get>, FormatError> {
                let Some(value) = self.get(key) else { return Ok(None) };
                let number = value.as_integer().ok_or_else(|| self.wrong(key, &value, $text))?;
                $get::try_from(number).map(Some).map_err(|_| self.out_of_range(key, number, $text))
            }

            #[doc = concat!("An array of integers that each fit `", $text, "`; borrowed where the file has that very type.")]
            ///
            /// # Errors
            /// [`Problem::WrongType`] where the value is no array of integers, [`Problem::OutOfRange`] where an
            /// element does not fit.
            pub fn $array(&self, key: &str) -> Result<Option<Cow<'_, [$get]>>, FormatError> {
                let array = match self.get(key) {
                    None => return Ok(None),
                    Some(Value::Array(Cow::Borrowed(Array::$variant(v)))) => return Ok(Some(Cow::Borrowed(v))),
                    Some(Value::Array(Cow::Borrowed(array))) => array,
                    Some(other) => return Err(self.wrong(key, &other, $array_text)),
                };
                let numbers = (0..array.len()).map(|i| {
                    let number = array.integer(i).ok_or_else(|| self.wrong_array(key, array, $array_text))?;
                    $get::try_from(number).map_err(|_| self.out_of_range(key, number, $text))
                });
                numbers.collect::<Result<Vec<_>, _>>().map(|v| Some(Cow::Owned(v)))
            }
        )*
    };
}

// What is stored is lent, so patterns of strings and arrays need no owned form.
macro_rules! exact {
    ($( $(#[$doc:meta])* $get:ident -> $type:ty, $pattern:pat => $result:expr, $text:literal; )*) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// [`Problem::WrongType`] where the value is anything else.
            pub fn $get(&self, key: &str) -> Result<Option<$type>, FormatError> {
                match self.get(key) {
                    None => Ok(None),
                    Some($pattern) => Ok(Some($result)),
                    Some(other) => Err(self.wrong(key, &other, $text)),
                }
            }
        )*
    };
}

impl Metadata {
    /// Takes keys and values. `file` is the name for error messages.
    ///
    /// # Errors
    /// [`Problem::Duplicate`] for a key that occurs twice, [`Problem::TooLong`] for one that no file can have.
    pub fn new<'v, K: AsRef<str>>(
        file: impl Into<String>,
        entries: impl IntoIterator<Item = (K, Value<'v>)>,
    ) -> Result<Self, FormatError> {
        let file = file.into();
        let mut list = Entries::default();
        for (key, value) in entries {
            list.push(key.as_ref(), value).map_err(|problem| FormatError::new(file.as_str(), problem))?;
        }
        Self::of(file, list)
    }

    pub(super) fn of(file: impl Into<String>, mut entries: Entries) -> Result<Self, FormatError> {
        let file = file.into();
        entries.shrink();
        let index = entries.index().map_err(|problem| FormatError::new(file.as_str(), problem))?;
        Ok(Self { file, entries, index })
    }

    /// The same without some keys.
    pub(super) fn without(self, keys: &[&str]) -> Result<Self, FormatError> {
        let Self { file, entries, .. } = self;
        match entries.retain(|key| !keys.contains(&key)) {
            Ok(entries) => Self::of(file, entries),
            Err(problem) => Err(FormatError::new(file, problem)),
        }
    }

    /// All keys and values in the order of the file.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&str, Value<'_>)> + Clone {
        self.entries.iter()
    }

    /// The name of the file, for error messages about its keys.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The value of a key, whatever its type; a string or an array is lent.
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        self.entries.find(&self.index, key).and_then(|i| self.entries.get(i)).map(|(_, value)| value)
    }

    /// Whether the key is there.
    pub fn contains(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    integers! {
        u8, array_u8, U8, "u8", "array of u8";
        u32, array_u32, U32, "u32", "array of u32";
        i32, array_i32, I32, "i32", "array of i32";
        u64, array_u64, U64, "u64", "array of u64";
        i64, array_i64, I64, "i64", "array of i64";
    }

    exact! {
        /// A single-precision number.
        f32 -> f32, Value::F32(v) => v, "f32";
        /// A boolean.
        bool -> bool, Value::Bool(v) => v, "bool";
        /// A string.
        str -> &str, Value::String(Cow::Borrowed(v)) => v, "string";
        /// Any array.
        array -> &Array, Value::Array(Cow::Borrowed(v)) => v, "array";
        /// An array of strings.
        array_str -> &StringArray, Value::Array(Cow::Borrowed(Array::String(v))) => v, "array of string";
        /// An array of single-precision numbers.
        array_f32 -> &[f32], Value::Array(Cow::Borrowed(Array::F32(v))) => v, "array of f32";
        /// An array of booleans.
        array_bool -> &[bool], Value::Array(Cow::Borrowed(Array::Bool(v))) => v, "array of bool";
    }

    /// A double-precision number; a single-precision one converts exactly.
    ///
    /// # Errors
    /// [`Problem::WrongType`] where the value is anything else.
    pub fn f64(&self, key: &str) -> Result<Option<f64>, FormatError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::F32(v)) => Ok(Some(f64::from(v))),
            Some(Value::F64(v)) => Ok(Some(v)),
            Some(other) => Err(self.wrong(key, &other, "f64")),
        }
    }

    /// A hyper-parameter that is either one number for all layers or an array with one per layer.
    ///
    /// # Errors
    /// [`Problem::ArrayLength`] for an array of another length than `layers`; else as [`Metadata::u32`].
    pub fn u32_per_layer(&self, key: &str, layers: usize) -> Result<Option<Vec<u32>>, FormatError> {
        if let Some(Value::Array(_)) = self.get(key) {
            let Some(array) = self.array_u32(key)? else { return Ok(None) };
            if array.len() != layers {
                let (expected, found) = (layers as u64, array.len() as u64);
                return Err(self.error(Problem::ArrayLength { key: key.to_owned(), expected, found }));
            }
            return Ok(Some(array.into_owned()));
        }
        Ok(self.u32(key)?.map(|v| vec![v; layers]))
    }

    required! {
        /// An integer that fits `u8`, which must be there.
        require_u8 = u8 -> u8, "u8";
        /// An integer that fits `u32`, which must be there.
        require_u32 = u32 -> u32, "u32";
        /// An integer that fits `i32`, which must be there.
        require_i32 = i32 -> i32, "i32";
        /// An integer that fits `u64`, which must be there.
        require_u64 = u64 -> u64, "u64";
        /// An integer that fits `i64`, which must be there.
        require_i64 = i64 -> i64, "i64";
        /// A single-precision number, which must be there.
        require_f32 = f32 -> f32, "f32";
        /// A double-precision number, which must be there.
        require_f64 = f64 -> f64, "f64";
        /// A boolean, which must be there.
        require_bool = bool -> bool, "bool";
        /// A string, which must be there.
        require_str = str -> &str, "string";
        /// Any array, which must be there.
        require_array = array -> &Array, "array";
        /// An array of strings, which must be there.
        require_array_str = array_str -> &StringArray, "array of string";
        /// An array of single-precision numbers, which must be there.
        require_array_f32 = array_f32 -> &[f32], "array of f32";
        /// An array of booleans, which must be there.
        require_array_bool = array_bool -> &[bool], "array of bool";
        /// An array of integers that fit `u32`, which must be there.
        require_array_u32 = array_u32 -> Cow<'_, [u32]>, "array of u32";
        /// An array of integers that fit `i32`, which must be there.
        require_array_i32 = array_i32 -> Cow<'_, [i32]>, "array of i32";
    }

    fn error(&self, problem: Problem) -> FormatError {
        FormatError::new(&self.file, problem)
    }

    fn wrong(&self, key: &str, value: &Value<'_>, expected: &'static str) -> FormatError {
        self.error(Problem::WrongType { key: key.to_owned(), expected, found: value.describe() })
    }

    fn wrong_array(&self, key: &str, array: &Array, expected: &'static str) -> FormatError {
        let found = format!("array of {}", array.element_type());
        self.error(Problem::WrongType { key: key.to_owned(), expected, found })
    }

    fn out_of_range(&self, key: &str, number: i128, expected: &'static str) -> FormatError {
        self.error(Problem::OutOfRange { key: key.to_owned(), expected, found: number.to_string() })
    }
}
