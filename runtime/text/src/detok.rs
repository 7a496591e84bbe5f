//! Ids to text while they come.

use std::sync::Arc;

use crate::decode::DecodeState;
use crate::error::TextError;
use crate::tokenizer::{DecodeOptions, Tokenizer};

/// Bytes to text while they come: gives out whole characters only, and U+FFFD for what can no longer become one, so that all
/// pieces together equal `String::from_utf8_lossy` of all bytes.
#[derive(Debug, Clone, Default)]
pub struct Utf8Stream {
    /// The beginning of a character: at most 3 bytes.
    held: Vec<u8>,
}

impl Utf8Stream {
    /// Takes bytes, appends to `out` the text that is certain by now.
    pub fn push(&mut self, bytes: &[u8], out: &mut String) {
        self.held.extend_from_slice(bytes);
        let mut rest = self.held.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    out.push_str(text);
                    self.held.clear();
                    return;
                }
                Err(e) => {
                    let (good, bad) = rest.split_at(e.valid_up_to());
                    out.push_str(&String::from_utf8_lossy(good));
                    let Some(len) = e.error_len() else {
                        let keep = bad.len();
                        self.held.drain(..self.held.len() - keep);
                        return;
                    };
                    out.push('\u{fffd}');
                    rest = &bad[len..];
                }
            }
        }
    }

    /// The end: an unfinished character becomes U+FFFD.
    pub fn finish(&mut self, out: &mut String) {
        if !self.held.is_empty() {
            out.push('\u{fffd}');
            self.held.clear();
        }
    }

    /// True while the beginning of a character is held back.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }
}

/// Decodes a stream of ids. All that [`push`](Self::push) and [`finish`](Self::finish) give, joined, is what
/// [`Tokenizer::decode`] gives for all ids at once.
#[derive(Debug, Clone)]
pub struct Detokenizer {
    tokenizer: Arc<Tokenizer>,
    options: DecodeOptions,
    state: DecodeState,
    stream: Utf8Stream,
    bytes: Vec<u8>,
}

impl Detokenizer {
    /// For one stream, a text from its beginning: the space that a SentencePiece tokenizer puts in front is removed.
    pub fn new(tokenizer: Arc<Tokenizer>, options: DecodeOptions) -> Self {
        let state = tokenizer.decode_state(false);
        Self { tokenizer, options, state, stream: Utf8Stream::default(), bytes: Vec::new() }
    }

    /// For a stream that goes on after other text: a space in front belongs to it.
    pub fn continuing(tokenizer: Arc<Tokenizer>, options: DecodeOptions) -> Self {
        let state = tokenizer.decode_state(true);
        Self { tokenizer, options, state, stream: Utf8Stream::default(), bytes: Vec::new() }
    }

    /// Takes the next id; gives the whole characters that it completes, often none.
    ///
    /// # Errors
    /// [`TextError::UnknownId`]; the stream is as before.
    pub fn push(&mut self, id: u32) -> Result<String, TextError> {
        let mut out = String::new();
        self.bytes.clear();
        self.tokenizer.decode_next(&mut self.state, id, self.options, &mut self.bytes)?;
        self.stream.push(&self.bytes, &mut out);
        Ok(out)
    }

    /// The end of the stream: what was held back. The detokenizer can then be used for another stream.
    pub fn finish(&mut self) -> String {
        let mut out = String::new();
        self.bytes.clear();
        self.tokenizer.decode_end(&mut self.state, &mut self.bytes);
        self.stream.push(&self.bytes, &mut out);
        self.stream.finish(&mut out);
        out
    }
}
