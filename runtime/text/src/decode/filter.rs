//! Steps on all tokens as one text, while it comes.

use crate::error::TextError;
use crate::limits::MAX_ADDED_TOKEN_BYTES;

use super::hex_byte;

/// A step. What is certain is passed on at once, the rest is held.
pub(super) enum Filter {
    /// Up to `start` and `stop` times `content` are removed at the ends.
    Strip { content: String, start: usize, stop: usize },
    /// Every `from`, from the left, becomes `to`.
    Replace { from: String, to: String },
    /// A text that is `<0xNN>` and nothing else becomes that byte.
    Byte,
}

/// How far a filter has come.
#[derive(Debug, Clone, Default)]
pub(super) struct FilterState {
    /// How many may still be removed from the beginning.
    start: usize,
    /// Bytes whose fate is open.
    held: Vec<u8>,
    /// Nothing will be changed any more.
    done: bool,
}

impl Filter {
    /// Replaces, if there is something to replace.
    ///
    /// # Errors
    /// [`TextError::TooLarge`]: every byte of a text may be compared with all of `from`. [`TextError::Unsupported`] for what
    /// would stand between any two characters.
    pub(super) fn replace(from: &str, to: &str) -> Result<Option<Self>, TextError> {
        if from.len() > MAX_ADDED_TOKEN_BYTES {
            let what = "bytes that a decoder replaces in the whole text";
            return Err(TextError::TooLarge { what, found: from.len(), limit: MAX_ADDED_TOKEN_BYTES });
        }
        match (from, to) {
            ("", "") => Ok(None),
            ("", _) => Err(TextError::Unsupported { what: "decoder that replaces the empty text", found: to.into() }),
            _ => Ok(Some(Self::Replace { from: from.to_owned(), to: to.to_owned() })),
        }
    }

    /// At the beginning of a text.
    pub(super) fn begin(&self) -> FilterState {
        match self {
            Self::Strip { start, .. } => FilterState { start: *start, ..FilterState::default() },
            _ => FilterState::default(),
        }
    }

    /// In the middle of one.
    pub(super) fn middle(&self) -> FilterState {
        FilterState { done: matches!(self, Self::Byte), ..FilterState::default() }
    }

    /// What is certain of the bytes so far.
    pub(super) fn push(&self, state: &mut FilterState, bytes: &[u8]) -> Vec<u8> {
        let mut ready = std::mem::take(&mut state.held);
        ready.extend_from_slice(bytes);
        match self {
            Self::Strip { content, stop, .. } => strip(content.as_bytes(), *stop, state, ready),
            Self::Replace { from, to } => replace(from.as_bytes(), to.as_bytes(), state, &ready),
            Self::Byte => {
                // `<0xNN>` has six bytes.
                state.done |= ready.len() > 6 || !b"<0x".starts_with(&ready[..ready.len().min(3)]);
                if !state.done {
                    state.held = std::mem::take(&mut ready);
                }
                ready
            }
        }
    }

    /// What was held, at the end.
    pub(super) fn finish(&self, state: &mut FilterState) -> Vec<u8> {
        let held = std::mem::take(&mut state.held);
        match self {
            // What may be removed is, but for the beginning of a character.
            Self::Strip { content, .. } if held.starts_with(content.as_bytes()) => Vec::new(),
            Self::Byte => match std::str::from_utf8(&held).ok().and_then(hex_byte) {
                Some(byte) => vec![byte],
                None => held,
            },
            _ => held,
        }
    }
}

fn strip(content: &[u8], stop: usize, state: &mut FilterState, mut ready: Vec<u8>) -> Vec<u8> {
    let mut from = 0;
    while state.start > 0 && from < ready.len() {
        let rest = &ready[from..];
        if rest.starts_with(content) {
            from += content.len();
            state.start -= 1;
        } else if content.starts_with(rest) {
            state.held = rest.to_vec();
            return Vec::new();
        } else {
            state.start = 0;
        }
    }
    let mut keep = ready.len();
    for _ in 0..stop {
        if !ready[from..keep].ends_with(content) {
            break;
        }
        keep -= content.len();
    }
    state.held = ready.split_off(keep);
    ready.drain(..from);
    ready
}

fn replace(from: &[u8], to: &[u8], state: &mut FilterState, ready: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ready.len());
    let mut at = 0;
    while at < ready.len() {
        let rest = &ready[at..];
        if rest.starts_with(from) {
            out.extend_from_slice(to);
            at += from.len();
        } else if from.starts_with(rest) {
            state.held = rest.to_vec();
            break;
        } else {
            out.push(ready[at]);
            at += 1;
        }
    }
    out
}
