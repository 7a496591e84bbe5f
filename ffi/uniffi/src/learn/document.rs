//! What is learned from.

use crate::error::TernError;
use crate::guarded;
use std::path::Path;
use tern::learn::corpus;

/// Who wrote a text. Only what a user wrote, or vouches for, is learned from unless `LearnOptions.allow` has more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Origin {
    /// The user.
    User,
    /// A model.
    Model,
    /// A tool.
    Tool,
    /// The web, or anything else that strangers can write to.
    Web,
}

/// A message of a conversation.
#[derive(uniffi::Record)]
pub struct Turn {
    /// "system", "user", "assistant", "tool".
    pub role: String,
    /// What was said.
    pub text: String,
    /// Who wrote it. Otherwise: an answer ("assistant") is the model's, a tool's result the tool's, the rest the user's. Of
    /// answers only those of an allowed origin are learned.
    #[uniffi(default = None)]
    pub origin: Option<Origin>,
}

/// What a document says.
#[derive(uniffi::Enum)]
pub enum Content {
    /// Text, all of which is learned.
    Text {
        /// The text.
        text: String,
    },
    /// A prompt with its answer, which is learned.
    Pair {
        /// The prompt.
        prompt: String,
        /// The answer.
        answer: String,
    },
    /// A conversation, whose answers are learned.
    Turns {
        /// The messages.
        turns: Vec<Turn>,
    },
}

/// A text, a pair or a conversation: the unit that is learned from, held out and forgotten.
#[derive(uniffi::Record)]
pub struct Document {
    /// Where it came from, as a file's path or a note's number: what `forget` names.
    pub source: String,
    /// What it says.
    pub content: Content,
    /// Who wrote it; the user otherwise. In a conversation each turn has its own.
    #[uniffi(default = None)]
    pub origin: Option<Origin>,
}

/// Reads a file, or all text files of a folder: one document each, or one for each line of a `.jsonl` file. `origin` is who wrote
/// what does not say so itself; the user otherwise.
///
/// Fails with `BadDocument`, `Io`.
#[uniffi::export(default(origin = None))]
pub fn read_documents(path: String, origin: Option<Origin>) -> Result<Vec<Document>, TernError> {
    guarded(|| {
        let origin = origin.map_or(corpus::Origin::User, Into::into);
        let reading = corpus::read(Path::new(&path), origin).map_err(tern::Error::from)?;
        Ok(reading.documents.into_iter().map(Into::into).collect())
    })
}

impl From<Origin> for corpus::Origin {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::User => Self::User,
            Origin::Model => Self::Model,
            Origin::Tool => Self::Tool,
            Origin::Web => Self::Web,
        }
    }
}

impl From<corpus::Origin> for Origin {
    fn from(origin: corpus::Origin) -> Self {
        match origin {
            corpus::Origin::User => Self::User,
            corpus::Origin::Model => Self::Model,
            corpus::Origin::Tool => Self::Tool,
            corpus::Origin::Web => Self::Web,
        }
    }
}

impl From<Turn> for corpus::Turn {
    fn from(turn: Turn) -> Self {
        let origin = turn.origin.map(Into::into).unwrap_or(match turn.role.as_str() {
            "assistant" => corpus::Origin::Model,
            "tool" => corpus::Origin::Tool,
            _ => corpus::Origin::User,
        });
        Self { role: turn.role, content: turn.text, origin }
    }
}

impl From<Document> for corpus::Document {
    fn from(document: Document) -> Self {
        let (source, origin) = (document.source, document.origin.map_or(corpus::Origin::User, Into::into));
        match document.content {
            Content::Text { text } => Self::text(source, origin, text),
            Content::Pair { prompt, answer } => Self::pair(source, origin, prompt, answer),
            Content::Turns { turns } => {
                let turns = turns.into_iter().map(Into::into).collect();
                Self { source, origin, content: corpus::Content::Turns(turns) }
            }
        }
    }
}

impl From<corpus::Document> for Document {
    fn from(document: corpus::Document) -> Self {
        let turn = |t: corpus::Turn| Turn { role: t.role, text: t.content, origin: Some(t.origin.into()) };
        let content = match document.content {
            corpus::Content::Text(text) => Content::Text { text },
            corpus::Content::Turns(turns) => Content::Turns { turns: turns.into_iter().map(turn).collect() },
        };
        Self { source: document.source, content, origin: Some(document.origin.into()) }
    }
}
