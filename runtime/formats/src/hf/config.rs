//! A JSON file of settings, with typed access.

use crate::json::{self, Unambiguous, read_text};
use crate::{FormatError, Problem, Source};
use serde_json::Value;

/// A JSON object. Getters take the path of a field, `rope_scaling.factor` for one inside another, and
/// name it in errors.
///
/// `null` counts as absent, because Hugging Face writes it for settings that are not set. A key may occur twice only with
/// the same value.
#[derive(Clone, Debug)]
pub struct Config {
    file: String,
    value: Value,
}

macro_rules! getters {
    ($( $(#[$doc:meta])* $get:ident, $require:ident -> $type:ty, $text:literal, $convert:expr; )*) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// [`Problem::WrongType`] for a value of another type, [`Problem::OutOfRange`] for a number that does not fit.
            pub fn $get(&self, path: &str) -> Result<Option<$type>, FormatError> {
                let Some(value) = self.get(path) else { return Ok(None) };
                match $convert(value) {
                    Some(v) => Ok(Some(v)),
                    None => Err(self.mismatch(path, value, $text)),
                }
            }

            #[doc = concat!("As [`Config::", stringify!($get), "`], for a field that must be there.")]
            ///
            /// # Errors
            /// Further [`Problem::MissingKey`].
            pub fn $require(&self, path: &str) -> Result<$type, FormatError> {
                self.$get(path)?.ok_or_else(|| {
                    FormatError::new(&self.file, Problem::MissingKey { key: path.to_owned(), expected: $text })
                })
            }
        )*
    };
}

impl Config {
    /// Reads and parses a file of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Problem::TooLong`], [`Problem::NotUtf8`], [`Problem::Json`].
    pub fn read(source: &dyn Source, limit: u64) -> Result<Self, FormatError> {
        let text = read_text(source, "the file", limit)?;
        Self::parse(source.name(), &text)
    }

    /// Reads and parses a file of at most `limit` bytes that is a list of objects.
    ///
    /// # Errors
    /// [`Problem::TooLong`], [`Problem::NotUtf8`]; [`Problem::Json`] for anything else, or a key twice with different values.
    pub fn read_list(source: &dyn Source, limit: u64) -> Result<Vec<Self>, FormatError> {
        let text = read_text(source, "the file", limit)?;
        let file = || source.name().to_owned();
        let list = serde_json::from_str::<Vec<Unambiguous>>(&text);
        let list = list.map_err(|e| FormatError::new(file(), json::problem("JSON", &e)))?;
        let object = |(i, Unambiguous(value)): (usize, Unambiguous)| match value {
            Value::Object(_) => Ok(Self { file: file(), value }),
            _ => {
                let message = format!("element {i} is not an object");
                Err(FormatError::new(file(), Problem::Json { what: "JSON", message }))
            }
        };
        list.into_iter().enumerate().map(object).collect()
    }

    /// Parses text. `file` is the name for error messages.
    ///
    /// # Errors
    /// [`Problem::Json`] for what is not JSON, not an object, or has a key twice with different values.
    pub fn parse(file: impl Into<String>, text: &str) -> Result<Self, FormatError> {
        let file = file.into();
        match serde_json::from_str(text) {
            Ok(Unambiguous(value @ Value::Object(_))) => Ok(Self { file, value }),
            Ok(_) => {
                let message = "is not an object".to_owned();
                Err(FormatError::new(file, Problem::Json { what: "JSON", message }))
            }
            Err(e) => Err(FormatError::new(file, json::problem("JSON", &e))),
        }
    }

    /// The name of the file, for error messages about its fields.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Everything.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The field at a path; `None` where it is absent or null.
    pub fn get(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.value, |value, name| value.get(name)).filter(|v| !v.is_null())
    }

    getters! {
        /// A non-negative integer.
        u64, require_u64 -> u64, "u64", Value::as_u64;
        /// A non-negative integer below 2^32.
        u32, require_u32 -> u32, "u32", |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        /// An integer.
        i64, require_i64 -> i64, "i64", Value::as_i64;
        /// A number; JSON does not tell integers from others.
        f64, require_f64 -> f64, "f64", Value::as_f64;
        /// A number, rounded to single precision, where it is finite.
        f32, require_f32 -> f32, "f32", |v: &Value| v.as_f64().map(|n| n as f32).filter(|n| n.is_finite());
        /// A boolean.
        bool, require_bool -> bool, "bool", Value::as_bool;
        /// A string.
        str, require_str -> &str, "string", Value::as_str;
        /// An array.
        array, require_array -> &[Value], "array", elements;
        /// An array of strings.
        strings, require_strings -> Vec<String>, "array of strings", |v: &Value| {
            v.as_array()?.iter().map(|s| s.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        };
    }

    fn mismatch(&self, path: &str, value: &Value, expected: &'static str) -> FormatError {
        let key = path.to_owned();
        let numeric = matches!(expected, "u64" | "u32" | "i64" | "f64" | "f32");
        let problem = match value {
            Value::Number(n) if numeric => Problem::OutOfRange { key, expected, found: n.to_string() },
            _ => Problem::WrongType { key, expected, found: kind(value).to_owned() },
        };
        FormatError::new(&self.file, problem)
    }
}

fn elements(value: &Value) -> Option<&[Value]> {
    value.as_array().map(Vec::as_slice)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
