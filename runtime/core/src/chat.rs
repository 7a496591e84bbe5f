//! Conversations: messages under the model's own template, over a session.

use crate::error::Error;
use crate::model::Model;
use crate::session::{Event, GenerateOptions, Generation, Session, SessionOptions};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tern_text::Message;

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
    history: Arc<Mutex<History>>,
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
        let chat = Self { model, session, system, overflow, history: Arc::default() };
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
            history: Arc::new(Mutex::new(self.lock().clone())),
        })
    }

    /// What happens where the conversation outgrows the session.
    pub fn set_overflow(&mut self, overflow: Overflow) {
        self.overflow = overflow;
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
    pub fn send_messages(&mut self, messages: Vec<Message>, options: GenerateOptions) -> Result<Reply, Error> {
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
        Ok(Reply { generation, text: String::new(), history: Arc::clone(&self.history), recorded: false })
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
        self.model.encode_chat(&all, true)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer being generated.
pub struct Reply {
    generation: Generation,
    text: String,
    history: Arc<Mutex<History>>,
    recorded: bool,
}

impl Reply {
    fn record(&mut self) {
        if !std::mem::replace(&mut self.recorded, true) {
            let message = Message::new("assistant", self.text.as_str());
            self.history.lock().unwrap_or_else(PoisonError::into_inner).messages.push(message);
        }
    }
}

impl Iterator for Reply {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let event = self.generation.next();
        match &event {
            Some(Ok(event)) => {
                self.text.push_str(event.text());
                if matches!(event, Event::Done(_)) {
                    self.record();
                }
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
