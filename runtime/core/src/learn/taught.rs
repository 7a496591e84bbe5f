//! What pupils of language models have in common: the base, its tokens, its own answers.

use super::corpus::{Document, Encoder, Sample};
use super::hex;
use super::pupil::Answer;
use super::store::Base;
use crate::backend::CancelFlag;
use crate::error::Error;
use crate::model::Model;
use crate::session::{BatchOptions, Event, GenerateOptions, SessionOptions, StopReason};
use tern_text::Message;

/// Answers that are written at the same time.
const TOGETHER: usize = 8;
/// Tokens of prompts that are read in one step: cancelling waits for no longer one.
const CHUNK: u64 = 64;

/// See the module.
pub struct Taught {
    /// The base.
    pub model: Model,
    encoder: Encoder,
    /// Most tokens of an answer.
    answer_tokens: usize,
}

impl Taught {
    /// With samples of at most `window` tokens.
    ///
    /// # Errors
    /// As [`Encoder::new`].
    pub fn new(model: &Model, window: u64, origins: &[super::Origin], answer_tokens: usize) -> Result<Self, Error> {
        let window = usize::try_from(window).unwrap_or(usize::MAX);
        Ok(Self { model: model.clone(), encoder: Encoder::new(model, window, origins)?, answer_tokens })
    }

    /// Which model it is.
    pub fn base(&self) -> Result<Base, Error> {
        let info = self.model.info();
        Ok(Base {
            fingerprint: self.model.fingerprint()?,
            name: info.name.clone(),
            architecture: info.architecture.clone(),
            tokenizer: self.tokenizer_hash(),
        })
    }

    /// A hash of what turns text into tokens: of all tokens and the template.
    fn tokenizer_hash(&self) -> String {
        let tokenizer = self.model.tokenizer();
        let mut hasher = blake3::Hasher::new();
        for id in 0..tokenizer.vocab_size() as u32 {
            let bytes = tokenizer.token_bytes(id).unwrap_or_default();
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
        }
        hasher.update(self.model.template_source().unwrap_or_default().as_bytes());
        hex(hasher.finalize().as_bytes())
    }

    /// A document's samples. A model without a template learns a prompt with its answer as the text that it is.
    pub fn encode(&self, document: &Document) -> Result<Vec<Sample>, Error> {
        match self.encoder.encode(document) {
            Err(Error::NoTemplate) => match document.all().as_slice() {
                [prompt, answer] => self.encoder.answer(prompt, answer),
                _ => Err(Error::NoTemplate),
            },
            result => result,
        }
    }

    /// How [`Taught::answers`] come about.
    pub fn answering(&self) -> String {
        format!("greedy, at most {} tokens", self.answer_tokens)
    }

    /// What the base answers.
    ///
    /// # Errors
    /// As generating; [`Error::Cancelled`].
    pub fn answers(&self, prompts: &[&str], cancel: &CancelFlag) -> Result<Vec<Answer>, Error> {
        let encode = |prompt: &&str| match self.model.encode_chat(&[Message::new("user", *prompt)], true) {
            Err(Error::NoTemplate) => self.model.encode(prompt),
            tokens => tokens,
        };
        let tokens = prompts.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
        let room = tokens.iter().map(Vec::len).max().unwrap_or(0) + self.answer_tokens;
        let session = SessionOptions { context: Some(room as u64 + 1), chunk: Some(CHUNK), ..Default::default() };
        let mut batch = self.model.batch(BatchOptions { sequences: prompts.len().clamp(1, TOGETHER), session })?;
        let greedy = GenerateOptions { max_tokens: self.answer_tokens, ..GenerateOptions::default() };
        let mut answers = vec![Answer { text: String::new(), whole: false }; tokens.len()];
        tokens.into_iter().for_each(|t| _ = batch.add(t, greedy.clone()));
        for (prompt, event) in batch {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let (event, answer) = (event?, &mut answers[prompt]);
            answer.text.push_str(event.text());
            if let Event::Done(end) = event {
                answer.whole = end.reason == StopReason::End;
            }
        }
        Ok(answers)
    }
}
