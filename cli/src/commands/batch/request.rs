//! From a line of the input to a prompt and how to answer it.

use super::BatchArgs;
use super::results::Problem;
use crate::args::EncodeArgs;
use crate::input::Line;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tern::{GenerateOptions, Message, Model};

/// What counts for all lines.
pub struct Settings {
    model: Model,
    chat: bool,
    system: Option<Message>,
    encode: EncodeArgs,
    options: GenerateOptions,
    /// All that results depend on, but the line.
    digest: Sha256,
}

/// A line's prompt.
pub struct Prompt {
    /// As in the line; null where there is none.
    pub id: Value,
    pub request: Result<(Vec<u32>, GenerateOptions), Problem>,
}

impl Settings {
    pub fn new(model: &Model, args: &BatchArgs, options: GenerateOptions) -> Self {
        let (info, sampling) = (model.info(), &options.sampling);
        let all = json!([
            [info.architecture, info.name, info.parameters, info.file_bytes],
            [args.chat, args.system, args.encode.special, args.encode.bos as u8, args.context.kv as u8],
            [options.max_tokens, options.stop, options.ignore_end],
            [sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p, sampling.seed, sampling.logit_bias],
            [sampling.repetition_penalty, sampling.presence_penalty, sampling.frequency_penalty],
            [sampling.penalty_window],
        ]);
        Self {
            model: model.clone(),
            chat: args.chat,
            system: args.system.as_deref().map(|text| Message::new("system", text)),
            encode: args.encode,
            digest: Sha256::new().chain_update(all.to_string()),
            options,
        }
    }

    /// By which a result is known as this line's: 16 hexadecimal digits.
    pub fn hash(&self, line: &Line) -> String {
        let hash = self.digest.clone().chain_update(line.trimmed()).finalize();
        hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    pub fn prompt(&self, line: &Line) -> Prompt {
        match object(line) {
            Ok(mut fields) => Prompt { id: fields.remove("id").unwrap_or_default(), request: self.request(&fields) },
            Err(problem) => Prompt { id: Value::Null, request: Err(problem) },
        }
    }

    fn request(&self, fields: &Map<String, Value>) -> Result<(Vec<u32>, GenerateOptions), Problem> {
        let options = options(fields, &self.options)?;
        let tokens = match source(fields)? {
            Source::Text(text) if self.chat => {
                let messages: Vec<_> = self.system.iter().cloned().chain([Message::new("user", text)]).collect();
                self.model.encode_chat(&messages, true)
            }
            Source::Text(text) => self.encode.encode(self.model.tokenizer(), text),
            Source::Messages(messages) => self.model.encode_chat(&messages, true),
        };
        Ok((tokens.map_err(|e| Problem::from(&e))?, options))
    }
}

/// What is to be continued.
enum Source<'a> {
    Text(&'a str),
    Messages(Vec<Message>),
}

fn object(line: &Line) -> Result<Map<String, Value>, Problem> {
    if line.too_long {
        return Err(wrong(format!("the line is longer than {} MiB", line.bytes.len() >> 20)));
    }
    let mut text = line.trimmed();
    if line.index == 0 {
        // Some editors begin a file with the mark of UTF-8.
        text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    }
    match serde_json::from_slice(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(wrong("not a JSON object".to_owned())),
        Err(error) => Err(wrong(format!("not JSON: {error}"))),
    }
}

fn source(fields: &Map<String, Value>) -> Result<Source<'_>, Problem> {
    match (given(fields, "prompt"), given(fields, "messages")) {
        (Some(prompt), None) => prompt.as_str().map(Source::Text).ok_or_else(|| expected("prompt", "a text")),
        (None, Some(messages)) => Vec::<Message>::deserialize(messages)
            .ok()
            .map(Source::Messages)
            .ok_or_else(|| expected("messages", "a list of objects with \"role\" and \"content\"")),
        (None, None) => Err(wrong("there is neither \"prompt\" nor \"messages\"".to_owned())),
        (Some(_), Some(_)) => Err(wrong("there are both \"prompt\" and \"messages\"".to_owned())),
    }
}

/// `base` with what the line says otherwise.
fn options(fields: &Map<String, Value>, base: &GenerateOptions) -> Result<GenerateOptions, Problem> {
    let mut options = base.clone();
    if let Some(value) = given(fields, "max_tokens") {
        let number = value.as_u64().and_then(|n| usize::try_from(n).ok());
        options.max_tokens = number.ok_or_else(|| expected("max_tokens", "a whole number, 0 or more"))?;
    }
    if let Some(value) = given(fields, "temperature") {
        options.sampling.temperature = value.as_f64().ok_or_else(|| expected("temperature", "a number"))? as f32;
    }
    if let Some(value) = given(fields, "seed") {
        options.sampling.seed = value.as_u64().ok_or_else(|| expected("seed", "a whole number, 0 or more"))?;
    }
    if let Some(value) = given(fields, "stop") {
        let one = |text: &Value| text.as_str().map(str::to_owned);
        let stop = match value {
            Value::Array(texts) => texts.iter().map(one).collect(),
            text => one(text).map(|text| vec![text]),
        };
        options.stop = stop.ok_or_else(|| expected("stop", "a text or a list of texts"))?;
    }
    Ok(options)
}

/// A field; null is as good as none.
fn given<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|v| !v.is_null())
}

fn expected(field: &str, what: &str) -> Problem {
    wrong(format!("\"{field}\" is not {what}"))
}

fn wrong(message: String) -> Problem {
    Problem { kind: "input", message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line { index: 0, start: 0, bytes: text.into(), too_long: false, whole: true }
    }

    fn parsed(text: &str) -> Result<GenerateOptions, Problem> {
        let fields = object(&line(text))?;
        source(&fields)?;
        options(&fields, &GenerateOptions { max_tokens: 7, ..GenerateOptions::default() })
    }

    #[test]
    fn a_line_counts_before_the_flags() {
        let plain = parsed("\u{feff}{\"prompt\": \"x\", \"stop\": null, \"label\": 3}").unwrap();
        assert_eq!((plain.max_tokens, plain.stop.len()), (7, 0));
        let all = r#"{"messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "temperature": 0.5, "seed": 9, "stop": "."}"#;
        let all = parsed(all).unwrap();
        assert_eq!((all.max_tokens, all.sampling.temperature, all.sampling.seed), (1, 0.5, 9));
        assert_eq!(all.stop, ["."]);
        assert_eq!(parsed(r#"{"prompt": "x", "stop": ["a", "b"]}"#).unwrap().stop, ["a", "b"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            ("{\"prompt\": \"x\"", "not JSON: "),
            ("[1]", "not a JSON object"),
            ("{}", "neither"),
            (r#"{"prompt": "x", "messages": []}"#, "both"),
            (r#"{"prompt": 1}"#, "\"prompt\" is not a text"),
            (r#"{"messages": ["x"]}"#, "\"role\""),
            (r#"{"prompt": "x", "max_tokens": -1}"#, "\"max_tokens\" is not a whole number"),
            (r#"{"prompt": "x", "temperature": "hot"}"#, "\"temperature\" is not a number"),
            (r#"{"prompt": "x", "seed": 1.5}"#, "\"seed\""),
            (r#"{"prompt": "x", "stop": [1]}"#, "\"stop\""),
        ];
        for (text, word) in cases {
            let problem = parsed(text).unwrap_err();
            assert!(problem.kind == "input" && problem.message.contains(word), "{problem:?}");
        }
        let problem = object(&Line { too_long: true, ..line("{}") }).unwrap_err();
        assert!(problem.message.contains("longer"));
    }
}
