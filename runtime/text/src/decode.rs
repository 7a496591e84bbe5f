//! From tokens' texts to bytes, one token after the other.

use std::borrow::Cow;

use crate::alphabet;
use crate::error::TextError;
use crate::limits::MAX_NORMALIZER_STEPS;
use crate::normalize::splitter;
use crate::pretok::regex::Splitter;
use crate::spec::{Decoder, TokenType};

/// The steps, made ready.
pub(crate) struct Decoders {
    /// What is done to each token.
    steps: Vec<Step>,
    /// What is done to all of them as one text.
    ends: Vec<Strip>,
    /// Becomes a space, in the last token nothing.
    word_end: Option<String>,
}

enum Step {
    Bytes,
    ByteFallback,
    Replace {
        splitter: Splitter,
        content: String,
    },
    Strip {
        content: char,
        start: usize,
        stop: usize,
    },
    Metaspace {
        replacement: char,
        prepended: bool,
    },
    WordPiece {
        prefix: String,
        cleanup: bool,
    },
    /// A space between tokens.
    Join,
}

#[derive(Debug, Clone)]
struct Strip {
    content: String,
    start: usize,
    stop: usize,
}

/// How far a text has come.
#[derive(Debug, Clone, Default)]
pub(crate) struct DecodeState {
    /// Whether a token came before.
    inside: bool,
    ends: Vec<StripState>,
    /// The token that may be the last one.
    pending: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
struct StripState {
    /// How many may still be removed from the beginning.
    start: usize,
    /// Bytes that may be removed, at either end.
    held: Vec<u8>,
}

impl Decoders {
    /// From steps.
    ///
    /// # Errors
    /// [`TextError::TooLarge`], [`TextError::Regex`]; [`TextError::Unsupported`] for a step that needs the whole text.
    pub(crate) fn new(list: &[Decoder]) -> Result<Self, TextError> {
        if list.len() > MAX_NORMALIZER_STEPS {
            let (what, limit) = ("number of decoder steps", MAX_NORMALIZER_STEPS);
            return Err(TextError::TooLarge { what, found: list.len(), limit });
        }
        let (mut steps, mut ends, mut word_end, mut fused) = (Vec::new(), Vec::new(), None, false);
        for step in list {
            let step = match step {
                Decoder::Fuse => {
                    fused = true;
                    continue;
                }
                Decoder::Strip { content, start, stop } if fused => {
                    ends.push(Strip { content: content.to_string(), start: *start, stop: *stop });
                    continue;
                }
                other if fused || word_end.is_some() => {
                    return Err(TextError::Unsupported {
                        what: "decoder behind Fuse or BPEDecoder",
                        found: crate::error::short(&format!("{other:?}")),
                    });
                }
                Decoder::WordEnd { suffix } => {
                    word_end = Some(suffix.clone());
                    continue;
                }
                Decoder::Bytes => Step::Bytes,
                Decoder::ByteFallback => Step::ByteFallback,
                Decoder::Replace { pattern, content } => {
                    Step::Replace { splitter: splitter(pattern)?, content: content.clone() }
                }
                &Decoder::Strip { content, start, stop } => Step::Strip { content, start, stop },
                &Decoder::Metaspace { replacement, prepended } => Step::Metaspace { replacement, prepended },
                Decoder::WordPiece { prefix, cleanup } => Step::WordPiece { prefix: prefix.clone(), cleanup: *cleanup },
            };
            steps.push(step);
        }
        if list.is_empty() {
            steps.push(Step::Join);
        }
        Ok(Self { steps, ends, word_end })
    }

    /// The beginning of a text.
    pub(crate) fn begin(&self) -> DecodeState {
        let ends = self.ends.iter().map(|strip| StripState { start: strip.start, held: Vec::new() }).collect();
        DecodeState { inside: false, ends, pending: None }
    }

