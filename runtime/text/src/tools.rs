//! Tool calls: what a model wrote, back into calls, as the text comes.
//!
//! Which form a model was taught shows in its chat template ([`ToolFormat::detect`]). Nothing is lost: what looks like a call
//! and is none that can be read comes out as [`ToolPiece::Malformed`], with its text.
//!
//! ```text
//! call.rs     JSON to calls
//! marked.rs   forms in which marks stand around calls: Hermes and Qwen, Llama, Mistral
//! harmony.rs  the channels of gpt-oss
//! ```

mod call;
mod harmony;
mod marked;

pub use call::{MalformedCall, ToolCall};

use harmony::Harmony;
use marked::Marked;

/// How a model writes its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolFormat {
    /// `<tool_call>{"name": ..., "arguments": ...}</tool_call>`: Hermes, Qwen and many others.
    Hermes,
    /// The whole reply is `{"name": ..., "parameters": ...}`, or code behind `<|python_tag|>`: Llama 3.1 and later.
    Llama,
    /// `[TOOL_CALLS][{"name": ..., "arguments": ...}]`, later `[TOOL_CALLS]name[ARGS]{...}`: Mistral.
    Mistral,
    /// A message to `functions.name` in the commentary channel: gpt-oss (Harmony).
    Harmony,
}

impl ToolFormat {
    /// By the source of a chat template; `None` where it knows no tools.
    pub fn detect(template: &str) -> Option<Self> {
        let has = |text: &str| template.contains(text);
        match () {
            () if !has("tools") && !has("tool_calls") => None,
            () if has("<|channel|>") => Some(Self::Harmony),
            () if has("[TOOL_CALLS]") => Some(Self::Mistral),
            () if has("<tool_call>") => Some(Self::Hermes),
            () if has("<|python_tag|>") || has("\"parameters\": ") => Some(Self::Llama),
            () => None,
        }
    }

    /// Are the marks control tokens, which only show in text where these are asked for?
    pub fn needs_special(self) -> bool {
        self != Self::Hermes
    }
}

/// A part of a reply.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolPiece {
    /// For the reader.
    Text(String),
    /// What the model thinks, where its form tells that apart.
    Reasoning(String),
    /// A call.
    Call(ToolCall),
    /// Meant as a call, but none.
    Malformed(MalformedCall),
}

/// Reads a reply piece by piece. What may be the beginning of a mark is held back.
#[derive(Debug)]
pub struct ToolParser(Form);

#[derive(Debug)]
enum Form {
    Marked(Marked),
    Harmony(Harmony),
}

impl ToolParser {
    /// At the beginning of a reply in this form.
    pub fn new(format: ToolFormat) -> Self {
        Self(match format {
            ToolFormat::Harmony => Form::Harmony(Harmony::default()),
            other => Form::Marked(Marked::new(other)),
        })
    }

    /// What is certain with more of the text.
    pub fn push(&mut self, text: &str) -> Vec<ToolPiece> {
        let mut out = Vec::new();
        match &mut self.0 {
            Form::Marked(form) => form.push(text, &mut out),
            Form::Harmony(form) => form.push(text, &mut out),
        }
        out
    }

    /// The rest, at the end of the reply; the next text begins another one.
    pub fn finish(&mut self) -> Vec<ToolPiece> {
        let mut out = Vec::new();
        match &mut self.0 {
            Form::Marked(form) => form.finish(&mut out),
            Form::Harmony(form) => form.finish(&mut out),
        }
        out
    }
}

/// Bytes of `text` before the first place where `mark` stands or may begin, and whether it stands there whole.
fn before(text: &str, mark: &str) -> (usize, bool) {
    if let Some(at) = text.find(mark) {
        return (at, true);
    }
    let partial =
        (1..mark.len().min(text.len() + 1)).rev().find(|&n| mark.is_char_boundary(n) && text.ends_with(&mark[..n]));
    (text.len() - partial.unwrap_or(0), false)
}

fn say(text: &str, out: &mut Vec<ToolPiece>) {
    if !text.is_empty() {
        out.push(ToolPiece::Text(text.to_owned()));
    }
}

#[cfg(test)]
mod tests;
