//! Conversations: messages under the model's own template, over a session.

use crate::error::Error;
use crate::model::Model;
use crate::session::{Event, GenerateOptions, Generation, Session, SessionOptions};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tern_text::{MalformedCall, Message, ToolCall, ToolFormat, ToolParser, ToolPiece};

/// What happens where a conversation outgrows its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overflow {
    /// [`Error::ContextFull`]; nothing changes.
    #[default]
    Error,
    /// The model no longer sees the oldest exchanges; it keeps the system prompt. A quarter of the context is freed at a time,
    /// since what is left must be computed again, at its new positions.
    Shift,
}

/// A conversation. Tokens that the session already holds are not computed again.
pub struct Chat {
    model: Model,
    session: Session,
    system: Option<String>,
    overflow: Overflow,
    tools: Option<Tools>,
    history: Arc<Mutex<History>>,
}

/// What a model may call.
#[derive(Clone)]
struct Tools {
    descriptions: Value,
    format: ToolFormat,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct History {
    messages: Vec<Message>,
    /// How many at the front the model no longer sees.
    hidden: usize,
}

/// What a session file keeps of a conversation.
#[derive(Serialize, Deserialize)]
struct Saved {
    system: Option<String>,
    overflow: Overflow,
    history: History,
}

const KEY: &str = "tern.chat";

impl Chat {
    /// A conversation over `session`, whose tokens it takes over.
    ///
    /// # Errors
    /// [`Error::NoTemplate`], [`Error::Text`] where the template does not compile.
    pub fn new(model: &Model, session: Session, system: Option<String>) -> Result<Self, Error> {
        let (model, overflow) = (model.clone(), Overflow::default());
        let chat = Self { model, session, system, overflow, tools: None, history: Arc::default() };
        chat.encode(&[Message::new("user", "")])?;
        Ok(chat)
    }

    /// A conversation from a file that [`Chat::save`] wrote; the session is restored with it.
    ///
    /// # Errors
    /// As [`Model::restore`]; [`Error::SessionFile`] where the file holds a session without a conversation.
    pub fn restore(model: &Model, path: impl AsRef<Path>, options: SessionOptions) -> Result<Self, Error> {
        let path = path.as_ref();
        let bad = |what: String| Error::SessionFile { path: path.display().to_string(), what };
        let (session, extra) = model.restore_with(path, options)?;
        let text = extra.into_iter().find(|(key, _)| key == KEY).map(|(_, text)| text);
        let text = text.ok_or_else(|| bad("it holds a session, but no conversation".to_owned()))?;
        let saved: Saved = serde_json::from_str(&text).map_err(|e| bad(format!("its conversation: {e}")))?;
        if saved.history.hidden > saved.history.messages.len() {
            return Err(bad(format!("{} of {} messages hidden", saved.history.hidden, saved.history.messages.len())));
        }
        let mut chat = Self::new(model, session, saved.system)?;
        (chat.overflow, chat.history) = (saved.overflow, Arc::new(Mutex::new(saved.history)));
        Ok(chat)
    }

    /// Writes the conversation and its session to a file.
    ///
    /// # Errors
    /// As [`Session::save`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let saved = Saved { system: self.system.clone(), overflow: self.overflow, history: self.lock().clone() };
        let text =
            serde_json::to_string(&saved).map_err(|e| Error::Internal { what: format!("a conversation: {e}") })?;
        self.session.save_with(path.as_ref(), &[(KEY.to_owned(), text)])
    }

    /// Another conversation that goes on from here.
    ///
    /// # Errors
    /// As [`Session::fork`].
    pub fn fork(&self) -> Result<Self, Error> {
        Ok(Self {
            model: self.model.clone(),
            session: self.session.fork()?,
            system: self.system.clone(),
            overflow: self.overflow,
            tools: self.tools.clone(),
            history: Arc::new(Mutex::new(self.lock().clone())),
        })
    }

    /// What happens where the conversation outgrows the session.
    pub fn set_overflow(&mut self, overflow: Overflow) {
        self.overflow = overflow;
    }

