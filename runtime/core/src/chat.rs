//! Conversations: messages under the model's own template, over a session.

use crate::error::Error;
use crate::model::Model;
use crate::session::{Event, GenerateOptions, Generation, Session};
use std::sync::{Arc, Mutex, PoisonError};
use tern_text::Message;

/// A conversation. Tokens that the session already holds are not computed again.
pub struct Chat {
    model: Model,
    session: Session,
    system: Option<String>,
    messages: Arc<Mutex<Vec<Message>>>,
}

impl Chat {
    /// A conversation over `session`, whose tokens it takes over.
    ///
    /// # Errors
    /// [`Error::NoTemplate`], [`Error::Text`] where the template does not compile.
    pub fn new(model: &Model, session: Session, system: Option<String>) -> Result<Self, Error> {
        let chat = Self { model: model.clone(), session, system, messages: Arc::default() };
        chat.encode("")?;
        Ok(chat)
    }

    /// Adds a user's message and generates the answer, which is recorded when the reply ends or is dropped.
    ///
    /// # Errors
    /// Template errors, [`Error::ContextFull`] where the conversation no longer fits: nothing is recorded then.
    pub fn send(&mut self, text: &str, options: GenerateOptions) -> Result<Reply, Error> {
        let tokens = self.encode(text)?;
        let capacity = self.session.capacity();
        if tokens.len() >= capacity {
            let used = self.session.tokens().len();
            return Err(Error::ContextFull { used, wanted: tokens.len().saturating_sub(used), capacity });
        }
        let present = self.session.tokens();
        let common = present.iter().zip(&tokens).take_while(|(a, b)| a == b).count().min(tokens.len() - 1);
        self.session.rollback(present.len() - common)?;
        let generation = self.session.generate(&tokens[common..], options)?;
        self.lock().push(Message::new("user", text));
        Ok(Reply { generation, text: String::new(), messages: Arc::clone(&self.messages), recorded: false })
    }

    /// Takes the last exchange back; false where there is none.
    ///
    /// # Errors
    /// Backend errors.
    pub fn undo(&mut self) -> Result<bool, Error> {
        let mut messages = self.lock();
        let Some(last) = messages.iter().rposition(|m| m.role == "user") else { return Ok(false) };
        messages.truncate(last);
        Ok(true)
    }

    /// Forgets all messages.
    ///
    /// # Errors
    /// Backend errors.
    pub fn reset(&mut self) -> Result<(), Error> {
        self.lock().clear();
        self.session.reset()
    }

    /// The messages, without the system prompt.
    pub fn messages(&self) -> Vec<Message> {
        self.lock().clone()
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Changes the system prompt for the messages to come.
    pub fn set_system(&mut self, system: Option<String>) {
        self.system = system;
    }

    /// Tokens of the conversation with one more message of the user, up to where the answer begins.
    fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let system = self.system.iter().map(|s| Message::new("system", s.as_str()));
        let mut messages: Vec<Message> = system.chain(self.messages()).collect();
        messages.push(Message::new("user", text));
        self.model.encode_chat(&messages, true)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Message>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer being generated.
pub struct Reply {
    generation: Generation,
    text: String,
    messages: Arc<Mutex<Vec<Message>>>,
    recorded: bool,
}

impl Reply {
    fn record(&mut self) {
        if !std::mem::replace(&mut self.recorded, true) {
            let message = Message::new("assistant", self.text.as_str());
            self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
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
