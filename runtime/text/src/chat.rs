//! Chat templates: a conversation to a prompt, and to tokens.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::TextError;
use crate::jinja::{Input, Template};
use crate::tokenizer::Tokenizer;

/// The time that [`RenderOptions::now`] has by default: 2024-07-26 00:00, the date that templates themselves fall back to.
pub const DEFAULT_NOW: i64 = 1_721_952_000;

/// Longest role that may become part of a control token.
const ROLE_BYTES: usize = 32;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool` ... Chosen by the application, never by its users: some templates
    /// write `<|role|>`. A role of ASCII letters, digits, `_` and `-` (32 at most) counts as the template's own text for that
    /// reason; any other is ordinary text.
    pub role: String,
    /// What is said: a string, a list of parts, or null where there are only tool calls.
    #[serde(default)]
    pub content: Value,
    /// Other fields, such as `tool_calls`, `name`, `reasoning_content`: handed to the template as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Message {
    /// A message with text.
    pub fn new(role: impl Into<String>, content: impl Into<Value>) -> Self {
        Self { role: role.into(), content: content.into(), extra: Map::new() }
    }

    /// The same with one more field.
    #[must_use]
    pub fn with(mut self, field: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.insert(field.into(), value.into());
        self
    }
}

/// What a template gets besides the messages.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderOptions {
    /// Whether to end with the beginning of a reply.
    pub add_generation_prompt: bool,
    /// Text of `bos_token`; [`Tokenizer::encode_chat`] fills it in. Where there is none the variable is undefined, as in
    /// Hugging Face: a template may ask for that, and adding to it is an error.
    pub bos_token: Option<String>,
    /// Text of `eos_token`, likewise.
    pub eos_token: Option<String>,
    /// Descriptions of tools, usually a list of JSON schemas.
    pub tools: Option<Value>,
    /// Further variables, such as `enable_thinking` or `documents`.
    pub extra: Map<String, Value>,
    /// Local time in seconds since 1970-01-01 00:00, for `strftime_now`.
    pub now: i64,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self {
            add_generation_prompt: true,
            bos_token: None,
            eos_token: None,
            tools: None,
            extra: Map::new(),
            now: DEFAULT_NOW,
        }
    }
}

/// A part of a rendered conversation by who wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The text.
    pub text: String,
    /// True where the template wrote it, false where it was copied out of a message, a tool or another variable.
    pub trusted: bool,
}

/// A conversation's tokens, and who wrote the text that they stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTokens {
    /// All of them, as [`Tokenizer::encode_chat`] has them.
    pub tokens: Vec<u32>,
    /// The rendered text in parts, with the tokens that lie wholly inside each. Where a token stands for text of two parts it
    /// is in neither.
    pub segments: Vec<(Segment, Range<usize>)>,
}

/// A model's chat template, compiled. Immutable.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    template: Template,
}

impl ChatTemplate {
    /// From the template's source (`tokenizer.chat_template` in GGUF, `chat_template` in `tokenizer_config.json`).
    ///
    /// # Errors
    /// [`TextError::TemplateSyntax`], [`TextError::Unsupported`], [`TextError::TooLarge`], [`TextError::TemplateLimit`] for
    /// sources nested too deep.
    pub fn new(source: &str) -> Result<Self, TextError> {
        Ok(Self { template: Template::new(source)? })
    }

    /// The prompt as text. To get tokens use [`Tokenizer::encode_chat`]: in this string, control tokens of the template and
    /// look-alikes written by users can no longer be told apart.
    ///
    /// # Errors
    /// [`TextError::TemplateRaised`] if the template refuses the conversation, [`TextError::TemplateRuntime`],
    /// [`TextError::Unsupported`], [`TextError::TemplateLimit`].
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<String, TextError> {
        self.output(messages, options).map(|out| out.text)
    }

    /// The prompt in parts, by who wrote them.
    ///
    /// Provenance is exact: it is tracked per byte through every operation of the template (see [`Segment::trusted`]).
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_segments(&self, messages: &[Message], options: &RenderOptions) -> Result<Vec<Segment>, TextError> {
        Ok(segments(&self.output(messages, options)?))
    }

    fn output(&self, messages: &[Message], options: &RenderOptions) -> Result<crate::jinja::Output, TextError> {
        let roles: Vec<Value> = messages.iter().map(|m| Value::from(m.role.as_str())).collect();
        let maps = messages.iter().zip(&roles).map(|(message, role)| {
            let role = if is_plain_role(&message.role) { Input::Trusted(&message.role) } else { Input::Json(role) };
            let fields = [("role", role), ("content", Input::Json(&message.content))];
            fields.into_iter().chain(message.extra.iter().map(|(k, v)| (k.as_str(), Input::Json(v)))).collect()
        });
        let null = Value::Null;
        let mut globals: Vec<(&str, Input<'_>)> =
            options.extra.iter().map(|(k, v)| (k.as_str(), Input::Json(v))).collect();
        globals.retain(|(name, _)| {
            !["messages", "tools", "add_generation_prompt", "bos_token", "eos_token"].contains(name)
        });
        globals.push(("messages", Input::Maps(maps.collect())));
        globals.push(("add_generation_prompt", Input::Bool(options.add_generation_prompt)));
        let specials = [("bos_token", &options.bos_token), ("eos_token", &options.eos_token)];
        globals.extend(specials.into_iter().filter_map(|(name, text)| Some((name, Input::Trusted(text.as_deref()?)))));
        globals.push(("tools", Input::Json(options.tools.as_ref().unwrap_or(&null))));
        if !options.extra.contains_key("documents") {
            globals.push(("documents", Input::Json(&null)));
        }
        self.template.render(&globals, options.now)
    }
}

fn segments(out: &crate::jinja::Output) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut push = |text: &str, trusted| {
        if !text.is_empty() {
            segments.push(Segment { text: text.to_string(), trusted });
        }
    };
    let mut at = 0;
    for range in &out.user {
        push(&out.text[at..range.start], true);
        push(&out.text[range.clone()], false);
        at = range.end;
    }
    push(&out.text[at..], true);
    segments
}

fn is_plain_role(role: &str) -> bool {
    role.len() <= ROLE_BYTES && role.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

impl Tokenizer {
    /// Tokens of a conversation.
    ///
    /// Control tokens are recognised only where the template wrote every byte of them; text from messages, tools and other
    /// variables never becomes one, however the template cuts and joins it. Nothing is put around the prompt: templates write
    /// BOS themselves.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`] and [`encode`](Self::encode).
    pub fn encode_chat(
        &self,
        template: &ChatTemplate,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<Vec<u32>, TextError> {
        let out = template.output(messages, &self.with_specials(options))?;
        self.encode_marked(&out.text, &out.user)
    }

    /// The same tokens with who wrote what: for learning from the answers of a conversation, and from nothing else in it.
    ///
    /// # Errors
    /// As [`encode_chat`](Self::encode_chat).
    pub fn encode_chat_segments(
        &self,
        template: &ChatTemplate,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<ChatTokens, TextError> {
        let out = template.output(messages, &self.with_specials(options))?;
        let tokens = self.encode_marked(&out.text, &out.user)?;
        let (mut placed, mut end) = (Vec::new(), 0);
        for segment in segments(&out) {
            let start = end;
            end += segment.text.len();
            let range = self.wholly_before(&out, start, &tokens)?.1..self.wholly_before(&out, end, &tokens)?.0;
            placed.push((segment, range.start..range.end.max(range.start)));
        }
        Ok(ChatTokens { tokens, segments: placed })
    }

    /// How many of `tokens` stand for text before byte `at` only, and with which of them the text from there on begins: one
    /// later where a token stands for both sides.
    fn wholly_before(
        &self,
        out: &crate::jinja::Output,
        at: usize,
        tokens: &[u32],
    ) -> Result<(usize, usize), TextError> {
        let user: Vec<Range<usize>> =
            out.user.iter().filter(|r| r.start < at).map(|r| r.start..r.end.min(at)).collect();
        let prefix = self.encode_marked(&out.text[..at], &user)?;
        let common = prefix.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        Ok((common, if common == prefix.len() { common } else { common + 1 }))
    }

    fn with_specials(&self, options: &RenderOptions) -> RenderOptions {
        let text_of = |id: Option<u32>| id.and_then(|id| self.token_text(id)).map(str::to_string);
        let mut options = options.clone();
        options.bos_token = options.bos_token.or_else(|| text_of(self.bos()));
        options.eos_token = options.eos_token.or_else(|| text_of(self.eos()));
        options
    }
}