    /// What the model may call from now on: a list of descriptions in the form of JSON schemas, as OpenAI's interface has
    /// it and templates expect it. Calls are no part of an answer's text then; [`Reply::tool_calls`] has them. Their results
    /// go back as messages of the role `tool` ([`Chat::send_messages`]). Saved conversations do not keep the descriptions.
    ///
    /// # Errors
    /// [`Error::Setting`] where the model's template knows no tools; template errors.
    pub fn set_tools(&mut self, tools: Option<Value>) -> Result<(), Error> {
        let format = self.model.template_source().and_then(ToolFormat::detect);
        let before = self.tools.take();
        self.tools = match (tools, format) {
            (None, _) => None,
            (Some(descriptions), Some(format)) => Some(Tools { descriptions, format }),
            (Some(_), None) => {
                let found = "given to a model whose chat template knows none".to_owned();
                self.tools = before;
                return Err(Error::Setting { setting: "tools", found, expected: "none" });
            }
        };
        if let Err(error) = self.encode(&[Message::new("user", "")]) {
            self.tools = before;
            return Err(error);
        }
        Ok(())
    }

    /// Adds a user's message and generates the answer, which is recorded when the reply ends or is dropped.
    ///
    /// # Errors
    /// Template errors, [`Error::ContextFull`] where the conversation no longer fits: nothing is recorded then.
    pub fn send(&mut self, text: &str, options: GenerateOptions) -> Result<Reply, Error> {
        self.send_messages(vec![Message::new("user", text)], options)
    }

    /// Adds messages, as of a tool's results, and generates the answer to them.
    ///
    /// # Errors
    /// As [`Chat::send`].
    pub fn send_messages(&mut self, messages: Vec<Message>, mut options: GenerateOptions) -> Result<Reply, Error> {
        options.special |= self.tools.as_ref().is_some_and(|t| t.format.needs_special());
        let hidden = self.lock().hidden;
        let result = self.fit(&messages).and_then(|tokens| {
            let present = self.session.tokens();
            let common = present.iter().zip(&tokens).take_while(|(a, b)| a == b).count().min(tokens.len() - 1);
            self.session.rollback(present.len() - common)?;
            self.session.generate(&tokens[common..], options)
        });
        let generation = match result {
            Ok(generation) => generation,
            Err(error) => {
                self.lock().hidden = hidden;
                return Err(error);
            }
        };
        self.lock().messages.extend(messages);
        Ok(Reply {
            generation,
            tools: self.tools.as_ref().map(|t| ToolParser::new(t.format)),
            text: String::new(),
            reasoning: String::new(),
            calls: Vec::new(),
            history: Arc::clone(&self.history),
            recorded: false,
        })
    }

    /// Tokens of the conversation with these messages, as much of it as fits.
    fn fit(&self, messages: &[Message]) -> Result<Vec<u32>, Error> {
        let capacity = self.session.capacity();
        let mut room = capacity - 1;
        loop {
            let tokens = self.encode(messages)?;
            if tokens.is_empty() {
                return Err(Error::Empty);
            }
            if tokens.len() <= room {
                return Ok(tokens);
            }
            if self.overflow == Overflow::Error || !self.hide_an_exchange() {
                let used = self.session.tokens().len();
                return Err(Error::ContextFull { used, wanted: tokens.len().saturating_sub(used), capacity });
            }
            room = capacity - capacity / 4;
        }
    }

    /// Hides the oldest exchange: up to the next message of the user. False where there is nothing left to hide.
    fn hide_an_exchange(&self) -> bool {
        let mut history = self.lock();
        let seen = history.messages.iter().enumerate().skip(history.hidden);
        let Some((first, _)) = seen.clone().next() else { return false };
        let next = seen.skip(1).find(|(_, m)| m.role == "user").map(|(i, _)| i);
        history.hidden = next.unwrap_or(history.messages.len());
        history.hidden > first
    }

    /// Takes the last exchange back; false where there is none.
    ///
    /// # Errors
    /// Backend errors.
    pub fn undo(&mut self) -> Result<bool, Error> {
        let mut history = self.lock();
        let Some(last) = history.messages.iter().rposition(|m| m.role == "user") else { return Ok(false) };
        history.messages.truncate(last);
        history.hidden = history.hidden.min(last);
        Ok(true)
    }

    /// Forgets all messages.
    ///
    /// # Errors
    /// Backend errors.
    pub fn reset(&mut self) -> Result<(), Error> {
        *self.lock() = History::default();
        self.session.reset()
    }

