//! Tokens of documents, and which of them count.

use super::document::{Content, Document, Origin, Turn};
use crate::error::Error;
use crate::learn::{Example, LearnError};
use crate::model::Model;
use std::ops::Range;
use std::sync::Arc;
use tern_text::{Bos, ChatTemplate, ChatTokens, EncodeOptions, Message, RenderOptions, Tokenizer};

/// A stretch of tokens of one document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// The tokens, and which of them count; never the first.
    pub example: Example,
    /// Bytes that the tokens that count stand for.
    pub bytes: u64,
    /// The document goes on: its next sample begins with the last token of this one.
    pub goes_on: bool,
}

impl Sample {
    /// The last token that counts no longer does: the end of an answer that had none.
    pub(crate) fn forget_end(&mut self) {
        if let Some(last) = self.example.counts.iter_mut().rev().find(|c| **c) {
            *last = false;
        }
    }
}

impl AsRef<Example> for Sample {
    fn as_ref(&self) -> &Example {
        &self.example
    }
}

/// Makes samples of documents.
#[derive(Clone, Debug)]
pub struct Encoder {
    tokenizer: Arc<Tokenizer>,
    template: Option<ChatTemplate>,
    window: usize,
    origins: Vec<Origin>,
}

impl Encoder {
    /// For a model; samples have at most `window` tokens, answers of other origins than `origins` do not count.
    ///
    /// # Errors
    /// [`Error::Text`] where the model's template does not compile, [`Error::Setting`] for a window below 2.
    pub fn new(model: &Model, window: usize, origins: &[Origin]) -> Result<Self, Error> {
        let template = model.template_source().map(ChatTemplate::new).transpose()?;
        Self::with(Arc::clone(model.tokenizer()), template, window, origins)
    }

    /// The same for a tokenizer and its template.
    ///
    /// # Errors
    /// [`Error::Setting`] for a window below 2.
    pub fn with(
        tokenizer: Arc<Tokenizer>,
        template: Option<ChatTemplate>,
        window: usize,
        origins: &[Origin],
    ) -> Result<Self, Error> {
        if window < 2 {
            return Err(Error::Setting { setting: "window", found: window.to_string(), expected: "2 or more" });
        }
        Ok(Self { tokenizer, template, window, origins: origins.to_vec() })
    }

    /// A document's samples; those without a token that counts are left out.
    ///
    /// # Errors
    /// [`Error::NoTemplate`] for a conversation where the model has none, [`LearnError::Untraceable`], [`Error::Text`].
    pub fn encode(&self, document: &Document) -> Result<Vec<Sample>, Error> {
        let (tokens, counts) = match &document.content {
            Content::Text(text) => self.text(text)?,
            Content::Turns(turns) => self.turns(&document.source, turns)?,
        };
        let mut samples = Vec::new();
        let mut start = 0;
        while start + 1 < tokens.len() {
            let end = tokens.len().min(start + self.window);
            let sample = self.sample(&tokens[start..end], &counts[start..end]);
            samples.push(Sample { goes_on: end < tokens.len(), ..sample });
            // The last token of a window is seen, not predicted, in the next one.
            start = end - 1;
        }
        samples.retain(|s| s.bytes > 0);
        Ok(samples)
    }

    /// An answer to a message under the template; plain text that goes on where the model has none. Of a prompt that is too long for both
    /// to fit in a sample its beginning is left out.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn answer(&self, prompt: &str, answer: &str) -> Result<Vec<Sample>, Error> {
        if self.template.is_some() {
            return self.encode(&Document::pair("", Origin::User, prompt, answer));
        }
        let (mut tokens, _) = self.text(prompt)?;
        let mut counts = vec![false; tokens.len()];
        tokens.extend(self.tokenizer.encode(answer, EncodeOptions { special: false, bos: Bos::No })?);
        counts.resize(tokens.len(), true);
        let prompt = counts.iter().filter(|&&counts| !counts).count();
        let start = tokens.len().saturating_sub(self.window).min(prompt.saturating_sub(1));
        let end = tokens.len().min(start + self.window);
        Ok(vec![self.sample(&tokens[start..end], &counts[start..end])])
    }

    /// Bytes that a token stands for; none where it is a control token, as at the end of an answer.
    pub(super) fn token_bytes(&self, token: u32) -> Vec<u8> {
        if self.tokenizer.is_control(token) { None } else { self.tokenizer.token_bytes(token) }.unwrap_or_default()
    }

    fn sample(&self, tokens: &[u32], counts: &[bool]) -> Sample {
        let mut counts = counts.to_vec();
        if let Some(first) = counts.first_mut() {
            *first = false;
        }
        let counted = tokens.iter().zip(&counts).filter(|(_, c)| **c);
        let bytes = counted.map(|(&t, _)| self.token_bytes(t).len() as u64).sum();
        Sample { example: Example { tokens: tokens.to_vec(), counts }, bytes, goes_on: false }
    }

    fn text(&self, text: &str) -> Result<(Vec<u32>, Vec<bool>), Error> {
        let tokens = self.tokenizer.encode(text, EncodeOptions { special: false, bos: Bos::Auto })?;
        let counts = vec![true; tokens.len()];
        Ok((tokens, counts))
    }

    fn turns(&self, source: &str, turns: &[Turn]) -> Result<(Vec<u32>, Vec<bool>), Error> {
        let template = self.template.as_ref().ok_or(Error::NoTemplate)?;
        let messages: Vec<Message> = turns.iter().map(|t| Message::new(t.role.as_str(), t.content.as_str())).collect();
        let options = RenderOptions { add_generation_prompt: false, ..Default::default() };
        let chat = self.tokenizer.encode_chat_segments(template, &messages, &options)?;
        let found = answers(&chat, turns);
        let lost = |i: &usize| turns[*i].is_answer() && !found.iter().any(|(message, _)| message == i);
        if let Some(message) = (0..turns.len()).filter(lost).find(|&i| !turns[i].content.trim().is_empty()) {
            return Err(LearnError::Untraceable { source_name: source.to_owned(), message }.into());
        }
        let mut counts = vec![false; chat.tokens.len()];
        for (message, range) in found {
            let turn = &turns[message];
            if !turn.is_answer() || !self.origins.contains(&turn.origin) {
                continue;
            }
            counts[range.clone()].fill(true);
            // That an answer ends is part of it.
            if let Some(count) = counts.get_mut(range.end).filter(|_| self.tokenizer.is_end(chat.tokens[range.end])) {
                *count = true;
            }
        }
        Ok((chat.tokens, counts))
    }
}

/// Which message each part of a conversation came out of. Templates write messages in order, whole, without the spaces around
/// them or in pieces; what the template wrote itself is not asked.
fn answers(chat: &ChatTokens, turns: &[Turn]) -> Vec<(usize, Range<usize>)> {
    let (mut next, mut found) = (0, Vec::new());
    for (segment, range) in chat.segments.iter().filter(|(s, _)| !s.trusted) {
        let text = segment.text.trim();
        let from = turns.iter().enumerate().skip(next).find(|(_, t)| !text.is_empty() && t.content.contains(text));
        if let Some((message, turn)) = from {
            next = if turn.content.trim() == text { message + 1 } else { message };
            found.push((message, range.clone()));
        }
    }
    found
}
