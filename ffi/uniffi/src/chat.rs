//! A conversation.

use crate::error::TernError;
use crate::runtime::CancelHandle;
use crate::session::{GenerateOptions, Generation, Slot};
use crate::{guarded, lock};
use std::sync::{Arc, Mutex, Weak};
use tern::CancelFlag;

/// A conversation under the model's own template. What was computed for earlier messages is not computed again.
#[derive(uniffi::Object)]
pub struct Chat {
    state: Mutex<State>,
    cancel: CancelFlag,
}

struct State {
    chat: tern::Chat,
    /// The answer under way, if its generation is still there.
    answer: Weak<Mutex<Option<crate::session::Events>>>,
}

/// A message of a conversation.
#[derive(uniffi::Record)]
pub struct ChatMessage {
    /// "user", "assistant", ...
    pub role: String,
    /// What is said.
    pub text: String,
}

impl Chat {
    pub(crate) fn new(
        model: &tern::Model,
        session: tern::Session,
        system: Option<String>,
    ) -> Result<Arc<Self>, TernError> {
        let cancel = session.cancel_flag();
        let state = State { chat: tern::Chat::new(model, session, system)?, answer: Weak::new() };
        Ok(Arc::new(Self { state: Mutex::new(state), cancel }))
    }

    /// Ends the answer under way; what there is of it is recorded.
    fn end_answer(&self, state: &mut State) {
        if let Some(answer) = std::mem::take(&mut state.answer).upgrade() {
            self.cancel.cancel();
            *lock(&answer) = None;
        }
    }
}

#[uniffi::export]
impl Chat {
    /// Adds the user's message and generates the answer, which is recorded when it ends, is closed, or the next message
    /// is sent.
    ///
    /// Fails with `ContextFull` where the conversation no longer fits, `Template`, `Setting`:
    /// nothing is recorded then.
    #[uniffi::method(default(options))]
    pub fn send(&self, text: &str, options: GenerateOptions) -> Result<Arc<Generation>, TernError> {
        guarded(|| {
            let mut state = lock(&self.state);
            self.end_answer(&mut state);
            let reply = state.chat.send(text, options.into())?;
            let events: Slot = Arc::new(Mutex::new(Some(Box::new(reply))));
            state.answer = Arc::downgrade(&events);
            Ok(Generation::new(events, self.cancel.clone()))
        })
    }

    /// Takes the last message and its answer back; false where there is none.
    ///
    /// Fails with `Backend`.
    pub fn undo(&self) -> Result<bool, TernError> {
        guarded(|| {
            let mut state = lock(&self.state);
            self.end_answer(&mut state);
            Ok(state.chat.undo()?)
        })
    }

    /// The messages, without the system prompt.
    pub fn messages(&self) -> Vec<ChatMessage> {
        let text = |m: &tern::Message| m.content.as_str().unwrap_or_default().to_owned();
        let messages = lock(&self.state).chat.messages();
        messages.iter().map(|m| ChatMessage { role: m.role.clone(), text: text(m) }).collect()
    }

    /// Stops the answer under way.
    pub fn cancel_handle(&self) -> Arc<CancelHandle> {
        Arc::new(CancelHandle { flag: self.cancel.clone() })
    }
}