    /// The messages, without the system prompt.
    pub fn messages(&self) -> Vec<Message> {
        self.lock().messages.clone()
    }

    /// How many of the messages, the oldest, the model no longer sees.
    pub fn hidden(&self) -> usize {
        self.lock().hidden
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Changes the system prompt for the messages to come.
    pub fn set_system(&mut self, system: Option<String>) {
        self.system = system;
    }

    /// Tokens of the conversation with these messages, up to where the answer begins.
    fn encode(&self, messages: &[Message]) -> Result<Vec<u32>, Error> {
        let system = self.system.iter().map(|s| Message::new("system", s.as_str()));
        let history = self.lock();
        let seen = history.messages.iter().skip(history.hidden).cloned();
        let all: Vec<Message> = system.chain(seen).chain(messages.iter().cloned()).collect();
        self.model.encode_chat_with(&all, self.tools.as_ref().map(|t| &t.descriptions), true)
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }
}

fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer being generated. Its events' text is for the reader: calls of tools and what the model thinks in a channel of its
/// own are left out of it, where the conversation has tools.
pub struct Reply {
    generation: Generation,
    tools: Option<ToolParser>,
    text: String,
    reasoning: String,
    calls: Vec<Result<ToolCall, MalformedCall>>,
    history: Arc<Mutex<History>>,
    recorded: bool,
}

impl Reply {
    /// Calls that the model has made so far, and what it meant as one. Where a model gives its calls no id they get one.
    pub fn tool_calls(&self) -> &[Result<ToolCall, MalformedCall>] {
        &self.calls
    }

    /// What the model thought so far, where it does so in a channel of its own.
    pub fn reasoning(&self) -> &str {
        &self.reasoning
    }

    /// Of a piece of the reply, the text for the reader.
    fn read(&mut self, text: &str, done: bool) -> String {
        let Some(parser) = &mut self.tools else { return text.to_owned() };
        let mut pieces = parser.push(text);
        if done {
            pieces.extend(parser.finish());
        }
        let mut visible = String::new();
        for piece in pieces {
            match piece {
                ToolPiece::Text(text) => visible += &text,
                ToolPiece::Reasoning(text) => self.reasoning += &text,
                ToolPiece::Call(mut call) => {
                    // Nine letters and digits, which is what Mistral's templates ask for.
                    let number = lock(&self.history).messages.len() * 16 + self.calls.len();
                    call.id.get_or_insert_with(|| format!("call{:05}", number % 100_000));
                    self.calls.push(Ok(call));
                }
                ToolPiece::Malformed(call) => self.calls.push(Err(call)),
            }
        }
        visible
    }

    fn record(&mut self) {
        if std::mem::replace(&mut self.recorded, true) {
            return;
        }
        // What could not be read is what the model said all the same.
        let lost = self.calls.iter().filter_map(|c| c.as_ref().err()).map(|c| c.text.as_str());
        let text: String = std::iter::once(self.text.as_str()).chain(lost).collect();
        let mut message = Message::new("assistant", text);
        let calls: Vec<Value> = self.calls.iter().flatten().map(as_message).collect();
        if !calls.is_empty() {
            message = message.with("tool_calls", calls);
        }
        if !self.reasoning.is_empty() {
            // One is gpt-oss's name for it, the other Qwen's.
            message =
                message.with("thinking", self.reasoning.as_str()).with("reasoning_content", self.reasoning.as_str());
        }
        lock(&self.history).messages.push(message);
    }
}

/// A call as templates expect it in a message.
fn as_message(call: &ToolCall) -> Value {
    json!({ "type": "function", "id": call.id, "function": { "name": call.name, "arguments": call.arguments } })
}

impl Iterator for Reply {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut event = self.generation.next();
        match &mut event {
            Some(Ok(Event::Token(token))) => {
                token.text = self.read(&token.text, false);
                self.text.push_str(&token.text);
            }
            Some(Ok(Event::Done(finish))) => {
                finish.text = self.read(&finish.text, true);
                self.text.push_str(&finish.text);
                self.record();
            }
            Some(Err(_)) => self.record(),
            None => {}
        }
        event
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.record();
    }
}