    /// A place in the middle of a text.
    pub(crate) fn middle(&self) -> DecodeState {
        let ends = self.ends.iter().map(|_| StripState { start: 0, held: Vec::new() }).collect();
        DecodeState { inside: true, ends, pending: None }
    }

    /// Appends what is certain after one more token.
    pub(crate) fn push(
        &self,
        state: &mut DecodeState,
        text: &str,
        kind: TokenType,
        out: &mut Vec<u8>,
    ) -> Result<(), TextError> {
        let bytes = self.token(text, kind, state.inside)?;
        state.inside = true;
        let ready = match &self.word_end {
            None => Some(bytes),
            Some(suffix) => state.pending.replace(bytes).map(|last| replace_bytes(&last, suffix, " ")),
        };
        if let Some(bytes) = ready {
            self.strip(state, bytes, out);
        }
        Ok(())
    }

    /// Appends what was held back; the state is then that of a new text.
    pub(crate) fn finish(&self, state: &mut DecodeState, out: &mut Vec<u8>) {
        if let (Some(last), Some(suffix)) = (state.pending.take(), &self.word_end) {
            self.strip(state, replace_bytes(&last, suffix, ""), out);
        }
        let mut rest = Vec::new();
        for (strip, state) in self.ends.iter().zip(&mut state.ends) {
            rest = strip.push(state, &rest);
            strip.finish(state, &mut rest);
        }
        out.extend_from_slice(&rest);
        *state = self.begin();
    }

    fn strip(&self, state: &mut DecodeState, mut bytes: Vec<u8>, out: &mut Vec<u8>) {
        for (strip, state) in self.ends.iter().zip(&mut state.ends) {
            bytes = strip.push(state, &bytes);
        }
        out.extend_from_slice(&bytes);
    }

    /// A token's own bytes.
    fn token(&self, token: &str, kind: TokenType, inside: bool) -> Result<Vec<u8>, TextError> {
        let ordinary = matches!(kind, TokenType::Normal | TokenType::Byte);
        let mut text = Cow::Borrowed(token);
        for step in &self.steps {
            match step {
                Step::Bytes => {
                    if kind == TokenType::Byte
                        && let Some(byte) = hex_byte(&text)
                    {
                        return Ok(vec![byte]);
                    }
                    // Texts of added tokens are written plainly.
                    if ordinary {
                        let mut bytes = Vec::new();
                        alphabet::read(&text, &mut bytes);
                        match String::from_utf8(bytes) {
                            Ok(whole) => text = Cow::Owned(whole),
                            // Part of a character: no step on characters can follow.
                            Err(part) => return Ok(part.into_bytes()),
                        }
                    }
                }
                Step::ByteFallback => {
                    if let Some(byte) = hex_byte(&text).filter(|_| ordinary) {
                        return Ok(vec![byte]);
                    }
                }
                Step::Replace { splitter, content } => {
                    let mut changed = String::new();
                    let mut at = 0;
                    for found in splitter.matches(&text) {
                        let (start, end) = found?;
                        changed.push_str(&text[at..start]);
                        changed.push_str(content);
                        at = end;
                    }
                    changed.push_str(&text[at..]);
                    text = Cow::Owned(changed);
                }
                Step::Strip { content, start, stop } => {
                    // The counts are the file's: only as many steps as there is text.
                    let (mut rest, mut start, mut stop) = (&*text, *start, *stop);
                    while let Some(inner) = rest.strip_prefix(*content).filter(|_| start > 0) {
                        (rest, start) = (inner, start - 1);
                    }
                    while let Some(inner) = rest.strip_suffix(*content).filter(|_| stop > 0) {
                        (rest, stop) = (inner, stop - 1);
                    }
                    text = Cow::Owned(rest.to_owned());
                }
                Step::Metaspace { replacement, prepended } => {
                    let space = if !inside && *prepended { "" } else { " " };
                    text = Cow::Owned(text.replace(*replacement, space));
                }
                Step::WordPiece { prefix, cleanup } => text = Cow::Owned(word_piece(&text, prefix, *cleanup, inside)),
                Step::Join if inside => text = Cow::Owned(format!(" {text}")),
                Step::Join => {}
            }
        }
        Ok(text.into_owned().into_bytes())
    }
}

impl Strip {
    /// What is certain of the bytes so far.
    fn push(&self, state: &mut StripState, bytes: &[u8]) -> Vec<u8> {
        let content = self.content.as_bytes();
        let mut ready = std::mem::take(&mut state.held);
        ready.extend_from_slice(bytes);
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
        for _ in 0..self.stop {
            if !ready[from..keep].ends_with(content) {
                break;
            }
            keep -= content.len();
        }
        state.held = ready.split_off(keep);
        ready.drain(..from);
        ready
    }

