//! A conversation.

use crate::adapter::{self, AdapterWeight};
use crate::error::TernError;
use crate::runtime::CancelHandle;
use crate::session::{GenerateOptions, Generation, Slot};
use crate::{guarded, lock};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
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

/// A call of a tool.
#[derive(uniffi::Record)]
pub struct ToolCall {
    /// Of the tool.
    pub name: String,
    /// An object in JSON: arguments by name.
    pub arguments: String,
    /// By which its result is known.
    pub id: String,
}

/// What a tool gave.
#[derive(uniffi::Record)]
pub struct ToolResult {
    /// Of the tool.
    pub name: String,
    /// Of the call.
    pub id: String,
    /// What it gave.
    pub text: String,
}

/// What happens where a conversation outgrows its session.
#[derive(Clone, Copy, uniffi::Enum)]
pub enum Overflow {
    /// Sending fails with `ContextFull`; nothing changes. This is how a conversation begins.
    Error,
    /// The model no longer sees the oldest exchanges; it keeps the system prompt.
    Shift,
}

impl Chat {
    pub(crate) fn of(chat: tern::Chat) -> Arc<Self> {
        let cancel = chat.session().cancel_flag();
        Arc::new(Self { state: Mutex::new(State { chat, answer: Weak::new() }), cancel })
    }

    /// The conversation with no answer under way: one that is ends here, and what there is of it is recorded.
    fn settled(&self) -> MutexGuard<'_, State> {
        let mut state = lock(&self.state);
        if let Some(answer) = std::mem::take(&mut state.answer).upgrade() {
            self.cancel.cancel();
            *lock(&answer) = None;
        }
        state
    }

    fn answer(&self, messages: Vec<tern::Message>, options: GenerateOptions) -> Result<Arc<Generation>, TernError> {
        guarded(|| {
            let mut state = self.settled();
            let reply = state.chat.send_messages(messages, options.into())?;
            let events: Slot = Arc::new(Mutex::new(Some(Box::new(reply))));
            state.answer = Arc::downgrade(&events);
            Ok(Generation::new(events, self.cancel.clone()))
        })
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
        self.answer(vec![tern::Message::new("user", text)], options)
    }

    /// The same with messages of any role, as of a tool's results.
    #[uniffi::method(default(options))]
    pub fn send_messages(
        &self,
        messages: Vec<ChatMessage>,
        options: GenerateOptions,
    ) -> Result<Arc<Generation>, TernError> {
        self.answer(messages.into_iter().map(|m| tern::Message::new(m.role, m.text)).collect(), options)
    }

    /// What the model may call from now on: a list of descriptions in JSON, as OpenAI's interface has it. Calls are no part of
    /// an answer's text then.
    ///
    /// Fails with `Setting` where the model's template knows no tools or the text is no JSON, and `Template`.
    pub fn set_tools(&self, descriptions: Option<String>) -> Result<(), TernError> {
        guarded(|| {
            let parse = |text: String| {
                let expected = "a list of descriptions in JSON";
                let bad =
                    |e: serde_json::Error| tern::Error::Setting { setting: "tools", found: e.to_string(), expected };
                serde_json::from_str(&text).map_err(bad)
            };
            let descriptions = descriptions.map(parse).transpose()?;
            Ok(self.settled().chat.set_tools(descriptions)?)
        })
    }

    /// The calls of the last answer. What the model meant as one and nobody can make stays in the answer's text.
    pub fn tool_calls(&self) -> Vec<ToolCall> {
        let messages = lock(&self.state).chat.messages();
        let calls = messages.last().and_then(|m| m.extra.get("tool_calls")?.as_array()).map_or(&[][..], Vec::as_slice);
        let call = |call: &serde_json::Value| {
            let (text, function) =
                (|v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned(), &call["function"]);
            let (name, arguments) = (text(&function["name"]), function["arguments"].to_string());
            ToolCall { name, arguments, id: text(&call["id"]) }
        };
        calls.iter().map(call).collect()
    }

    /// Adds what tools gave and generates the answer.
    ///
    /// Fails as `send` does.
    #[uniffi::method(default(options))]
    pub fn send_tool_results(
        &self,
        results: Vec<ToolResult>,
        options: GenerateOptions,
    ) -> Result<Arc<Generation>, TernError> {
        let message =
            |r: ToolResult| tern::Message::new("tool", r.text).with("name", r.name).with("tool_call_id", r.id);
        self.answer(results.into_iter().map(message).collect(), options)
    }

    /// Uses adapters from the next answer on, instead of those that it has; none gives the model itself, bit for bit.
    ///
    /// Fails as `set_adapters` of a session does.
    pub fn set_adapters(&self, adapters: Vec<AdapterWeight>) -> Result<(), TernError> {
        guarded(|| adapter::set(self.settled().chat.session(), &adapters))
    }

    /// Takes the last message and its answer back; false where there is none.
    ///
    /// Fails with `Backend`.
    pub fn undo(&self) -> Result<bool, TernError> {
        guarded(|| Ok(self.settled().chat.undo()?))
    }

    /// Another conversation that goes on from here.
    ///
    /// Fails with `Memory`.
    pub fn fork(&self) -> Result<Arc<Self>, TernError> {
        guarded(|| Ok(Self::of(self.settled().chat.fork()?)))
    }

    /// Writes the conversation to a file, from which `restore_chat` of the model goes on.
    ///
    /// Fails with `Io`: the file that was there stays as it is.
    pub fn save(&self, path: String) -> Result<(), TernError> {
        guarded(|| Ok(self.settled().chat.save(path)?))
    }

    /// What happens where the conversation outgrows its session.
    pub fn set_overflow(&self, overflow: Overflow) {
        lock(&self.state).chat.set_overflow(match overflow {
            Overflow::Error => tern::Overflow::Error,
            Overflow::Shift => tern::Overflow::Shift,
        });
    }

    /// How many of the messages, the oldest, the model no longer sees.
    pub fn hidden(&self) -> u64 {
        lock(&self.state).chat.hidden() as u64
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
