//! A document: the unit that is learned from, held out, counted and forgotten.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Who wrote a text. What nobody vouches for is not learned from unless the application allows it: a model that learns its own
/// output drifts, and text of tools and web pages may have been written to be learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The user, or whoever the user vouches for.
    #[default]
    User,
    /// A model.
    Model,
    /// A tool's output.
    Tool,
    /// The web, or anything else that strangers can write to.
    Web,
}

impl Origin {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::User, Self::Model, Self::Tool, Self::Web];

    /// "user", "model", "tool" or "web".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Model => "model",
            Self::Tool => "tool",
            Self::Web => "web",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|o| o.as_str() == text);
        found.ok_or_else(|| "expected user, model, tool or web".to_owned())
    }
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// `system`, `user`, `assistant`, `tool` ...
    pub role: String,
    /// What was said.
    pub content: String,
    /// Who wrote it. Of a conversation only answers (role `assistant`) of an allowed origin are learned.
    pub origin: Origin,
}

impl Turn {
    /// Is it an answer, which a model would have given?
    pub fn is_answer(&self) -> bool {
        self.role == "assistant"
    }
}

/// What a document says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// Text, all of which is learned.
    Text(String),
    /// A conversation, of which the answers are learned. A prompt with its answer is one of two turns.
    Turns(Vec<Turn>),
}

/// A text or a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Where it came from, as a file's path: what `forget` names, and what caps count by.
    pub source: String,
    /// Who wrote it. In a conversation each turn has its own.
    pub origin: Origin,
    /// What it says.
    pub content: Content,
}

impl Document {
    /// A text.
    pub fn text(source: impl Into<String>, origin: Origin, text: impl Into<String>) -> Self {
        Self { source: source.into(), origin, content: Content::Text(text.into()) }
    }

    /// A prompt with the answer that is to be learned.
    pub fn pair(
        source: impl Into<String>,
        origin: Origin,
        prompt: impl Into<String>,
        answer: impl Into<String>,
    ) -> Self {
        let turn = |role: &str, content, origin| Turn { role: role.to_owned(), content, origin };
        let turns = vec![turn("user", prompt.into(), Origin::User), turn("assistant", answer.into(), origin)];
        Self { source: source.into(), origin, content: Content::Turns(turns) }
    }

    /// The texts that would be learned, each with who wrote it.
    pub fn learned(&self) -> Vec<(&str, Origin)> {
        match &self.content {
            Content::Text(text) => vec![(text, self.origin)],
            Content::Turns(turns) => {
                turns.iter().filter(|t| t.is_answer()).map(|t| (t.content.as_str(), t.origin)).collect()
            }
        }
    }

    /// Everything in it.
    pub fn all(&self) -> Vec<&str> {
        match &self.content {
            Content::Text(text) => vec![text],
            Content::Turns(turns) => turns.iter().map(|t| t.content.as_str()).collect(),
        }
    }

    /// A hash of what it says, but not of how it is spaced or where it came from: the same text twice is one document.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        let mut field = |text: &str| {
            for word in text.split_whitespace() {
                hasher.update(word.as_bytes()).update(b" ");
            }
            hasher.update(b"\0");
        };
        match &self.content {
            Content::Text(text) => field(text),
            Content::Turns(turns) => turns.iter().for_each(|t| {
                field(&t.role);
                field(&t.content);
            }),
        }
        *hasher.finalize().as_bytes()
    }
}
