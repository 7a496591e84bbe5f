//! JSON to calls.

use serde::Serialize;
use serde_json::{Map, Value};

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolCall {
    /// Of the tool.
    pub name: String,
    /// By name.
    pub arguments: Map<String, Value>,
    /// The model's name for the call, where its form has one.
    pub id: Option<String>,
}

/// What a model meant as a call, and nobody can make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedCall {
    /// What the model wrote, marks included.
    pub text: String,
    /// What is wrong with it.
    pub what: String,
}

impl ToolCall {
    /// From an object with `name`, and `arguments` or `parameters`; also where these are inside of `function`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(value: &Value) -> Result<Self, String> {
        let outer = value.as_object().ok_or("a call must be an object")?;
        let object = outer.get("function").and_then(Value::as_object).unwrap_or(outer);
        let name = object.get("name").and_then(Value::as_str).filter(|n| !n.is_empty()).ok_or("the name is missing")?;
        let id = outer.get("id").and_then(Value::as_str).map(str::to_owned);
        let arguments = match object.get("arguments").or_else(|| object.get("parameters")) {
            None | Some(Value::Null) => Map::new(),
            Some(given) => arguments(given)?,
        };
        Ok(Self { name: name.to_owned(), arguments, id })
    }
}

/// Arguments: an object, or the text of one.
fn arguments(value: &Value) -> Result<Map<String, Value>, String> {
    match value {
        Value::Object(fields) => Ok(fields.clone()),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Ok(fields),
            _ => Err("the arguments are a text that is no object".to_owned()),
        },
        _ => Err("the arguments must be an object".to_owned()),
    }
}

/// The first JSON value of a text, and the bytes up to its end.
pub fn first_json(text: &str) -> Result<(Value, usize), serde_json::Error> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter();
    match values.next() {
        Some(value) => Ok((value?, values.byte_offset())),
        None => Err(serde::de::Error::custom("there is nothing")),
    }
}
