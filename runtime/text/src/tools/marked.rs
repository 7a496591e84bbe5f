//! Forms in which marks stand around calls.

use super::call::{MalformedCall, ToolCall, first_json};
use super::{ToolFormat, ToolPiece, before, say};
use serde_json::{Map, Value};

/// The tool that code behind `<|python_tag|>` is for: Llama's name of it.
const PYTHON: &str = "code_interpreter";
const ARGS: &str = "[ARGS]";
const CALL_ID: &str = "[CALL_ID]";

/// See the module.
#[derive(Debug)]
pub struct Marked {
    format: ToolFormat,
    held: String,
    /// Behind a mark, or in a reply that is JSON.
    inside: bool,
    /// Has anything come out?
    begun: bool,
}

impl Marked {
    pub fn new(format: ToolFormat) -> Self {
        Self { format, held: String::new(), inside: false, begun: false }
    }

    fn mark(&self) -> &'static str {
        match self.format {
            ToolFormat::Llama => "<|python_tag|>",
            ToolFormat::Mistral => "[TOOL_CALLS]",
            _ => "<tool_call>",
        }
    }

    pub fn push(&mut self, text: &str, out: &mut Vec<ToolPiece>) {
        self.held += text;
        loop {
            if self.inside {
                // Other forms end with the reply.
                let (at, whole) = before(&self.held, "</tool_call>");
                if self.format != ToolFormat::Hermes || !whole {
                    return;
                }
                let body = self.take(at);
                self.take("</tool_call>".len());
                hermes(&body, true, out);
                self.inside = false;
                continue;
            }
            if self.format == ToolFormat::Llama && !self.begun {
                let trimmed = self.held.trim_start();
                if trimmed.is_empty() {
                    return;
                }
                if trimmed.starts_with('{') {
                    self.inside = true;
                    continue;
                }
            }
            let (at, whole) = before(&self.held, self.mark());
            let visible = self.take(at);
            self.begun |= !visible.is_empty();
            say(&visible, out);
            if !whole {
                return;
            }
            if self.format != ToolFormat::Llama {
                self.take(self.mark().len());
            }
            self.inside = true;
        }
    }

    pub fn finish(&mut self, out: &mut Vec<ToolPiece>) {
        let held = std::mem::take(&mut self.held);
        match (self.inside, self.format) {
            (false, _) => say(&held, out),
            (true, ToolFormat::Llama) => llama(&held, out),
            (true, ToolFormat::Mistral) => mistral(&held, out),
            (true, _) => hermes(&held, false, out),
        }
        *self = Self::new(self.format);
    }

    fn take(&mut self, bytes: usize) -> String {
        let rest = self.held.split_off(bytes);
        std::mem::replace(&mut self.held, rest)
    }
}

fn malformed(text: String, what: impl ToString, out: &mut Vec<ToolPiece>) {
    out.push(ToolPiece::Malformed(MalformedCall { text, what: what.to_string() }));
}

fn hermes(body: &str, ended: bool, out: &mut Vec<ToolPiece>) {
    let parsed =
        serde_json::from_str(body.trim()).map_err(|e| e.to_string()).and_then(|v: Value| ToolCall::from_json(&v));
    match parsed {
        // One whose end the model forgot is one all the same.
        Ok(call) => out.push(ToolPiece::Call(call)),
        Err(what) => malformed(format!("<tool_call>{body}{}", if ended { "</tool_call>" } else { "" }), what, out),
    }
}

/// Calls one behind the other, semicolons between them; behind a mark also code.
fn llama(reply: &str, out: &mut Vec<ToolPiece>) {
    const MARK: &str = "<|python_tag|>";
    let marked = reply.strip_prefix(MARK);
    let mut rest = marked.unwrap_or(reply).trim_start();
    if marked.is_some() && !rest.starts_with('{') {
        let arguments = Map::from_iter([("code".to_owned(), Value::from(rest.trim_end()))]);
        return out.push(ToolPiece::Call(ToolCall { name: PYTHON.to_owned(), arguments, id: None }));
    }
    let mut calls = Vec::new();
    while !rest.is_empty() {
        match first_json(rest).map_err(|e| e.to_string()).and_then(|(v, end)| Ok((ToolCall::from_json(&v)?, end))) {
            Ok((call, end)) => {
                calls.push(ToolPiece::Call(call));
                rest = rest[end..].trim_start().trim_start_matches([';', ',']).trim_start();
                rest = rest.strip_prefix(MARK).unwrap_or(rest).trim_start();
            }
            // An answer in JSON, which was asked for.
            Err(_) if calls.is_empty() && marked.is_none() && !looks_like_a_call(rest) => return say(reply, out),
            Err(what) => {
                out.append(&mut calls);
                return malformed(rest.to_owned(), what, out);
            }
        }
    }
    out.append(&mut calls);
}

fn looks_like_a_call(text: &str) -> bool {
    text.contains("\"name\"") && (text.contains("\"parameters\"") || text.contains("\"arguments\""))
}

/// A list of calls, or each behind a mark of its own: name, perhaps an id, arguments.
fn mistral(body: &str, out: &mut Vec<ToolPiece>) {
    let shown = |body: &str| format!("[TOOL_CALLS]{body}");
    if body.trim_start().starts_with(['[', '{']) {
        return match first_json(body) {
            Ok((Value::Array(calls), end)) => {
                for call in &calls {
                    match ToolCall::from_json(call) {
                        Ok(call) => out.push(ToolPiece::Call(call)),
                        Err(what) => malformed(call.to_string(), what, out),
                    }
                }
                say(body[end..].trim_start(), out);
            }
            Ok((one, end)) => {
                match ToolCall::from_json(&one) {
                    Ok(call) => out.push(ToolPiece::Call(call)),
                    Err(what) => malformed(shown(body), what, out),
                }
                say(body[end..].trim_start(), out);
            }
            Err(what) => malformed(shown(body), what, out),
        };
    }
    for call in body.split("[TOOL_CALLS]") {
        let Some((head, arguments)) = call.split_once(ARGS) else {
            malformed(shown(call), "the arguments are missing", out);
            continue;
        };
        let (name, id) = head.split_once(CALL_ID).map_or((head, None), |(name, id)| (name, Some(id.trim())));
        let given = first_json(arguments).map_err(|e| e.to_string()).and_then(|(arguments, _)| {
            ToolCall::from_json(&serde_json::json!({ "name": name.trim(), "arguments": arguments, "id": id }))
        });
        match given {
            Ok(call) => out.push(ToolPiece::Call(call)),
            Err(what) => malformed(shown(call), what, out),
        }
    }
}
