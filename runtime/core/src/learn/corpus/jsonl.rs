//! Records: one JSON object a line.
//!
//! ```text
//! {"text": ..., "source"?, "origin"?}                       a text
//! {"prompt": ..., "answer": ..., "system"?, ...}            a prompt with the answer to learn
//! {"messages": [{"role", "content", "origin"?}, ...], ...}  a conversation whose answers are learned
//! ```
//! `source` is the file and line where it is not given. `origin` is who wrote the text, or the answers. Answers of a conversation
//! are a model's where nothing else is said: that is what they are in a log.

use super::document::{Content, Document, Origin, Turn};
use crate::learn::LearnError;
use serde_json::{Map, Value};

/// The documents of a file's text.
pub fn documents(path: &str, text: &str, origin: Origin) -> Result<Vec<Document>, LearnError> {
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    lines.map(|(line, number)| Record { path, line: number }.document(line, origin)).collect()
}

struct Record<'a> {
    path: &'a str,
    line: usize,
}

impl Record<'_> {
    fn document(&self, line: &str, default: Origin) -> Result<Document, LearnError> {
        let value: Value = serde_json::from_str(line).map_err(|e| LearnError::Json {
            path: self.path.to_owned(),
            line: self.line,
            what: e.to_string(),
        })?;
        let Value::Object(record) = &value else { return Err(self.wrong("the record", &value, "an object")) };
        let source = match record.get("source") {
            None => format!("{}:{}", self.path, self.line),
            Some(_) => self.text(record, "", "source")?.to_owned(),
        };
        let stated = self.origin(record, "")?;
        let origin = stated.unwrap_or(default);
        if record.contains_key("text") {
            return Ok(Document::text(source, origin, self.text(record, "", "text")?));
        }
        let turns = if record.contains_key("messages") {
            // Where the caller says that all of it is the web's, the answers are, too.
            let answers = stated.unwrap_or(if default == Origin::User { Origin::Model } else { default });
            self.messages(record, answers, default)?
        } else if record.contains_key("prompt") {
            let mut turns = Vec::new();
            for (field, role) in [("system", "system"), ("prompt", "user"), ("answer", "assistant")] {
                if field != "system" || record.contains_key(field) {
                    let content = self.text(record, "", field)?.to_owned();
                    turns.push(Turn { role: role.to_owned(), content, origin });
                }
            }
            turns
        } else {
            return Err(self.wrong("the record", &value, "one with text, messages, or prompt and answer"));
        };
        Ok(Document { source, origin, content: Content::Turns(turns) })
    }

    fn messages(&self, record: &Map<String, Value>, answers: Origin, others: Origin) -> Result<Vec<Turn>, LearnError> {
        let list = match record.get("messages") {
            Some(Value::Array(list)) if !list.is_empty() => list,
            found => return Err(self.wrong("messages", found.unwrap_or(&Value::Null), "a list that is not empty")),
        };
        let turn = |(i, value): (usize, &Value)| {
            let place = format!("messages[{i}]");
            let Value::Object(message) = value else { return Err(self.wrong(&place, value, "an object")) };
            let role = self.text(message, &place, "role")?.to_owned();
            let content = self.text(message, &place, "content")?.to_owned();
            let origin = self.origin(message, &place)?.unwrap_or(match role.as_str() {
                "assistant" => answers,
                "tool" => Origin::Tool,
                _ => others,
            });
            Ok(Turn { role, content, origin })
        };
        list.iter().enumerate().map(turn).collect()
    }

    fn text<'a>(&self, object: &'a Map<String, Value>, place: &str, field: &str) -> Result<&'a str, LearnError> {
        match object.get(field) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text),
            found => Err(self.wrong(&name(place, field), found.unwrap_or(&Value::Null), "a string that is not empty")),
        }
    }

    fn origin(&self, object: &Map<String, Value>, place: &str) -> Result<Option<Origin>, LearnError> {
        let Some(value) = object.get("origin") else { return Ok(None) };
        let known = value.as_str().and_then(|text| text.parse().ok());
        known.map(Some).ok_or_else(|| self.wrong(&name(place, "origin"), value, "user, model, tool or web"))
    }

    fn wrong(&self, field: &str, found: &Value, expected: &'static str) -> LearnError {
        /// Enough to recognise it by.
        const SHOWN: usize = 60;
        let mut found = match found {
            Value::Null => "missing".to_owned(),
            value => value.to_string(),
        };
        if let Some((end, _)) = found.char_indices().nth(SHOWN) {
            found.truncate(end);
            found.push_str("...");
        }
        LearnError::Field { path: self.path.to_owned(), line: self.line, field: field.to_owned(), found, expected }
    }
}

fn name(place: &str, field: &str) -> String {
    if place.is_empty() { field.to_owned() } else { format!("{place}.{field}") }
}
