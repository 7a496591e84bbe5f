//! Harmony, the form of gpt-oss: messages with a channel and, where they are calls, a recipient.
//!
//! `<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{...}<|call|>`; the text of a reply begins behind
//! `<|start|>assistant`. See OpenAI, "OpenAI harmony response format", 2025.

use super::call::{MalformedCall, ToolCall};
use super::{ToolPiece, before, say};
use serde_json::{Map, Value, json};

const MESSAGE: &str = "<|message|>";
/// What a message ends with. The end of a reply is none of them: generation stops before it.
const ENDS: [&str; 4] = ["<|end|>", "<|call|>", "<|return|>", "<|start|>"];

/// See the module.
#[derive(Debug, Default)]
pub struct Harmony {
    held: String,
    /// The message under way, behind its header.
    message: Option<Header>,
}

#[derive(Debug, Clone)]
struct Header {
    text: String,
    channel: String,
    recipient: Option<String>,
}

impl Header {
    /// Channel and recipient, which may stand on either side of each other.
    fn new(text: &str) -> Self {
        let after =
            |mark: &str| text.split_once(mark).map(|(_, rest)| rest.split(['<', ' ']).next().unwrap_or_default());
        Self {
            text: text.to_owned(),
            channel: after("<|channel|>").unwrap_or("final").to_owned(),
            recipient: after("to=").filter(|r| !r.is_empty()).map(str::to_owned),
        }
    }
}

impl Harmony {
    pub fn push(&mut self, text: &str, out: &mut Vec<ToolPiece>) {
        self.held += text;
        loop {
            match &self.message {
                None => {
                    let Some(at) = self.held.find(MESSAGE) else { return };
                    self.message = Some(Header::new(&self.held[..at]));
                    self.held.drain(..at + MESSAGE.len());
                }
                Some(header) => {
                    let places = ENDS.map(|end| (before(&self.held, end), end));
                    let Some(((at, whole), end)) = places.into_iter().min_by_key(|((at, whole), _)| (*at, !*whole))
                    else {
                        return;
                    };
                    // A call is only known when it is whole.
                    if header.recipient.is_none() {
                        speak(header, &self.held[..at], out);
                        self.held.drain(..at);
                    }
                    if !whole {
                        return;
                    }
                    let at = if header.recipient.is_none() { 0 } else { at };
                    let header = header.clone();
                    let body: String = self.held.drain(..at + end.len()).take(at).collect();
                    if header.recipient.is_some() {
                        called(&header, body.trim_end_matches(end), out);
                    }
                    self.message = None;
                }
            }
        }
    }

    pub fn finish(&mut self, out: &mut Vec<ToolPiece>) {
        let held = std::mem::take(&mut self.held);
        match self.message.take() {
            Some(header) if header.recipient.is_some() => called(&header, &held, out),
            Some(header) => speak(&header, &held, out),
            // A reply without channels, or a header that goes nowhere.
            None => say(&held, out),
        }
    }
}

fn speak(header: &Header, text: &str, out: &mut Vec<ToolPiece>) {
    match header.channel.as_str() {
        _ if text.is_empty() => {}
        "analysis" => out.push(ToolPiece::Reasoning(text.to_owned())),
        _ => say(text, out),
    }
}

fn called(header: &Header, body: &str, out: &mut Vec<ToolPiece>) {
    let recipient = header.recipient.as_deref().unwrap_or_default();
    let name = recipient.strip_prefix("functions.").unwrap_or(recipient);
    let call = match name {
        // Its body is code.
        "python" => {
            let arguments = Map::from_iter([("code".to_owned(), Value::from(body))]);
            Ok(ToolCall { name: name.to_owned(), arguments, id: None })
        }
        _ => serde_json::from_str(body.trim())
            .map_err(|e| e.to_string())
            .and_then(|v: Value| ToolCall::from_json(&json!({ "name": name, "arguments": v }))),
    };
    out.push(match call {
        Ok(call) => ToolPiece::Call(call),
        Err(what) => ToolPiece::Malformed(MalformedCall { text: format!("{}{MESSAGE}{body}", header.text), what }),
    });
}