    /// The end: what is held is removed, but for the beginning of a character.
    fn finish(&self, state: &mut StripState, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut state.held);
        if !held.starts_with(self.content.as_bytes()) {
            out.extend_from_slice(&held);
        }
    }
}

/// A token of a word-piece vocabulary, with the space before it.
fn word_piece(token: &str, prefix: &str, cleanup: bool, inside: bool) -> String {
    let mut text = match token.strip_prefix(prefix) {
        _ if !inside => token.to_owned(),
        Some(rest) => rest.to_owned(),
        None => format!(" {token}"),
    };
    if cleanup {
        for (from, to) in CLEANUP {
            if text.contains(from) {
                text = text.replace(from, to);
            }
        }
    }
    text
}

/// What English does without a space before, in this order (Hugging Face's list).
const CLEANUP: [(&str, &str); 11] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" do not", " don't"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

fn replace_bytes(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !from.is_empty() => text.replace(from, to).into_bytes(),
        _ => bytes.to_vec(),
    }
}

/// The byte of `<0xNN>`.
pub(crate) fn hex_byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(list: &[Decoder], tokens: &[&str]) -> String {
        let decoders = Decoders::new(list).unwrap();
        let (mut state, mut out) = (decoders.begin(), Vec::new());
        for token in tokens {
            decoders.push(&mut state, token, TokenType::Normal, &mut out).unwrap();
        }
        decoders.finish(&mut state, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn spaces_follow_the_rules_of_each_kind() {
        assert_eq!(decode(&[], &["a", "b"]), "a b");
        let metaspace = Decoder::Metaspace { replacement: '▁', prepended: true };
        assert_eq!(decode(&[metaspace], &["▁a▁", "b", "▁c"]), "ab c");
        let pieces = Decoder::WordPiece { prefix: "##".into(), cleanup: true };
        assert_eq!(decode(&[pieces], &["##a", "##b", "it", "'", "s", "."]), "##ab it ' s.");
        let end = Decoder::WordEnd { suffix: "</w>".into() };
        assert_eq!(decode(&[end], &["a", "b</w>", "c</w>"]), "ab c");
    }

    #[test]
    fn ends_are_stripped_however_the_text_arrives() {
        let strip =
            |content, start, stop| [Decoder::ByteFallback, Decoder::Fuse, Decoder::Strip { content, start, stop }];
        assert_eq!(decode(&strip(' ', 1, 0), &["<0x20>", " a"]), " a");
        assert_eq!(decode(&strip(' ', 2, 2), &[" ", " ", " a ", " ", " "]), " a ");
        assert_eq!(decode(&strip('é', 1, 1), &["<0xC3>", "<0xA9>", "<0xC3>"]), "\u{fffd}");
        assert_eq!(decode(&strip(' ', 1, 1), &[" "]), "");
        let huge = [Decoder::Strip { content: ' ', start: usize::MAX, stop: usize::MAX }, Decoder::Fuse];
        assert_eq!(decode(&huge, &["  a ", " b"]), "ab");
        assert_eq!(decode(&strip(' ', usize::MAX, usize::MAX), &[" ", " a ", " "]), "a");
    }
}
